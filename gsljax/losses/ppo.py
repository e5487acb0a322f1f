"""Proximal policy optimisation's losses (Schulman et al. 2017), over samples of which some are masked."""

import chex
import jax
import jax.numpy as jnp

from gsljax.losses.returns import masked_mean
from gsljax.types import Metrics, Scalar


def clipped_policy_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, valid: jax.Array, clip: Scalar
) -> tuple[jax.Array, Metrics]:
    """−mean over valid of min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) with ρ = π(a|s) / π_old(a|s).

    Args:
      log_prob: `[B]` under the current policy.
      old_log_prob: `[B]` under the policy that acted.
      advantage: `[B]`, usually normalised.
      valid: `[B]` bool; the rest has no weight.
      clip: ε, traced (0.2 in all of the paper).

    Returns:
      The loss, and metrics `policy_loss`, `kl` (the estimator ρ − 1 − log ρ of KL(π_old‖π)), `clip_fraction`.
    """
    chex.assert_rank([log_prob, old_log_prob, advantage, valid], 1)
    chex.assert_equal_shape([log_prob, old_log_prob, advantage, valid])
    log_ratio = jnp.where(valid, log_prob - old_log_prob, 0.0)
    ratio = jnp.exp(log_ratio)
    surrogate = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    loss = -masked_mean(surrogate, valid)
    metrics = {
        "policy_loss": loss,
        "kl": masked_mean(ratio - 1 - log_ratio, valid),
        "clip_fraction": masked_mean((jnp.abs(ratio - 1) > clip).astype(jnp.float32), valid),
    }
    return loss, metrics


def value_loss(value: jax.Array, target: jax.Array, valid: jax.Array) -> tuple[jax.Array, Metrics]:
    """½ · mean over valid of (V − target)², each argument `[B]`."""
    chex.assert_rank([value, target, valid], 1)
    chex.assert_equal_shape([value, target, valid])
    error = jnp.where(valid, value - target, 0.0)
    loss = 0.5 * masked_mean(jnp.square(error), valid)
    return loss, {"value_loss": loss}


def clipped_value_loss(
    value: jax.Array, old_value: jax.Array, target: jax.Array, valid: jax.Array, clip: Scalar
) -> tuple[jax.Array, Metrics]:
    """½ · mean over valid of max((V − target)², (V_old + clip(V − V_old, ±ε) − target)²), each argument `[B]`."""
    chex.assert_rank([value, old_value, target, valid], 1)
    chex.assert_equal_shape([value, old_value, target, valid])
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    error, near_error = jnp.where(valid, value - target, 0.0), jnp.where(valid, near - target, 0.0)
    loss = 0.5 * masked_mean(jnp.maximum(jnp.square(error), jnp.square(near_error)), valid)
    return loss, {"value_loss": loss}


def explained_variance(value: jax.Array, target: jax.Array, valid: jax.Array) -> jax.Array:
    """1 − Var(target − V) / Var(target) over valid, any shape; 0 where the target does not vary."""
    chex.assert_equal_shape([value, target, valid])
    error = target - value
    variance = masked_mean(jnp.square(target - masked_mean(target, valid)), valid)
    unexplained = masked_mean(jnp.square(error - masked_mean(error, valid)), valid)
    return jnp.where(variance > 0, 1 - unexplained / jnp.where(variance > 0, variance, 1.0), 0.0)
