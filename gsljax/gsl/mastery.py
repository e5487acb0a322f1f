"""When a member of a population needs no more training, and leaves its samples to the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gsljax.gsl.plateau import Metric

MASTERY_EPOCHS = 20
"""Mastery is judged by the mean over so many epochs."""


class Mastery(NamedTuple):
    """A member has mastered its variations when its `metric`, averaged over `MASTERY_EPOCHS`, is at least `score`."""

    metric: Metric
    score: float


def resting(mastery: Mastery | None, num_members: int, lines: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Which members `[P]` have mastered their variations by now; nobody if `mastery` is None.

    What counts are a member's last epochs in which an episode ended. One that rests has none any more, and so stays at
    rest, also where the stage is resumed.

    Args:
      mastery: what is mastery.
      num_members: P.
      lines: the stage's lines of `metrics.jsonl`.
    """
    if mastery is None or not lines:
        return np.zeros(num_members, bool)
    of_members = [line["members"] if num_members > 1 else {mastery.metric: [line[mastery.metric]]} for line in lines]
    values = np.array([line[mastery.metric] for line in of_members], float)
    known = [column[~np.isnan(column)][-MASTERY_EPOCHS:] for column in values.T]
    return np.array([len(last) == MASTERY_EPOCHS and np.mean(last) >= mastery.score for last in known])
