"""Distributions against their textbook formulas, written out in NumPy, and the moments of their samples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])

MEAN = np.array([[0.0, 1.0], [-2.0, 0.5], [3.0, 3.0]], np.float32)
STD = np.array([0.5, 2.0], np.float32)
# Probabilities ½, ¼, ¼, and 1, 2, 5 parts of 8, as logits with a shift that must not matter.
PROBABILITIES = np.array([[0.5, 0.25, 0.25], [0.125, 0.25, 0.625]])
LOGITS = (np.log(PROBABILITIES) + np.array([[7.0], [-3.0]])).astype(np.float32)


@both
@pytest.mark.parametrize("std", [STD, np.tile(STD, (3, 1))], ids=["shared std", "std per entry"])
def test_gaussian_log_prob_and_entropy_are_the_formulas(compiled, std):
    action = jnp.array([[0.5, 1.0], [-2.0, -3.5], [4.0, 0.0]])
    log_prob = compiled(lambda mean, std, action: ClampedGaussian(mean, std).log_prob(action))(MEAN, std, action)
    density = np.exp(-((action - MEAN) ** 2) / (2 * STD**2)) / (STD * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(log_prob, np.log(density.prod(axis=-1)), rtol=1e-5)
    # First entry by hand: (0.5/0.5)²/2 = ½ and 0, the stds' product is 1, so −½ − log 2π.
    np.testing.assert_allclose(log_prob[0], -0.5 - math.log(2 * math.pi), rtol=1e-6)
    entropy = compiled(lambda mean, std: ClampedGaussian(mean, std).entropy())(MEAN, std)
    assert entropy.shape == (3,)
    # ½ log(2πe σ²) per dimension.
    np.testing.assert_allclose(entropy, 0.5 * np.log(2 * np.pi * np.e * STD**2).sum(), rtol=1e-6)


@both
def test_gaussian_density_integrates_to_one_and_to_its_entropy(compiled):
    grid = np.linspace(-8, 10, 20_001, dtype=np.float32)[:, None]
    policy = ClampedGaussian(jnp.ones((1, 1)), jnp.array([0.8]))
    log_prob = np.asarray(compiled(policy.log_prob)(grid), np.float64)
    width = 18 / 20_000
    np.testing.assert_allclose(np.sum(np.exp(log_prob)) * width, 1.0, rtol=1e-4)
    np.testing.assert_allclose(-np.sum(np.exp(log_prob) * log_prob) * width, policy.entropy()[0], rtol=1e-4)


@both
def test_gaussian_samples_have_its_moments(compiled):
    draws = 40_000
    policy = ClampedGaussian(jnp.broadcast_to(MEAN, (draws, 3, 2)), jnp.asarray(STD))
    samples = np.asarray(compiled(lambda key: policy.sample(key))(jax.random.key(0)))
    assert samples.shape == (draws, 3, 2)
    tolerance = 4 * STD.max() / math.sqrt(draws)
    np.testing.assert_allclose(samples.mean(axis=0), MEAN, atol=tolerance)
    np.testing.assert_allclose(samples.std(axis=0), np.broadcast_to(STD, (3, 2)), rtol=0.02)
    flat = (samples - MEAN).reshape(draws, -1)
    np.testing.assert_allclose(np.corrcoef(flat.T), np.eye(6), atol=4 / math.sqrt(draws))
    np.testing.assert_array_equal(compiled(policy.mode)(), policy.mean)


@both
def test_gaussian_freeze_scale_stops_only_the_stds_gradient(compiled):
    action = jnp.array([[0.5, 2.0], [-1.0, 0.0], [2.0, 4.0]])

    def gradient(freeze):
        def total(mean, std):
            policy = ClampedGaussian(mean, std)
            policy = policy.freeze_scale() if freeze else policy
            return jnp.sum(policy.log_prob(action)) + jnp.sum(policy.entropy())

        return compiled(jax.value_and_grad(total, (0, 1)))(MEAN, STD)

    value, (by_mean, by_std) = gradient(freeze=True)
    free_value, (free_by_mean, free_by_std) = gradient(freeze=False)
    np.testing.assert_array_equal(by_std, 0.0)
    assert np.all(free_by_std != 0)
    np.testing.assert_allclose(by_mean, free_by_mean, rtol=1e-6)
    np.testing.assert_allclose(by_mean, (action - MEAN) / STD**2, rtol=1e-6)
    np.testing.assert_allclose(value, free_value, rtol=1e-6)


@both
def test_categorical_log_prob_entropy_and_mode_by_hand(compiled):
    policy = Categorical(jnp.asarray(LOGITS))
    for action in range(3):
        log_prob = compiled(policy.log_prob)(np.array([action, action]))
        np.testing.assert_allclose(log_prob, np.log(PROBABILITIES[:, action]), rtol=1e-5)
    # ½ log 2 + 2 · ¼ log 4 = 1.5 log 2, and log 8 − ¼ log 2 − ⅝ log 5.
    expected = [1.5 * math.log(2), math.log(8) - 0.25 * math.log(2) - 0.625 * math.log(5)]
    np.testing.assert_allclose(compiled(policy.entropy)(), expected, rtol=1e-5)
    np.testing.assert_array_equal(compiled(policy.mode)(), [0, 2])
    assert policy.freeze_scale() is policy


@both
def test_categorical_with_extreme_logits_stays_finite(compiled):
    policy = Categorical(jnp.array([[1e4, 0.0, -1e4]]))
    np.testing.assert_array_equal(compiled(policy.entropy)(), [0.0])
    log_probs = [compiled(policy.log_prob)(np.array([action]))[0] for action in range(3)]
    np.testing.assert_array_equal(log_probs, [0.0, -1e4, -2e4])


@both
def test_categorical_samples_have_its_frequencies(compiled):
    draws = 40_000
    policy = Categorical(jnp.broadcast_to(LOGITS, (draws, 2, 3)))
    samples = np.asarray(compiled(lambda key: policy.sample(key))(jax.random.key(0)))
    assert samples.shape == (draws, 2)
    assert samples.dtype == np.int32
    frequencies = (samples[..., None] == np.arange(3)).mean(axis=0)
    np.testing.assert_allclose(frequencies, PROBABILITIES, atol=4 * 0.5 / math.sqrt(draws))


def test_samples_depend_on_the_key_and_nothing_else():
    for policy in (ClampedGaussian(jnp.zeros((50, 2)), jnp.asarray(STD)), Categorical(jnp.zeros((50, 3)))):
        first, again, other = (np.asarray(policy.sample(jax.random.key(seed))) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)
