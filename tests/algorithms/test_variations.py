"""PPO that normalises by variation: what it keeps and does not see; a variation's unit and origin do not matter."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax import checkpoint
from gsljax.algorithms import PPGConfig, PPOConfig, make_ppg, make_ppo
from gsljax.errors import UserError
from gsljax.losses import generalized_advantages
from gsljax.networks import ActorCritic, PhasicActorCritic
from gsljax.networks.mlp import MLP
from gsljax.normalization import Moments, with_statistics
from gsljax.population import over_members
from gsljax.train_state import take
from tests import probe_environments as probes
from tests.algorithms.learning import learn
from tests.algorithms.test_ppo import (
    CONTINUOUS,
    LANES,
    LEARNING,
    SAMPLES,
    STEPS,
    VALUES,
    assert_same,
    random_rollout,
    spec_of,
)

pytestmark = pytest.mark.usefixtures("compilation_cache")

SPEC = spec_of(CONTINUOUS)._replace(num_variations=3)
CONFIG = PPOConfig(
    learning_rate=1e-2, value_learning_rate=3e-2, num_epochs=2, minibatch_size=SAMPLES // 2, normalize_rewards=True,
    reward_scope="variation", normalize_values=True, normalize_advantages="variation",
)  # fmt: skip
UNSCALED = dataclasses.replace(CONFIG, normalize_rewards=False)


@cache
def compiled(config=CONFIG):
    algorithm = make_ppo(ActorCritic(CONTINUOUS, (8,)), SPEC, config)
    return algorithm, algorithm.init(jax.random.key(0), (STEPS, LANES)), jax.jit(algorithm.update)


def rollout_of_two(seed=0):
    """Variation 0 in the first half of the lanes and 2 in the second; 1 is not played."""
    return random_rollout(seed=seed)._replace(variation=np.tile(np.repeat([0, 2], LANES // 2), (STEPS, 1)).astype("i4"))


def test_statistics_are_those_of_each_variation_and_go_with_the_networks():
    _, state, update = compiled()
    rollout = rollout_of_two()
    after, metrics = update(state, rollout)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((after.params, metrics)))
    assert set(after.params["statistics"]) == {"value", "reward"}
    for moments in after.params["statistics"].values():
        assert (moments.mean[1], moments.variance[1], moments.count[1]) == (0, 1, 0)
        played = [rollout.valid[:, : LANES // 2].sum(), rollout.valid[:, LANES // 2 :].sum()]
        np.testing.assert_array_equal(moments.count[jnp.array([0, 2])], played)
    assert after.memory["discounted_return"].shape == (LANES,)  # of the lanes' own episodes: not for clones


def test_the_values_statistics_are_of_the_targets():
    _, state, update = compiled(UNSCALED)
    r = jax.tree.map(jnp.asarray, rollout_of_two())
    before = Moments(jnp.array([2.0, 0.0, -3.0]), jnp.array([4.0, 1.0, 9.0]), jnp.zeros(3))
    after, _ = update(state._replace(params=with_statistics(state.params, value=before)), r)
    # The values that the rollout holds mean 2 + 2 V in the first half of the lanes, and -3 + 3 V in the second.
    value = jnp.where(jnp.arange(LANES) < LANES // 2, 2 + 2 * r.value, -3 + 3 * r.value)
    discounts = CONFIG.discount, CONFIG.gae_lambda
    target = value[:-1] + generalized_advantages(r.reward, value, r.terminated, r.truncated, r.valid, *discounts)
    moments = after.params["statistics"]["value"]
    for variation, lanes in {0: slice(None, LANES // 2), 2: slice(LANES // 2, None)}.items():
        of_variation = target[:, lanes][r.valid[:, lanes]]
        np.testing.assert_allclose(moments.mean[variation], of_variation.mean(), rtol=1e-4)
        np.testing.assert_allclose(moments.variance[variation], of_variation.var(), rtol=1e-4)


def test_the_unit_and_the_origin_of_a_variations_rewards_do_not_matter():
    """Of rewards 100 times as large, returns, their mean and their std are as well: policy and value move the same."""
    _, state, update = compiled(UNSCALED)
    rollout = rollout_of_two()
    unit = np.where(np.arange(LANES) < LANES // 2, 100.0, 1.0).astype(np.float32)
    moments = Moments(jnp.array([2.0, 0.0, -3.0]), jnp.array([4.0, 1.0, 9.0]), jnp.full(3, 50.0))
    units = jnp.array([100.0, 1.0, 1.0])
    larger = Moments(units * moments.mean, units**2 * moments.variance, moments.count)
    expected, found = (
        update(state._replace(params=with_statistics(state.params, value=start)), with_rewards)[0].params["params"]
        for start, with_rewards in ((moments, rollout), (larger, rollout._replace(reward=rollout.reward * unit)))
    )
    assert_same(found, expected, rtol=1e-3, atol=1e-4)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), found, state.params["params"])
    assert min(jax.tree.leaves(moved)) > 1e-3


def test_normalised_values_of_probes_mean_their_known_returns():
    """Each probe is a variation and a member; truncations bootstrap from what the network means, not its output."""
    config = dataclasses.replace(LEARNING, normalize_values=True, normalize_advantages="variation")
    made = []

    def make(spec):
        made.append(ActorCritic(spec.action, hidden=(32,), activation="tanh"))
        return make_ppo(made[0], spec, config)

    _, states = learn(probes.DISCRETE, make, 400)
    for variation, (name, state) in enumerate(states.items()):
        moments = state.params["statistics"]["value"]
        for observation, expected in VALUES[name].items():
            _, output = made[0].apply(state.params, jnp.asarray(observation, jnp.float32))
            value = moments.mean[variation] + jnp.sqrt(moments.variance[variation]) * output
            np.testing.assert_allclose(value, expected, atol=0.05, err_msg=f"{name} {observation}")


def test_masked_steps_change_nothing_bit_for_bit():
    _, state, update = compiled()
    rollout = rollout_of_two()
    expected = update(state, rollout)
    reset = ~rollout.valid
    assert reset.any()
    for junk in (1e30, np.nan):
        observation, reward, log_prob = (
            np.where(reset.reshape(*reset.shape, *[1] * (x.ndim - 2)), np.float32(junk), x)
            for x in (rollout.observation[:-1], rollout.reward, rollout.log_prob)
        )
        observation = np.concatenate([observation, rollout.observation[-1:]])
        dirty = rollout._replace(observation=observation, reward=reward, log_prob=log_prob)
        for another in (1, 17):
            assert_same(update(state, dirty._replace(variation=np.where(reset, another, rollout.variation))), expected)


@pytest.mark.parametrize("strategy", ["vmap", "map"])
def test_a_population_is_its_members_alone(strategy):
    algorithm, _, update = compiled()
    states = jax.vmap(lambda key: algorithm.init(key, (STEPS, LANES)))(jax.random.split(jax.random.key(1), 2))
    rollouts = [rollout_of_two(0), rollout_of_two(1)._replace(variation=np.full((STEPS, LANES), 1, np.int32))]
    together = jax.tree.map(lambda *x: np.stack(x), *rollouts)
    found = jax.jit(over_members(algorithm.update, strategy))(states, together)
    for member, rollout in enumerate(rollouts):
        assert_same(take(found, member), update(take(states, member), rollout), rtol=2e-4, atol=1e-5)


def test_updates_after_a_checkpoint_equal_those_without(tmp_path):
    _, state, update = compiled()
    half, _ = update(state, rollout_of_two(0))
    checkpoint.save(tmp_path / "half", half, {})
    restored, _ = checkpoint.restore(tmp_path / "half", jax.eval_shape(lambda: state))
    assert_same(update(restored, rollout_of_two(1)), update(half, rollout_of_two(1)))


def test_switched_off_nothing_is_kept_or_traced():
    plain = dataclasses.replace(CONFIG, value_learning_rate=None, normalize_rewards=False, normalize_values=False)
    algorithm = make_ppo(ActorCritic(CONTINUOUS, (8,)), SPEC, dataclasses.replace(plain, normalize_advantages="all"))
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    assert set(state.params) == {"params"} and state.memory == {} and state.hyperparameters.value_learning_rate is None


def test_what_ppg_cannot_do_is_refused():
    network = PhasicActorCritic(CONTINUOUS, MLP((8,)))
    with pytest.raises(UserError, match=r"^PPG's ppo\.normalize_values is True, but must be False: .*\.$"):
        make_ppg(network, SPEC, PPGConfig(ppo=PPOConfig(normalize_values=True)))


@pytest.mark.parametrize("name", ["reward_scope", "normalize_advantages"])
def test_scopes_that_do_not_exist_are_refused(name):
    with pytest.raises(UserError, match=f"^PPO's {name} is 'task', but must be 'all' or 'variation'\\.$"):
        PPOConfig(**{name: "task"})
