"""GAIL: its discriminator against formulas, and what PPO and SAC learn from its reward alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsljax.algorithms import GAILConfig, ImitationConfig, PPOConfig, make_ppo
from gsljax.algorithms.adversary import PolicyPairs, make_adversary
from gsljax.errors import UserError
from gsljax.networks import ActorCritic, Discriminator, VectorEncoder
from gsljax.normalization import Moments
from gsljax.types import ActionSpec, DemonstrationBatch, EnvSpec
from tests import probe_environments as probes
from tests.algorithms import test_sac
from tests.algorithms.learning import learn
from tests.algorithms.test_ppo import LEARNING, compiled, random_demonstrations, random_rollout

pytestmark = pytest.mark.usefixtures("compilation_cache")

SPEC = EnvSpec("test", 1, (4,), "float32", ActionSpec(dimension=2), 5, False)
SMALL = GAILConfig(num_updates=1, minibatch_size=6, hidden=(8,), learning_rate=0.01)


def log_prob(params, observation, action):
    return -params * jnp.sum(jnp.square(action), axis=-1)


def pairs(seed, size=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, size, 4)).astype(np.float32), rng.normal(size=(1, size, 2)).astype(np.float32)


@pytest.mark.parametrize("form", ["negative-log", "log-odds", "airl"])
def test_one_step_and_the_reward_are_the_formulas(form):
    adversary = make_adversary(SPEC, dataclasses.replace(SMALL, reward=form), log_prob)
    state, policy_params = adversary.init(jax.random.key(0)), jnp.float32(0.3)
    valid = np.array([[True, True, False, True, True, False]])
    ours, theirs = PolicyPairs(*pairs(0), valid), DemonstrationBatch(*pairs(1))
    after, metrics = jax.jit(adversary.update)(state, policy_params, ours, theirs, jax.random.key(1))
    network = Discriminator(SPEC.action, VectorEncoder((8,)))

    def logit(params, observation, action):
        output = network.apply(params, observation[0], np.clip(action[0], -1.0, 1.0))
        return log_prob(policy_params, observation[0], action[0]) - output if form == "airl" else output

    def loss(params):
        probability = jax.nn.sigmoid(logit(params, *pairs(0)))[valid[0]]
        demonstrated = jax.nn.sigmoid(logit(params, *pairs(1)))
        return -jnp.mean(jnp.log(probability)) - jnp.mean(jnp.log(1 - demonstrated))

    np.testing.assert_allclose(metrics["discriminator_loss"], loss(state.params), rtol=1e-4)
    optimizer = optax.adam(0.01)
    change, _ = optimizer.update(jax.grad(loss)(state.params), optimizer.init(state.params))
    expected = optax.apply_updates(state.params, change)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), after.params, expected)

    observation, action = pairs(2)
    environment = jnp.arange(6.0)
    mixed = adversary.reward(after, policy_params, observation[0], action[0], environment, 0.7)
    probability = jax.nn.sigmoid(logit(after.params, observation, action))
    imitation = -jnp.log(probability) if form == "negative-log" else jnp.log(1 - probability) - jnp.log(probability)
    np.testing.assert_allclose(mixed, 0.3 * environment + 0.7 * imitation, rtol=1e-3, atol=1e-5)
    keeping = make_adversary(SPEC, dataclasses.replace(SMALL, reward=form, keep_scale=True), log_prob)
    kept = keeping.reward(after, policy_params, observation[0], action[0], environment, 0.7)
    np.testing.assert_allclose(kept, environment + 0.7 / 0.3 * imitation, rtol=1e-3, atol=1e-4)


def test_actions_that_the_environment_plays_alike_are_judged_alike():
    """Demonstrations are clipped to the action range: beyond it there is nothing to tell a policy's pairs by."""
    adversary = make_adversary(SPEC, SMALL, log_prob)
    state, (observation, action) = adversary.init(jax.random.key(0)), pairs(0)
    rewards = [
        adversary.reward(state, None, observation[0], played, np.zeros(6, np.float32), 1.0)
        for played in (3 * action[0], np.clip(3 * action[0], -1, 1), action[0])
    ]
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert not np.allclose(rewards[0], rewards[2])


def test_the_discriminator_sees_what_the_policy_sees():
    """With statistics in the policy's parameters it judges normalised observations, in the reward and in training."""
    moments = Moments(jnp.full(4, 3.0), jnp.full(4, 0.25), jnp.float32(10.0))
    plain, informed = (make_adversary(SPEC, SMALL, lambda *_: jnp.zeros(6), None, x) for x in (None, lambda p: p))
    state, (observation, action), zero = plain.init(jax.random.key(0)), pairs(0), jnp.zeros(6)
    demonstrated, key = DemonstrationBatch(*pairs(1)), jax.random.key(1)
    seen, demonstrated_seen = 2 * (observation - 3.0), 2 * (demonstrated.observation - 3.0)
    np.testing.assert_allclose(
        informed.reward(state, moments, observation[0], action[0], zero, 1.0),
        plain.reward(state, moments, np.clip(seen, -10, 10)[0], action[0], zero, 1.0),
        rtol=1e-5,
    )
    valid = np.ones((1, 6), bool)
    after, _ = informed.update(state, moments, PolicyPairs(observation, action, valid), demonstrated, key)
    ours = PolicyPairs(np.clip(seen, -10, 10), action, valid)
    theirs = demonstrated._replace(observation=np.clip(demonstrated_seen, -10, 10))
    expected, _ = plain.update(state, moments, ours, theirs, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after.params, expected.params)


def test_a_gradient_penalty_flattens_the_discriminator():
    def slope(weight):
        config = dataclasses.replace(SMALL, gradient_penalty=weight, num_updates=200)
        adversary = make_adversary(SPEC, config, log_prob)
        (observation, action), (other, other_action) = pairs(0), pairs(1)
        many = lambda *x: [np.repeat(y, 200, axis=0) for y in x]  # noqa: E731
        ours = PolicyPairs(*many(observation, action, np.ones((1, 6), bool)))
        theirs = DemonstrationBatch(*many(other, other_action))
        state, _ = jax.jit(adversary.update)(
            adversary.init(jax.random.key(0)), jnp.float32(0.3), ours, theirs, jax.random.key(1)
        )
        network = Discriminator(SPEC.action, VectorEncoder((8,)))
        middle = 0.5 * (observation + other)[0]
        gradient = jax.grad(lambda x: jnp.sum(network.apply(state.params, x, action[0])))(middle)
        return float(jnp.mean(jnp.linalg.norm(gradient, axis=-1)))

    assert slope(10.0) < 1.5 < slope(0.0)


GAIL = ImitationConfig(
    "gail", gail_weight=1.0, gail=GAILConfig(reward="log-odds", num_updates=4, minibatch_size=64, hidden=(32,))
)


def demonstrate(key, shape):
    """The opposite of what the environment rewards."""
    clue_key, noise_key = jax.random.split(key)
    clue = jax.random.rademacher(clue_key, shape, jnp.float32)
    action = jnp.stack([-0.5 * clue] * 2, -1) + 0.1 * jax.random.normal(noise_key, (*shape, 2))
    return DemonstrationBatch(jnp.stack([clue, jnp.zeros(shape)], -1), action)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm_name", ["ppo", "sac"])
def test_the_discriminators_reward_alone_teaches_the_demonstrations(algorithm_name):
    def make(spec):
        if algorithm_name == "sac":
            return test_sac.make(spec, dataclasses.replace(test_sac.LEARNING, target_entropy=-2.0), GAIL)
        network = ActorCritic(
            spec.action, hidden=(32,), activation="tanh", initial_std=0.5, min_std=0.2, max_std=1.0, squash_mean=True
        )
        return make_ppo(network, spec, LEARNING, GAIL)

    algorithm, states = learn(probes.CONTINUOUS, make, 250, demonstrate)
    for clue in (-1.0, 1.0):
        mode = algorithm.act(states["target"], jnp.array([[clue, 0.0]]), jax.random.key(0), deterministic=True).action
        np.testing.assert_allclose(mode, -0.5 * clue, atol=0.25)


def test_ppo_sees_the_mixed_reward():
    """With a share of 0 it does what it does without, and the discriminator learns all the same."""
    gail = ImitationConfig("gail", gail_weight=0.0, gail=SMALL)
    (_, state, plain), (algorithm, same, update) = compiled(), compiled(imitation=gail)
    rollout = random_rollout()
    batch = random_demonstrations(algorithm)
    after, _ = plain(state, rollout)
    found, metrics = update(same, rollout, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.params, after.params)
    assert metrics["discriminator_loss"] > 0
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), found.memory["adversary"].params, same.memory["adversary"].params
    )
    assert max(jax.tree.leaves(moved)) > 0
    share = same._replace(hyperparameters=same.hyperparameters._replace(imitation_weight=jnp.float32(0.7)))
    other, _ = update(share, rollout, batch)
    assert optax.tree.norm(jax.tree.map(jnp.subtract, other.params, after.params)) > 1e-3


def test_a_discriminator_of_ones_own_takes_the_default_s_place():
    """Of any architecture that maps pairs to logits; one that does not, or that has no use, is refused."""
    own = Discriminator(SPEC.action, VectorEncoder((3,)))
    adversary = make_adversary(SPEC, SMALL, log_prob, own)
    state = adversary.init(jax.random.key(0))
    (observation, action), zero = pairs(0), np.zeros(6, np.float32)
    reward = adversary.reward(state, None, observation[0], action[0], zero, 1.0)
    logit = own.apply(state.params, observation[0], np.clip(action[0], -1, 1))
    np.testing.assert_allclose(reward, jax.nn.softplus(-jnp.asarray(logit)), rtol=1e-5)
    config = PPOConfig(num_epochs=1, minibatch_size=12)
    network, gail = ActorCritic(SPEC.action, (8,)), ImitationConfig("gail", gail=SMALL)
    memory = jax.eval_shape(make_ppo(network, SPEC, config, gail, own).init, jax.random.key(0)).memory
    assert jax.tree.map(jnp.shape, memory["adversary"].params) == jax.tree.map(jnp.shape, state.params)
    with pytest.raises(UserError, match=r"^GAIL's discriminator ActorCritic cannot be applied to the observations of "):
        make_ppo(network, SPEC, config, gail, network)
    with pytest.raises(UserError, match=r"^GAIL's discriminator VectorEncoder gives logits of shape \(2, 256\)"):
        make_ppo(network, SPEC, config, gail, VectorEncoder())
    with pytest.raises(UserError, match=r"^A discriminator is given, but the imitation method is 'dapg'; only gail"):
        make_ppo(network, SPEC, config, ImitationConfig("dapg"), own)


def test_what_cannot_be_is_refused():
    discrete = SPEC._replace(action=ActionSpec(num_actions=3))
    with pytest.raises(UserError, match=r"^GAIL's gradient_penalty needs real-valued observations and actions"):
        make_adversary(discrete, dataclasses.replace(SMALL, gradient_penalty=1.0), log_prob)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("reward", "log"),
        ("num_updates", 0),
        ("minibatch_size", 0),
        ("learning_rate", 0.0),
        ("gradient_penalty", -1.0),
        ("recent_samples", 0),
    ],
)
def test_configurations_out_of_range_are_refused(name, wrong):
    with pytest.raises(UserError, match=rf"^GAIL's {name} is {wrong!r}, but must"):
        GAILConfig(**{name: wrong})
    with pytest.raises(UserError, match=r"^GAIL's hidden layers are \(\), but must be"):
        GAILConfig(hidden=())
