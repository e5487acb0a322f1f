"""Procgen (GSL §5.3): 1024 easy levels to train on, 1000 others to test on, IMPALA networks, PPO or PPG with DAPG.

Values marked [T] are the paper's text, [B] defaults of the code that its authors built on (train-procgen,
phasic-policy-gradient); the others are ours, and no run has tuned them yet.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from gsljax.algorithms import AuxiliaryConfig, ImitationConfig, PPOConfig
from gsljax.envs.pools import Pools
from gsljax.envs.procgen import GAMES, LAST_LEVEL, Distribution, procgen
from gsljax.errors import UserError
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, ImageNetworkConfig, TrainingConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.presets.base import Preset


@dataclasses.dataclass(frozen=True)
class ProcgenLevelsConfig:
    """Which levels are played."""

    distribution: Distribution = "easy"
    """Which levels the seeds stand for."""
    first_level: int = 0
    """Seed of the first training level."""
    num_levels: int = 1024
    """Number of training levels, each a variation."""
    first_test_level: int = 1024
    """Seed of the first held-out level."""
    num_test_levels: int = 1000
    """Number of held-out levels, for `gsljax evaluate --split test`."""

    def __post_init__(self):
        for name in ("num_levels", "num_test_levels"):
            if getattr(self, name) < 1:
                raise UserError(f"env.{name} is {getattr(self, name)}, but must be at least 1.")
        for name, count in (("first_level", self.num_levels), ("first_test_level", self.num_test_levels)):
            last = LAST_LEVEL + 1 - count
            if not 0 <= getattr(self, name) <= last:
                raise UserError(f"env.{name} is {getattr(self, name)}, but must lie between 0 and {last}.")
        first, first_test = self.first_level, self.first_test_level
        if first < first_test + self.num_test_levels and first_test < first + self.num_levels:
            raise UserError(
                f"env.first_test_level is {first_test}, but the {self.num_test_levels} held-out levels from there must "
                f"not contain any of the {self.num_levels} training levels from {first}."
            )


@dataclasses.dataclass(frozen=True)
class ProcgenConfig(GSLConfig):
    """A GSL run on a Procgen game."""

    network: ImageNetworkConfig = dataclasses.field(default_factory=ImageNetworkConfig)  # pyright: ignore[reportIncompatibleVariableOverride]
    """The networks."""
    env: ProcgenLevelsConfig = dataclasses.field(default_factory=ProcgenLevelsConfig)
    """The levels."""


_PPO = PPOConfig(
    learning_rate=5e-4,  # [B]
    discount=0.999,  # [T]
    gae_lambda=0.95,  # [T]
    clip=0.2,  # [T]
    entropy_coefficient=0.01,  # [T]
    value_coefficient=1.0,  # of half the squared error: [B]'s 0.5 of the whole
    num_epochs=3,  # [B]
    minibatch_size=2048,  # [B] 8 of 64 lanes and 256 steps
    max_grad_norm=0.5,  # [B]
    clip_value_loss=True,  # [B]
    normalize_rewards=True,  # [B]
)


def _ppo_config(epsilon: float) -> ProcgenConfig:
    """PPO's configuration for a game in which `epsilon` is 0.03 of its score range [T]."""
    training = TrainingConfig(lanes=64, ppo=_PPO)  # [T]
    specialist = dataclasses.replace(training, lanes=8, ppo=dataclasses.replace(_PPO, minibatch_size=256))
    entropic = dataclasses.replace(_PPO, entropy_coefficient=0.05)  # [T] with DAPG
    return ProcgenConfig(
        total_samples=100_000_000,  # [T]
        rollout_steps=256,  # [B]
        checkpoint_interval=50,
        baseline=training,
        generalist=training,
        generalist_share=0.4,
        plateau=PlateauCriterion(metric="return", kernel_sigma=400.0, window=400, epsilon=epsilon),  # kernel [T]
        low_episodes=1,
        num_low_performing=300,  # [T]
        num_specialists=75,  # [T], of 4 levels each
        specialist=specialist,  # fewer lanes [T]
        specialist_share=0.2,
        demonstrations=DemonstrationConfig(specialist_episodes=300, require_success=False),
        phase_two=dataclasses.replace(training, ppo=entropic),
        imitation=ImitationConfig(dapg_weight=0.5, interval=4),  # [A]: the authors' scripts
        evaluation_episodes=1,
    )


def _ppg_config(config: ProcgenConfig) -> ProcgenConfig:
    """The same with PPG: one pass in a policy phase, no entropy bonus but with DAPG [B, T]."""
    ppo = dataclasses.replace(_PPO, num_epochs=1, entropy_coefficient=0.0, clip_value_loss=False)
    training = dataclasses.replace(
        config.baseline, ppo=ppo, auxiliary=AuxiliaryConfig(policy_phases=32, auxiliary_epochs=6)
    )  # [B]
    return dataclasses.replace(
        config,
        algorithm="ppg",
        baseline=training,
        generalist=training,
        specialist=dataclasses.replace(
            config.specialist,
            ppo=dataclasses.replace(ppo, minibatch_size=256),
            auxiliary=AuxiliaryConfig(policy_phases=4, auxiliary_epochs=4),  # [T]
        ),
        phase_two=dataclasses.replace(training, ppo=dataclasses.replace(ppo, entropy_coefficient=0.01)),  # [T]
    )


def _environment_of(game: str, split: str) -> Callable[[Any], Pools]:
    def make_environment(config: ProcgenConfig) -> Pools:
        levels = config.env
        first, count = {
            "train": (levels.first_level, levels.num_levels),
            "test": (levels.first_test_level, levels.num_test_levels),
        }[split]
        return procgen(game, range(first, first + count), levels.distribution)

    return make_environment


def _preset(game: str) -> Preset:
    low, high = GAMES[game].easy
    config = _ppo_config(epsilon=0.03 * (high - low))
    return Preset(
        name=f"procgen-{game}",
        description=f"Procgen's {game}: 1024 levels, 75 specialists of the 300 worst (GSL §5.3)",
        expected_time="for a GPU; not measured",
        config=config,
        make_environment=_environment_of(game, "train"),
        make_test_environment=_environment_of(game, "test"),
        other_configs=(_ppg_config(config),),
        evaluation_settings=("env.first_test_level", "env.num_test_levels"),
    )


PROCGEN = tuple(_preset(game) for game in GAMES)
