"""Generative adversarial imitation (Ho & Ermon 2016) and its AIRL form (Fu et al. 2018): losses and rewards.

Sign convention, everywhere: D(s, a) = sigmoid(logit) is the probability that the pair came from the *policy*. A pair
with D > ½ looks like the policy's, one with D < ½ like a demonstration. (Half of the literature has it the other way.)

The rewards, by what they say about a pair:

| form           | reward                         | D > ½    | D < ½    | bounds        |
|----------------|--------------------------------|----------|----------|---------------|
| `negative-log` | −log D                         | positive | positive | 0 and above   |
| `log-odds`     | log(1 − D) − log D = −logit    | negative | positive | none          |
| `airl`         | the same, f(s, a) − log π(a|s) | negative | positive | none          |

`negative-log` is the paper's (GSL §5.4). It pays for every step, so an episode gains by lasting longer, however useless
its steps are; that suits tasks which cannot end early, as PushChair without resets. `log-odds` and `airl` do not pay
for mere length: steps which the discriminator takes for the policy's (D > ½) cost reward, so lasting longer with
them loses. Both can make an early end worthwhile for that reason.

`log-odds` and `airl` are the same function of the logit and differ in the discriminator: AIRL's network learns f,
and its logit is log π(a|s) − f(s, a), so that D = π / (π + exp f) and f need not chase the policy.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp

from gsljax.losses.returns import masked_mean, zero_invalid
from gsljax.types import Metrics, Scalar

RewardForm = Literal["negative-log", "log-odds", "airl"]
"""How a discriminator's output becomes a logit and a reward; static."""


def discriminator_logit(output: jax.Array, log_prob: jax.Array | None, form: RewardForm) -> jax.Array:
    """The logit of D from the network's output: log π(a|s) − f(s, a) in the form `airl`, else the output itself.

    Args:
      output: of the network, any shape; f(s, a) in the form `airl`.
      log_prob: log π(a|s) of the pairs under the current policy, same shape, for policy *and* demonstrated pairs; no
        gradient flows into it. Used by `airl` only, None will do for the others.
      form: static.

    Raises:
      ValueError: for an unknown form, or for `airl` without `log_prob`.
    """
    _check(form)
    if form != "airl":
        return output
    if log_prob is None:
        raise ValueError("the reward form 'airl' needs log_prob, the current policy's log-probability of each pair")
    chex.assert_equal_shape([output, log_prob])
    return jax.lax.stop_gradient(log_prob) - output


def discriminator_loss(
    policy_logit: jax.Array, demonstration_logit: jax.Array, valid: jax.Array
) -> tuple[jax.Array, Metrics]:
    """−mean over valid policy pairs of log D − mean over demonstrated pairs of log(1 − D).

    Args:
      policy_logit: `[B]`, logits of D at the policy's pairs.
      demonstration_logit: `[C]`, at demonstrated pairs; C need not be B, the two means weigh the same.
      valid: `[B]` bool; the other policy pairs have no weight.

    Returns:
      The loss (2 log 2 where D is ½ everywhere), and metrics `discriminator_loss`, `discriminator_policy` and
      `discriminator_demonstration` (mean D of either kind), `discriminator_accuracy` (balanced between the two).
    """
    chex.assert_rank([policy_logit, demonstration_logit, valid], 1)
    chex.assert_equal_shape([policy_logit, valid])
    policy_logit = jnp.where(valid, policy_logit, 0.0)
    policy_loss = masked_mean(jax.nn.softplus(-policy_logit), valid)
    loss = policy_loss + jnp.mean(jax.nn.softplus(demonstration_logit))
    right = masked_mean((policy_logit > 0).astype(jnp.float32), valid), jnp.mean(demonstration_logit < 0)
    return loss, {
        "discriminator_loss": loss,
        "discriminator_policy": masked_mean(jax.nn.sigmoid(policy_logit), valid),
        "discriminator_demonstration": jnp.mean(jax.nn.sigmoid(demonstration_logit)),
        "discriminator_accuracy": 0.5 * (right[0] + right[1]),
    }


def imitation_reward(logit: jax.Array, form: RewardForm) -> jax.Array:
    """The reward of pairs with `logit` (from `discriminator_logit`), any shape; see the module's table.

    `airl` gives f − log π, whose second term is an entropy bonus of weight 1: beside SAC's own, it counts twice.

    Raises:
      ValueError: for an unknown form.
    """
    _check(form)
    return jax.nn.softplus(-logit) if form == "negative-log" else -logit


def mixed_reward(environment: jax.Array, imitation: jax.Array, environment_weight: Scalar) -> jax.Array:
    """β r_env + (1 − β) r_imitation, both of one shape; β traced, the paper's is 0.3."""
    chex.assert_equal_shape([environment, imitation])
    return environment_weight * environment + (1 - environment_weight) * imitation


def interpolate_pairs(key: jax.Array, policy: Any, demonstration: Any) -> Any:
    """λ · policy + (1 − λ) · demonstration with one λ ~ U(0, 1) per pair: where `gradient_penalty` is usually taken.

    Args:
      key: typed key.
      policy, demonstration: pytrees of one structure, leaves `[B, ...]` of floats (discrete actions one-hot).
    """
    chex.assert_trees_all_equal_shapes(policy, demonstration)
    leaves = jax.tree.leaves(policy)
    chex.assert_type(leaves + jax.tree.leaves(demonstration), float)
    share = jax.random.uniform(key, leaves[0].shape[:1])

    def mix(one: jax.Array, other: jax.Array) -> jax.Array:
        weight = share.reshape(-1, *[1] * (one.ndim - 1))
        return weight * one + (1 - weight) * other

    return jax.tree.map(mix, policy, demonstration)


def gradient_penalty(
    logit_function: Callable[[Any], jax.Array], inputs: Any, valid: jax.Array, target: Scalar = 1.0
) -> tuple[jax.Array, Metrics]:
    """Mean over valid of (‖∇ logit‖ − target)², to be weighted (10 is usual) and added to the discriminator's loss.

    On interpolated pairs with target 1 it is Gulrajani et al.'s (2017), on demonstrations with target 0 Mescheder et
    al.'s R1 (2018, there times γ/2). The gradient is in the inputs; its norm is over all leaves of a pair together.

    Args:
      logit_function: from inputs to logits `[B]`, each of its own row only (no batch normalisation).
      inputs: pytree, leaves `[B, ...]` of floats (discrete actions one-hot).
      valid: `[B]` bool; the rest has no weight, and reaches `logit_function` as zeros.
      target: norm that costs nothing, traced.

    Returns:
      The loss, and metrics `gradient_penalty`, `gradient_norm` (mean over valid).
    """
    chex.assert_rank(valid, 1)
    chex.assert_type(jax.tree.leaves(inputs), float)
    chex.assert_equal_shape_prefix([*jax.tree.leaves(inputs), valid], 1)
    inputs = jax.tree.map(lambda x: zero_invalid(x, valid), inputs)

    def total(inputs: Any) -> jax.Array:
        logit = logit_function(inputs)
        chex.assert_equal_shape([logit, valid])
        return jnp.sum(logit)

    gradients = jax.tree.leaves(jax.grad(total)(inputs))
    square = sum((jnp.sum(jnp.square(x).reshape(len(valid), -1), axis=-1) for x in gradients), jnp.zeros(len(valid)))
    # Where the gradient vanishes the norm has none; 0 stands for it, not NaN.
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    loss = masked_mean(jnp.square(norm - target), valid)
    return loss, {"gradient_penalty": loss, "gradient_norm": masked_mean(norm, valid)}


def _check(form: str) -> None:
    if form not in get_args(RewardForm):
        raise ValueError(f"the reward form {form!r} is unknown; it must be one of {', '.join(get_args(RewardForm))}")
