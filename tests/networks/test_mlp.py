"""The actor-critic's shapes, sizes, initial weights and clamped std."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian
from gsljax.networks import MLP, ActorCritic, GaussianHead
from gsljax.networks.mlp import with_std
from gsljax.types import ActionSpec

DISCRETE, CONTINUOUS = ActionSpec(num_actions=4), ActionSpec(dimension=3)
OBSERVATION = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def parameters(module, observation=OBSERVATION):
    return module.init(jax.random.key(0), observation)


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("axes", [(), (6,), (2, 3)])
@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_any_leading_axes(action, axes):
    network = ActorCritic(action, hidden=(8,))
    policy, value = network.apply(parameters(network), np.zeros((*axes, 5), np.float32))
    assert value.shape == axes
    if action.is_discrete:
        assert isinstance(policy, Categorical) and policy.logits.shape == (*axes, 4)
    else:
        assert isinstance(policy, ClampedGaussian) and policy.mean.shape == policy.std.shape == (*axes, 3)
    assert policy.log_prob(policy.mode()).shape == policy.entropy().shape == axes


@pytest.mark.parametrize(
    ("action", "shared", "expected"),
    [
        # A trunk of 5 → 8 → 7: 5·8 + 8 + 8·7 + 7 = 111. A value: 7 + 1. Logits: 7·4 + 4. Means and stds: 7·3 + 3 + 3.
        (DISCRETE, True, 111 + 8 + 32),
        (DISCRETE, False, 2 * 111 + 8 + 32),
        (CONTINUOUS, True, 111 + 8 + 27),
        (CONTINUOUS, False, 2 * 111 + 8 + 27),
    ],
)
def test_parameter_counts(action, shared, expected):
    assert count(parameters(ActorCritic(action, hidden=(8, 7), shared_trunk=shared))) == expected


@pytest.mark.parametrize("shared", [True, False])
def test_only_a_shared_trunk_learns_from_both(shared):
    network = ActorCritic(CONTINUOUS, hidden=(8,), shared_trunk=shared)
    gradient = jax.grad(lambda params: jnp.sum(network.apply(params, OBSERVATION)[1]))(parameters(network))["params"]
    of_policy = {name: np.abs(np.concatenate([x.ravel() for x in jax.tree.leaves(tree)])).max()
                 for name, tree in gradient.items()}  # fmt: skip
    assert of_policy["value_head"] > 0 and of_policy["policy_head"] == 0
    assert (of_policy["policy_trunk"] > 0) == shared
    assert ("value_trunk" in of_policy) != shared


def test_orthogonal_weights_of_the_usual_gains():
    weights = parameters(ActorCritic(CONTINUOUS, hidden=(8, 7)))["params"]
    layers = [
        (weights["policy_trunk"]["Dense_0"], 2**0.5),
        (weights["policy_trunk"]["Dense_1"], 2**0.5),
        (weights["value_trunk"]["Dense_0"], 2**0.5),
        (weights["value_head"], 1.0),
        (weights["policy_head"]["Dense_0"], 0.01),
    ]
    for layer, gain in layers:
        kernel = layer["kernel"]
        if kernel.shape[0] > kernel.shape[1]:
            kernel = kernel.T  # rows are orthogonal then
        np.testing.assert_allclose(kernel @ kernel.T, gain**2 * np.eye(len(kernel)), atol=1e-5 * gain**2)
        np.testing.assert_array_equal(layer["bias"], 0.0)
    # Two trunks do not begin as copies of each other.
    assert np.any(weights["policy_trunk"]["Dense_0"]["kernel"] != weights["value_trunk"]["Dense_0"]["kernel"])


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
def test_trunk_is_layers_each_followed_by_the_activation(activation, function):
    module = MLP((8, 7), activation)
    params = parameters(module)
    expected = OBSERVATION
    for layer in ("Dense_0", "Dense_1"):
        weights = params["params"][layer]
        expected = function(expected @ np.asarray(weights["kernel"]) + np.asarray(weights["bias"]))
    np.testing.assert_allclose(module.apply(params, OBSERVATION), expected, rtol=1e-4, atol=1e-6)


def gaussian(log_std, squash=False, scale=1.0, action=CONTINUOUS):
    """A head's policy and its parameters, with the log std set and the mean's weights scaled."""
    head = GaussianHead(action, initial_std=0.7, min_std=0.5, max_std=1.5, squash_mean=squash)
    params = parameters(head)["params"]
    dense = jax.tree.map(lambda x: x * scale, params["Dense_0"])
    return head, {"params": {"Dense_0": dense, "log_std": jnp.broadcast_to(jnp.float32(log_std), (3,))}}


def test_std_starts_where_it_is_told_and_ignores_the_observation():
    head = GaussianHead(CONTINUOUS, initial_std=0.7, min_std=0.5, max_std=1.5, squash_mean=False)
    policy = head.apply(parameters(head), OBSERVATION)
    np.testing.assert_allclose(policy.std, np.full((6, 3), 0.7), rtol=1e-6)


def test_std_is_clamped_and_has_no_gradient_outside():
    log_std = np.log([0.1, 1.0, 4.0])
    head, params = gaussian(log_std)
    np.testing.assert_allclose(head.apply(params, OBSERVATION).std[0], [0.5, 1.0, 1.5], rtol=1e-6)
    for direction in (1.0, -1.0):  # neither outwards nor back inside
        gradient = jax.grad(lambda p, d=direction: d * jnp.sum(head.apply(p, OBSERVATION).std))(params)
        np.testing.assert_allclose(gradient["params"]["log_std"], [0.0, direction * 6, 0.0], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-2.0, 2.0), (0.0, 10.0)])
def test_squashed_means_fill_the_action_range_and_stay_in_it(low, high):
    action = ActionSpec(dimension=3, low=low, high=high)
    head, params = gaussian(0.0, True, 1e4, action)
    mean = np.asarray(head.apply(params, OBSERVATION).mean)
    np.testing.assert_allclose([mean.min(), mean.max()], [low, high], rtol=1e-6)
    head, params = gaussian(0.0, False, 1e4, action)
    assert np.abs(head.apply(params, OBSERVATION).mean).max() > 10
    (squashed, params), (plain, _) = gaussian(0.0, True, 50.0, action), gaussian(0.0, False, 50.0, action)
    expected = (high + low) / 2 + (high - low) / 2 * np.tanh(plain.apply(params, OBSERVATION).mean)
    np.testing.assert_allclose(squashed.apply(params, OBSERVATION).mean, expected, rtol=1e-5, atol=1e-6)


def test_with_std_sets_the_std_and_nothing_else():
    head, params = gaussian(0.3)
    changed = with_std(params, 0.8)
    np.testing.assert_allclose(head.apply(changed, OBSERVATION).std, np.full((6, 3), 0.8), rtol=1e-6)
    np.testing.assert_array_equal(head.apply(changed, OBSERVATION).mean, head.apply(params, OBSERVATION).mean)
    discrete = {"params": {"Dense_0": {"kernel": jnp.ones((2, 3))}}}
    np.testing.assert_array_equal(with_std(discrete, 0.8)["params"]["Dense_0"]["kernel"], np.ones((2, 3)))
