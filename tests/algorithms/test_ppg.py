"""PPG on environments with known values; its auxiliary phase against one written out by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsljax.algorithms import PPGConfig, PPOConfig, make_ppg
from gsljax.algorithms.ppo import make_policy_phase
from gsljax.errors import UserError
from gsljax.networks import MLP, PhasicActorCritic
from gsljax.population import over_members
from gsljax.train_state import clone, take
from gsljax.types import ActionSpec, EnvSpec
from tests import probe_environments as probes
from tests.algorithms.learning import learn
from tests.algorithms.test_ppo import GAMMA, VALUES, random_rollout

pytestmark = pytest.mark.usefixtures("compilation_cache")

LEARNING = PPGConfig(
    ppo=PPOConfig(
        learning_rate=0.01, discount=GAMMA, gae_lambda=1.0, entropy_coefficient=0.0, num_epochs=2, minibatch_size=64
    ),
    policy_phases=4,
    auxiliary_epochs=2,
)


def network_of(spec):
    return PhasicActorCritic(spec.action, MLP((32,), "tanh"), initial_std=0.5, min_std=0.1, max_std=1.0)


@pytest.fixture(scope="module")
def discrete():
    _, states = learn(probes.DISCRETE, lambda spec: make_ppg(network_of(spec), spec, LEARNING), 400)
    network = network_of(EnvSpec("probes", 1, (2,), "float32", ActionSpec(num_actions=2), 5, False))
    return lambda name, observation: network.apply(
        states[name].params, jnp.asarray(observation, jnp.float32), method="with_auxiliary"
    )


@pytest.mark.parametrize("name", probes.DISCRETE)
def test_both_values_of_probes(discrete, name):
    for observation, expected in VALUES[name].items():
        _, value, auxiliary_value = discrete(name, observation)
        np.testing.assert_allclose(value, expected, atol=0.07, err_msg=str(observation))
        np.testing.assert_allclose(auxiliary_value, expected, atol=0.07, err_msg=str(observation))


@pytest.mark.parametrize(
    ("name", "observation", "best"),
    [("action", (0, 0), 1), ("observation and action", (-1, 0), 0), ("observation and action", (1, 0), 1)],
)
def test_policies_of_probes(discrete, name, observation, best):
    assert jax.nn.softmax(discrete(name, observation)[0].logits)[best] > 0.95


def test_continuous_probe():
    _, states = learn(probes.CONTINUOUS, lambda spec: make_ppg(network_of(spec), spec, LEARNING), 250)
    network = network_of(EnvSpec("probes", 1, (2,), "float32", ActionSpec(dimension=2), 5, False))
    for clue in (-1.0, 1.0):
        outputs: Any = network.apply(states["target"].params, jnp.array([clue, 0.0]), method="with_auxiliary")
        policy, value, auxiliary_value = outputs
        np.testing.assert_allclose(policy.mean, 0.5 * clue, atol=0.1)
        np.testing.assert_allclose([value, auxiliary_value], [-np.sum(policy.std**2)] * 2, atol=0.07)


STEPS, LANES = 8, 6
SPEC = EnvSpec("test", 1, (4,), "float32", ActionSpec(num_actions=3), 5, False)
CONFIG = PPGConfig(
    ppo=PPOConfig(learning_rate=1e-2, num_epochs=1, minibatch_size=12),
    policy_phases=2,
    auxiliary_epochs=1,
    auxiliary_minibatch=2 * LANES,
    clone_weight=0.7,
)


def test_the_auxiliary_phase_comes_after_every_nth_update_and_is_as_written_out():
    """With one minibatch of everything the order does not matter, and the phase is a single step of Adam."""
    network = network_of(SPEC)
    algorithm, phase = make_ppg(network, SPEC, CONFIG), make_policy_phase(network, SPEC, CONFIG.ppo)
    update = jax.jit(algorithm.update)
    state = algorithm.init(jax.random.key(0), (STEPS, LANES))
    rollouts = [random_rollout(SPEC.action, seed) for seed in range(2)]
    first, metrics = update(state, rollouts[0])
    expected_first, _, first_target = phase.update(state, rollouts[0])
    assert metrics["auxiliary_loss"] == 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), first.params, expected_first.params
    )
    second, metrics = update(first, rollouts[1])
    before, _, second_target = phase.update(first, rollouts[1])
    assert metrics["auxiliary_loss"] > 0

    observation = jnp.concatenate(
        [np.where(r.valid[..., None], r.observation[:-1], 0).reshape(-1, 4) for r in rollouts]
    )
    target = jnp.concatenate([first_target.reshape(-1), second_target.reshape(-1)])
    valid = jnp.concatenate([jnp.asarray(r.valid).reshape(-1) for r in rollouts])

    def outputs(params) -> Any:
        return network.apply(params, observation, method="with_auxiliary")

    def loss(params):
        policy, value, auxiliary = outputs(params)
        old = jax.nn.log_softmax(outputs(before.params)[0].logits)
        kl = jnp.sum(jnp.exp(old) * (old - jax.nn.log_softmax(policy.logits)), -1)
        each = 0.5 * (auxiliary - target) ** 2 + 0.5 * (value - target) ** 2 + 0.7 * kl
        return jnp.sum(jnp.where(valid, each, 0.0)) / jnp.sum(valid)

    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-2, eps=1e-5))
    change, _ = optimizer.update(jax.grad(loss)(before.params), optimizer.init(before.params))
    expected = optax.apply_updates(before.params, change)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), second.params, expected)


def test_members_alone_and_together_are_the_same_also_out_of_step():
    """One member is an update ahead, so that the phase is due for one of the two at a time."""
    algorithm = make_ppg(network_of(SPEC), SPEC, CONFIG)
    update = jax.jit(algorithm.update)
    rollout = random_rollout(SPEC.action)
    ahead, _ = update(algorithm.init(jax.random.key(1), (STEPS, LANES)), rollout)
    members = [algorithm.init(jax.random.key(0), (STEPS, LANES)), ahead]
    together = jax.tree.map(lambda *x: jnp.stack(x), *members)
    together, metrics = jax.jit(over_members(algorithm.update))(together, clone(jax.tree.map(jnp.asarray, rollout), 2))
    assert metrics["auxiliary_loss"][0] == 0 and metrics["auxiliary_loss"][1] > 0
    for index, member in enumerate(members):
        alone, _ = update(member, rollout)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),  # a step of Adam is 0.01
            take(together, index).params,
            alone.params,
        )


def test_a_shape_that_does_not_fit_is_refused():
    algorithm = make_ppg(network_of(SPEC), SPEC, CONFIG)
    with pytest.raises(UserError, match=r"^PPG stores rollouts, so its init needs their shape"):
        algorithm.init(jax.random.key(0))
    with pytest.raises(UserError, match=r"^PPG's auxiliary_minibatch is 12, but 2 rollouts of 5 lanes are only 10\.$"):
        algorithm.init(jax.random.key(0), (STEPS, 5))


@pytest.mark.parametrize("name", ["policy_phases", "auxiliary_epochs", "auxiliary_minibatch"])
def test_configurations_out_of_range_are_refused(name):
    with pytest.raises(UserError, match=f"^PPG's {name} is 0, but must be at least 1"):
        PPGConfig(**{name: 0})
    with pytest.raises(UserError, match=r"^PPG's clone_weight is -1\.0, but must not be negative"):
        PPGConfig(clone_weight=-1.0)
