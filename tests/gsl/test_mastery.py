"""Members that have mastered their variations, by their last epochs."""

import numpy as np

from gsljax.gsl.mastery import MASTERY_EPOCHS, Mastery, resting

MASTERY = Mastery("success", 0.75)


def lines_of(*members):
    """Lines of `metrics.jsonl` of a population whose members' success is given epoch by epoch."""
    return [
        {"success": 0.0, "members": {"success": list(epoch), "return": [9.0] * len(epoch)}}
        for epoch in zip(*members, strict=True)
    ]


def test_a_member_rests_when_its_mean_over_the_last_epochs_is_high_enough():
    high, low = [1.0] * MASTERY_EPOCHS, [0.0] * MASTERY_EPOCHS
    just, short = [0.5, 1.0] * (MASTERY_EPOCHS // 2), [0.0, 1.0] * (MASTERY_EPOCHS // 2)
    lines = lines_of(low + high, high + low, low + just, low + short)
    np.testing.assert_array_equal(resting(MASTERY, 4, lines), [True, False, True, False])
    np.testing.assert_array_equal(resting(MASTERY, 4, lines[:-6]), [False] * 4)  # six epochs of 0 still count
    np.testing.assert_array_equal(resting(MASTERY, 4, lines[:MASTERY_EPOCHS]), [False, True, False, False])
    np.testing.assert_array_equal(resting(MASTERY, 4, lines[: MASTERY_EPOCHS - 1]), [False] * 4)  # too few yet


def test_epochs_without_an_episode_change_nothing():
    rests = [1.0] * MASTERY_EPOCHS + [None] * 3
    goes_on = [1.0, None] * (MASTERY_EPOCHS // 2) + [1.0] * 3
    np.testing.assert_array_equal(resting(MASTERY, 2, lines_of(rests, goes_on)), [True, False])


def test_a_population_of_one_is_judged_by_its_stage():
    lines = [{"success": 1.0}] * MASTERY_EPOCHS
    assert resting(MASTERY, 1, lines).tolist() == [True]
    assert resting(MASTERY, 1, lines[1:]).tolist() == [False]


def test_nobody_rests_without_mastery_or_before_the_first_epoch():
    assert resting(None, 2, lines_of([1.0] * 30, [1.0] * 30)).tolist() == [False, False]
    assert resting(MASTERY, 2, []).tolist() == [False, False]
