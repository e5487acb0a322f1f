"""Eight specialists of PushChair in one program, each with a chair of its own, are eight specialists alone."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.envs.push_chair import CHAIRS, push_chair
from gsljax.gsl.agent import make_algorithm
from gsljax.population import over_members
from gsljax.presets.push_chair import STATE_CONFIG
from gsljax.rollout import make_collect_from_pools
from tests.maniskill import PACKAGES

HORIZON, LANES, EPOCHS = 6, 2, 2


@pytest.mark.skipif(not all(map(importlib.util.find_spec, PACKAGES)), reason="ManiSkill or PyTorch is not installed")
@pytest.mark.filterwarnings("ignore")
def test_eight_specialists_together_are_eight_alone():
    """Up to rounding: products of another shape differ in their last digits, and the simulation carries these on."""
    environment = push_chair(horizon=HORIZON, num_workers=2)
    sac = dataclasses.replace(
        STATE_CONFIG.specialist.sac, num_gradient_steps=3, minibatch_size=8, replay_capacity=64, warmup_samples=6
    )
    algorithm = make_algorithm(sac, STATE_CONFIG.network, environment.spec)
    collect, update = make_collect_from_pools(algorithm.act), jax.jit(over_members(algorithm.update))
    count = len(CHAIRS)
    keys = jax.random.split(jax.random.key(0), (3, count))
    states = jax.vmap(algorithm.init)(keys[0])
    assignment = jax.vmap(environment.reset)(
        keys[1], jnp.broadcast_to(jnp.arange(count)[:, None, None], (count, LANES, 1))
    )

    def trained(members):
        state, keys_of, lanes = jax.tree.map(lambda x: x[members], (states, keys[2], jax.device_get(assignment)))
        with environment.open(lanes) as live:
            for _ in range(EPOCHS):
                rollout, _ = collect(live, state, keys_of, HORIZON + 1)
                state, _ = update(state, rollout)
        return jax.device_get((state.params, rollout.observation, rollout.variation))

    params, observation, variation = trained(slice(None))
    np.testing.assert_array_equal(variation, np.broadcast_to(np.arange(count)[:, None, None], variation.shape))
    before, after = jax.device_get(states.params), params
    for member in range(count):  # each of them has learnt
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        moved = [np.abs(np.subtract(new[member], old[member], dtype=np.float64)).max() for old, new in pairs]
        assert max(moved) > 1e-3
    for member in range(count):
        alone = trained(slice(member, member + 1))
        np.testing.assert_array_equal(alone[2][0], variation[member])
        np.testing.assert_allclose(alone[1][0], observation[member], rtol=1e-3, atol=1e-3)
        for one, all_ in zip(jax.tree.leaves(alone[0]), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(one[0], all_[member], rtol=1e-4, atol=5e-5)
