"""Steps of two networks, each at its own rate and clipped by its own norm, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.algorithms.optimizer import clip_by_global_norm, clip_by_norm_of_each_network, descend
from gsljax.errors import UserError
from gsljax.networks import ActorCritic
from tests.algorithms.test_ppo import CONTINUOUS, SAMPLES, random_rollout, spec_of

PARAMS = {
    "params": {
        "policy_trunk": {"kernel": jnp.array([3.0, 4.0])},
        "value_trunk": {"kernel": jnp.array([30.0])},
        "value_head": {"bias": jnp.array([40.0])},
        "auxiliary_value_head": {"bias": jnp.array([0.0])},  # of the policy network
    },
    "statistics": {"value": jnp.array([0.0])},
}


def values(tree):
    networks = tree["params"]
    return [networks[name] for name in ("policy_trunk", "value_trunk", "value_head", "auxiliary_value_head")]


def test_each_network_is_clipped_by_its_own_norm():
    """The policy's gradients have the norm 5, the value's 50, and all together √2525."""
    apart = values(clip_by_norm_of_each_network(10.0).update(PARAMS, optax.EmptyState())[0])
    jax.tree.map(np.testing.assert_allclose, apart, [{"kernel": [3, 4]}, {"kernel": [6]}, {"bias": [8]}, {"bias": [0]}])
    together = values(clip_by_global_norm(10.0).update(PARAMS, optax.EmptyState())[0])
    factor = 10 / np.sqrt(2525)
    expected = [{"kernel": [3 * factor, 4 * factor]}, {"kernel": [30 * factor]}, {"bias": [40 * factor]}, {"bias": [0]}]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), together, expected)


def test_each_network_steps_at_its_own_rate():
    direction = jax.tree.map(jnp.ones_like, PARAMS)
    found = values(descend(PARAMS, direction, 1.0, 10.0))
    expected = [{"kernel": [2, 3]}, {"kernel": [20]}, {"bias": [30]}, {"bias": [-1]}]
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    same = values(descend(PARAMS, direction, 1.0))
    expected = [{"kernel": [2, 3]}, {"kernel": [29]}, {"bias": [39]}, {"bias": [-1]}]
    jax.tree.map(np.testing.assert_array_equal, same, expected)


def test_ppo_moves_the_value_network_at_its_own_rate():
    """One step of Adam moves every parameter by about its rate, whatever the gradient."""
    config = PPOConfig(learning_rate=1e-4, value_learning_rate=1e-2, num_epochs=1, minibatch_size=SAMPLES)
    algorithm = make_ppo(ActorCritic(CONTINUOUS, (8,)), spec_of(CONTINUOUS), config)
    state = algorithm.init(jax.random.key(0))
    after, metrics = jax.jit(algorithm.update)(state, random_rollout())
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after.params, state.params)["params"]
    largest = {name: max(jax.tree.leaves(layer)) for name, layer in moved.items()}
    for name, rate in {"policy_trunk": 1e-4, "policy_head": 1e-4, "value_trunk": 1e-2, "value_head": 1e-2}.items():
        np.testing.assert_allclose(largest[name], rate, rtol=0.05)
    assert (metrics["learning_rate"], metrics["value_learning_rate"]) == (np.float32(1e-4), np.float32(1e-2))


def test_a_value_without_layers_of_its_own_has_no_rate_of_its_own():
    network = ActorCritic(CONTINUOUS, (8,), shared_trunk=True)
    algorithm = make_ppo(network, spec_of(CONTINUOUS), PPOConfig(value_learning_rate=1e-3))
    with pytest.raises(UserError, match=r"^PPO's value_learning_rate is set, but the value of the network ActorCritic"):
        jax.eval_shape(algorithm.init, jax.random.key(0))
