"""Tests of gsljax.gsl.candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax import checkpoint
from gsljax.gsl.candidates import Candidates
from gsljax.gsl.plateau import PlateauCriterion, first_plateau


def params(epochs):
    return {"w": jnp.full((1, 3), epochs, jnp.float32)}


TEMPLATE = jax.eval_shape(lambda: params(0))


def test_the_nearest_is_given_back_whether_saved_or_not(tmp_path):
    candidates = Candidates(tmp_path / "kept", reach=10, resumed_at=0)
    for epochs in range(2, 9, 2):
        candidates.add(epochs, params(epochs))
        if epochs == 4:
            candidates.save()
    for epoch, expected in ((4, 4), (5, 4), (8, 8), (100, 8)):
        chosen, found = candidates.nearest(epoch, TEMPLATE)
        assert chosen == expected
        np.testing.assert_array_equal(found["w"], params(expected)["w"])


def test_only_those_within_reach_are_kept(tmp_path):
    candidates = Candidates(tmp_path / "kept", reach=3, resumed_at=0)
    for epochs in range(1, 21):
        candidates.add(epochs, params(epochs))
        if epochs % 7 == 0:
            candidates.save()
            before = checkpoint.epochs(tmp_path / "kept")
            candidates.prune()
    assert min(before) <= 7 and checkpoint.epochs(tmp_path / "kept") == [10, 11, 12, 13, 14]
    assert candidates.nearest(17, TEMPLATE)[0] == 17
    candidates.save()
    candidates.prune()
    assert checkpoint.epochs(tmp_path / "kept") == [16, 17, 18, 19, 20]


def test_a_long_reach_is_covered_by_a_hundred(tmp_path):
    candidates = Candidates(tmp_path / "kept", reach=1000, resumed_at=0)
    for epochs in range(1, 3001):
        candidates.add(epochs, params(0))
    kept = sorted(candidates._unsaved)
    assert 100 <= len(kept) <= 102 and kept[0] <= 2000 and kept[-1] == 3000
    assert set(np.diff(kept)) == {10}


def test_those_of_a_training_that_was_cut_off_are_forgotten(tmp_path):
    candidates = Candidates(tmp_path / "kept", reach=9, resumed_at=0)
    for epochs in range(1, 6):
        candidates.add(epochs, params(epochs))
    candidates.save()
    resumed = Candidates(tmp_path / "kept", reach=9, resumed_at=3)
    assert checkpoint.epochs(tmp_path / "kept") == [1, 2, 3]
    assert resumed.nearest(5, TEMPLATE)[0] == 3


@pytest.mark.parametrize("seed", range(20))
def test_no_plateau_is_found_beyond_reach(seed):
    """What is found while the curve grows lies within the criterion's reach, so its candidate is still there."""
    random = np.random.default_rng(seed)
    sigma = float(random.choice([0.0, 0.7, 1.0, 2.5]))
    criterion = PlateauCriterion(
        kernel_sigma=sigma, window=int(random.integers(1, 8)), epsilon=0.02, head=0.0, tail=0.0
    )
    curve = np.cumsum(random.normal(0.1, 0.1, 200))
    for epochs in range(1, 201):
        found = first_plateau(curve[:epochs], criterion, 200)
        if found is not None:
            assert found >= epochs - 1 - criterion.reach
            break
