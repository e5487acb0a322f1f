"""PPO on environments with known values, and its update against one written out by hand."""

import dataclasses
import math
from functools import cache
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsljax.algorithms import ImitationConfig, PPOConfig, make_ppo
from gsljax.algorithms.ppo_config import hyperparameters
from gsljax.distributions import Categorical
from gsljax.errors import UserError
from gsljax.losses import clipped_policy_loss, generalized_advantages, normalize, value_loss
from gsljax.networks import ActorCritic, ImpalaActorCritic
from gsljax.types import ActionSpec, DemonstrationBatch, EnvSpec, Rollout
from tests import probe_environments as probes
from tests.algorithms.learning import learn

pytestmark = pytest.mark.usefixtures("compilation_cache")

# (a) Learning on the probes.

GAMMA = 0.5
LEARNING = PPOConfig(
    learning_rate=0.01, discount=GAMMA, gae_lambda=1.0, entropy_coefficient=0.0, num_epochs=4, minibatch_size=64
)
# What each probe's value must be, at its observations.
VALUES = {
    "one forever": {(0, 0): 1 / (1 - GAMMA)},
    "one forever in single steps": {(0, 0): 1 / (1 - GAMMA)},
    "one at once": {(0, 0): 1.0},
    "one for four steps": {(0, 0): (1 + 1.5 + 1.75 + 1.875) / 4},
    "one at the second step": {(0, 0): GAMMA, (0, 1): 1.0},
    "action": {(0, 0): 1.0},
    "observation": {(-1, 0): -1.0, (1, 0): 1.0},
    "observation and action": {(-1, 0): 1.0, (1, 0): 1.0},
}


def learnt(table, num_epochs, **network):
    """The network and every probe's final parameters."""
    made = []

    def make(spec):
        made.append(ActorCritic(spec.action, hidden=(32,), activation="tanh", **network))
        return make_ppo(made[0], spec, LEARNING)

    _, states = learn(table, make, num_epochs)
    return made[0], {name: state.params for name, state in states.items()}


@pytest.fixture(scope="module")
def discrete():
    network, params = learnt(probes.DISCRETE, 400)

    def outputs(name, observation):
        policy, value = network.apply(params[name], jnp.asarray(observation, jnp.float32))
        return jax.nn.softmax(policy.logits), value

    return outputs


@pytest.mark.parametrize("name", probes.DISCRETE)
def test_values_of_probes(discrete, name):
    for observation, expected in VALUES[name].items():
        np.testing.assert_allclose(discrete(name, observation)[1], expected, atol=0.05, err_msg=str(observation))


@pytest.mark.parametrize(
    ("name", "observation", "best"),
    [("action", (0, 0), 1), ("observation and action", (-1, 0), 0), ("observation and action", (1, 0), 1)],
)
def test_policies_of_probes(discrete, name, observation, best):
    assert discrete(name, observation)[0][best] > 0.97


def test_continuous_probe():
    network, params = learnt(probes.CONTINUOUS, 300, initial_std=0.5, min_std=0.1, max_std=1.0)
    for clue in (-1.0, 1.0):
        policy, value = network.apply(params["target"], jnp.array([clue, 0.0]))
        np.testing.assert_allclose(policy.mean, 0.5 * clue, atol=0.1)
        assert np.all(policy.std < 0.35)  # a reward that falls with the deviation narrows the policy
        np.testing.assert_allclose(value, -np.sum(policy.std**2), atol=0.05)


# (b) The update, on a rollout of random numbers.

STEPS, LANES = 8, 6
SAMPLES = STEPS * LANES
DISCRETE = ActionSpec(num_actions=3)
CONTINUOUS = ActionSpec(dimension=2)
CONFIG = PPOConfig(learning_rate=1e-2, num_epochs=2, minibatch_size=12, clip_value_loss=True)


def spec_of(action):
    return EnvSpec("test", 1, (4,), "float32", action, 5, False)


@cache
def compiled(action=CONTINUOUS, config=CONFIG, imitation=None):
    """An algorithm, a fresh state of it, and its update, compiled once for all tests of one configuration."""
    algorithm = make_ppo(ActorCritic(action, hidden=(8,)), spec_of(action), config, imitation)
    return algorithm, algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)


def random_rollout(action=CONTINUOUS, seed=0):
    """What lanes that end at random left: a step after an end is a reset, so it has no reward and is not valid."""
    rng = np.random.default_rng(seed)
    ended = np.zeros((STEPS, LANES), bool)
    valid = np.ones((STEPS, LANES), bool)
    for t in range(STEPS):
        valid[t] = ~ended[t - 1] if t else True
        ended[t] = valid[t] & (rng.random(LANES) < 0.3)
    terminated = ended & (rng.random(ended.shape) < 0.5)
    if action.is_discrete:
        actions = rng.integers(0, 3, (STEPS, LANES)).astype(np.int32)
    else:
        actions = rng.normal(size=(STEPS, LANES, 2)).astype(np.float32)
    return Rollout(
        observation=rng.normal(size=(STEPS + 1, LANES, 4)).astype(np.float32),
        action=actions,
        reward=np.where(valid, rng.normal(size=valid.shape), 0).astype(np.float32),
        terminated=terminated,
        truncated=ended & ~terminated,
        valid=valid,
        log_prob=(-2 + 0.2 * rng.normal(size=valid.shape)).astype(np.float32),
        value=rng.normal(size=(STEPS + 1, LANES)).astype(np.float32),
        variation=np.zeros((STEPS, LANES), np.int32),
        episode_return=np.zeros((STEPS, LANES), np.float32),
        success=np.zeros((STEPS, LANES), bool),
    )


def random_demonstrations(algorithm, action=CONTINUOUS, seed=0):
    rng = np.random.default_rng(seed)
    shape = algorithm.num_demonstration_pairs(SAMPLES)
    actions = rng.integers(0, 3, shape) if action.is_discrete else rng.normal(size=(*shape, 2))
    dtype = np.int32 if action.is_discrete else np.float32
    return DemonstrationBatch(rng.normal(size=(*shape, 4)).astype(np.float32), actions.astype(dtype))


def assert_same(found, expected, **tolerance):
    compare = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    found, expected = jax.device_get((_raw_keys(found), _raw_keys(expected)))
    jax.tree.map(lambda a, b: compare(a, b, **tolerance), found, expected)


def _raw_keys(tree):
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)


@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_masked_steps_change_nothing_bit_for_bit(action):
    _, state, update = compiled(action)
    rollout = random_rollout(action)
    assert 0.1 < np.mean(~rollout.valid) < 0.4
    expected = update(state, rollout)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((expected[0].params, expected[1])))

    after_termination = np.zeros_like(rollout.valid)
    after_termination[1:] = rollout.terminated[:-1]
    for junk in (1e30, np.nan, np.inf):

        def spoil(field, where, junk=junk):
            field = field.copy()
            field[: len(where)][where] = junk if field.dtype.kind == "f" else 17
            return field

        reset = ~rollout.valid
        dirty = rollout._replace(
            # The final observation of a truncated episode matters, but through its value alone.
            observation=spoil(rollout.observation, reset),
            action=spoil(rollout.action, reset),
            reward=spoil(rollout.reward, reset),
            log_prob=spoil(rollout.log_prob, reset),
            value=spoil(rollout.value, after_termination),
            variation=spoil(rollout.variation, reset),
            episode_return=spoil(rollout.episode_return, np.ones_like(reset)),
        )
        assert_same(update(state, dirty), expected)

    # ... and where it does matter: the values that truncated episodes bootstrap from.
    after_truncation = np.zeros_like(rollout.valid)
    after_truncation[1:] = rollout.truncated[:-1]
    other = rollout._replace(value=rollout.value + np.pad(after_truncation, ((0, 1), (0, 0))).astype(np.float32))
    assert update(state, other)[1]["policy_loss"] != expected[1]["policy_loss"]


def test_a_rollout_of_resets_alone_is_harmless():
    algorithm, state, update = compiled(imitation=ImitationConfig())
    rollout = random_rollout()
    rollout = rollout._replace(valid=np.zeros_like(rollout.valid))
    state, metrics = update(state, rollout, random_demonstrations(algorithm))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((state.params, metrics)))


def test_compiled_update_equals_eager_one():
    algorithm, state, update = compiled(imitation=ImitationConfig())
    arguments = state, random_rollout(), random_demonstrations(algorithm)
    assert_same(update(*arguments), algorithm.update(*arguments), rtol=1e-4, atol=1e-6)


def test_one_step_is_the_formulas():
    """A single minibatch of the whole rollout: no shuffling, one gradient, the first step of Adam."""
    config = PPOConfig(learning_rate=1e-2, discount=0.9, gae_lambda=0.8, clip=0.1, entropy_coefficient=0.3,
                       value_coefficient=0.7, num_epochs=1, minibatch_size=SAMPLES, max_grad_norm=0.05)  # fmt: skip
    _, state, update = compiled(config=config)
    network, rollout = ActorCritic(CONTINUOUS, hidden=(8,)), random_rollout()
    r = jax.tree.map(jnp.asarray, rollout)
    advantage = generalized_advantages(r.reward, r.value, r.terminated, r.truncated, r.valid, 0.9, 0.8)
    valid = rollout.valid.ravel()

    def loss(params):
        policy, value = network.apply(params, r.observation[:-1])
        log_prob, scaled = policy.log_prob(r.action).ravel(), normalize(advantage, r.valid).ravel()
        policy_loss, _ = clipped_policy_loss(log_prob, r.log_prob.ravel(), scaled, valid, 0.1)
        critic_loss, _ = value_loss(value.ravel(), (advantage + r.value[:-1]).ravel(), valid)
        return policy_loss + 0.7 * critic_loss - 0.3 * jnp.mean(policy.entropy().ravel()[valid])

    gradient = jax.jit(jax.grad(loss))(state.params)
    norm = optax.tree.norm(gradient)
    assert norm > 0.05

    def step(parameter, gradient):
        gradient = gradient * 0.05 / norm
        return parameter - 1e-2 * gradient / (jnp.abs(gradient) + 1e-5)

    updated, metrics = update(state, rollout)
    assert_same(updated.params, jax.tree.map(step, state.params, gradient), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)
    np.testing.assert_allclose(metrics["advantage_max"], advantage[rollout.valid].max(), rtol=1e-5)
    assert updated.num_updates == 1 and updated.num_samples == valid.sum()
    assert np.any(jax.random.key_data(updated.key) != jax.random.key_data(state.key))


METRICS = {"policy_loss", "kl", "clip_fraction", "value_loss", "entropy", "gradient_norm", "advantage_max",
           "explained_variance", "learning_rate"}  # fmt: skip
DEMONSTRATION_METRICS = {"demonstration_loss", "demonstration_probability", "demonstration_log_prob"}


@pytest.mark.parametrize("method", ["none", "dapg", "dapg-classic", "bc"])
def test_metrics_are_named_scalars(method):
    algorithm = make_ppo(ActorCritic(CONTINUOUS), spec_of(CONTINUOUS), CONFIG, ImitationConfig(method))
    demonstrations = None if method == "none" else random_demonstrations(algorithm)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    updated, metrics = jax.eval_shape(algorithm.update, state, random_rollout(), demonstrations)
    assert metrics.keys() == METRICS | (set() if method == "none" else DEMONSTRATION_METRICS)
    assert all(metric.shape == () and metric.dtype == np.float32 for metric in metrics.values())
    # What goes in comes out, weak types included: a second call does not compile anew.
    assert jax.tree.map(_signature, updated) == jax.tree.map(_signature, state)


def _signature(x):
    return x.shape, x.dtype, x.weak_type


def test_every_hyperparameter_changes_the_update_without_compiling_anew():
    _, state, update = compiled()
    rollout = random_rollout()
    changes = {"learning_rate": 3e-2, "discount": 0.5, "gae_lambda": 0.2, "clip": 0.01, "entropy_coefficient": 1.0,
               "value_coefficient": 0.1}  # fmt: skip
    results = [update(state, rollout)[0].params]
    for name, value in changes.items():
        traced = hyperparameters(dataclasses.replace(CONFIG, **{name: value}))
        results.append(update(state._replace(hyperparameters=traced), rollout)[0].params)
    assert update._cache_size() == 1
    flat = np.stack([np.concatenate([x.ravel() for x in jax.tree.leaves(params)]) for params in results])
    assert len(np.unique(flat, axis=0)) == len(results)


def test_hyperparameters_are_those_of_the_configuration():
    traced = hyperparameters(CONFIG, ImitationConfig("dapg", dapg_weight=0.7))._asdict()
    assert traced.pop("imitation_weight") == np.float32(0.7)
    assert traced.pop("anneal_samples") == np.inf
    assert traced.pop("value_learning_rate") is None
    assert traced == {name: np.float32(getattr(CONFIG, name)) for name in traced}
    assert hyperparameters(CONFIG).imitation_weight == 0


def test_learning_rate_falls_linearly_with_the_valid_samples():
    _, state, update = compiled()
    rollout = random_rollout()
    per_update = int(rollout.valid.sum())
    assert per_update < SAMPLES
    length = jnp.float32(2.5 * per_update)
    annealed = state._replace(hyperparameters=state.hyperparameters._replace(anneal_samples=length))
    rates, moved = [], []
    for count in range(4):
        assert annealed.num_samples == count * per_update
        before = annealed.params
        annealed, metrics = update(annealed, rollout)
        rates.append(metrics["learning_rate"])
        differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), annealed.params, before)
        moved.append(max(jax.tree.leaves(differences)))
    np.testing.assert_allclose(rates, 1e-2 * np.array([1.0, 0.6, 0.2, 0.0]), rtol=1e-5)
    assert moved[0] > moved[1] > moved[2] > moved[3] == 0
    later = state._replace(num_samples=jnp.int32(10**9))
    assert update(later, rollout)[1]["learning_rate"] == np.float32(1e-2)  # infinitely long: constant


# (c) The demonstration term.


class CountingPolicy(NamedTuple):
    """A categorical that reports, each time it is really evaluated, the first demonstrated observation."""

    logits: jax.Array
    observation: jax.Array

    def freeze_scale(self):
        jax.debug.callback(COUNTED.append, self.observation[0, 0])
        return self

    def log_prob(self, action):
        return Categorical(self.logits).log_prob(action)

    def sample(self, key):
        return Categorical(self.logits).sample(key)

    def entropy(self):
        return Categorical(self.logits).entropy()


COUNTED: list[jax.Array] = []


class CountingNetwork(nn.Module):
    @nn.compact
    def __call__(self, observation):
        outputs = nn.Dense(4)(observation)
        return CountingPolicy(outputs[..., :3], observation), outputs[..., 3]


@pytest.mark.parametrize(
    ("interval", "expected"), [(1, 8), (3, 3), (100, 1)], ids=["each", "every third", "first only"]
)
def test_demonstration_term_is_in_every_interval_th_minibatch(interval, expected):
    algorithm = make_ppo(CountingNetwork(), spec_of(DISCRETE), CONFIG, ImitationConfig(interval=interval))
    assert algorithm.num_demonstration_pairs(SAMPLES) == (expected, 12)  # of 2 epochs × 4 minibatches
    demonstrations = random_demonstrations(algorithm, DISCRETE)
    demonstrations.observation[:, 0, 0] = np.arange(expected)
    state = algorithm.init(jax.random.key(0))
    slow = state.hyperparameters._replace(learning_rate=jnp.float32(1e-9))
    COUNTED.clear()
    update = jax.jit(algorithm.update)
    _, metrics = update(state._replace(hyperparameters=slow), random_rollout(DISCRETE), demonstrations)
    jax.effects_barrier()
    assert sorted(map(int, COUNTED)) == list(range(expected))  # every demonstration minibatch once
    # The metrics are means over the minibatches that have the term.
    weights = state.params["params"]["Dense_0"]
    logits = (demonstrations.observation @ weights["kernel"] + weights["bias"])[..., :3]
    log_probs = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), demonstrations.action[..., None], axis=-1)
    np.testing.assert_allclose(metrics["demonstration_log_prob"], log_probs.mean(), rtol=1e-5)


def test_bc_follows_demonstrations_whatever_the_reward():
    config = dataclasses.replace(CONFIG, value_coefficient=0.0, entropy_coefficient=0.0)
    algorithm, state, update = compiled(DISCRETE, config, ImitationConfig("bc", interval=1))
    demonstrations = random_demonstrations(algorithm, DISCRETE)
    demonstrations = demonstrations._replace(action=np.full_like(demonstrations.action, 2))
    rollout = random_rollout(DISCRETE)
    against = rollout._replace(reward=np.where(rollout.action == 2, -10.0, 10.0).astype(np.float32))
    assert_same(update(state, rollout, demonstrations)[0], update(state, against, demonstrations)[0])
    probabilities = []
    for _ in range(20):
        state, metrics = update(state, against, demonstrations)
        probabilities.append(float(metrics["demonstration_probability"]))
    assert probabilities[0] < 0.45 and probabilities[-1] > 0.9
    assert np.all(np.diff(probabilities) > 0)


def test_dapg_raises_the_density_of_demonstrated_actions():
    algorithm, state, update = compiled(imitation=ImitationConfig())
    rollout, demonstrations = random_rollout(), random_demonstrations(algorithm)
    demonstrations = demonstrations._replace(action=np.full_like(demonstrations.action, 0.8))

    def log_probs(weight):
        traced = state.hyperparameters._replace(learning_rate=jnp.float32(1e-3), imitation_weight=jnp.float32(weight))
        member, shown = state._replace(hyperparameters=traced), []
        for _ in range(20):
            member, metrics = update(member, rollout, demonstrations)
            shown.append(float(metrics["demonstration_log_prob"]))
        return shown

    with_term, without = log_probs(1.0), log_probs(0.0)
    assert with_term[-1] > max(with_term[0], without[-1]) + 0.02
    assert update._cache_size() == 1


# (d) What is refused.


def test_demonstrations_of_another_shape_are_refused():
    algorithm, state, _ = compiled(imitation=ImitationConfig())
    rollout = random_rollout()
    assert algorithm.num_demonstration_pairs(SAMPLES) == (2, 12)
    batch = random_demonstrations(algorithm)
    with pytest.raises(UserError, match=r"leading shape \(2, 12\), but got none"):
        algorithm.update(state, rollout, None)
    for wrong in (jax.tree.map(lambda x: x[:1], batch), jax.tree.map(lambda x: x[:, :5], batch)):
        with pytest.raises(UserError, match=r"have observations of shape .*, but needs \(2, 12, 4\) and float32\.$"):
            algorithm.update(state, rollout, wrong)
    for wrong, message in (
        (
            batch._replace(observation=batch.observation[:1]),
            r"observations of shape \(1, 12, 4\) and type float32, but",
        ),
        (batch._replace(action=batch.action[..., :1]), r"actions of shape \(2, 12, 1\) and type float32, but needs"),
        (batch._replace(action=batch.action > 0), r"actions of shape \(2, 12, 2\) and type bool, but needs"),
    ):
        with pytest.raises(UserError, match=f"PPO's demonstrations have {message}"):
            algorithm.update(state, rollout, wrong)
    plain, state, _ = compiled()
    with pytest.raises(UserError, match="PPO was built without imitation, but its update was given demonstrations"):
        plain.update(state, rollout, batch)


def test_rollouts_that_do_not_fit_are_refused():
    algorithm, state, _ = compiled()
    rollout = random_rollout()
    for wrong, message in (
        (rollout._replace(valid=rollout.valid[0]), r"rollouts \[T, N\], but the mask `valid` has the shape"),
        (rollout._replace(valid=rollout.valid.astype(np.float32)), "has valid of shape .* and type float32, but needs"),
        (rollout._replace(action=rollout.action[..., 0]), "has action of shape"),
        (rollout._replace(observation=rollout.observation[:-1]), "has observation of shape"),
        (rollout._replace(reward=rollout.reward.astype(np.int32)), "has reward of shape .* and type int32, but needs"),
    ):
        with pytest.raises(UserError, match=message):
            algorithm.update(state, wrong)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"network ActorCritic gives actions of shape \(2,\) and type int32 .* needs"):
        make_ppo(ActorCritic(DISCRETE), spec_of(CONTINUOUS), CONFIG)
    with pytest.raises(UserError, match=r"network ImpalaActorCritic cannot be applied to the observations of"):
        make_ppo(ImpalaActorCritic(DISCRETE), spec_of(DISCRETE), CONFIG)


@pytest.mark.parametrize("imitation", [None, ImitationConfig()], ids=["plain", "imitating"])
def test_rollouts_smaller_than_a_minibatch_are_refused(imitation):
    config = dataclasses.replace(CONFIG, minibatch_size=SAMPLES + 1)
    algorithm = make_ppo(ActorCritic(CONTINUOUS), spec_of(CONTINUOUS), config, imitation)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    with pytest.raises(UserError, match=r"minibatch_size is 49, but a rollout holds only 48 samples"):
        jax.eval_shape(algorithm.update, state, random_rollout(), None)


def test_without_imitation_no_pairs_are_wanted():
    algorithm, _, _ = compiled()
    assert algorithm.num_demonstration_pairs(SAMPLES) == (0, 0)


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("num_epochs", (0, -1), (1,)),
        ("minibatch_size", (0, -3), (1,)),
        ("learning_rate", (0.0, -1.0, math.nan), (1e-9,)),
        ("value_learning_rate", (0.0, -1.0, math.nan), (1e-9, None)),
        ("clip", (0.0, -0.1, math.nan), (10.0,)),
        ("max_grad_norm", (0.0, -0.5, math.nan), (math.inf,)),
        ("entropy_coefficient", (-1e-9, math.nan), (0.0,)),
        ("value_coefficient", (-0.1, math.nan), (0.0,)),
        ("discount", (-0.1, 1.01, math.nan), (0.0, 1.0)),
        ("gae_lambda", (-0.1, 1.01, math.nan), (0.0, 1.0)),
    ],
)
def test_configurations_out_of_range_are_refused(name, wrong, right):
    for value in wrong:
        with pytest.raises(UserError, match=f"PPO's {name} is {value}, but must"):
            PPOConfig(**{name: value})
    for value in right:
        assert getattr(PPOConfig(**{name: value}), name) == value
