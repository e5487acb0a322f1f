"""Rollouts: what belongs to the same step stands in the same row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.networks import ActorCritic
from gsljax.rollout import collect
from tests import probe_environments as probes

pytestmark = pytest.mark.usefixtures("compilation_cache")

LANES, STEPS = 8, 60
ENVIRONMENT = probes.lanes_of(probes.DISCRETE)
NAMES = list(probes.DISCRETE)
NETWORK = ActorCritic(ENVIRONMENT.spec.action, hidden=(8,))
ALGORITHM = make_ppo(NETWORK, ENVIRONMENT.spec, PPOConfig())


@pytest.fixture(scope="module")
def start():
    """A member that is no longer indifferent between its actions, and its lanes on all variations."""
    state = ALGORITHM.init(jax.random.key(0))
    policy_head = jax.tree.map(lambda x: 100 * x, state.params["params"]["policy_head"])
    state = state._replace(params={"params": state.params["params"] | {"policy_head": policy_head}})
    return state, ENVIRONMENT.reset(jax.random.key(1), jnp.tile(jnp.arange(len(NAMES)), (LANES, 1)))


compiled = jax.jit(collect, static_argnums=(0, 1, 5, 6))


@pytest.fixture(scope="module")
def collected(start):
    return compiled(ENVIRONMENT, ALGORITHM.act, *start, jax.random.key(2), STEPS)[1]


def test_shapes(collected):
    assert collected.observation.shape == (STEPS + 1, LANES, 2)
    assert collected.value.shape == (STEPS + 1, LANES)
    rest = collected._replace(observation=None, value=None)
    assert {x.shape for x in jax.tree.leaves(rest)} == {(STEPS, LANES)}


def test_log_probs_and_values_are_the_networks_for_the_same_row(start, collected):
    policy, value = NETWORK.apply(start[0].params, collected.observation)
    np.testing.assert_allclose(collected.value, value, rtol=1e-4, atol=1e-6)
    log_prob = jax.nn.log_softmax(policy.logits[:-1])
    expected = np.take_along_axis(np.asarray(log_prob), np.asarray(collected.action)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(collected.log_prob, expected, rtol=1e-4, atol=1e-5)
    assert len(np.unique(np.round(expected, 3))) > 4  # ... which tells rows apart


def test_rewards_are_those_of_the_rows_observation_and_action(collected):
    observation, action = np.asarray(collected.observation[:-1]), np.asarray(collected.action)
    expected = {
        "action": 2.0 * action - 1,
        "observation": observation[..., 0],
        "observation and action": np.where(action == (observation[..., 0] > 0), 1.0, -1.0),
        "one at the second step": observation[..., 1],
    }
    for name, reward in expected.items():
        rows = np.asarray(collected.valid) & (np.asarray(collected.variation) == NAMES.index(name))
        assert rows.sum() > 3
        np.testing.assert_array_equal(np.asarray(collected.reward)[rows], reward[rows])
    assert 0.1 < action.mean() < 0.9


def test_every_lane_and_step_acts_by_a_key_of_its_own(start, collected):
    flat = collected.action.T
    assert len(np.unique(flat, axis=0)) == LANES
    again = compiled(ENVIRONMENT, ALGORITHM.act, *start, jax.random.key(3), STEPS)[1]
    assert np.any(again.action != collected.action)


def test_two_rollouts_are_one_of_twice_the_length(start):
    """With the policy's mode, as the keys of one long rollout are others."""
    state, lanes = start
    parts = []
    for _ in range(2):
        lanes, rollout = compiled(ENVIRONMENT, ALGORITHM.act, state, lanes, jax.random.key(2), 6, True)
        parts.append(rollout)
    whole_lanes, whole = compiled(ENVIRONMENT, ALGORITHM.act, *start, jax.random.key(2), 12, True)
    np.testing.assert_array_equal(parts[0].observation[-1], parts[1].observation[0])
    for name, first, second, expected in zip(whole._fields, *parts, whole, strict=True):
        joined = np.concatenate([first[:6], second])
        if name in ("value", "log_prob"):
            np.testing.assert_allclose(joined, expected, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(joined, expected, err_msg=name)
    np.testing.assert_array_equal(lanes.observation, whole_lanes.observation)
    np.testing.assert_array_equal(jax.random.key_data(lanes.key), jax.random.key_data(whole_lanes.key))


def test_deterministic_rollouts_play_the_mode(start):
    rollout = compiled(ENVIRONMENT, ALGORITHM.act, *start, jax.random.key(2), 6, True)[1]
    policy, _ = NETWORK.apply(start[0].params, rollout.observation[:-1])
    np.testing.assert_array_equal(rollout.action, policy.logits.argmax(axis=-1))
