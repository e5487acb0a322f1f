"""Behaviour cloning: imitate demonstrated actions, whatever they are worth."""

import chex
import jax
import jax.numpy as jnp

from gsljax.types import Metrics, Scalar


def bc_loss(log_prob: jax.Array, weight: Scalar) -> tuple[jax.Array, Metrics]:
    """−w · mean log π(a|s) over demonstrated pairs (the paper's ablation, GSL Tab. 3).

    Args:
      log_prob: `[B]` of the demonstrated actions under the current policy.
      weight: w, traced.

    Returns:
      The loss, and metrics `demonstration_loss`, `demonstration_probability`, `demonstration_log_prob`.
    """
    chex.assert_rank(log_prob, 1)
    mean_log_prob = jnp.mean(log_prob)
    loss = -weight * mean_log_prob
    return loss, {
        "demonstration_loss": loss,
        "demonstration_probability": jnp.mean(jnp.exp(log_prob)),
        "demonstration_log_prob": mean_log_prob,
    }
