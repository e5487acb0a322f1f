"""E_low, its split and its complement, by hand and by their defining properties."""

import math

import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.gsl.assignment import (
    best_of_each,
    is_good_enough,
    low_count,
    low_performing,
    lowest_performing,
    remaining,
    split,
    spread,
    standings,
)
from gsljax.gsl.config import GSLConfig


def test_a_mean_score_at_the_threshold_is_good_enough():
    config = GSLConfig(good_enough=0.5)
    assert is_good_enough(config, np.array([0.25, 0.75])) and is_good_enough(config, np.array([0.5, 1.0]))
    assert not is_good_enough(config, np.array([0.25, 0.5]))
    assert not is_good_enough(GSLConfig(good_enough=None), np.ones(3))


def test_low_performing_are_the_configured_number_or_what_is_below_the_threshold():
    """Below 0.6 are three, rounded up to two specialists of two; at most four, and at least one specialist's."""
    scores, config = np.array([0.9, 0.1, 0.6, 0.5, 0.2, 0.7]), GSLConfig(num_low_performing=4, num_specialists=2)
    np.testing.assert_array_equal(low_performing(config, scores), [1, 4, 3, 2])
    for threshold, expected in ((0.6, [1, 4, 3, 2]), (0.3, [1, 4]), (0.05, [1, 4]), (1.0, [1, 4, 3, 2])):
        config = GSLConfig(num_low_performing=4, num_specialists=2, low_threshold=threshold)
        np.testing.assert_array_equal(low_performing(config, scores), expected)


def test_standings_by_hand():
    """Eight epochs, of which the last two count most; then all of them; then the return of the last two; the place."""
    nan, flat = math.nan, [0.0] * 8
    late = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]
    early = [0.0, 0.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    unknown_at_last = [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, nan, nan]
    scores = np.array([flat, early, flat, late, unknown_at_last, [nan] * 8, flat]).T
    returns = np.array([[9.0] * 8, [1.0] * 8, [9.0] * 6 + [10.0] * 2, [0.0] * 8, [0.0] * 8, [99.0] * 8, [9.0] * 8]).T
    np.testing.assert_array_equal(np.argsort(-standings(scores, returns)), [4, 3, 1, 2, 0, 6, 5])


def test_lowest_performing_by_hand():
    """Ascending by score, ties by id, NaN first."""
    scores = np.array([0.5, 0.1, 0.9, 0.1, math.nan, -2.0])
    np.testing.assert_array_equal(lowest_performing(scores, 1), [4])
    np.testing.assert_array_equal(lowest_performing(scores, 4), [4, 5, 1, 3])
    np.testing.assert_array_equal(lowest_performing(scores, 6), [4, 5, 1, 3, 0, 2])
    assert lowest_performing(scores, 2).dtype == np.int32


def test_lowest_performing_orders_ties_and_extremes():
    """All equal, infinities against NaN, and integer scores."""
    np.testing.assert_array_equal(lowest_performing(np.zeros(50), 7), range(7))
    scores = np.array([-math.inf, math.nan, math.inf, math.nan, 0.0])
    np.testing.assert_array_equal(lowest_performing(scores, 5), [1, 3, 0, 4, 2])
    np.testing.assert_array_equal(lowest_performing(np.array([3, 1, 2]), 2), [1, 2])


@pytest.mark.parametrize("count", [0, -1, 4])
def test_lowest_performing_refuses_counts(count):
    """None, negative and more than there are."""
    with pytest.raises(UserError, match=f"is {count}; it must be from 1 to 3"):
        lowest_performing(np.zeros(3), count)


@pytest.mark.parametrize(
    ("threshold", "multiple", "most", "count"),
    [
        (0.5, 1, 6, 3),  # 0.1 and -2 are below it, and NaN; 0.5 is not
        (0.51, 1, 6, 4),
        (0.5, 1, 2, 2),
        (0.5, 2, 6, 4),  # so many that each specialist has two
        (-9.0, 1, 6, 1),  # NaN alone
        (2.0, 2, 6, 6),
    ],
)
def test_how_many_are_below_a_threshold(threshold, multiple, most, count):
    scores = np.array([0.5, 0.1, 0.9, 0.7, math.nan, -2.0])
    assert low_count(scores, threshold, multiple, most) == count


def test_where_none_is_below_the_threshold_one_specialist_is_left():
    assert low_count(np.ones(6), 0.5, 3, 6) == 3


def test_the_best_of_each_subset():
    """Of three subsets with two specialists each: the second, the first of two equal ones, and the one that scored."""
    np.testing.assert_array_equal(best_of_each(np.array([1.0, 2.0, 5.0, 5.0, -np.inf, -3.0]), 2), [1, 2, 5])
    np.testing.assert_array_equal(best_of_each(np.array([4.0, 1.0, 3.0]), 1), [0, 1, 2])


def test_split_by_hand():
    """Contiguous in the order given."""
    subsets = split(np.array([9, 2, 7, 4, 0, 5]), 3)
    np.testing.assert_array_equal(subsets, [[9, 2], [7, 4], [0, 5]])
    assert subsets.dtype == np.int32
    np.testing.assert_array_equal(split(np.array([3]), 1), [[3]])


@pytest.mark.parametrize(("count", "specialists", "shape"), [(300, 75, (75, 4)), (5, 5, (5, 1)), (1024, 1, (1, 1024))])
def test_low_split_and_remaining_partition_the_variations(count, specialists, shape):
    """With the paper's sizes, every variation is in exactly one subset or in the rest."""
    scores = np.random.default_rng(0).integers(0, 40, 1024).astype(float)
    low = lowest_performing(scores, count)
    subsets = split(low, specialists)
    rest = remaining(1024, low)
    assert subsets.shape == shape
    assert np.all(np.diff(rest) > 0)
    assert rest.dtype == np.int32
    np.testing.assert_array_equal(np.sort(np.concatenate([subsets.ravel(), rest])), np.arange(1024))
    assert rest.size == 0 or scores[low].max() <= scores[rest].min()


@pytest.mark.parametrize(("count", "specialists"), [(5, 2), (3, 4), (4, 0), (4, -2), (0, 2)])
def test_split_refuses_unequal_shares(count, specialists):
    """The sentence names both numbers."""
    with pytest.raises(UserError, match=f"^{count} variations cannot be split over {specialists} specialists"):
        split(np.arange(count), specialists)


def test_remaining_by_hand():
    """Ascending, for some, none and all of the variations."""
    np.testing.assert_array_equal(remaining(6, np.array([4, 0, 1])), [2, 3, 5])
    np.testing.assert_array_equal(remaining(3, np.array([])), [0, 1, 2])
    assert remaining(2, np.array([1, 0])).shape == (0,)


def test_bad_ids():
    """Ids that are repeated, not whole, misshapen or unknown are refused by name."""
    with pytest.raises(UserError, match="Variation 3 is listed more than once"):
        split(np.array([3, 1, 3, 2]), 2)
    with pytest.raises(UserError, match=r"shape \(2, 2\)"):
        split(np.zeros((2, 2), dtype=int), 2)
    with pytest.raises(UserError, match="dtype float64"):
        remaining(5, np.array([1.0]))
    with pytest.raises(UserError, match="Variation 5 does not exist; ids must be from 0 to 4"):
        remaining(5, np.array([1, 5]))
    with pytest.raises(UserError, match="Variation -1 does not exist"):
        remaining(5, np.array([-1]))
    with pytest.raises(UserError, match=r"Scores have shape \(1, 3\)"):
        lowest_performing(np.zeros((1, 3)), 1)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, []), (1, [3]), (2, [3, 6]), (4, [3, 5, 6, 7]), (5, [3, 5, 6, 7, 9]), (9, [3, 5, 6, 7, 9])],
)
def test_spread_takes_evenly(most, expected):
    np.testing.assert_array_equal(spread(np.array([3, 5, 6, 7, 9]), most), expected)
