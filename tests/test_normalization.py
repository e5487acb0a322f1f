"""Running statistics against those of everything at once, and where they are kept."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.errors import UserError
from gsljax.networks import ActorCritic
from gsljax.normalization import (
    Moments,
    NormalizedObservation,
    RewardScaling,
    denormalized_values,
    initial_moments,
    initial_moments_of_groups,
    normalized_values,
    scale_rewards,
    update_moments,
    update_moments_of_groups,
    update_observations,
    with_new_episodes,
    with_statistics,
)
from gsljax.types import ActionSpec, EnvSpec
from tests.algorithms.test_ppo import random_rollout


def test_moments_of_pieces_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    values = (1000 + rng.normal(size=(5, 7, 3, 2)) * [1.0, 5.0]).astype(np.float32)
    valid = rng.random((5, 7, 3)) < 0.7
    values[~valid] = np.nan
    moments = initial_moments((2,))
    for piece, seen in zip(values, valid, strict=True):
        moments = jax.jit(update_moments)(moments, piece, seen)
    np.testing.assert_allclose(moments.mean, values[valid].mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.variance, values[valid].var(0), rtol=1e-3)  # of numbers near 1000 in float32
    assert moments.count == valid.sum()
    same = update_moments(moments, values[0], np.zeros_like(valid[0]))
    jax.tree.map(np.testing.assert_array_equal, same, moments)


def test_moments_of_groups_are_those_of_every_group_alone():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(5, 7, 3)) * [1.0, 5.0, 9.0]).astype(np.float32)
    group = rng.integers(0, 3, (5, 7, 3)).astype(np.int32)
    valid = rng.random((5, 7, 3)) < 0.7
    values[~valid], group[~valid] = np.nan, 17
    found = initial_moments_of_groups(4)
    for piece, seen, of_group in zip(values, valid, group, strict=True):
        found = jax.jit(update_moments_of_groups)(found, piece, seen, of_group)
    for one in range(3):
        alone = values[valid & (group == one)]
        np.testing.assert_allclose(found.mean[one], alone.mean(), rtol=1e-5)
        np.testing.assert_allclose(found.variance[one], alone.var(), rtol=1e-5)
        assert found.count[one] == len(alone)
    assert (found.mean[3], found.variance[3], found.count[3]) == (0, 1, 0)  # never seen
    same = update_moments_of_groups(found, values[0], np.zeros_like(valid[0]), group[0])
    jax.tree.map(np.testing.assert_array_equal, same, found)


def test_values_are_normalised_by_the_variation_that_they_are_of():
    """Two variations, means 10 and -1, stds 2 and ½. Lane 0 goes on from variation 0 to 1 at step 1, a reset."""
    moments = Moments(jnp.array([10.0, -1.0]), jnp.array([4.0, 0.25]), jnp.array([5.0, 5.0]))
    variation = jnp.array([[0, 1], [1, 1], [1, 1]])
    valid = jnp.array([[True, True], [False, True], [True, True]])
    value = jnp.array([[1.0, 1.0], [2.0, 2.0], [1.0, 0.0], [4.0, -2.0]])
    # The value before the reset step is of variation 0's final observation.
    expected = [[12.0, -0.5], [14.0, 0.0], [-0.5, -1.0], [1.0, -2.0]]
    for function in (denormalized_values, jax.jit(denormalized_values)):
        np.testing.assert_allclose(function(moments, value, variation, valid), expected, rtol=1e-6)
    target = jnp.array([[12.0, -0.5], [0.0, 0.0], [-0.5, -1.0]])
    found = np.where(valid, normalized_values(moments, target, variation), 0.0)
    np.testing.assert_allclose(found, [[1.0, 1.0], [0.0, 2.0], [1.0, 0.0]], rtol=1e-6)


def test_a_network_sees_normalised_and_clipped_observations():
    class Echo(nn.Module):
        def __call__(self, observation):
            return observation

    network = NormalizedObservation(Echo(), (2,), clip=2.0)
    observation = jnp.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])
    variables = network.init(jax.random.key(0), observation)
    np.testing.assert_allclose(
        network.apply(variables, observation[:1]), [[1.0, 2.0]], rtol=1e-6
    )  # as they are, clipped
    variables = update_observations(variables, observation, jnp.array([True, True, True]))
    # Means 3 and 20; variances 8/3 and 200.
    expected = [
        [-2 / np.sqrt(8 / 3), -10 / np.sqrt(200)],
        [0, -10 / np.sqrt(200)],
        [2 / np.sqrt(8 / 3), 20 / np.sqrt(200)],
    ]
    np.testing.assert_allclose(network.apply(variables, observation), expected, rtol=1e-5)
    beside = with_statistics(variables, value=initial_moments_of_groups(3))
    np.testing.assert_array_equal(network.apply(beside, observation), network.apply(variables, observation))
    assert set(update_observations(beside, observation, jnp.ones(3, bool))["statistics"]) == {"observation", "value"}
    plain = {"params": {}}
    assert update_observations(plain, observation, jnp.ones(3, bool)) is plain


def test_scaled_rewards_by_hand():
    """Two lanes, γ ½. Returns of lane 0: 1, 2.5, then 3 anew; of lane 1: 4, (masked), 4·½ + 2 = 4."""
    reward = jnp.array([[1.0, 4.0], [2.0, 99.0], [3.0, 2.0]])
    ended = jnp.array([[False, False], [True, True], [False, False]])
    valid = jnp.array([[True, True], [True, False], [True, True]])
    fresh = RewardScaling(jnp.zeros(2), initial_moments())
    scaling, scaled = scale_rewards(fresh, reward, ended, valid, discount=0.5, clip=5.0)
    returns = np.array([1.0, 2.5, 3.0, 4.0, 4.0])
    np.testing.assert_allclose(scaling.discounted, [3.0, 4.0])
    np.testing.assert_allclose(scaling.moments.variance, returns.var(), rtol=1e-5)
    np.testing.assert_allclose(scaled, np.clip(reward / returns.std(), -5, 5), rtol=1e-5)


def test_rewards_scaled_by_variation_by_hand():
    """γ ½. Variation 0 in lanes 0 and 1, with the returns 1, 2.5 and 4, 6; variation 2 in lane 2: 30, 45."""
    reward = jnp.array([[1.0, 4.0, 30.0], [2.0, 4.0, 30.0], [99.0, 99.0, np.nan]])
    variation = jnp.array([[0, 0, 2], [0, 0, 2], [1, 2, 0]])
    ended = jnp.array([[False] * 3, [True] * 3, [False] * 3])
    valid = jnp.array([[True] * 3, [True] * 3, [False] * 3])
    fresh = RewardScaling(jnp.zeros(3), initial_moments_of_groups(3))
    scaling, scaled = scale_rewards(fresh, reward, ended, valid, variation, discount=0.5, clip=3.5)
    np.testing.assert_array_equal(scaling.discounted, np.zeros(3))
    std = np.std([1.0, 2.5, 4.0, 6.0]), 7.5  # of 30 and 45: 7.5
    np.testing.assert_allclose(scaling.moments.variance, [std[0] ** 2, 1.0, std[1] ** 2], rtol=1e-5)
    expected = [[1 / std[0], 4 / std[0], 3.5], [2 / std[0], 4 / std[0], 3.5]]  # 30 / 7.5 is clipped
    np.testing.assert_allclose(scaled[:2], np.minimum(expected, 3.5), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_ppo_keeps_statistics_that_only_valid_steps_move(dtype):
    action = ActionSpec(num_actions=3)
    spec = EnvSpec("test", 1, (4,), dtype, action, 5, False)
    config = PPOConfig(num_epochs=1, minibatch_size=12, normalize_observations=True, normalize_rewards=True)
    if dtype == "uint8":
        with pytest.raises(UserError, match=r"normalize_observations needs float32 observations, .* are uint8\.$"):
            make_ppo(ActorCritic(action, (8,)), spec, config)
        return
    algorithm, rollout = make_ppo(ActorCritic(action, (8,)), spec, config), random_rollout(action)
    with pytest.raises(UserError, match=r"^PPO with normalize_rewards needs the rollouts' shape"):
        algorithm.init(jax.random.key(0))
    state = algorithm.init(jax.random.key(0), (8, 6))
    after, _ = jax.jit(algorithm.update)(state, rollout)
    moments = after.params["statistics"]["observation"]
    seen = rollout.observation[:-1][np.asarray(rollout.valid)]
    np.testing.assert_allclose(moments.mean, seen.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments.variance, seen.var(0), rtol=1e-4)
    assert moments.count == after.params["statistics"]["reward"].count == len(seen)
    # Adam moves none of them, whatever their gradient: they are those of the observations, bit for bit.
    expected = jax.jit(update_moments)(initial_moments((4,)), rollout.observation[:-1], rollout.valid)
    jax.tree.map(np.testing.assert_array_equal, moments, expected)


def test_an_update_sees_the_statistics_from_before_it():
    """Those of a fresh member change no observation, so its first update is that of the network without them."""
    action = ActionSpec(num_actions=3)
    spec = EnvSpec("test", 1, (4,), "float32", action, 5, False)
    network, rollout = ActorCritic(action, (8,)), random_rollout(action)
    plain, normalizing = (
        make_ppo(network, spec, PPOConfig(num_epochs=1, minibatch_size=12, normalize_observations=normalize))
        for normalize in (False, True)
    )
    state = normalizing.init(jax.random.key(0))
    same = plain.init(jax.random.key(0))._replace(params={"params": state.params["params"]["network"]})
    (after, _), (expected, _) = jax.jit(normalizing.update)(state, rollout), jax.jit(plain.update)(same, rollout)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # noqa: E731
    jax.tree.map(close, after.params["params"]["network"], expected.params["params"])
    (later, _), (other, _) = jax.jit(normalizing.update)(after, rollout), jax.jit(plain.update)(expected, rollout)
    moved = jax.tree.map(
        lambda a, b: float(abs(a - b).max()), later.params["params"]["network"], other.params["params"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-4  # the second update sees the first one's observations


def test_new_episodes_have_no_discounted_return_and_leave_the_rest():
    found = with_new_episodes({"discounted_return": jnp.array([4.0, 5.0]), "adversary": 6})
    np.testing.assert_array_equal(found["discounted_return"], [0.0, 0.0])
    assert found["adversary"] == 6
    assert with_new_episodes({"adversary": 6}) == {"adversary": 6}
