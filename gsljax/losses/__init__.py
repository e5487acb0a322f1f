"""Losses as pure functions of arrays: no networks, no optimisers, no environments."""

from gsljax.losses.bc import bc_loss
from gsljax.losses.dapg import classic_dapg_loss, dapg_loss
from gsljax.losses.ppo import clipped_policy_loss, clipped_value_loss, explained_variance, value_loss
from gsljax.losses.returns import generalized_advantages, masked_mean, normalize

__all__ = [
    "bc_loss",
    "classic_dapg_loss",
    "clipped_policy_loss",
    "clipped_value_loss",
    "dapg_loss",
    "explained_variance",
    "generalized_advantages",
    "masked_mean",
    "normalize",
    "value_loss",
]
