"""Soft actor-critic's losses (Haarnoja et al. 2018), for sampled continuous actions and for a sum over discrete ones.

Two critics as a rule, on the leading axis of every `q`; any number works. α is the temperature, not its logarithm,
except where an argument is called `log_temperature`.
"""

import chex
import jax
import jax.numpy as jnp

from gsljax.losses.returns import masked_mean
from gsljax.types import Metrics, Scalar


def soft_value(q: jax.Array, log_prob: jax.Array, temperature: Scalar) -> jax.Array:
    """min_i Q_i(s, a) − α log π(a|s), one sampled action's estimate of a state's soft value.

    Args:
      q: `[2, B]` at a ~ π(s).
      log_prob: `[B]` of the same actions.
      temperature: α, traced.

    Returns:
      `[B]`.
    """
    chex.assert_rank([q, log_prob], [2, 1])
    chex.assert_equal_shape([q[0], log_prob])
    return jnp.min(q, axis=0) - temperature * log_prob


def discrete_soft_value(q: jax.Array, log_probs: jax.Array, temperature: Scalar) -> jax.Array:
    """Σ_a π(a|s) (min_i Q_i(s, a) − α log π(a|s)), exact (Christodoulou 2019).

    Args:
      q: `[2, B, A]` of all actions.
      log_probs: `[B, A]`, `log_softmax` of the policy's logits, finite.
      temperature: α, traced.

    Returns:
      `[B]`.
    """
    chex.assert_rank([q, log_probs], [3, 2])
    chex.assert_equal_shape([q[0], log_probs])
    return jnp.sum(jnp.exp(log_probs) * (jnp.min(q, axis=0) - temperature * log_probs), axis=-1)


def soft_target(reward: jax.Array, terminated: jax.Array, next_value: jax.Array, discount: Scalar) -> jax.Array:
    """y = r + γ (1 − terminated) V̄(s'), with no gradient.

    Args:
      reward: `[B]`, with GAIL the mixed one.
      terminated: `[B]` bool. A truncated step is not terminated: its s' is the true final observation, and counts.
      next_value: `[B]` soft value of s' by the target critics and the current policy (`soft_value`).
      discount: γ, traced; 0.95 for PushChair.

    Returns:
      `[B]`.
    """
    chex.assert_rank([reward, terminated, next_value], 1)
    chex.assert_equal_shape([reward, terminated, next_value])
    chex.assert_type(terminated, bool)
    return jax.lax.stop_gradient(reward + discount * jnp.where(terminated, 0.0, next_value))


def chosen_q(q: jax.Array, action: jax.Array) -> jax.Array:
    """`[2, B]` of the discrete `action` `[B]` out of `q` `[2, B, A]`."""
    chex.assert_rank([q, action], [3, 1])
    chex.assert_equal_shape([q[0, :, 0], action])
    return jnp.take_along_axis(q, action[None, :, None], axis=-1)[..., 0]


def twin_q_loss(q: jax.Array, target: jax.Array, valid: jax.Array) -> tuple[jax.Array, Metrics]:
    """Σ_i mean over valid of (Q_i(s, a) − y)², without a ½.

    Args:
      q: `[2, B]` at the actions played.
      target: `[B]` from `soft_target`.
      valid: `[B]` bool; the rest has no weight.

    Returns:
      The loss, and metrics `q_loss`, `q_mean` (over critics and samples).
    """
    chex.assert_rank([q, target, valid], [2, 1, 1])
    chex.assert_equal_shape([q[0], target, valid])
    mean_of_each = jax.vmap(masked_mean, (0, None))
    error = jnp.where(valid, q - target, 0.0)
    loss = jnp.sum(mean_of_each(jnp.square(error), valid))
    return loss, {"q_loss": loss, "q_mean": jnp.mean(mean_of_each(q, valid))}


def soft_policy_loss(
    q: jax.Array, log_prob: jax.Array, temperature: Scalar, valid: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Mean over valid of α log π(a|s) − min_i Q_i(s, a) at reparameterised a ~ π(s).

    The gradient reaches the policy through both terms, so `q` must be a function of the sampled action; differentiate
    in the policy's parameters only.

    Args:
      q: `[2, B]` at the sampled actions.
      log_prob: `[B]` of the sampled actions (`TanhGaussian.sample_and_log_prob`).
      temperature: α, traced; no gradient flows into it.
      valid: `[B]` bool; the rest has no weight.

    Returns:
      The loss, and metrics `policy_loss`, `entropy` (−mean log π).
    """
    chex.assert_rank([q, log_prob, valid], [2, 1, 1])
    chex.assert_equal_shape([q[0], log_prob, valid])
    # Masked here and not only in the mean: the minimum of NaNs has a NaN gradient.
    q, log_prob = jnp.where(valid, q, 0.0), jnp.where(valid, log_prob, 0.0)
    loss = -masked_mean(soft_value(q, log_prob, jax.lax.stop_gradient(temperature)), valid)
    return loss, {"policy_loss": loss, "entropy": -masked_mean(log_prob, valid)}


def discrete_soft_policy_loss(
    q: jax.Array, log_probs: jax.Array, temperature: Scalar, valid: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Mean over valid of Σ_a π(a|s) (α log π(a|s) − min_i Q_i(s, a)) (Christodoulou 2019).

    Args:
      q: `[2, B, A]` of all actions; no gradient flows into it.
      log_probs: `[B, A]`, `log_softmax` of the policy's logits, finite.
      temperature: α, traced; no gradient flows into it.
      valid: `[B]` bool; the rest has no weight.

    Returns:
      The loss, and metrics `policy_loss`, `entropy`.
    """
    chex.assert_rank([q, log_probs, valid], [3, 2, 1])
    chex.assert_equal_shape([q[0], log_probs])
    chex.assert_equal_shape([log_probs[:, 0], valid])
    q = jax.lax.stop_gradient(jnp.where(valid[:, None], q, 0.0))
    log_probs = jnp.where(valid[:, None], log_probs, 0.0)
    loss = -masked_mean(discrete_soft_value(q, log_probs, jax.lax.stop_gradient(temperature)), valid)
    entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
    return loss, {"policy_loss": loss, "entropy": masked_mean(entropy, valid)}


def temperature_loss(
    log_temperature: jax.Array, log_prob: jax.Array, target_entropy: Scalar, valid: jax.Array
) -> tuple[jax.Array, Metrics]:
    """−log α · mean over valid of (log π(a|s) + target entropy), with a gradient in log α only.

    The form most implementations take. Haarnoja et al. 2018b write −α · (…): the same sign and zero, a step α times
    as large. Descent raises α while the entropy is below its target.

    Args:
      log_temperature: scalar log α, the learnt parameter; 0 at the start.
      log_prob: `[B]` of sampled actions; for discrete ones its expectation Σ_a π log π, minus the entropy.
      target_entropy: traced; −D nats for D continuous actions.
      valid: `[B]` bool; the rest has no weight.

    Returns:
      The loss, and metrics `temperature_loss`, `temperature` (α).
    """
    chex.assert_rank([log_temperature, log_prob, valid], [0, 1, 1])
    chex.assert_equal_shape([log_prob, valid])
    excess = jax.lax.stop_gradient(masked_mean(log_prob + target_entropy, valid))
    loss = -log_temperature * excess
    return loss, {"temperature_loss": loss, "temperature": jnp.exp(log_temperature)}
