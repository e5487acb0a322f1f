"""Procgen (GSL §5.3): 1024 easy levels to train on, 1000 others to test on, IMPALA networks, PPO or PPG with DAPG.

Values marked [T] are the paper's text, [B] defaults of the code that its authors built on (train-procgen,
phasic-policy-gradient), [A] their own; the others are ours, and no run has tuned them yet. What the paper's text lost,
and how `total_samples` scales it: docs/procgen.md.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from gsljax.algorithms import AuxiliaryConfig, ImitationConfig, PPOConfig
from gsljax.envs.pools import Pools
from gsljax.envs.procgen import GAMES, LAST_LEVEL, TRAIN_LEVELS, Distribution, procgen
from gsljax.errors import UserError
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, TrainingConfig
from gsljax.gsl.network_config import ImageNetworkConfig
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


class _Specialists(NamedTuple):
    """How many there are, of how many low-performing levels, in how many lanes each; the generalist's episodes."""

    count: int
    low: int
    lanes: int
    of_generalist: int

    @property
    def described(self) -> str:
        """What the preset's description says."""
        which = "all" if self.low == len(TRAIN_LEVELS) else f"the {self.low} worst"
        return f"{self.count} specialists of {which}"


_USUAL = _Specialists(count=75, low=300, lanes=8, of_generalist=300)  # [T], 4 levels each
_SPECIALISTS = dict.fromkeys(GAMES, _USUAL)
# All 1024 levels [T], which 75 specialists cannot share evenly; there is no other level for the generalist to show.
_SPECIALISTS["plunder"] = _Specialists(count=64, low=1024, lanes=16, of_generalist=0)

_PPO = PPOConfig(
    learning_rate=5e-4,  # [B]
    discount=0.999,  # [T]
    gae_lambda=0.95,  # [T]
    clip=0.2,  # [T]
    entropy_coefficient=0.01,  # [T]
    value_coefficient=0.5,  # [B], of half the squared error
    num_epochs=3,  # [B]
    minibatch_size=2048,  # [B] 8 of 64 lanes and 256 steps
    max_grad_norm=0.5,  # [B]; with PPG ours, as [B] has no clipping there
    clip_value_loss=True,  # [B]
    normalize_rewards=True,  # [B]
)


_TOTAL = 100_000_000  # [T]
_GENERALIST_SHARE = 0.4
_LANES, _STEPS = 64, 256  # [T], [B]
_SPECIALIST_MINIBATCHES = 8  # of a specialist's rollout, as of the generalist's


def _ppo_config(game: str) -> ProcgenConfig:
    """PPO's configuration for a game."""
    low, high = GAMES[game].easy
    training = TrainingConfig(lanes=_LANES, ppo=_PPO)
    lanes = _SPECIALISTS[game].lanes
    minibatch = lanes * _STEPS // _SPECIALIST_MINIBATCHES
    specialist = dataclasses.replace(training, lanes=lanes, ppo=dataclasses.replace(_PPO, minibatch_size=minibatch))
    entropic = dataclasses.replace(_PPO, entropy_coefficient=0.05)  # [T] with DAPG
    return ProcgenConfig(
        total_samples=_TOTAL,
        rollout_steps=_STEPS,
        checkpoint_interval=50,
        baseline=training,
        generalist=training,
        generalist_share=_GENERALIST_SHARE,
        plateau=PlateauCriterion(
            metric="return",
            kernel_sigma=400.0,  # [T]
            window=400,
            budget_epochs=int(_GENERALIST_SHARE * _TOTAL) // (_LANES * _STEPS),
            epsilon=0.03 * (high - low),  # [T] of the normalised score
        ),
        low_episodes=1,
        num_low_performing=_SPECIALISTS[game].low,
        num_specialists=_SPECIALISTS[game].count,
        best_window=5,
        specialist=specialist,  # fewer lanes [T]
        specialist_share=0.2,
        demonstrations=DemonstrationConfig(
            specialist_episodes=_SPECIALISTS[game].low,
            generalist_episodes=_SPECIALISTS[game].of_generalist,
            require_success=False,
            min_normalized=0.2,
        ),
        phase_two=dataclasses.replace(training, ppo=entropic),
        imitation=ImitationConfig(dapg_weight=0.5, interval=4),  # [A]: the authors' scripts
        evaluation_episodes=1,
    )


def _ppg_config(config: ProcgenConfig) -> ProcgenConfig:
    """The same with PPG: one pass in a policy phase, no entropy bonus but with DAPG [B, T]."""
    value_coefficient = 1.0  # of half the squared error: [B]'s 0.5 of the whole
    ppo = dataclasses.replace(
        _PPO, num_epochs=1, entropy_coefficient=0.0, value_coefficient=value_coefficient, clip_value_loss=False
    )
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
            ppo=dataclasses.replace(ppo, minibatch_size=config.specialist.ppo.minibatch_size),
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
    config = _ppo_config(game)
    return Preset(
        name=f"procgen-{game}",
        description=f"Procgen's {game}: 1024 levels, {_SPECIALISTS[game].described} (GSL §5.3)",
        expected_time="for a GPU; not measured",
        config=config,
        make_environment=_environment_of(game, "train"),
        make_test_environment=_environment_of(game, "test"),
        other_configs=(_ppg_config(config),),
        evaluation_settings=("env.first_test_level", "env.num_test_levels"),
    )


PROCGEN = tuple(_preset(game) for game in GAMES)
