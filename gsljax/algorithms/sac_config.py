"""The settings of soft actor-critic: those that are static, and those that are traced."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp

from gsljax.algorithms.imitation import ImitationConfig
from gsljax.errors import UserError
from gsljax.types import EnvSpec, Scalar


class SACHyperparameters(NamedTuple):
    """The traced hyperparameters: members of one population may differ in them without recompiling.

    They are the fields of `SACConfig`; `imitation_weight` is the weight of the method of `ImitationConfig`.
    """

    learning_rate: Scalar
    discount: Scalar
    tau: Scalar
    target_entropy: Scalar
    imitation_weight: Scalar


@dataclasses.dataclass(frozen=True)
class SACConfig:
    """SAC's settings; the fields of `SACHyperparameters` become traced, the rest is static."""

    learning_rate: float = 3e-4
    """Adam's step size, for actor, critics and temperature."""
    discount: float = 0.99
    """γ."""
    tau: float = 0.005
    """Share of the critics that their targets take over in each gradient step."""
    target_entropy: float | None = None
    """Entropy that the temperature holds the policy at; None takes -D nats for D continuous actions and 60% of the
    largest entropy for discrete ones."""
    initial_temperature: float = 1.0
    """Where the temperature starts (α)."""
    num_gradient_steps: int = 64
    """Gradient steps per update; the paper takes 4 per 64 samples."""
    minibatch_size: int = 256
    """Transitions in each gradient step."""
    replay_capacity: int = 100_000
    """Transitions that the replay holds; the oldest are overwritten."""
    warmup_samples: int = 1_000
    """Samples before a member learns; until then actions are uniformly random, if its networks have never learnt (a
    clone's have)."""
    normalize_observations: bool = False
    """Whether the networks see observations normalised by running statistics."""
    reward_offset: float = 0.0
    """Added to every reward of the environment in what the critics learn, not in what is reported. Where only the time
    limit ends episodes it changes no policy; minus the mean reward, it has the critics begin near their values."""

    def __post_init__(self):
        for name in ("num_gradient_steps", "minibatch_size", "replay_capacity"):
            if getattr(self, name) < 1:
                raise UserError(f"SAC's {name} is {getattr(self, name)}, but must be at least 1.")
        for name in ("learning_rate", "initial_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"SAC's {name} is {getattr(self, name)}, but must be positive and finite.")
        if not 0 <= self.discount <= 1:
            raise UserError(f"SAC's discount is {self.discount}, but must lie between 0 and 1.")
        if not 0 < self.tau <= 1:
            raise UserError(f"SAC's tau is {self.tau}, but must be above 0 and at most 1.")
        if self.target_entropy is not None and not math.isfinite(self.target_entropy):
            raise UserError(f"SAC's target_entropy is {self.target_entropy}, but must be finite.")
        if not math.isfinite(self.reward_offset):
            raise UserError(f"SAC's reward_offset is {self.reward_offset}, but must be finite.")
        if self.warmup_samples < 0:
            raise UserError(f"SAC's warmup_samples is {self.warmup_samples}, but must not be negative.")
        if self.minibatch_size > self.replay_capacity:
            raise UserError(
                f"SAC's minibatch_size is {self.minibatch_size}, but the replay holds only {self.replay_capacity}."
            )


def hyperparameters(config: SACConfig, spec: EnvSpec, imitation: ImitationConfig | None = None) -> SACHyperparameters:
    """The traced part of a configuration, as strongly typed float32 scalars."""
    target_entropy = config.target_entropy
    if target_entropy is None:
        actions = spec.action.num_actions
        target_entropy = 0.6 * math.log(actions) if actions is not None else -float(spec.action.dimension or 0)
    values = {name: getattr(config, name) for name in ("learning_rate", "discount", "tau")}
    values |= {"target_entropy": target_entropy, "imitation_weight": imitation.weight if imitation else 0.0}
    return SACHyperparameters(**{name: jnp.asarray(value, jnp.float32) for name, value in values.items()})
