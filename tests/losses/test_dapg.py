"""DAPG's two demonstration terms against numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import ClampedGaussian
from gsljax.losses import classic_dapg_loss, dapg_loss

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
LOG_PROB = np.log(np.array([0.5, 0.25], np.float32))
MEAN_LOG_PROB = -1.5 * math.log(2)


def classic(log_prob, advantage_max, weight):
    return classic_dapg_loss(log_prob, advantage_max, weight, 0.9, 2)


@both
def test_smoothed_loss_by_hand(compiled):
    # −0.5 · 2 · (0.5 + 0.25) / 2
    loss, metrics = compiled(dapg_loss)(LOG_PROB, jnp.float32(2.0), 0.5)
    np.testing.assert_allclose(loss, -0.375, rtol=1e-6)
    assert set(metrics) == {"demonstration_loss", "demonstration_probability", "demonstration_log_prob"}
    np.testing.assert_allclose(metrics["demonstration_loss"], loss)
    np.testing.assert_allclose(metrics["demonstration_probability"], 0.375, rtol=1e-6)
    np.testing.assert_allclose(metrics["demonstration_log_prob"], MEAN_LOG_PROB, rtol=1e-6)


@both
def test_classic_loss_by_hand(compiled):
    # −0.01 · 0.9² · 2 · (log 0.5 + log 0.25) / 2
    loss, metrics = compiled(classic_dapg_loss)(LOG_PROB, jnp.float32(2.0), 0.01, 0.9, 2)
    np.testing.assert_allclose(loss, -0.01 * 0.81 * 2 * MEAN_LOG_PROB, rtol=1e-6)
    assert set(metrics) == {"demonstration_loss", "demonstration_probability", "demonstration_log_prob"}
    np.testing.assert_allclose(metrics["demonstration_loss"], loss)
    np.testing.assert_allclose(metrics["demonstration_probability"], 0.375, rtol=1e-6)
    np.testing.assert_allclose(metrics["demonstration_log_prob"], MEAN_LOG_PROB, rtol=1e-6)
    undecayed, _ = compiled(classic_dapg_loss)(LOG_PROB, jnp.float32(2.0), 0.01, 1.0, jnp.int32(1000))
    np.testing.assert_allclose(undecayed, -0.01 * 2 * MEAN_LOG_PROB, rtol=1e-6)


@both
def test_gradients_by_hand(compiled):
    def gradient(function):
        return compiled(jax.grad(lambda log_prob, advantage_max: function(log_prob, advantage_max, 0.5)[0], (0, 1)))

    # Smoothed: −ω A_max p / B, so likely pairs draw most. Classic: every pair the same, −λ0 λ1^k A_max / B.
    by_log_prob, by_advantage = gradient(dapg_loss)(LOG_PROB, jnp.float32(2.0))
    np.testing.assert_allclose(by_log_prob, [-0.25, -0.125], rtol=1e-6)
    assert by_advantage == 0
    by_log_prob, by_advantage = gradient(classic)(LOG_PROB, jnp.float32(2.0))
    np.testing.assert_allclose(by_log_prob, [-0.5 * 0.81, -0.5 * 0.81], rtol=1e-6)
    assert by_advantage == 0


@both
def test_no_gradient_through_what_the_advantage_came_from(compiled):
    """Also where the advantages depend on the same parameters as the log-probabilities."""

    def loss(scale, function, fixed):
        advantages = jnp.array([1.0, 3.0, 2.0]) * (fixed if fixed is not None else scale)
        return function(scale * LOG_PROB, jnp.max(advantages), 0.5)[0]

    for function in (dapg_loss, classic):
        through = compiled(jax.grad(lambda scale, f=function: loss(scale, f, None)))(1.3)
        np.testing.assert_array_equal(through, compiled(jax.grad(lambda scale, f=function: loss(scale, f, 1.3)))(1.3))


@both
def test_hopeless_pairs_have_no_pull_in_the_smoothed_form_only(compiled):
    log_prob = jnp.array([-1e4, 0.0])
    smoothed = compiled(jax.grad(lambda x: dapg_loss(x, jnp.ones(()), 1.0)[0]))(log_prob)
    np.testing.assert_array_equal(smoothed, [0.0, -0.5])
    np.testing.assert_allclose(compiled(jax.grad(lambda x: classic(x, 1.0, 1.0)[0]))(log_prob), -0.405, rtol=1e-6)


@both
def test_frozen_scale_keeps_the_term_off_the_std(compiled):
    mean, std = jnp.zeros((4, 2)), jnp.array([0.5, 2.0])
    action = jnp.array([[0.1, 0.2], [-0.3, 1.0], [0.0, 0.0], [2.0, -1.0]])

    def gradient(freeze):
        def loss(mean, std):
            policy = ClampedGaussian(mean, std)
            policy = policy.freeze_scale() if freeze else policy
            return dapg_loss(policy.log_prob(action), jnp.float32(3.0), 0.5)[0]

        return compiled(jax.grad(loss, (0, 1)))(mean, std)

    frozen, free = gradient(True), gradient(False)
    np.testing.assert_array_equal(frozen[1], 0.0)
    assert np.all(np.abs(free[1]) > 1e-3)
    np.testing.assert_allclose(frozen[0], free[0], rtol=1e-6)


@both
def test_wrong_ranks_are_refused(compiled):
    for log_prob, advantage_max in [(LOG_PROB[None], 1.0), (np.float32(0.5), 1.0), (LOG_PROB, np.ones(1))]:
        for function in (dapg_loss, classic):
            with pytest.raises(AssertionError):
                compiled(function)(log_prob, advantage_max, 0.5)
