"""Advantages and returns of a rollout that truncates, terminates and resets."""

import chex
import jax
import jax.numpy as jnp

from gsljax.types import Scalar


def generalized_advantages(
    reward: jax.Array,
    value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    valid: jax.Array,
    discount: Scalar,
    gae_lambda: Scalar,
) -> jax.Array:
    """Generalised advantage estimates with the next-step reset rule.

    δ_t = r_t + γ (1 − terminated_t) V_{t+1} − V_t and A_t = δ_t + γ λ (1 − terminated_t ∨ truncated_t) A_{t+1}. A
    truncated step bootstraps from the true final observation, which is what follows it in the rollout; the masked reset
    step after it gets A = 0 and passes nothing on. (Schulman et al. 2016; GSL's maze uses γ 0.95, λ 0.97.)

    Args:
      reward: `[T, N]`.
      value: `[T + 1, N]`.
      terminated: `[T, N]` bool.
      truncated: `[T, N]` bool.
      valid: `[T, N]` bool.
      discount: γ, traced.
      gae_lambda: λ, traced.

    Returns:
      Advantages `[T, N]`, 0 where not valid.
    """
    chex.assert_rank([reward, value], 2)
    chex.assert_equal_shape([reward, terminated, truncated, valid, value[:-1]])
    chex.assert_type([terminated, truncated, valid], bool)
    delta = reward + discount * jnp.where(terminated, 0.0, value[1:]) - value[:-1]
    decay = jnp.where(terminated | truncated | ~valid, 0.0, discount * gae_lambda)

    def backward(following, step):
        delta_t, decay_t, valid_t = step
        advantage = jnp.where(valid_t, delta_t + decay_t * following, 0.0)
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(value[0]), (delta, decay, valid), reverse=True)
    return advantages


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of `values` where `mask`, 0 where nothing is; masked entries have no weight even if not finite."""
    chex.assert_equal_shape([values, mask])
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def normalize(values: jax.Array, mask: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """`values` shifted and scaled to mean 0 and standard deviation 1 over `mask`; 0 elsewhere."""
    centred = jnp.where(mask, values - masked_mean(values, mask), 0.0)
    return centred / (jnp.sqrt(masked_mean(jnp.square(centred), mask)) + epsilon)


def masked_mean_by_group(values: jax.Array, mask: jax.Array, group: jax.Array, num_groups: int) -> jax.Array:
    """Means `[G]` of `values` `[...]` where `mask`, over each group's own; 0 where nothing is, as in `masked_mean`."""
    chex.assert_equal_shape([values, mask, group])
    kept = jnp.where(mask, values, 0.0).reshape(-1), mask.reshape(-1).astype(jnp.float32)
    total, count = (jax.ops.segment_sum(x, group.reshape(-1), num_groups) for x in kept)
    return total / jnp.maximum(count, 1.0)


def normalize_by_group(
    values: jax.Array, mask: jax.Array, group: jax.Array, num_groups: int, epsilon: float = 1e-8
) -> jax.Array:
    """`values` shifted and scaled to mean 0 and standard deviation 1 over each group's own in `mask`; 0 elsewhere.

    Args:
      values: any shape.
      mask: as `values`, bool.
      group: as `values`, int32 from 0 to `num_groups` - 1; anything outside the mask.
      num_groups: static; groups may be empty.
      epsilon: added to the standard deviation.
    """
    mean = masked_mean_by_group(values, mask, group, num_groups)
    centred = jnp.where(mask, values - mean[group], 0.0)
    variance = masked_mean_by_group(jnp.square(centred), mask, group, num_groups)
    return jnp.where(mask, centred / (jnp.sqrt(variance[group]) + epsilon), 0.0)


def zero_invalid(values: jax.Array, valid: jax.Array) -> jax.Array:
    """`values` `[..., *S]` with zeros where `valid` `[...]` is False: a gradient of 0 times NaN would still be NaN."""
    return jnp.where(valid.reshape(*valid.shape, *[1] * (values.ndim - valid.ndim)), values, jnp.zeros_like(values))
