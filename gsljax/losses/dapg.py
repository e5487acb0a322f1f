"""DAPG's demonstration term: in the paper's smoothed form and in the classic one."""

import chex
import jax
import jax.numpy as jnp

from gsljax.types import Metrics, Scalar


def dapg_loss(log_prob: jax.Array, advantage_max: jax.Array, weight: Scalar) -> tuple[jax.Array, Metrics]:
    """The paper's smoothed DAPG: −ω · A_max · mean π(a|s) over demonstrated pairs (GSL §4, App. A).

    The *probability* (density) exp(log π), not log π: pairs that the policy already plays draw it most, hopeless ones
    hardly. For a continuous policy the density is unbounded as the std shrinks, and flat a few stds away; pass
    log-probabilities of a distribution whose scale is frozen (`Distribution.freeze_scale`) or another
    (`Distribution.with_std`) to keep the term off the std.

    Args:
      log_prob: `[B]` of the demonstrated actions under the current policy.
      advantage_max: scalar, the largest advantage of the whole epoch, before normalisation; no gradient flows into it.
      weight: ω, traced; the authors' 0.5, constant.

    Returns:
      The loss, and metrics `demonstration_loss`, `demonstration_probability`, `demonstration_log_prob`.
    """
    chex.assert_rank([log_prob, advantage_max], [1, 0])
    probability = jnp.mean(jnp.exp(log_prob))
    loss = -weight * jax.lax.stop_gradient(advantage_max) * probability
    return loss, {
        "demonstration_loss": loss,
        "demonstration_probability": probability,
        "demonstration_log_prob": jnp.mean(log_prob),
    }


def classic_dapg_loss(
    log_prob: jax.Array, advantage_max: jax.Array, weight: Scalar, decay: Scalar, iteration: Scalar
) -> tuple[jax.Array, Metrics]:
    """Classic DAPG: −λ₀ λ₁^k · A_max · mean log π(a|s) over demonstrated pairs (Rajeswaran et al. 2018).

    Args:
      log_prob: `[B]` of the demonstrated actions under the current policy.
      advantage_max: scalar, as in `dapg_loss`.
      weight: λ₀, traced; 1e-2 in the original.
      decay: λ₁, traced; 0.95 in the original, 1 keeps the weight constant.
      iteration: k, the number of updates since demonstrations came in.

    Returns:
      The loss, and metrics `demonstration_loss`, `demonstration_probability`, `demonstration_log_prob`.
    """
    chex.assert_rank([log_prob, advantage_max], [1, 0])
    mean_log_prob = jnp.mean(log_prob)
    loss = -weight * decay**iteration * jax.lax.stop_gradient(advantage_max) * mean_log_prob
    return loss, {
        "demonstration_loss": loss,
        "demonstration_probability": jnp.mean(jnp.exp(log_prob)),
        "demonstration_log_prob": mean_log_prob,
    }
