"""Gradients that are taken of some samples at a time are those of all at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms.gradients import gradient_of_mean
from gsljax.losses.returns import masked_mean

RANDOM = np.random.default_rng(0)


def loss(params, samples):
    images, target, valid = samples
    error = jnp.tanh(jnp.mean(images, axis=(1, 2)) @ params["kernel"]) - target
    found = masked_mean(jnp.square(error), valid)
    return found, {"loss": found, "error": masked_mean(error, valid)}


def problem(count, valid):
    images = RANDOM.normal(size=(count, 64, 64, 3)).astype(np.float32)
    samples = jnp.asarray(images), jnp.asarray(RANDOM.normal(size=count).astype(np.float32)), jnp.asarray(valid)
    return {"kernel": jnp.asarray(RANDOM.normal(size=3).astype(np.float32))}, samples


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")


def scans(*arguments):
    """How many parts each scan over parts has."""
    program = str(jax.make_jaxpr(gradient_of_mean, static_argnums=0)(loss, *arguments))
    return [int(length) for length in re.findall(r"length=(\d+)", program)]


@pytest.mark.parametrize(
    ("valid", "parts"),
    [
        (np.ones(24, bool), 3),
        (RANDOM.random(24) < 0.5, 3),
        (np.arange(24) >= 8, 3),  # a part without a valid sample
        (np.zeros(24, bool), 3),
        (np.ones(20, bool), 4),  # of 5
        (np.ones(23, bool), 1),  # of a prime number no part is large enough
    ],
)
def test_parts_add_up_to_the_whole(valid, parts):
    params, samples = problem(len(valid), valid)
    assert scans(params, samples, samples[2]) == ([parts] if parts > 1 else [])
    found = jax.jit(gradient_of_mean, static_argnums=0)(loss, params, samples, samples[2])
    expected = jax.jit(jax.grad(loss, has_aux=True))(params, samples)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    if valid.any():
        assert np.abs(found[0]["kernel"]).min() > 1e-4


def test_without_a_mask_all_samples_count():
    params, samples = problem(16, np.ones(16, bool))
    found = gradient_of_mean(loss, params, samples)
    expected = jax.grad(loss, has_aux=True)(params, samples)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_small_images_go_together_and_vectors_are_left_alone(monkeypatch):
    def small(params, samples):
        return jnp.mean(samples @ params), {}

    def count(samples):
        program = jax.make_jaxpr(lambda p, s: gradient_of_mean(small, p, s))(jnp.ones(samples.shape[-1]), samples)
        return str(program).count("scan[")

    assert count(jnp.ones((256, 10, 10, 4))) == 0  # 25,600 pixels
    assert count(jnp.ones((512, 10, 10, 4))) == 1
    assert count(jnp.ones((512, 40))) == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert count(jnp.ones((512, 10, 10, 4))) == 0
