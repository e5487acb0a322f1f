"""Distributions against their textbook formulas, written out in NumPy, and the moments of their samples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian, TanhGaussian

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


@both
def test_categorical_kl_by_hand(compiled):
    policy, uniform = Categorical(jnp.asarray(LOGITS)), Categorical(jnp.zeros((2, 3)))
    # log 3 − entropy against the uniform; the other way Σ ⅓ log(⅓ / p), −log 3 − ⅓ Σ log p.
    np.testing.assert_allclose(compiled(Categorical.kl)(policy, uniform), math.log(3) - policy.entropy(), rtol=1e-5)
    expected = -math.log(3) - np.log(PROBABILITIES).mean(axis=-1)
    np.testing.assert_allclose(compiled(Categorical.kl)(uniform, policy), expected, rtol=1e-5)
    # One against the other: ½ log(½ / ⅛) + ¼ log 1 + ¼ log(¼ / ⅝) = log 2 + ¼ log 0.4.
    first, second = Categorical(jnp.asarray(LOGITS[0])), Categorical(jnp.asarray(LOGITS[1]))
    np.testing.assert_allclose(compiled(Categorical.kl)(first, second), math.log(2) + 0.25 * math.log(0.4), rtol=1e-5)


@both
@pytest.mark.parametrize("shared", [True, False], ids=["shared std", "std per entry"])
def test_gaussian_kl_by_hand_and_by_integration(compiled, shared):
    std, other_std = (STD, 2 * STD) if shared else (np.tile(STD, (3, 1)), np.tile(2 * STD, (3, 1)))
    other_mean = MEAN + np.array([1.0, 0.0], np.float32)
    policy, other = ClampedGaussian(MEAN, std), ClampedGaussian(other_mean, other_std)
    # Per dimension log 2 + (1 + shift²) / 8 − ½ with shift² = 1² / 0.5² = 4, and 0.
    expected = 2 * math.log(2) + 5 / 8 + 1 / 8 - 1
    np.testing.assert_allclose(compiled(ClampedGaussian.kl)(policy, other), np.full(3, expected), rtol=1e-6)
    grid = np.linspace(-12, 12, 20_001, dtype=np.float32)[:, None]
    one, two = ClampedGaussian(jnp.ones((1, 1)), jnp.array([0.8])), ClampedGaussian(jnp.zeros((1, 1)), jnp.array([1.5]))
    log_prob, other_log_prob = (np.asarray(x.log_prob(grid), np.float64) for x in (one, two))
    integral = np.sum(np.exp(log_prob) * (log_prob - other_log_prob)) * 24 / 20_000
    np.testing.assert_allclose(compiled(ClampedGaussian.kl)(one, two)[0], integral, rtol=1e-4)


@both
def test_kl_to_itself_is_a_minimum_of_zero(compiled):
    for policy in (Categorical(jnp.asarray(LOGITS)), ClampedGaussian(MEAN, np.tile(STD, (3, 1))), tanh_gaussian()):
        kl, gradient = compiled(jax.value_and_grad(lambda new, old=policy: jnp.sum(old.kl(new))))(policy)
        np.testing.assert_allclose(kl, 0.0, atol=1e-6)
        for leaf in jax.tree.leaves(gradient):
            np.testing.assert_allclose(leaf, 0.0, atol=1e-6)


def tanh_gaussian(low=-1.0, high=1.0):
    return TanhGaussian(jnp.array([[0.0, 1.0], [-2.0, 0.5]]), jnp.array([[0.5, 2.0], [1.0, 0.3]]), low, high)


@both
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.5, 2.5)])
def test_tanh_density_is_the_change_of_variables(compiled, low, high):
    policy = tanh_gaussian(low, high)
    action = np.array([[0.3, -0.2], [0.0, 0.9]])  # within both ranges
    scaled = (action - (high + low) / 2) / ((high - low) / 2)
    mean, std = np.asarray(policy.mean, np.float64), np.asarray(policy.std, np.float64)
    density = np.exp(-((np.arctanh(scaled) - mean) ** 2) / (2 * std**2)) / (std * np.sqrt(2 * np.pi))
    # d tanh⁻¹(x) / dx = 1 / (1 − x²), and x is the action over the half-width.
    density /= (1 - scaled**2) * (high - low) / 2
    log_prob = compiled(TanhGaussian.log_prob)(policy, jnp.float32(action))
    np.testing.assert_allclose(log_prob, np.log(density).sum(axis=-1), rtol=1e-5)


@both
def test_tanh_log_prob_at_the_centre_by_hand(compiled):
    # u = 0, where the slope is the half-width: −½ log 2π − log std − log half-width per dimension.
    policy = TanhGaussian(jnp.zeros((1, 2)), jnp.array([0.5, 2.0]), 1.0, 5.0)
    expected = -math.log(2 * math.pi) - 2 * math.log(2)
    np.testing.assert_allclose(compiled(TanhGaussian.log_prob)(policy, jnp.full((1, 2), 3.0)), [expected], rtol=1e-6)
    np.testing.assert_array_equal(compiled(TanhGaussian.mode)(policy), [[3.0, 3.0]])


@both
@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.5), (1.0, 1.0), (-0.3, 2.0), (2.0, 0.1)])
def test_tanh_density_integrates_to_one_and_to_its_entropy(compiled, mean, std):
    # A grid that is even in u, where |u| < 7 holds all but 0.06 % of the widest one's mass.
    policy = TanhGaussian(jnp.full((1, 1), mean), jnp.full((1, 1), std), 0.0, 4.0)
    edge = np.tanh(np.linspace(-7, 7, 400_001))
    action = 2 + (edge[1:] + edge[:-1])  # the midpoints, in (0, 4)
    width = 2 * np.diff(edge)
    log_prob = np.asarray(compiled(TanhGaussian.log_prob)(policy, np.float32(action)[:, None]), np.float64)
    mass = np.exp(log_prob) * width
    np.testing.assert_allclose(mass.sum(), 1.0, atol=2e-3)
    np.testing.assert_allclose(-np.sum(mass * log_prob), compiled(TanhGaussian.entropy)(policy)[0], atol=1e-2)


@both
@pytest.mark.parametrize(("std", "tolerance"), [(0.01, 1e-5), (0.5, 1e-5), (3.0, 1e-5), (math.exp(2), 1e-3)])
def test_tanh_entropy_is_as_exact_as_it_says(compiled, std, tolerance):
    for mean in (0.0, 0.7, -3.0, 10.0):
        entropy = compiled(TanhGaussian.entropy)(TanhGaussian(jnp.full((1, 1), mean), jnp.full((1, 1), std)))
        noise = np.linspace(-10, 10, 200_001)
        unsquashed = mean + std * noise
        log_slope = 2 * (math.log(2) - np.logaddexp(unsquashed, -unsquashed))  # log of 1 / cosh²
        expectation = np.sum(np.exp(-0.5 * noise**2) * log_slope) * 1e-4 / math.sqrt(2 * math.pi)
        expected = 0.5 * math.log(2 * math.pi * math.e) + math.log(std) + expectation
        np.testing.assert_allclose(entropy, [expected], rtol=1e-5, atol=tolerance)


@both
def test_tanh_samples_are_the_squashed_gaussian_with_their_own_log_prob(compiled):
    policy, key = tanh_gaussian(-0.5, 2.5), jax.random.key(3)
    policy = jax.tree.map(lambda x: jnp.tile(x, (500, 1)), policy)
    action, log_prob = compiled(TanhGaussian.sample_and_log_prob)(policy, key)
    expected = 1 + 1.5 * np.tanh(np.asarray(ClampedGaussian(policy.mean, policy.std).sample(key), np.float64))
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(compiled(TanhGaussian.sample)(policy, key), action, rtol=1e-6, atol=1e-7)
    assert log_prob.shape == (1000,)
    inside = np.all(np.abs((np.asarray(action) - 1) / 1.5) < 0.99, axis=-1)
    assert inside.sum() > 500
    np.testing.assert_allclose(log_prob[inside], policy.log_prob(action)[inside], atol=2e-3)
    # Its mean over many samples is minus the entropy.
    np.testing.assert_allclose(-log_prob.reshape(500, 2).mean(axis=0), policy.entropy()[:2], atol=0.2)


@both
def test_tanh_stays_finite_at_and_beyond_the_bounds(compiled):
    extreme = TanhGaussian(jnp.array([[50.0], [-50.0]]), jnp.ones((2, 1)), 0.1, 0.7)
    action, log_prob = compiled(TanhGaussian.sample_and_log_prob)(extreme, jax.random.key(0))
    np.testing.assert_array_equal(action, np.float32([[0.7], [0.1]]))
    assert np.all(np.isfinite(log_prob))

    def total(policy, action):
        return jnp.sum(policy.log_prob(action)) + jnp.sum(policy.entropy())

    for played in (action, jnp.array([[9.0], [-9.0]])):
        value, gradient = compiled(jax.value_and_grad(total))(extreme, played)
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    beyond = extreme.log_prob(jnp.array([[9.0], [-9.0]]))
    np.testing.assert_array_equal(beyond, extreme.log_prob(jnp.array([[0.7], [0.1]])))


@both
def test_tanh_log_prob_of_own_samples_differentiates_like_the_formula(compiled):
    # At fixed noise ε: log π = −½ε² − log std − log(1 − tanh² u) + …, so by mean 2 tanh u, by std 2ε tanh u − 1/std.
    policy, key = tanh_gaussian(), jax.random.key(1)
    gradient = compiled(jax.grad(lambda policy: jnp.sum(policy.sample_and_log_prob(key)[1])))(policy)
    noise = np.asarray(ClampedGaussian(jnp.zeros((2, 2)), jnp.ones((2, 2))).sample(key), np.float64)
    slope = 2 * np.tanh(np.asarray(policy.mean) + np.asarray(policy.std) * noise)
    np.testing.assert_allclose(gradient.mean, slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient.std, noise * slope - 1 / np.asarray(policy.std), rtol=1e-5, atol=1e-6)


@both
def test_tanh_freeze_scale_stops_only_the_stds_gradient(compiled):
    action = jnp.array([[0.5, 0.2], [-0.9, 0.0]])

    def total(policy, freeze):
        policy = policy.freeze_scale() if freeze else policy
        return jnp.sum(policy.log_prob(action)) + jnp.sum(policy.entropy())

    frozen, free = (compiled(jax.grad(lambda x, f=freeze: total(x, f)))(tanh_gaussian()) for freeze in (True, False))
    np.testing.assert_array_equal(frozen.std, 0.0)
    assert np.all(free.std != 0)
    np.testing.assert_allclose(frozen.mean, free.mean, rtol=1e-5)


@both
def test_tanh_kl_is_the_gaussians_and_needs_the_same_bounds(compiled):
    policy, other = tanh_gaussian(), TanhGaussian(jnp.zeros((2, 2)), jnp.ones((2, 2)))
    expected = ClampedGaussian(policy.mean, policy.std).kl(ClampedGaussian(other.mean, other.std))
    np.testing.assert_allclose(compiled(TanhGaussian.kl)(policy, other), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="bounds"):
        compiled(TanhGaussian.kl)(policy, tanh_gaussian(0.0, 1.0))


@both
def test_tanh_maps_over_members(compiled):
    """`low` and `high` are static, so only mean and std get a leading axis."""
    members = compiled(jax.vmap(lambda shift: TanhGaussian(shift + jnp.zeros((4, 2)), jnp.ones((4, 2)), 0.0, 2.0)))(
        jnp.arange(3.0)
    )
    assert [x.shape for x in jax.tree.leaves(members)] == [(3, 4, 2)] * 2
    assert (members.low, members.high) == (0.0, 2.0)
    assert members.log_prob(jnp.ones((3, 4, 2))).shape == (3, 4)
