"""Behaviour cloning: imitate demonstrated actions, whatever they are worth."""

import chex
import jax
import jax.numpy as jnp

from gsljax.losses.returns import masked_mean
from gsljax.types import Metrics, Scalar


def bc_loss(log_prob: jax.Array, weight: Scalar, valid: jax.Array | None = None) -> tuple[jax.Array, Metrics]:
    """−w · mean log π(a|s) over demonstrated pairs (the paper's ablation, GSL Tab. 3).

    Args:
      log_prob: `[B]` of the demonstrated actions under the current policy.
      weight: w, traced.
      valid: `[B]` bool, the pairs that count; None means all.

    Returns:
      The loss, and metrics `demonstration_loss`, `demonstration_probability`, `demonstration_log_prob`.
    """
    chex.assert_rank(log_prob, 1)
    log_prob = log_prob if valid is None else jnp.where(valid, log_prob, 0.0)
    mean_log_prob = _mean(log_prob, valid)
    loss = -weight * mean_log_prob
    return loss, {
        "demonstration_loss": loss,
        "demonstration_probability": _mean(jnp.exp(log_prob), valid),
        "demonstration_log_prob": mean_log_prob,
    }


def bc_squared_error_loss(
    action: jax.Array, demonstrated_action: jax.Array, weight: Scalar, valid: jax.Array | None = None
) -> tuple[jax.Array, Metrics]:
    """w · mean of (a − a_demo)² over demonstrated pairs and action dimensions.

    For policies that give one action; for a Gaussian's mean it is, up to a constant, `bc_loss` with a fixed std
    (of 1, and w times 2/D).

    Args:
      action: `[B, D]`, the policy's for the demonstrated observations.
      demonstrated_action: `[B, D]`.
      weight: w, traced.
      valid: `[B]` bool, the pairs that count; None means all.

    Returns:
      The loss, and metrics `demonstration_loss`, `demonstration_squared_error` (unweighted).
    """
    chex.assert_rank([action, demonstrated_action], 2)
    chex.assert_equal_shape([action, demonstrated_action])
    error = action - demonstrated_action
    if valid is not None:
        chex.assert_equal_shape([action[:, 0], valid])
        error = jnp.where(valid[:, None], error, 0.0)
    squared_error = _mean(jnp.mean(jnp.square(error), axis=-1), valid)
    loss = weight * squared_error
    return loss, {"demonstration_loss": loss, "demonstration_squared_error": squared_error}


def _mean(values: jax.Array, valid: jax.Array | None) -> jax.Array:
    return jnp.mean(values) if valid is None else masked_mean(values, valid)
