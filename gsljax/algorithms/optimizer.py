"""Adam with clipped gradients, and a value network that may have a learning rate of its own."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gsljax.types import Scalar

VALUE_NETWORK = "value_"
"""How the names of a value network's layers begin: `value_trunk`, `value_head`."""


def clipped_adam(max_norm: float, separate_value: bool) -> optax.GradientTransformation:
    """Clipping and Adam (ε 1e-5), without the learning rate.

    Args:
      max_norm: largest global norm of the gradients.
      separate_value: whether the value network's gradients are clipped by their own norm and all others by theirs, as
        if each had an optimiser of its own; else all are by one.
    """
    clip = clip_by_norm_of_each_network(max_norm) if separate_value else clip_by_global_norm(max_norm)
    return optax.chain(clip, optax.scale_by_adam(eps=1e-5))


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """As optax's, but by one factor for all gradients, which XLA joins with Adam's arithmetic.

    Optax's division is a pass over every gradient of its own.
    """

    def update(updates, state, params=None):
        del params
        factor = jnp.minimum(1.0, max_norm / optax.tree.norm(updates))
        return jax.tree.map(lambda g: g * factor, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clip_by_norm_of_each_network(max_norm: float) -> optax.GradientTransformation:
    """As `clip_by_global_norm`, but apart for the value network's gradients and for all others."""

    def update(updates, state, params=None):
        del params
        leaves = jax.tree_util.tree_leaves_with_path(updates)
        factors = {}
        for of_value in (True, False):
            of_network = [leaf for path, leaf in leaves if is_of_value_network(path) is of_value]
            factors[of_value] = jnp.minimum(1.0, max_norm / optax.tree.norm(of_network))

        def scale(path, gradient):
            return gradient * factors[is_of_value_network(path)]

        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def descend(params: Any, direction: Any, learning_rate: Scalar, value_learning_rate: Scalar | None = None) -> Any:
    """Parameters after a step against the direction; a value network's by its own rate, where there is one."""
    if value_learning_rate is None:
        return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)

    def step(path, parameter, direction):
        return parameter - (value_learning_rate if is_of_value_network(path) else learning_rate) * direction

    return jax.tree_util.tree_map_with_path(step, params, direction)


def is_of_value_network(path: Any) -> bool:
    """Whether a leaf at this key path belongs to a layer of the value network, by the layer's name."""
    return any(str(getattr(key, "key", "")).startswith(VALUE_NETWORK) for key in path)


def has_value_network(params: Any) -> bool:
    """Whether the value has hidden layers of its own, called `value_trunk`."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return any(getattr(key, "key", None) == VALUE_NETWORK + "trunk" for path in paths for key in path)
