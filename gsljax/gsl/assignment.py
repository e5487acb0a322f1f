"""Whether there are to be specialists, and which variations they take: the worst ones, split evenly and disjointly."""

import numpy as np

from gsljax.errors import UserError
from gsljax.gsl.config import GSLConfig


def is_good_enough(config: GSLConfig, scores: np.ndarray) -> bool:
    """Line 2 of Algorithm 1: whether the generalist's mean score leaves nothing to do."""
    return config.good_enough is not None and bool(np.mean(scores) >= config.good_enough)


def low_performing(config: GSLConfig, scores: np.ndarray) -> np.ndarray:
    """Line 3 of Algorithm 1: E_low, the worst variations, as many as configured or as are below the threshold."""
    count = config.num_low_performing
    if config.low_threshold is not None:
        count = low_count(scores, config.low_threshold, config.variations_per_specialist, count)
    return lowest_performing(scores, count)


def lowest_performing(scores: np.ndarray, count: int) -> np.ndarray:
    """E_low, the `count` variations the generalist does worst on (GSL Algorithm 1, §5.2).

    Args:
      scores: `[V]` evaluated return or success of each variation; NaN (never finished an episode) is worst of all.
      count: N_lenv.

    Returns:
      `[count]` int32 variation ids, ascending by score, equal scores by ascending id.

    Raises:
      UserError: if `scores` is not one-dimensional or `count` is not in 1 .. V.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise UserError(f"Scores have shape {scores.shape}; they must be one-dimensional, [variations].")
    if not 1 <= count <= len(scores):
        raise UserError(f"Number of low-performing variations is {count}; it must be from 1 to {len(scores)}.")
    known = ~np.isnan(scores)
    # The last key decides first; lexsort is stable, so equal scores stay ordered by id.
    order = np.lexsort((np.where(known, scores, 0.0), known))
    return order[:count].astype(np.int32)


def low_count(scores: np.ndarray, threshold: float, multiple: int, most: int) -> int:
    """How many variations E_low has where it is those below a threshold (GSL §5.4).

    Args:
      scores: `[V]` as in `lowest_performing`; NaN is below every threshold.
      threshold: the score that is good enough.
      multiple: what the count is rounded up to a multiple of; it is at least this.
      most: N_lenv, a multiple of it, which the count does not exceed.
    """
    below = int(np.sum(~(np.asarray(scores, dtype=np.float64) >= threshold)))
    return min(max(1, -(-below // multiple)) * multiple, most)


def standings(scores: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """How good the members of a stage are at its end, in numbers of which the highest is the best one's.

    What counts is the mean score in the last quarter of the epochs, the last in which an episode of the member's ended.
    Of equal ones it is the mean score over all epochs, then the mean return in that quarter, then the place: what is
    trapped may collect more than what has succeeded now and then.

    Args:
      scores: `[T, P]` of every epoch, in the metric that counts; NaN where no episode ended.
      returns: `[T, P]` the same of the return.

    Returns:
      `[P]`, from 0 to P - 1.
    """
    late = max(1, len(scores) // 4)

    def means(values: np.ndarray, epochs: int) -> list[float]:
        known = [column[~np.isnan(column)][-epochs:] for column in values.T]
        return [np.mean(last).item() if len(last) else -np.inf for last in known]

    place = -np.arange(scores.shape[1])
    worst_first = np.lexsort(np.array([place, means(returns, late), means(scores, len(scores)), means(scores, late)]))
    return np.argsort(worst_first).astype(float)


def best_of_each(scores: np.ndarray, repeats: int) -> np.ndarray:
    """Of `repeats` neighbours each, the one with the highest score, the first of equal ones.

    Args:
      scores: `[N * repeats]`, none of them NaN.
      repeats: how many neighbours are alike.

    Returns:
      `[N]` int positions in `scores`.
    """
    rows = np.asarray(scores).reshape(-1, repeats)
    return np.arange(len(rows)) * repeats + rows.argmax(axis=1)


def split(variations: np.ndarray, num_specialists: int) -> np.ndarray:
    """E_low into disjoint subsets E_1 .. E_Ns of equal size (GSL Algorithm 1).

    The paper asks for disjoint subsets only; here they are contiguous in the order given, so what
    `lowest_performing` gives is grouped by score: the first specialist gets the worst variations.

    Args:
      variations: `[M]` distinct variation ids.
      num_specialists: N_s, which must divide M.

    Returns:
      `[num_specialists, M // num_specialists]` int32; row i is specialist i's subset.

    Raises:
      UserError: if `variations` are not distinct ids in one dimension, or cannot be shared equally by the specialists.
    """
    variations = _distinct_ids(variations)
    if num_specialists < 1 or len(variations) == 0 or len(variations) % num_specialists:
        raise UserError(
            f"{len(variations)} variations cannot be split over {num_specialists} specialists; "
            "every specialist must get equally many, at least one."
        )
    return variations.reshape(num_specialists, -1)


def remaining(num_variations: int, low: np.ndarray) -> np.ndarray:
    r"""E \ E_low, the variations the generalist itself demonstrates (GSL Algorithm 1).

    Args:
      num_variations: V, the size of E.
      low: `[M]` distinct ids of E_low.

    Returns:
      `[V - M]` int32 variation ids, ascending.

    Raises:
      UserError: if `low` are not distinct ids in one dimension, or one is not in 0 .. V - 1.
    """
    low = _distinct_ids(low)
    outside = low[(low < 0) | (low >= num_variations)]
    if outside.size:
        raise UserError(f"Variation {outside[0]} does not exist; ids must be from 0 to {num_variations - 1}.")
    return np.setdiff1d(np.arange(num_variations, dtype=np.int32), low, assume_unique=True)


def spread(variations: np.ndarray, most: int) -> np.ndarray:
    """All of the variations `[M]`, or `most` of them, evenly spread, if they are more."""
    if len(variations) <= most:
        return variations
    return variations[np.arange(most) * len(variations) // max(1, most)]


def _distinct_ids(variations: np.ndarray) -> np.ndarray:
    """`variations` as int32 `[M]`, or UserError if they are not distinct whole numbers in one dimension."""
    ids = np.asarray(variations)
    if ids.ndim != 1:
        raise UserError(f"Variations have shape {ids.shape}; they must be one-dimensional, [variations].")
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise UserError(f"Variations have dtype {ids.dtype}; they must be whole numbers.")
    unique, occurrences = np.unique(ids, return_counts=True)
    if (occurrences > 1).any():
        raise UserError(f"Variation {unique[occurrences > 1][0]} is listed more than once; every id may be there once.")
    return ids.astype(np.int32)
