"""SAC's losses against numbers worked by hand, and their gradients against independent float64 implementations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian, TanhGaussian
from gsljax.losses import (
    chosen_q,
    discrete_soft_policy_loss,
    discrete_soft_value,
    soft_policy_loss,
    soft_target,
    soft_value,
    temperature_loss,
    twin_q_loss,
)

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
garbage = pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])

Q = np.array([[1.0, 5.0, 2.0], [3.0, 4.0, 2.5]], np.float32)
LOG_PROB = np.array([-1.0, 0.5, 2.0], np.float32)
ALL = np.ones(3, bool)
# Two states, two actions; probabilities ½, ½ and ¼, ¾; the smaller critic's values are 1, 2 and 0, 4.
LOG_PROBS = np.log(np.array([[0.5, 0.5], [0.25, 0.75]], np.float32))
DISCRETE_Q = np.array([[[1.0, 3.0], [0.0, 5.0]], [[2.0, 2.0], [1.0, 4.0]]], np.float32)
ENTROPY = np.array([math.log(2), 2 * math.log(2) - 0.75 * math.log(3)])


@both
def test_soft_values_and_target_by_hand(compiled):
    # min Q − 0.5 log π: 1 + 0.5, 4 − 0.25, 2 − 1.
    value = compiled(soft_value)(Q, LOG_PROB, 0.5)
    np.testing.assert_array_equal(value, [1.5, 3.75, 1.0])
    # ½ 1 + ½ 2, ¼ 0 + ¾ 4, and half the entropy.
    np.testing.assert_allclose(
        compiled(discrete_soft_value)(DISCRETE_Q, LOG_PROBS, 0.5), [1.5, 3] + ENTROPY / 2, rtol=1e-6
    )
    # 10 + 0.5 · 1.5, 20 without bootstrap (and whatever the value there is), 30 + 0.5 · 1.
    terminated = np.array([False, True, False])
    for next_value in (value, value.at[1].set(jnp.nan)):
        target = compiled(soft_target)(np.float32([10, 20, 30]), terminated, next_value, 0.5)
        np.testing.assert_array_equal(target, [10.75, 20, 30.5])


@both
def test_no_gradient_through_the_target(compiled):
    gradient = compiled(jax.grad(lambda *x: jnp.sum(soft_target(x[0], ~ALL, soft_value(*x[1:]), 0.9)), (0, 1, 2, 3)))
    for leaf in gradient(LOG_PROB, Q, LOG_PROB, 0.5):
        np.testing.assert_array_equal(leaf, 0.0)


@both
def test_twin_q_loss_by_hand(compiled):
    target = np.float32([2, 4, 0])
    # Squares 1, 1, 4 and 1, 0, 6.25: 6/3 + 7.25/3.
    loss, metrics = compiled(twin_q_loss)(Q, target, ALL)
    np.testing.assert_allclose(loss, 13.25 / 3, rtol=1e-6)
    assert set(metrics) == {"q_loss", "q_mean"}
    assert metrics["q_loss"] == loss
    np.testing.assert_allclose(metrics["q_mean"], 17.5 / 6, rtol=1e-6)
    # 2 (Q − y) / 3.
    gradient = compiled(jax.grad(lambda q: twin_q_loss(q, target, ALL)[0]))(Q)
    np.testing.assert_allclose(gradient, 2 * (Q - target) / 3, rtol=1e-6)


@both
def test_chosen_q(compiled):
    np.testing.assert_array_equal(compiled(chosen_q)(DISCRETE_Q, np.array([1, 0])), [[3, 0], [2, 1]])


@both
def test_policy_losses_by_hand(compiled):
    # Minus the mean soft value.
    loss, metrics = compiled(soft_policy_loss)(Q, LOG_PROB, 0.5, ALL)
    np.testing.assert_allclose(loss, -(1.5 + 3.75 + 1) / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["entropy"], -0.5, rtol=1e-6)
    discrete_loss, discrete_metrics = compiled(discrete_soft_policy_loss)(DISCRETE_Q, LOG_PROBS, 0.5, ALL[:2])
    np.testing.assert_allclose(discrete_loss, -(4.5 + 0.5 * ENTROPY.sum()) / 2, rtol=1e-6)
    np.testing.assert_allclose(discrete_metrics["entropy"], ENTROPY.mean(), rtol=1e-6)
    assert set(metrics) == set(discrete_metrics) == {"policy_loss", "entropy"}
    assert (metrics["policy_loss"], discrete_metrics["policy_loss"]) == (loss, discrete_loss)


@both
def test_policy_gradients_by_hand(compiled):
    def gradient(function, *arguments):
        return compiled(jax.grad(lambda *x: function(*x, np.ones(len(arguments[1]), bool))[0], (0, 1, 2)))(*arguments)

    by_q, by_log_prob, by_temperature = gradient(soft_policy_loss, Q, LOG_PROB, 0.5)
    # −1/3 to the smaller critic alone, α/3, nothing.
    np.testing.assert_allclose(by_q, -np.array([[1, 0, 1], [0, 1, 0]]) / 3, rtol=1e-6)
    np.testing.assert_allclose(by_log_prob, [0.5 / 3] * 3, rtol=1e-6)
    assert by_temperature == 0
    by_q, by_log_probs, by_temperature = gradient(discrete_soft_policy_loss, DISCRETE_Q, LOG_PROBS, 0.5)
    np.testing.assert_array_equal(by_q, 0.0)
    # d/dl of exp(l) (α l − Q) = π (α l − Q + α), over 2.
    expected = np.exp(LOG_PROBS) * (0.5 * LOG_PROBS - DISCRETE_Q.min(axis=0) + 0.5) / 2
    np.testing.assert_allclose(by_log_probs, expected, rtol=1e-5)
    assert by_temperature == 0


@both
def test_temperature_loss_by_hand(compiled):
    # Mean log π is 0.5. With target entropy −2: −log 2 · (0.5 − 2); the gradient in log α is 1.5, so descent lowers
    # α, for the entropy, −0.5, is above its target. With target 1 it is −1.5.
    function = compiled(jax.value_and_grad(lambda *x: temperature_loss(*x, ALL), (0, 1), has_aux=True))
    (loss, metrics), (by_log_temperature, by_log_prob) = function(jnp.log(2.0), LOG_PROB, -2.0)
    np.testing.assert_allclose(loss, 1.5 * math.log(2), rtol=1e-6)
    assert set(metrics) == {"temperature_loss", "temperature"}
    assert metrics["temperature_loss"] == loss
    np.testing.assert_allclose(metrics["temperature"], 2.0, rtol=1e-6)
    np.testing.assert_array_equal(by_log_temperature, 1.5)
    np.testing.assert_array_equal(by_log_prob, 0.0)
    np.testing.assert_array_equal(function(jnp.log(2.0), LOG_PROB, 1.0)[1][0], -1.5)


LOSSES = {
    "q": lambda x, valid: twin_q_loss(x[:2], x[2], valid),
    "policy": lambda x, valid: soft_policy_loss(x[:2], x[2], 0.3, valid),
    "discrete policy": lambda x, valid: discrete_soft_policy_loss(jnp.stack([x[:3].T, x[1:4].T]), x[3:].T, 0.3, valid),
    "temperature": lambda x, valid: temperature_loss(jnp.float32(0.4), x[0], -2.0, valid),
}


@both
@garbage
@pytest.mark.parametrize("name", LOSSES)
def test_masked_samples_change_nothing(compiled, junk, name):
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=(6, 50)).astype(np.float32), rng.random(50) < 0.7
    function = compiled(jax.value_and_grad(LOSSES[name], has_aux=True))
    clean = function(np.where(valid, values, np.float32(0)), valid)
    jax.tree.map(np.testing.assert_array_equal, function(np.where(valid, values, np.float32(junk)), valid), clean)
    np.testing.assert_array_equal(np.asarray(clean[1])[:, ~valid], 0.0)
    (alone, metrics), _ = function(values[:, valid], np.ones(valid.sum(), bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), clean[0], (alone, metrics))
    (nothing, _), gradient = function(np.full_like(values, junk), np.zeros(50, bool))
    assert nothing == 0
    np.testing.assert_array_equal(gradient, 0.0)


def finite_differences(function, parameters, step=1e-6):
    """Central differences of a float64 `function` of a list of arrays."""
    gradients = []
    for which, array in enumerate(parameters):
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = [x.copy() for x in parameters]
                moved[which][index] += sign * step
                sides.append(function(moved))
            gradient[index] = (sides[0] - sides[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def assert_gradients_agree(found, expected):
    for one, other in zip(found, expected, strict=True):
        error = np.linalg.norm(np.asarray(one, np.float64) - other)
        assert error <= 1e-5 * np.linalg.norm(other)


def float32_values(*arrays):
    return [np.asarray(x).astype(np.float32).astype(np.float64) for x in arrays]


SAMPLES, INPUTS, ACTIONS = 60, 3, 2


def critic_values(observation, action, linear, curvature):
    """Q_i = (s · linear_i) · a + curvature_i · a² for each critic i; the same code for NumPy and JAX."""
    return [
        ((observation @ one) * action).sum(axis=-1) + (action**2 * other).sum(axis=-1)
        for one, other in zip(linear, curvature, strict=True)
    ]


@both
def test_continuous_policy_gradient_equals_float64_finite_differences(compiled):
    rng = np.random.default_rng(0)
    weights, log_std = float32_values(rng.normal(size=(INPUTS, ACTIONS)), 0.3 * rng.normal(size=ACTIONS))
    observation, valid = rng.normal(size=(SAMPLES, INPUTS)).astype(np.float32), rng.random(SAMPLES) < 0.8
    linear, curvature = float32_values(rng.normal(size=(2, INPUTS, ACTIONS)), rng.normal(size=(2, ACTIONS)))
    key = jax.random.key(0)
    noise = np.asarray(ClampedGaussian(jnp.zeros((SAMPLES, ACTIONS)), jnp.ones(ACTIONS)).sample(key), np.float64)

    def reference(parameters):
        weights, log_std = parameters
        total = 0.0
        for i in np.flatnonzero(valid):
            mean, std = observation[i].astype(np.float64) @ weights, np.exp(log_std)
            action = np.tanh(mean + std * noise[i])
            log_prob = 0.0
            for d in range(ACTIONS):
                log_prob -= noise[i, d] ** 2 / 2 + log_std[d] + math.log(math.sqrt(2 * math.pi))
                log_prob -= math.log(1 - action[d] ** 2)
            total += 0.2 * log_prob - min(critic_values(observation[i].astype(np.float64), action, linear, curvature))
        return total / valid.sum()

    def loss(parameters):
        weights, log_std = parameters
        action, log_prob = TanhGaussian(observation @ weights, jnp.exp(log_std)).sample_and_log_prob(key)
        q = jnp.stack(critic_values(observation, action, np.float32(linear), np.float32(curvature)))
        return soft_policy_loss(q, log_prob, 0.2, valid)[0]

    parameters = [weights, log_std]
    value, gradient = compiled(jax.value_and_grad(loss))([jnp.asarray(x, jnp.float32) for x in parameters])
    np.testing.assert_allclose(value, reference(parameters), rtol=1e-5)
    assert_gradients_agree(gradient, finite_differences(reference, parameters))


@both
def test_discrete_policy_gradient_equals_float64_finite_differences(compiled):
    rng = np.random.default_rng(1)
    (weights,) = float32_values(rng.normal(size=(INPUTS, 4)))
    observation, valid = rng.normal(size=(SAMPLES, INPUTS)).astype(np.float32), rng.random(SAMPLES) < 0.8
    q = rng.normal(size=(2, SAMPLES, 4)).astype(np.float32)

    def reference(parameters):
        total = 0.0
        for i in np.flatnonzero(valid):
            odds = np.exp(observation[i].astype(np.float64) @ parameters[0])
            for probability, first, second in zip(odds / odds.sum(), *q[:, i].astype(np.float64), strict=True):
                total += probability * (0.2 * math.log(probability) - min(first, second))
        return total / valid.sum()

    def loss(parameters):
        return discrete_soft_policy_loss(q, jax.nn.log_softmax(observation @ parameters[0]), 0.2, valid)[0]

    value, gradient = compiled(jax.value_and_grad(loss))([jnp.asarray(weights, jnp.float32)])
    np.testing.assert_allclose(value, reference([weights]), rtol=1e-5)
    assert_gradients_agree(gradient, finite_differences(reference, [weights]))


@both
def test_critic_gradient_equals_float64_finite_differences(compiled):
    """With a whole soft target of a sampled next action; no gradient reaches it, even from the same parameters."""
    rng = np.random.default_rng(2)
    linear, curvature = float32_values(rng.normal(size=(2, INPUTS, ACTIONS)), rng.normal(size=(2, ACTIONS)))
    observation, next_observation = rng.normal(size=(2, SAMPLES, INPUTS)).astype(np.float32)
    action, next_action = rng.uniform(-1, 1, size=(2, SAMPLES, ACTIONS)).astype(np.float32)
    reward, log_prob = rng.normal(size=(2, SAMPLES)).astype(np.float32)
    terminated, valid = rng.random((2, SAMPLES)) < [[0.3], [0.8]]

    def reference(parameters):
        total = 0.0
        for i in np.flatnonzero(valid):
            following = min(
                critic_values(next_observation[i].astype(float), next_action[i].astype(float), linear, curvature)
            )
            target = float(reward[i]) + (0 if terminated[i] else 0.95 * (following - 0.2 * float(log_prob[i])))
            for q in critic_values(observation[i].astype(float), action[i].astype(float), *parameters):
                total += (q - target) ** 2
        return total / valid.sum()

    def loss(parameters):
        next_q = jnp.stack(critic_values(next_observation, next_action, *parameters))
        target = soft_target(reward, terminated, soft_value(next_q, log_prob, 0.2), 0.95)
        return twin_q_loss(jnp.stack(critic_values(observation, action, *parameters)), target, valid)[0]

    parameters = [linear, curvature]
    value, gradient = compiled(jax.value_and_grad(loss))([jnp.asarray(x, jnp.float32) for x in parameters])
    np.testing.assert_allclose(value, reference(parameters), rtol=1e-5)
    assert_gradients_agree(gradient, finite_differences(reference, parameters))


@both
def test_discrete_forms_equal_the_mean_over_sampled_actions(compiled):
    """The expectation that the continuous form estimates from one action."""
    q, log_probs = jnp.asarray(DISCRETE_Q), jnp.asarray(LOG_PROBS)
    sampled = sum(
        jnp.exp(log_probs[:, a]) * compiled(soft_value)(chosen_q(q, np.array([a, a])), log_probs[:, a], 0.3)
        for a in range(2)
    )
    np.testing.assert_allclose(compiled(discrete_soft_value)(q, log_probs, 0.3), sampled, rtol=1e-6)
    # ... and −entropy is what the temperature's loss takes for log π.
    expected = temperature_loss(jnp.float32(0.5), -Categorical(log_probs).entropy(), 0.1, ALL[:2])[0]
    np.testing.assert_allclose(expected, -0.5 * (0.1 - ENTROPY.mean()), rtol=1e-5)


@both
def test_wrong_shapes_are_refused(compiled):
    flags = np.zeros(3, bool)
    calls = [
        (soft_value, (Q[0], LOG_PROB, 0.5)),
        (soft_value, (Q, LOG_PROB[:2], 0.5)),
        (discrete_soft_value, (Q, LOG_PROBS, 0.5)),
        (discrete_soft_value, (DISCRETE_Q, LOG_PROBS[:1], 0.5)),
        (soft_target, (LOG_PROB, flags[:2], LOG_PROB, 0.9)),
        (soft_target, (LOG_PROB, LOG_PROB, LOG_PROB, 0.9)),
        (soft_target, (LOG_PROB, flags, LOG_PROB[:, None], 0.9)),
        (chosen_q, (DISCRETE_Q, np.zeros(3, int))),
        (chosen_q, (Q, np.zeros(3, int))),
        (twin_q_loss, (Q[0], LOG_PROB, ALL)),
        (twin_q_loss, (Q.T, LOG_PROB, ALL)),
        (twin_q_loss, (Q, LOG_PROB, ALL[:2])),
        (soft_policy_loss, (Q, LOG_PROB[:2], 0.5, ALL)),
        (soft_policy_loss, (Q, LOG_PROB, 0.5, ALL[:2])),
        (discrete_soft_policy_loss, (DISCRETE_Q, LOG_PROBS, 0.5, ALL)),
        (discrete_soft_policy_loss, (DISCRETE_Q, LOG_PROBS[:1], 0.5, ALL[:2])),
        (temperature_loss, (np.ones(1), LOG_PROB, -2.0, ALL)),
        (temperature_loss, (np.float32(1), LOG_PROB, -2.0, ALL[:2])),
    ]
    for function, arguments in calls:
        with pytest.raises(AssertionError):
            compiled(function)(*arguments)
