"""Behaviour cloning's losses against numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian
from gsljax.losses import bc_loss, bc_squared_error_loss

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


ACTION = np.array([[1.0, 0.0], [0.5, -1.0]], np.float32)
DEMONSTRATED = np.array([[0.0, 2.0], [0.5, 0.0]], np.float32)


@both
def test_squared_error_by_hand(compiled):
    # Squares 1, 4, 0, 1, mean 1.5; twice that.
    loss, metrics = compiled(bc_squared_error_loss)(ACTION, DEMONSTRATED, 2.0)
    assert loss == 3.0
    assert metrics == {"demonstration_loss": 3.0, "demonstration_squared_error": 1.5}
    # 2 · 2 (a − a_demo) / 4.
    gradient = compiled(jax.grad(lambda action: bc_squared_error_loss(action, DEMONSTRATED, 2.0)[0]))(ACTION)
    np.testing.assert_array_equal(gradient, ACTION - DEMONSTRATED)


@both
def test_squared_error_is_a_unit_gaussians_loss(compiled):
    def cloning(action):
        return bc_loss(ClampedGaussian(action, jnp.ones(2)).log_prob(DEMONSTRATED), 0.7 * 2 / 2)[0]

    gradient = compiled(jax.grad(lambda action: bc_squared_error_loss(action, DEMONSTRATED, 0.7)[0]))(ACTION)
    np.testing.assert_allclose(gradient, compiled(jax.grad(cloning))(ACTION), rtol=1e-6)


LOSSES = {
    "log_prob": lambda x, valid: bc_loss(x[:, 0], 0.5, valid),
    "squared error": lambda x, valid: bc_squared_error_loss(x[:, :2], x[:, 2:], 0.5, valid),
}


@both
@pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_masked_pairs_change_nothing(compiled, junk, name):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 4)).astype(np.float32)
    valid = rng.random(50) < 0.7
    function = compiled(jax.value_and_grad(LOSSES[name], has_aux=True))
    clean = function(np.where(valid[:, None], values, np.float32(0)), valid)
    jax.tree.map(np.testing.assert_array_equal, function(np.where(valid[:, None], values, junk), valid), clean)
    np.testing.assert_array_equal(np.asarray(clean[1])[~valid], 0.0)
    alone = function(values[valid], None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), clean[0], alone[0])


@both
def test_wrong_shapes_of_the_squared_error_are_refused(compiled):
    for arguments in [(ACTION[0], DEMONSTRATED[0]), (ACTION, DEMONSTRATED[:1]), (ACTION, DEMONSTRATED[:, :1])]:
        with pytest.raises(AssertionError):
            compiled(bc_squared_error_loss)(*arguments, 1.0)
    with pytest.raises(AssertionError):
        compiled(bc_squared_error_loss)(ACTION, DEMONSTRATED, 1.0, np.ones(1, bool))
