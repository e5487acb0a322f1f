"""Gradients of losses that are means over samples, taken of some of the samples at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gsljax.parts import most_divisor
from gsljax.types import Metrics

PIXELS_AT_ONCE = 2**15
"""How many pixels of images go through a network and back together on a CPU, so that a core's cache holds what they
leave: 8 images of 64 × 64.

One IMPALA network learns from 436 images per second like this, from 195 to 342 in whole minibatches of 128, where every
layer's activations come from memory; PyTorch from 696 (`benchmarks/results/population_conv-2-cores-single.json`).
"""


def gradient_of_mean(
    loss: Callable[[Any, Any], tuple[jax.Array, Metrics]], params: Any, samples: Any, valid: jax.Array | None = None
) -> tuple[Any, Metrics]:
    """Gradient and metrics of a loss that is, like all its metrics, a mean over the valid samples.

    On a CPU, where samples are images (an array `[B, H, W, C]`), the gradients of a few samples at a time are added up,
    which changes the result by rounding alone. Members that run at once each have that many.

    Args:
      loss: parameters and samples to the loss and its metrics.
      params: what to differentiate by.
      samples: a tree of arrays `[B, ...]`.
      valid: `[B]` bool, the samples that the loss does not mask; None if it masks none.

    Returns:
      The gradient, shaped as `params`, and the metrics.
    """
    gradient = jax.grad(loss, has_aux=True)
    num_samples = jax.tree.leaves(samples)[0].shape[0]
    at_once = _samples_at_once(samples, num_samples)
    if at_once == num_samples:
        return gradient(params, samples)
    parts = jax.tree.map(lambda x: x.reshape(-1, at_once, *x.shape[1:]), samples)
    counts = jnp.ones(num_samples, jnp.float32) if valid is None else valid.astype(jnp.float32)
    weights = counts.reshape(-1, at_once).sum(axis=1) / jnp.maximum(counts.sum(), 1)

    def add(sums, part_and_weight):
        part, weight = part_and_weight
        return jax.tree.map(lambda total, x: total + weight * x, sums, gradient(params, part)), None

    shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, (parts, weights))[0]


def _samples_at_once(samples: Any, num_samples: int) -> int:
    """How many images are one of the equal parts: the most that have no more than `PIXELS_AT_ONCE` pixels.

    It is all of them elsewhere than on a CPU, and where no divisor comes within a half of that many.
    """
    images = [x for x in jax.tree.leaves(samples) if x.ndim == 4]
    if jax.default_backend() != "cpu" or not images:
        return num_samples
    _, height, width, _ = images[0].shape
    limit = max(1, PIXELS_AT_ONCE // (height * width))
    divisor = most_divisor(num_samples, limit)
    return divisor if 2 * divisor >= limit else num_samples
