"""Meta-World MT-10 and MT-50 (GSL §5.4): a task per variation, told by a one-hot id; PPO with DAPG.

Values marked [T] are the paper's text, [B] defaults of the code that its authors built on (garage); the others are
ours, from scratch runs on a few seeds, and no run has tuned them yet. EnvPool has version 3 of the tasks, which draw
their goals anew at every reset; the paper's were version 2.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from gsljax.algorithms import ImitationConfig, PPOConfig
from gsljax.envs.meta_world import MT10, MT50, meta_world
from gsljax.envs.pools import Pools
from gsljax.errors import UserError
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, NetworkConfig, TrainingConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.presets.base import Preset
from gsljax.report.arm_film import arm_film
from gsljax.report.film import FilmStyle

_BENCHMARKS: dict[str, Sequence[str]] = {"mt10": MT10, "mt50": MT50}


@dataclasses.dataclass(frozen=True)
class MetaWorldTasksConfig:
    """Which tasks are played, and for how long."""

    benchmark: Literal["mt10", "mt50"] = "mt10"
    """The benchmark's tasks, unless `tasks` names others."""
    tasks: tuple[str, ...] = ()
    """Names of tasks, such as `reach-v3`; empty for all of the benchmark's."""
    task_id: bool = True
    """Whether observations tell the task, by a one-hot id."""
    horizon: int = 200
    """Steps of an episode in training and in demonstrations."""
    evaluation_horizon: int = 500
    """Steps of an episode in the evaluation after the run; 500 in the benchmark."""

    def __post_init__(self):
        for name in ("horizon", "evaluation_horizon"):
            if getattr(self, name) < 1:
                raise UserError(f"env.{name} is {getattr(self, name)}, but must be at least 1.")


@dataclasses.dataclass(frozen=True)
class MetaWorldConfig(GSLConfig):
    """A GSL run on Meta-World."""

    env: MetaWorldTasksConfig = dataclasses.field(default_factory=MetaWorldTasksConfig)
    """The tasks."""


_PPO = PPOConfig(
    learning_rate=3e-4,
    discount=0.99,  # [T]
    gae_lambda=0.95,  # [T]
    clip=0.2,  # [T]
    entropy_coefficient=0.005,  # [T], MT-10
    num_epochs=10,  # [B]
    minibatch_size=250,
    normalize_observations=True,
    normalize_rewards=True,
)
_TRAINING = TrainingConfig(lanes=40, ppo=_PPO)
_SPECIALIST = TrainingConfig(lanes=8, initial_std=1.0, ppo=_PPO)

MT10_CONFIG = MetaWorldConfig(
    total_samples=6_000_000,
    rollout_steps=201,  # one episode of 200 steps and its reset
    checkpoint_interval=10,
    network=NetworkConfig(
        hidden=(128, 128), activation="tanh", initial_std=1.0, min_std=0.5, max_std=1.5
    ),  # std: [T], [B]
    baseline=_TRAINING,
    generalist=_TRAINING,
    generalist_share=0.35,
    plateau=PlateauCriterion(metric="success", kernel_sigma=5.0, window=40, epsilon=0.01),  # epsilon [T]
    low_episodes=20,
    num_low_performing=4,
    num_specialists=4,  # one task each [T]
    specialist=_SPECIALIST,
    specialist_share=0.3,
    demonstrations=DemonstrationConfig(specialist_episodes=40, generalist_episodes=60),  # successful ones only [A]
    phase_two=_TRAINING,
    imitation=ImitationConfig(dapg_weight=0.5, interval=4),  # [A]
    evaluation_episodes=20,
)
MT50_CONFIG = dataclasses.replace(
    MT10_CONFIG,
    total_samples=30_000_000,
    env=MetaWorldTasksConfig("mt50"),
    num_low_performing=25,
    num_specialists=25,
    demonstrations=DemonstrationConfig(specialist_episodes=250, generalist_episodes=250),
    **{
        name: dataclasses.replace(
            getattr(MT10_CONFIG, name),
            lanes=getattr(MT10_CONFIG, name).lanes if name == "specialist" else 100,
            ppo=dataclasses.replace(_PPO, entropy_coefficient=0.05),  # [T]
        )
        for name in ("baseline", "generalist", "specialist", "phase_two")
    },
)


def make_environment(config: MetaWorldConfig) -> Pools:
    """The tasks at the training horizon."""
    return _tasks(config, config.env.horizon)


def make_evaluation_environment(config: MetaWorldConfig) -> Pools:
    """The tasks at the evaluation horizon."""
    return _tasks(config, config.env.evaluation_horizon)


def _tasks(config: MetaWorldConfig, horizon: int) -> Pools:
    return meta_world(_names(config), config.env.task_id, horizon)


def _names(config: MetaWorldConfig) -> Sequence[str]:
    return config.env.tasks or _BENCHMARKS[config.env.benchmark]


def film_style(config: MetaWorldConfig) -> FilmStyle:
    """Hand, objects and goal, from two sides."""
    return arm_film(_names(config))


def _preset(name: str, number: int, config: MetaWorldConfig) -> Preset:
    return Preset(
        name=f"meta-world-{name}",
        description=f"Meta-World's {number} tasks, a specialist for each of the worst (GSL §5.4)",
        expected_time="not measured",
        config=config,
        make_environment=make_environment,
        make_evaluation_environment=make_evaluation_environment,
        film_style=film_style,
    )


META_WORLD = (_preset("mt10", 10, MT10_CONFIG), _preset("mt50", 50, MT50_CONFIG))
