"""PPO's losses against numbers worked by hand, and their gradient against an independent float64 implementation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import ClampedGaussian
from gsljax.losses import clipped_policy_loss, clipped_value_loss, explained_variance, value_loss

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
garbage = pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])

# Ratios and advantages, ε 0.2. The terms min(ρ A, clip(ρ) A):
RATIO = np.array([1.5, 0.5, 1.1, 0.5], np.float32)
ADVANTAGE = np.array([2.0, 1.0, -1.0, -1.0], np.float32)
# min(3, 2.4) = 2.4 · min(0.5, 0.8) = 0.5 · −1.1 · min(−0.5, −0.8) = −0.8, in all 1.0, so the loss is −0.25.
ALL = np.ones(4, bool)


@both
def test_policy_loss_by_hand(compiled):
    old = jnp.array([0.3, -2.0, 0.0, 1.0])
    loss, metrics = compiled(clipped_policy_loss)(np.log(RATIO) + old, old, ADVANTAGE, ALL, 0.2)
    np.testing.assert_allclose(loss, -0.25, rtol=1e-6)
    np.testing.assert_allclose(metrics["policy_loss"], loss)
    # |ρ − 1| is above 0.2 for three of four; ρ − 1 − log ρ is 0.5 − log 1.5, −0.5 + log 2 (twice), 0.1 − log 1.1.
    assert metrics["clip_fraction"] == 0.75
    kl = (0.5 - math.log(1.5) + 2 * (-0.5 + math.log(2)) + 0.1 - math.log(1.1)) / 4
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)


@both
def test_policy_gradient_by_hand(compiled):
    gradient = jax.grad(lambda *arguments: clipped_policy_loss(*arguments, clip=0.2)[0])
    # −ρ A / 4 where the unclipped term is the smaller one, 0 where the clipped one is.
    np.testing.assert_allclose(
        compiled(gradient)(np.log(RATIO), np.zeros(4), ADVANTAGE, ALL), [0, -0.5 / 4, 1.1 / 4, 0], rtol=1e-6
    )


@both
def test_unchanged_policy_has_the_plain_policy_gradient(compiled):
    log_prob = jnp.array([-1.0, 0.5, 2.0, -3.0])
    loss, metrics = compiled(clipped_policy_loss)(log_prob, log_prob, ADVANTAGE, ALL, 0.2)
    assert loss == -0.25 * (2 + 1 - 1 - 1)
    assert metrics["kl"] == metrics["clip_fraction"] == 0
    gradient = compiled(jax.grad(lambda *arguments: clipped_policy_loss(*arguments, clip=0.2)[0]))
    np.testing.assert_array_equal(gradient(log_prob, log_prob, ADVANTAGE, ALL), -ADVANTAGE / 4)


@both
def test_value_losses_by_hand(compiled):
    value, target, valid = jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 2.0, 5.0]), jnp.ones(3, bool)
    loss, metrics = compiled(value_loss)(value, target, valid)
    np.testing.assert_allclose(loss, 0.5 * (1 + 0 + 4) / 3, rtol=1e-6)
    assert metrics == {"value_loss": loss}
    # At most 0.5 from the old values 0, 2, 6: 0.5, 2, 5.5 with squared errors 2.25, 0, 0.25; the larger ones count.
    loss, metrics = compiled(clipped_value_loss)(value, jnp.array([0.0, 2.0, 6.0]), target, valid, 0.5)
    np.testing.assert_allclose(loss, 0.5 * (2.25 + 0 + 4) / 3, rtol=1e-6)
    assert metrics == {"value_loss": loss}


LOSSES = {
    "policy": lambda x, a, b, valid: clipped_policy_loss(x, a, b, valid, 0.2),
    "value": lambda x, a, b, valid: value_loss(x, a, valid),
    "clipped value": lambda x, a, b, valid: clipped_value_loss(x, a, b, valid, 0.2),
}


@both
@garbage
@pytest.mark.parametrize("name", LOSSES)
def test_masked_samples_change_nothing(compiled, junk, name):
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(3, 50)).astype(np.float32)
    valid = rng.random(50) < 0.7
    dirty = np.where(valid, clean, np.float32(junk))
    function = compiled(jax.value_and_grad(LOSSES[name], (0, 1, 2), has_aux=True))
    expected = function(*np.where(valid, clean, np.float32(0)), valid)
    jax.tree.map(np.testing.assert_array_equal, function(*dirty, valid), expected)
    for gradient in expected[1]:
        np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0.0)
    # ... and the rest is the mean over the valid ones alone, up to the order of summation.
    (alone, metrics), _ = function(*clean[:, valid], np.ones(valid.sum(), bool))
    np.testing.assert_allclose(expected[0][0], alone, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), expected[0][1], metrics)


@both
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_valid_gives_zero(compiled, name):
    nan = np.full(3, np.nan, np.float32)
    (loss, _), gradient = compiled(jax.value_and_grad(LOSSES[name], has_aux=True))(nan, nan, nan, np.zeros(3, bool))
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)


def reference_loss(parameters, data, valid):
    """PPO's whole loss for a linear Gaussian policy and a linear value, one sample after the other, in float64."""
    mean_weights, log_std, value_weights = parameters
    observation, action, old_log_prob, advantage, target, old_value = data
    total = 0.0
    for i in np.flatnonzero(valid):
        mean = observation[i] @ mean_weights
        log_prob = 0.0
        for d in range(len(log_std)):
            std = math.exp(log_std[d])
            log_prob += -((action[i, d] - mean[d]) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))
        ratio = math.exp(log_prob - old_log_prob[i])
        total -= min(ratio * advantage[i], min(max(ratio, 0.8), 1.2) * advantage[i])
        value = observation[i] @ value_weights
        near = old_value[i] + min(max(value - old_value[i], -0.2), 0.2)
        total += 0.7 * 0.5 * max((value - target[i]) ** 2, (near - target[i]) ** 2)
    return total / valid.sum()


@both
def test_gradient_equals_float64_finite_differences(compiled):
    rng = np.random.default_rng(0)
    samples, inputs, actions = 80, 3, 2
    parameters = [rng.normal(size=(inputs, actions)), 0.3 * rng.normal(size=actions), rng.normal(size=inputs)]
    parameters = [x.astype(np.float32).astype(np.float64) for x in parameters]
    observation = rng.normal(size=(samples, inputs))
    action = observation @ parameters[0] + rng.normal(size=(samples, actions))
    old_log_prob = -2.5 + 0.7 * rng.normal(size=samples)
    advantage, target = rng.normal(size=(2, samples))
    old_value = observation @ parameters[2] + 0.3 * rng.normal(size=samples)
    valid = rng.random(samples) < 0.8
    data = [x.astype(np.float32) for x in (observation, action, old_log_prob, advantage, target, old_value)]

    def loss(parameters, data, valid):
        mean_weights, log_std, value_weights = parameters
        observation, action, old_log_prob, advantage, target, old_value = data
        policy = ClampedGaussian(observation @ mean_weights, jnp.exp(log_std))
        policy_loss, metrics = clipped_policy_loss(policy.log_prob(action), old_log_prob, advantage, valid, 0.2)
        critic_loss, _ = clipped_value_loss(observation @ value_weights, old_value, target, valid, 0.2)
        return policy_loss + 0.7 * critic_loss, metrics

    function = compiled(jax.value_and_grad(loss, has_aux=True))
    (value, metrics), gradient = function([jnp.asarray(x, jnp.float32) for x in parameters], data, valid)
    assert 0.2 < metrics["clip_fraction"] < 0.95  # both sides of every minimum are taken

    data = [x.astype(np.float64) for x in data]
    np.testing.assert_allclose(value, reference_loss(parameters, data, valid), rtol=1e-5)
    step = 1e-6
    for which, array in enumerate(parameters):
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in parameters]
                moved[which][index] += sign * step
                sides.append(reference_loss(moved, data, valid))
            expected[index] = (sides[0] - sides[1]) / (2 * step)
        error = np.linalg.norm(np.asarray(gradient[which], np.float64) - expected)
        assert error <= 1e-5 * np.linalg.norm(expected)


@both
def test_explained_variance_by_hand(compiled):
    target, valid = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.ones((2, 2), bool)
    function = compiled(explained_variance)
    assert function(target + 7, target, valid) == 1  # a constant error explains all variation
    assert function(jnp.full_like(target, 2), target, valid) == 0
    assert function(-target, target, valid) == -3  # errors 2, 4, 6, 8: four times the variance
    # Errors 0, 0, 0, 2: variance 3/4 of the target's 5/4.
    np.testing.assert_allclose(function(target - jnp.array([[0.0, 0.0], [0.0, 2.0]]), target, valid), 0.4, rtol=1e-6)
    assert function(target, jnp.full_like(target, 5), valid) == 0


@both
@garbage
def test_explained_variance_ignores_masked_samples(compiled, junk):
    value, target = jnp.array([1.0, 2.0, 4.0, junk]), jnp.array([1.0, 2.0, 3.0, junk])
    valid = np.array([True, True, True, False])
    # Errors 0, 0, −1: variance 2/9 of the target's 2/3.
    np.testing.assert_allclose(compiled(explained_variance)(value, target, valid), 1 - (2 / 9) / (2 / 3), rtol=1e-6)
    assert compiled(explained_variance)(value, target, np.zeros(4, bool)) == 0


@both
def test_wrong_shapes_are_refused(compiled):
    flat, square, short, mask = np.ones(4), np.ones((2, 2)), np.ones(3), np.ones(4, bool)
    calls = [
        (clipped_policy_loss, (flat, flat, flat, mask[:3], 0.2)),
        (clipped_policy_loss, (flat, short, flat, mask, 0.2)),
        (clipped_policy_loss, (square, square, square, mask.reshape(2, 2), 0.2)),
        (value_loss, (flat, short, mask)),
        (value_loss, (flat[:, None], flat, mask)),
        (clipped_value_loss, (flat, flat, short, mask, 0.2)),
        (clipped_value_loss, (square, square, square, mask.reshape(2, 2), 0.2)),
        (explained_variance, (flat, flat, mask[:3])),
        (explained_variance, (flat, flat[:, None], mask)),
    ]
    for function, arguments in calls:
        with pytest.raises(AssertionError):
            compiled(function)(*arguments)
