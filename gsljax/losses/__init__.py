"""Losses as pure functions of arrays: no networks, no optimisers, no environments."""

from gsljax.losses.bc import bc_loss, bc_squared_error_loss
from gsljax.losses.dapg import classic_dapg_loss, dapg_loss
from gsljax.losses.gail import (
    RewardForm,
    discriminator_logit,
    discriminator_loss,
    gradient_penalty,
    imitation_reward,
    interpolate_pairs,
    mixed_reward,
)
from gsljax.losses.ppg import auxiliary_phase_loss
from gsljax.losses.ppo import clipped_policy_loss, clipped_value_loss, explained_variance, value_loss
from gsljax.losses.returns import (
    generalized_advantages,
    masked_mean,
    masked_mean_by_group,
    normalize,
    normalize_by_group,
    zero_invalid,
)
from gsljax.losses.sac import (
    chosen_q,
    discrete_soft_policy_loss,
    discrete_soft_value,
    soft_policy_loss,
    soft_target,
    soft_value,
    temperature_loss,
    twin_q_loss,
)

__all__ = [
    "RewardForm",
    "auxiliary_phase_loss",
    "bc_loss",
    "bc_squared_error_loss",
    "chosen_q",
    "classic_dapg_loss",
    "clipped_policy_loss",
    "clipped_value_loss",
    "dapg_loss",
    "discrete_soft_policy_loss",
    "discrete_soft_value",
    "discriminator_logit",
    "discriminator_loss",
    "explained_variance",
    "generalized_advantages",
    "gradient_penalty",
    "imitation_reward",
    "interpolate_pairs",
    "masked_mean",
    "masked_mean_by_group",
    "mixed_reward",
    "normalize",
    "normalize_by_group",
    "soft_policy_loss",
    "soft_target",
    "soft_value",
    "temperature_loss",
    "twin_q_loss",
    "value_loss",
    "zero_invalid",
]
