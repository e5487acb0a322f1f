"""PPG's auxiliary loss against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical
from gsljax.losses import auxiliary_phase_loss

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])

AUXILIARY = np.array([1.0, 0.0, 2.0, 7.0], np.float32)
VALUE = np.array([0.0, 1.0, 3.0, 7.0], np.float32)
TARGET = np.array([2.0, 1.0, 4.0, 0.0], np.float32)
KL = np.array([0.5, 0.25, 0.0, 9.0], np.float32)
VALID = np.array([True, True, True, False])


@both
def test_loss_by_hand(compiled):
    # ½ (1 + 1 + 4) / 3 = 1, ½ (4 + 0 + 1) / 3 = 5/6, mean KL 0.25 times 2.
    loss, metrics = compiled(auxiliary_phase_loss)(AUXILIARY, VALUE, TARGET, KL, VALID, 2.0)
    np.testing.assert_allclose(loss, 1 + 5 / 6 + 0.5, rtol=1e-6)
    expected = {"auxiliary_policy_value_loss": 1, "auxiliary_value_loss": 5 / 6, "auxiliary_kl": 0.25}
    assert set(metrics) == {"auxiliary_loss", *expected}
    assert metrics["auxiliary_loss"] == loss
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6)


@both
def test_gradients_by_hand(compiled):
    gradient = jax.grad(lambda *arguments: auxiliary_phase_loss(*arguments, VALID, 2.0)[0], (0, 1, 3))
    by_auxiliary, by_value, by_kl = compiled(gradient)(AUXILIARY, VALUE, TARGET, KL)
    # The errors over 3, and β over 3.
    np.testing.assert_allclose(by_auxiliary, np.array([-1, -1, -2, 0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(by_value, np.array([-2, 0, -1, 0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(by_kl, np.array([2, 2, 2, 0]) / 3, rtol=1e-6)


@both
def test_the_clone_term_holds_a_categorical_at_its_old_probabilities(compiled):
    logits = jnp.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0]])
    old, zero, valid = Categorical(jnp.array([[0.0, 1.0, 0.0], [0.5, -1.0, 3.0]])), jnp.zeros(2), jnp.ones(2, bool)
    gradient = compiled(
        jax.grad(lambda x: auxiliary_phase_loss(zero, zero, zero, old.kl(Categorical(x)), valid, 3.0)[0])
    )(logits)
    # β (π − π_old) / B, 0 where nothing has changed.
    np.testing.assert_allclose(gradient, 3 * (jax.nn.softmax(logits) - jax.nn.softmax(old.logits)) / 2, atol=1e-6)
    np.testing.assert_allclose(gradient[1], 0.0, atol=1e-6)


@both
@pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])
def test_masked_samples_change_nothing(compiled, junk):
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=(4, 50)).astype(np.float32), rng.random(50) < 0.7
    function = compiled(
        jax.value_and_grad(lambda *x: auxiliary_phase_loss(*x, clone_weight=1.0), (0, 1, 2, 3), has_aux=True)
    )
    clean = function(*np.where(valid, values, np.float32(0)), valid)
    jax.tree.map(np.testing.assert_array_equal, function(*np.where(valid, values, np.float32(junk)), valid), clean)
    for gradient in clean[1]:
        np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0.0)
    (alone, _), _ = function(*values[:, valid], np.ones(valid.sum(), bool))
    np.testing.assert_allclose(clean[0][0], alone, rtol=1e-5)
    (nothing, _), gradients = function(*np.full((4, 50), np.float32(junk)), np.zeros(50, bool))
    assert nothing == 0
    np.testing.assert_array_equal(gradients, 0.0)


@both
def test_wrong_shapes_are_refused(compiled):
    arguments = [AUXILIARY, VALUE, TARGET, KL, VALID]
    for position in range(5):
        for wrong in (arguments[position][:3], arguments[position][:, None]):
            with pytest.raises(AssertionError):
                compiled(auxiliary_phase_loss)(*arguments[:position], wrong, *arguments[position + 1 :], 1.0)
