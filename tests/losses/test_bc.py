"""Behaviour cloning's loss against numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical
from gsljax.losses import bc_loss

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
LOG_PROB = np.log(np.array([0.5, 0.25], np.float32))


@both
def test_loss_by_hand(compiled):
    # −0.5 · (log 0.5 + log 0.25) / 2 = 0.75 log 2
    loss, metrics = compiled(bc_loss)(LOG_PROB, 0.5)
    np.testing.assert_allclose(loss, 0.75 * math.log(2), rtol=1e-6)
    assert set(metrics) == {"demonstration_loss", "demonstration_probability", "demonstration_log_prob"}
    np.testing.assert_allclose(metrics["demonstration_loss"], loss)
    np.testing.assert_allclose(metrics["demonstration_probability"], 0.375, rtol=1e-6)
    np.testing.assert_allclose(metrics["demonstration_log_prob"], -1.5 * math.log(2), rtol=1e-6)


@both
def test_gradient_is_the_same_for_every_pair(compiled):
    gradient = compiled(jax.grad(lambda log_prob, weight: bc_loss(log_prob, weight)[0]))(LOG_PROB, 0.5)
    np.testing.assert_array_equal(gradient, [-0.25, -0.25])


@both
def test_loss_of_a_categorical_is_cross_entropy(compiled):
    logits, action = jnp.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]]), jnp.array([1, 0])
    gradient = compiled(jax.grad(lambda x: bc_loss(Categorical(x).log_prob(action), 1.0)[0]))(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(gradient, (probabilities - np.eye(3)[action]) / 2, rtol=1e-5)


@both
def test_wrong_ranks_are_refused(compiled):
    for log_prob in (LOG_PROB[None], np.float32(0.5)):
        with pytest.raises(AssertionError):
            compiled(bc_loss)(log_prob, 1.0)
