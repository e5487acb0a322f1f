"""H against a loop-written version on random curves, hand-worked examples, and what is known at the time."""

import dataclasses
import math

import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.gsl.plateau import PlateauCriterion, first_plateau, nearest_epoch, plateaued, smooth


def criterion(**fields) -> PlateauCriterion:
    """Settings that filter nothing and take every epoch, unless told otherwise."""
    return PlateauCriterion(**({"kernel_sigma": 0.0, "window": 2, "epsilon": 0.0, "head": 0.0, "tail": 0.0} | fields))


def loop_smooth(values: list[float], sigma: float) -> list[float]:
    """The filter as its formula is written, one pair of epochs at a time."""
    smoothed = []
    for t in range(len(values)):
        total = weight = 0.0
        for s, value in enumerate(values):
            near = s == t if sigma == 0 else abs(s - t) <= 4 * sigma
            if near and not math.isnan(value):
                w = 1.0 if sigma == 0 else math.exp(-((s - t) ** 2) / (2 * sigma**2))
                total, weight = total + w * value, weight + w
        smoothed.append(total / weight if weight else math.nan)
    return smoothed


def loop_plateaued(smoothed: list[float], window: int, epsilon: float) -> tuple[list[bool], list[float]]:
    """H of each epoch, and how far each is from tipping over."""
    holds, margins = [], []
    for t, now in enumerate(smoothed):
        hold, margin, seen = True, math.inf, False
        for later in range(t + 1, t + window + 1):
            if later >= len(smoothed) or math.isnan(now):
                hold = False
                break
            if math.isnan(smoothed[later]):
                continue
            seen = True
            margin = min(margin, abs(now + epsilon - smoothed[later]))
            if now + epsilon < smoothed[later]:
                hold = False
        holds.append(hold and seen)
        margins.append(margin)
    return holds, margins


def random_curve(rng: np.random.Generator) -> np.ndarray:
    """A learning curve, a random walk, pure noise or success counts in eighths, some with missing epochs."""
    length = int(rng.integers(1, 61))
    curve = [
        lambda: 1 - np.exp(-np.arange(length) / rng.uniform(1, 30)) + 0.05 * rng.standard_normal(length),
        lambda: np.cumsum(rng.standard_normal(length)),
        lambda: 50 * rng.standard_normal(length) - 1000,
        lambda: rng.integers(0, 9, length) / 8,
    ][rng.integers(4)]()
    if rng.random() < 0.4:
        curve = np.where(rng.random(length) < rng.choice([0.1, 0.5, 0.9]), np.nan, curve)
    return curve


def test_against_loops_on_random_curves():
    """A thousand curves of many kinds, lengths and settings, half-missing ones among them."""
    rng = np.random.default_rng(0)
    compared = skipped = held = 0
    for _ in range(1000):
        curve = random_curve(rng)
        sigma = float(rng.choice([0.0, 0.1, 0.5, 1.0, 2.7, 40.0]))
        window, epsilon = int(rng.integers(1, 16)), float(rng.choice([0.0, 0.01, 0.3, 50.0]))
        expected_smooth = loop_smooth(curve.tolist(), sigma)
        np.testing.assert_allclose(smooth(curve, sigma), expected_smooth, rtol=1e-12, atol=1e-12)
        holds, margins = loop_plateaued(expected_smooth, window, epsilon)
        actual = plateaued(curve, criterion(kernel_sigma=sigma, window=window, epsilon=epsilon))
        assert actual.shape == curve.shape
        assert actual.dtype == bool
        # Filtered values differ by rounding, which may decide a tie; unfiltered ones do not.
        clear = np.asarray(margins) > 1e-9 if sigma > 0 else np.ones(len(curve), dtype=bool)
        np.testing.assert_array_equal(actual[clear], np.asarray(holds)[clear])
        compared, skipped, held = compared + clear.sum(), skipped + (~clear).sum(), held + actual.sum()
    assert compared > 20_000
    assert skipped < 0.02 * compared
    assert 0.1 * compared < held < 0.9 * compared


def test_smooth_by_hand():
    """Weights and their renormalisation at both ends, worked out."""
    # sigma 0.3: |k| <= 1.2, so weights 1 and w = exp(-1 / 0.18); the ends have one neighbour only.
    w = math.exp(-1 / 0.18)
    expected = [(1 + 2 * w) / (1 + w), (2 + w * (1 + 6)) / (1 + 2 * w), (6 + w * 2) / (1 + w)]
    np.testing.assert_allclose(smooth(np.array([1.0, 2.0, 6.0]), 0.3), expected, rtol=1e-14)


def test_smooth_gives_missing_epochs_no_weight():
    """A missing epoch takes its known neighbours' value and stays NaN without any."""
    nan = math.nan
    # sigma 0.25 sees one epoch to each side: 3 has no neighbour but itself, epoch 1 hears 3 only, epochs 3 and 4 none.
    smoothed = smooth(np.array([3.0, nan, nan, nan, nan, nan, 5.0]), 0.25)
    np.testing.assert_allclose(smoothed, [3, 3, nan, nan, nan, 5, 5], rtol=1e-14)
    np.testing.assert_array_equal(smooth(np.full(4, nan), 1.0), np.full(4, nan))
    np.testing.assert_array_equal(smooth(np.array([1.0, nan, 2.0]), 0.0), [1.0, nan, 2.0])


@pytest.mark.parametrize("sigma", [0.0, 1e-200, 0.2, 3.0, 400.0, 1e300])
def test_smooth_keeps_a_constant_curve_exactly(sigma):
    """Rounding must not make hills on a flat curve: epsilon 0 would see them."""
    curve = np.full(37, 0.3)
    np.testing.assert_array_equal(smooth(curve, sigma), curve)
    assert plateaued(curve, criterion(kernel_sigma=sigma, window=5)).sum() == 32


def test_smooth_with_a_huge_kernel_is_the_mean():
    """All weights are equal and no array is longer than the curve needs."""
    np.testing.assert_allclose(smooth(np.array([0.0, 1.0, 5.0]), 1e300), [2.0, 2.0, 2.0], rtol=1e-14)


def test_smooth_leaves_its_input_alone_and_takes_integers_and_empty_curves():
    """The result is a float copy, also for sigma 0 and for no epochs."""
    curve = np.array([0, 1, 0])
    smoothed = smooth(curve, 0.0)
    assert smoothed.dtype == np.float64
    smoothed[0] = 7
    assert curve[0] == 0
    assert smooth(np.array([]), 2.0).shape == (0,)
    assert plateaued(np.array([]), criterion()).shape == (0,)


def test_plateaued_by_hand():
    """Gains of exactly epsilon, losses, a late gain, and epochs too young to be decided."""
    # W = 2, epsilon = 0.5. Epoch 1: 2.25 gains 0.5 to 2.75 at most, which still counts as none. Epoch 2: 2.75 loses.
    # Epoch 3: the 3 at epoch 5 gains 0.75. Epochs 4 and 5 look beyond the curve: not decided.
    curve = np.array([0.0, 2.25, 2.75, 2.25, 2.25, 3.0])
    np.testing.assert_array_equal(plateaued(curve, criterion(epsilon=0.5)), [False, True, True, False, False, False])
    # epsilon 0: an equal successor is no improvement.
    np.testing.assert_array_equal(plateaued(np.array([1.0, 1.0, 1.0, 2.0]), criterion()), [True, False, False, False])


def test_plateaued_with_missing_epochs():
    """Missing epochs are no plateau, refute none, and alone prove none."""
    nan = math.nan
    # Epoch 0 has one known successor, which is lower; epoch 1 is unknown; epoch 2 has no known successor in its window.
    curve = np.array([1.0, nan, 0.5, nan, nan, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(plateaued(curve, criterion()), [True, False, False, False, False, True, False, False])


def test_first_plateau_is_none_until_it_is_known():
    """The plateau at epoch t is reported from epoch t + W on."""
    curve = np.array([0.0, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])
    settings = criterion(window=3)
    answers = [first_plateau(curve[: t + 1], settings, total_epochs=10) for t in range(10)]
    # H(2) = 1 needs epochs 3, 4 and 5.
    assert answers == [None] * 5 + [2] * 5


@pytest.mark.parametrize(
    ("epochs", "window", "head"), [(10, 3, 0.5), (10, 4, 0.5), (10, 5, 0.5), (7, 3, 0.5), (7, 2, 0.5)]
)
def test_can_fire_is_what_a_flat_curve_says(epochs, window, head):
    settings = criterion(window=window, head=head)
    assert settings.can_fire(epochs) == (first_plateau(np.zeros(epochs), settings, epochs) is not None)


def test_first_plateau_never_takes_head_or_tail():
    """The first and last epoch that may be taken, to the epoch."""
    flat = np.zeros(100)
    assert first_plateau(flat, criterion(), 100) == 0
    assert first_plateau(flat, criterion(head=0.15), 100) == 15
    # 0.07 * 100 and (1 - 0.42) * 50 are above and below their whole numbers in floating point.
    assert first_plateau(flat, criterion(head=0.07), 100) == 7
    assert first_plateau(flat, criterion(head=0.151), 100) == 16
    # Rises until epoch t, then stays: t = 85 is the last to be taken with tail 0.15, 86 is not.
    for start, expected in [(84, 84), (85, 85), (86, None)]:
        curve = np.minimum(np.arange(100.0), start)
        assert first_plateau(curve, criterion(tail=0.15), 100) == expected
    curve = np.minimum(np.arange(50.0), 29)
    assert first_plateau(curve, criterion(tail=0.42), 50) == 29
    # A budget too small to have an epoch between head and tail, and a window longer than the budget.
    assert first_plateau(np.zeros(3), criterion(window=1, head=0.5, tail=0.4), 3) is None
    assert first_plateau(flat, criterion(window=100), 100) is None


@pytest.mark.parametrize("sigma", [0.0, 2.0])
def test_online_answer_is_the_first_epoch_known_at_the_time(sigma):
    """Called after every epoch, the first answer is what the curve until then implies."""
    rng = np.random.default_rng(1)
    fired = 0
    for _ in range(40):
        curve = 1 - np.exp(-np.arange(80) / 12) + 0.01 * rng.standard_normal(80)
        settings = criterion(kernel_sigma=sigma, window=8, epsilon=0.02, head=0.15, tail=0.15)
        answers = [first_plateau(curve[: t + 1], settings, 80) for t in range(80)]
        decision = next((t for t, answer in enumerate(answers) if answer is not None), None)
        if decision is None:
            assert first_plateau(curve, settings, 80) is None
            continue
        fired += 1
        taken = answers[decision]
        assert taken is not None
        assert 12 <= taken <= min(68, decision - 8)
        # Nothing that came after the decision had a say in it.
        smoothed = loop_smooth(curve[: decision + 1].tolist(), sigma)
        holds, _ = loop_plateaued(smoothed, 8, 0.02)
        assert holds.index(True, 12) == taken
        if sigma == 0:
            # Without a filter H(t) is known exactly at t + W, and for good.
            assert decision == taken + 8
            assert set(answers[decision:]) == {taken}
    assert fired >= 30


def test_h_is_final_once_the_kernel_is_inside_the_curve():
    """Growing the curve never changes H(t) once 4 sigma epochs follow t + W."""
    curve = np.random.default_rng(2).standard_normal(120)
    settings = criterion(kernel_sigma=2.0, window=5, epsilon=0.3)
    whole = plateaued(curve, settings)
    assert whole.any()
    for length in range(20, 121):
        final = length - 5 - 8
        np.testing.assert_array_equal(plateaued(curve[:length], settings)[:final], whole[:final])


def test_nearest_epoch():
    """The closest one, the earlier of two, an error for none."""
    assert nearest_epoch(7, [0, 5, 10]) == 5
    assert nearest_epoch(8, [10, 0, 5]) == 10
    assert nearest_epoch(15, [20, 10]) == 10
    assert nearest_epoch(99, [3]) == 3
    with pytest.raises(UserError, match="No parameters to go on from at epoch 7"):
        nearest_epoch(7, [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "reward"}, "metric is 'reward'"),
        ({"kernel_sigma": -1.0}, "kernel_sigma is -1.0"),
        ({"kernel_sigma": math.nan}, "kernel_sigma is nan"),
        ({"kernel_sigma": math.inf}, "kernel_sigma is inf"),
        ({"kernel_sigma": "3"}, "kernel_sigma is '3'"),
        ({"epsilon": -0.01}, "epsilon is -0.01"),
        ({"epsilon": math.inf}, "epsilon is inf"),
        ({"window": 0}, "window is 0"),
        ({"window": 2.0}, "window is 2.0"),
        ({"window": True}, "window is True"),
        ({"head": -0.1}, "head is -0.1"),
        ({"head": 1.0}, "head is 1.0"),
        ({"tail": math.nan}, "tail is nan"),
        ({"tail": 1.5}, "tail is 1.5"),
        ({"head": 0.5, "tail": 0.5}, "head is 0.5 and tail is 0.5"),
    ],
)
def test_criterion_names_the_bad_field(fields, message):
    """Every bad setting gives one sentence with its field and value."""
    with pytest.raises(UserError, match=f"^Plateau {message}; .*\\.$"):
        criterion(**fields)


def test_criterion_is_immutable_with_the_papers_margins():
    """Success is watched and 15 % is left out at both ends unless told otherwise."""
    settings = PlateauCriterion(kernel_sigma=3, window=10, epsilon=0.01)
    assert (settings.metric, settings.head, settings.tail) == ("success", 0.15, 0.15)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.window = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_bad_curves_and_budgets():
    """Curves and budgets that mean nothing are refused by name."""
    with pytest.raises(UserError, match=r"shape \(2, 3\)"):
        smooth(np.zeros((2, 3)), 1.0)
    with pytest.raises(UserError, match="epoch 1 is -inf"):
        plateaued(np.array([0.0, -math.inf]), criterion())
    with pytest.raises(UserError, match="sigma is -1"):
        smooth(np.zeros(3), -1)
    with pytest.raises(UserError, match="total_epochs is 0"):
        first_plateau(np.zeros(3), criterion(), 0)


def test_the_criterion_goes_with_the_budget_that_it_is_meant_for():
    given = PlateauCriterion(kernel_sigma=400.0, window=300, epsilon=0.1, budget_epochs=2000)
    assert given.for_budget(2000) == dataclasses.replace(given, budget_epochs=None)
    tenth = given.for_budget(200)
    assert (tenth.kernel_sigma, tenth.window, tenth.budget_epochs) == (40.0, 30, None)
    assert tenth.epsilon == pytest.approx(0.01)
    assert given.for_budget(3).window == 1  # never none at all
    as_it_is = dataclasses.replace(given, budget_epochs=None)
    assert as_it_is.for_budget(200) == as_it_is

    # A tenth of the budget sees a tenth of the same curve: it asks for the same progress in each epoch.
    large = PlateauCriterion(kernel_sigma=0.0, window=100, epsilon=0.1, budget_epochs=1000)
    small = large.for_budget(100)
    for gain, is_plateau in ((0.0008, True), (0.0012, False)):
        rising = gain * np.arange(1000)
        assert plateaued(rising, large)[0] == plateaued(rising[:100], small)[0] == is_plateau


def test_a_budget_of_no_epochs_is_refused():
    with pytest.raises(UserError, match="budget_epochs is 0; it must be at least 1"):
        PlateauCriterion(kernel_sigma=1.0, window=1, epsilon=0.0, budget_epochs=0)
