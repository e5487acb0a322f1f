"""Phasic policy gradient's auxiliary phase (Cobbe et al. 2021); its policy phase takes the losses of `ppo`."""

import chex
import jax

from gsljax.losses.ppo import value_loss
from gsljax.losses.returns import masked_mean
from gsljax.types import Metrics, Scalar


def auxiliary_phase_loss(
    auxiliary_value: jax.Array,
    value: jax.Array,
    target: jax.Array,
    kl: jax.Array,
    valid: jax.Array,
    clone_weight: Scalar,
) -> tuple[jax.Array, Metrics]:
    """½ mean (V_aux − target)² + ½ mean (V − target)² + β_clone · mean KL(π_old‖π), means over valid.

    Cobbe et al. 2021, §2.1 (L_joint + L_value; in GSL's Procgen runs). The auxiliary value shapes the policy's
    features, the KL keeps its actions, and the value learns on.

    Args:
      auxiliary_value: `[B]`, the head on the policy's trunk.
      value: `[B]`, the value network's.
      target: `[B]`, value targets as stored in the policy phases.
      kl: `[B]`, `old_policy.kl(policy)`, with the old policy's output taken once, when the phase starts.
      valid: `[B]` bool; the rest has no weight.
      clone_weight: β_clone, traced; 1 in all of the paper.

    Returns:
      The loss, and metrics `auxiliary_loss` (the whole), `auxiliary_policy_value_loss` (V_aux's term),
      `auxiliary_value_loss` (V's) and `auxiliary_kl` (unweighted).
    """
    chex.assert_rank([auxiliary_value, value, target, kl, valid], 1)
    chex.assert_equal_shape([auxiliary_value, value, target, kl, valid])
    policy_value_loss, _ = value_loss(auxiliary_value, target, valid)
    true_value_loss, _ = value_loss(value, target, valid)
    mean_kl = masked_mean(kl, valid)
    loss = policy_value_loss + true_value_loss + clone_weight * mean_kl
    return loss, {
        "auxiliary_loss": loss,
        "auxiliary_policy_value_loss": policy_value_loss,
        "auxiliary_value_loss": true_value_loss,
        "auxiliary_kl": mean_kl,
    }
