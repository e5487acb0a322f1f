"""The plateau criterion H: when the generalist has stopped improving and the specialists start."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from gsljax.errors import UserError

Metric = Literal["return", "success"]


@dataclass(frozen=True, kw_only=True)
class PlateauCriterion:
    """Settings of H (GSL §5.2, App. B); epochs are the generalist's, epsilon is in the unit of `metric`.

    Raises:
      UserError: if a field is outside the range its help text gives.
    """

    metric: Metric = "success"
    """Which epoch mean the criterion watches: return, or success where the environment has one."""

    kernel_sigma: float
    """Standard deviation of the Gaussian filter over the curve, in epochs (>= 0; 0: no filter), see budget_epochs."""

    window: int
    """W, how many epochs H looks ahead for an improvement (>= 1), see budget_epochs."""

    budget_epochs: int | None = None
    """The generalist's whole budget in epochs that kernel_sigma, window and epsilon are meant for (>= 1): with another
    one all three are larger or smaller in proportion, so that H asks for the same progress per sample. None takes them
    as they are."""

    epsilon: float
    """Improvement of the filtered curve that still counts as none, in the metric's unit (>= 0), see budget_epochs."""

    head: float = 0.15
    """Fraction of the generalist's budget at its start in which no plateau is taken (0 <= head < 1)."""

    tail: float = 0.15
    """Fraction of the generalist's budget at its end in which no plateau is taken (0 <= tail < 1 - head)."""

    def __post_init__(self) -> None:
        """Validate every field."""
        if self.metric not in get_args(Metric):
            raise UserError(f'Plateau metric is {self.metric!r}; allowed are "return" and "success".')
        for name in ("kernel_sigma", "epsilon"):
            value = getattr(self, name)
            if not (_is_real(value) and value >= 0):
                raise UserError(f"Plateau {name} is {value!r}; it must be a finite number of at least 0.")
        if isinstance(self.window, bool) or not isinstance(self.window, int | np.integer) or self.window < 1:
            raise UserError(f"Plateau window is {self.window!r}; it must be a whole number of at least 1.")
        if self.budget_epochs is not None and self.budget_epochs < 1:
            raise UserError(f"Plateau budget_epochs is {self.budget_epochs!r}; it must be at least 1, or None.")
        for name in ("head", "tail"):
            value = getattr(self, name)
            if not (_is_real(value) and 0 <= value < 1):
                raise UserError(f"Plateau {name} is {value!r}; it must be at least 0 and less than 1.")
        if self.head + self.tail >= 1:
            raise UserError(
                f"Plateau head is {self.head!r} and tail is {self.tail!r}; their sum must be less than 1, "
                "or no epoch is left to take."
            )

    def for_budget(self, epochs: int) -> "PlateauCriterion":
        """The criterion of a generalist whose budget is `epochs`, with the kernel, W and epsilon of that one."""
        if self.budget_epochs is None:
            return self
        scale = epochs / self.budget_epochs
        sigma, window = self.kernel_sigma * scale, max(1, round(self.window * scale))
        epsilon = self.epsilon * scale
        return replace(self, kernel_sigma=sigma, window=window, epsilon=epsilon, budget_epochs=None)

    def span(self, total_epochs: int) -> tuple[int, int]:
        """The first and the last epoch, counted from 0, that head and tail leave of a budget of `total_epochs`."""
        # 0.07 * 100 is 7.000000000000001: without rounding its ceiling would be 8.
        return math.ceil(round(self.head * total_epochs, 6)), math.floor(round((1 - self.tail) * total_epochs, 6))

    def can_fire(self, total_epochs: int) -> bool:
        """Whether H can be decided, W epochs after it, of any epoch that may be taken."""
        return self.span(total_epochs)[0] + self.window <= total_epochs - 1

    @property
    def reach(self) -> int:
        """How many epochs there must be after an epoch for its H to be final: W, and what the filter sees beyond."""
        return self.window + int(4 * self.kernel_sigma)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """1-D Gaussian filter that invents no values: missing epochs and those beyond the ends get no weight.

    smooth[t] = sum_k w_k values[t + k] / sum_k w_k with w_k = exp(-(k / sigma)^2 / 2), over those |k| <= 4 sigma for
    which t + k is in the curve and its value is not NaN (GSL §5.2, App. B).

    Args:
      values: `[T]` epoch means; NaN where no episode ended.
      sigma: standard deviation in epochs; 0 returns the values as they are.

    Returns:
      `[T]` float64; NaN where every epoch under the kernel is NaN.

    Raises:
      UserError: if `values` is not one-dimensional or contains an infinity, or `sigma` is negative or not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise UserError(f"Values to smooth have shape {values.shape}; they must be one-dimensional, [epochs].")
    if np.isinf(values).any():
        epoch = int(np.argmax(np.isinf(values)))
        raise UserError(f"Value of epoch {epoch} is {values[epoch]}; it must be finite, or NaN where no episode ended.")
    if not (_is_real(sigma) and sigma >= 0):
        raise UserError(f"Smoothing sigma is {sigma!r}; it must be a finite number of at least 0.")
    known = ~np.isnan(values)
    if sigma == 0 or not known.any():
        return values.copy()
    length = len(values)
    radius = int(min(4 * sigma, length - 1))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    # Weighing differences to the best epoch makes stretches at that value, a saturated success above all, exactly flat.
    best = values[known].max()
    inside = slice(radius, radius + length)
    total = np.convolve(np.where(known, values - best, 0.0), kernel)[inside]
    # Whether anything lies under the kernel is counted in whole epochs: rounding must not decide it.
    count = np.convolve(known.astype(np.int64), np.ones(2 * radius + 1, dtype=np.int64))[inside]
    weight = np.convolve(known.astype(np.float64), kernel)[inside]
    return best + np.divide(total, weight, out=np.full(length, np.nan), where=count > 0)


def plateaued(values: np.ndarray, criterion: PlateauCriterion) -> np.ndarray:
    """H of every epoch: whether the filtered curve gains no more than epsilon in the W epochs that follow.

    H(t) = 1 iff smooth[t] + epsilon >= smooth[t'] for all t' in (t, t + W], decided only where t + W <= T - 1 (GSL
    §5.2, App. B). Epochs count from 0. An epoch that is still NaN after smoothing is no plateau and refutes none; where
    all W epochs that follow are NaN, nothing is known and H is 0.

    Args:
      values: `[T]` epoch means of `criterion.metric`; NaN where no episode ended.
      criterion: kernel, W and epsilon; `head` and `tail` play no part here.

    Returns:
      `[T]` bool, False where H is 0 or not decided yet.

    Raises:
      UserError: if `values` is not one-dimensional or contains an infinity.
    """
    smoothed = smooth(values, criterion.kernel_sigma)
    holds = np.zeros(len(smoothed), dtype=bool)
    decided = len(smoothed) - criterion.window
    if decided <= 0:
        return holds
    candidate = smoothed[:decided]
    following = np.where(np.isnan(smoothed), -np.inf, smoothed)[1:]
    best = np.lib.stride_tricks.sliding_window_view(following, criterion.window).max(axis=1)
    # A NaN candidate compares False.
    holds[:decided] = (best > -np.inf) & (candidate + criterion.epsilon >= best)
    return holds


def first_plateau(values: np.ndarray, criterion: PlateauCriterion, total_epochs: int) -> int | None:
    """The first epoch t with H(t) = 1 outside the head and the tail of the budget, None if there is none yet.

    t is in [ceil(head * total_epochs), floor((1 - tail) * total_epochs)] (GSL §5.2, App. B). Call it after every epoch
    with the curve so far, and stop at the first t it gives: H looks ahead, so it is known only at t + W; the generalist
    goes on as it was at t, and the W epochs after it count as samples spent. The filter at the
    newest epochs sees the past only, so an answer taken online can differ from the whole curve's; once 4 sigma epochs
    beyond t + W are there, H(t) is final.

    Args:
      values: `[T]` epoch means of `criterion.metric` so far; NaN where no episode ended.
      criterion: the settings of H.
      total_epochs: the generalist's whole budget, in epochs.

    Returns:
      The epoch, counted from 0, or None.

    Raises:
      UserError: if `total_epochs` is less than 1, or `values` is not one-dimensional or contains an infinity.
    """
    if total_epochs < 1:
        raise UserError(f"Plateau total_epochs is {total_epochs!r}; it must be at least 1.")
    first, last = criterion.span(total_epochs)
    found = np.flatnonzero(plateaued(values, criterion)[first : last + 1])
    return first + int(found[0]) if found.size else None


def nearest_epoch(epoch: int, kept: Sequence[int]) -> int:
    """The kept epoch closest to `epoch`, the earlier of two equally close ones (GSL App. B).

    Args:
      epoch: where the plateau starts, as `first_plateau` gives it.
      kept: epochs whose parameters are there, in any order.

    Returns:
      One of `kept`.

    Raises:
      UserError: if there are none.
    """
    if len(kept) == 0:
        raise UserError(
            f"No parameters to go on from at epoch {epoch}; those of at least one epoch must have been kept."
        )
    return int(min(kept, key=lambda one: (abs(one - epoch), one)))


def _is_real(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)
