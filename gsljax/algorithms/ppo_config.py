"""The settings of proximal policy optimisation: those that are static, and those that are traced."""

import dataclasses
import math
import typing
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from gsljax.algorithms.imitation import ImitationConfig
from gsljax.errors import UserError
from gsljax.types import Scalar

Scope = Literal["all", "variation"]
"""Whether something is normalised over all samples alike, or over those of each variation apart."""


class PPOHyperparameters(NamedTuple):
    """The traced hyperparameters: members of one population may differ in them without recompiling.

    They are the fields of `PPOConfig` and `ImitationConfig`, and `anneal_samples`: the number of samples over which the
    learning rates fall linearly to 0 (infinity keeps them constant).
    """

    learning_rate: Scalar
    anneal_samples: Scalar
    discount: Scalar
    gae_lambda: Scalar
    clip: Scalar
    entropy_coefficient: Scalar
    value_coefficient: Scalar
    imitation_weight: Scalar
    value_learning_rate: Scalar | None = None


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """PPO's settings; the fields of `PPOHyperparameters` become traced, the rest is static."""

    learning_rate: float = 3e-4
    """Adam's step size."""
    value_learning_rate: float | None = None
    """Adam's step size for the value network, which is then clipped by a norm of its own too; None takes learning_rate
    and clips both as one. It needs a value network that shares no layers with the policy."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage."""
    clip: float = 0.2
    """ε of the clipped policy loss (and of the clipped value loss)."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    value_coefficient: float = 1.0
    """Weight of the value loss, ½ · MSE."""
    num_epochs: int = 10
    """Passes over each rollout."""
    minibatch_size: int = 500
    """Samples per gradient step; what does not fill a minibatch is left out, another part in every pass."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm (of each network, where value_learning_rate is set)."""
    clip_value_loss: bool = False
    """Whether the value loss is clipped too."""
    normalize_observations: bool = False
    """Whether the networks see observations normalised by running statistics."""
    normalize_rewards: bool = False
    """Whether rewards are divided by the std of the running discounted return (gamma 0.99, clipped to 10)."""
    reward_scope: Scope = "all"
    """Of which returns normalize_rewards takes the std: of all, or for each variation's rewards of that variation's."""
    normalize_values: bool = False
    """Whether the value network predicts returns shifted and scaled by the running mean and std of each variation's
    (PPO only); without, it predicts returns."""
    normalize_advantages: Scope = "all"
    """Over which samples of a rollout advantages get mean 0 and std 1: over all, or over those of each variation."""

    def __post_init__(self):
        for name in ("num_epochs", "minibatch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must be at least 1.")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must be positive and finite.")
        if self.value_learning_rate is not None and not 0 < self.value_learning_rate < math.inf:
            raise UserError(
                f"PPO's value_learning_rate is {self.value_learning_rate}, but must be positive and finite, or None."
            )
        for name in ("reward_scope", "normalize_advantages"):
            if getattr(self, name) not in typing.get_args(Scope):
                raise UserError(f"PPO's {name} is {getattr(self, name)!r}, but must be 'all' or 'variation'.")
        if not self.max_grad_norm > 0:
            raise UserError(f"PPO's max_grad_norm is {self.max_grad_norm}, but must be positive.")
        for name in ("entropy_coefficient", "value_coefficient"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must be at least 0 and finite.")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must lie between 0 and 1.")


def hyperparameters(config: PPOConfig, imitation: ImitationConfig | None = None) -> PPOHyperparameters:
    """The traced part of a configuration, as strongly typed float32 scalars; None where there is none."""
    apart = {
        "imitation_weight": imitation.weight if imitation else 0.0,
        "anneal_samples": math.inf,
    }
    values = {name: getattr(config, name) for name in PPOHyperparameters._fields if name not in apart} | apart
    arrays: dict[str, Any] = {
        name: None if value is None else jnp.asarray(value, jnp.float32) for name, value in values.items()
    }
    return PPOHyperparameters(**arrays)
