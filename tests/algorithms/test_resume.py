"""What algorithms keep besides their networks survives a checkpoint, bit for bit."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from gsljax import checkpoint
from gsljax.algorithms import GAILConfig, ImitationConfig, PPOConfig, make_ppg, make_ppo
from gsljax.networks import ActorCritic
from tests.algorithms import test_ppg, test_sac
from tests.algorithms.test_ppo import (
    CONTINUOUS,
    LANES,
    SAMPLES,
    STEPS,
    assert_same,
    random_demonstrations,
    random_rollout,
    spec_of,
)

pytestmark = pytest.mark.usefixtures("compilation_cache")

SPEC = spec_of(CONTINUOUS)
GAIL = ImitationConfig("gail", gail=GAILConfig(num_updates=1, minibatch_size=6, hidden=(8,)))
NORMALIZED = PPOConfig(num_epochs=1, minibatch_size=12, normalize_observations=True, normalize_rewards=True)
PPG = dataclasses.replace(test_ppg.CONFIG, policy_phases=3)
ALGORITHMS: dict[str, Any] = {
    "normalisation and gail in ppo": lambda: make_ppo(ActorCritic(CONTINUOUS, (8,)), SPEC, NORMALIZED, GAIL),
    "stored rollouts of ppg": lambda: make_ppg(test_ppg.network_of(SPEC), SPEC, PPG),
    "replay and gail of sac": lambda: test_sac.make(SPEC, test_sac.SMALL, GAIL),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_updates_after_a_checkpoint_equal_those_without(name, tmp_path):
    algorithm = ALGORITHMS[name]()
    update = jax.jit(algorithm.update)
    needs = algorithm.num_demonstration_pairs(SAMPLES) != (0, 0)
    demonstrations = random_demonstrations(algorithm) if needs else None

    def go_on(state, seeds):
        for seed in seeds:
            state, metrics = update(state, random_rollout(CONTINUOUS, seed), demonstrations)
        return state, metrics

    start = algorithm.init(jax.random.key(0), (STEPS, LANES))
    half, _ = go_on(start, (0, 1))
    checkpoint.save(tmp_path / "half", half, {})
    restored, _ = checkpoint.restore(tmp_path / "half", jax.eval_shape(lambda: start))
    assert_same(restored, half)
    expected, found = go_on(half, (2, 3)), go_on(restored, (2, 3))
    assert_same(found, expected)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), found[0].params, half.params)
    assert any(jax.tree.leaves(moved))
