"""The paper's maze (GSL §4, Fig. 2): five goals, a context that PPO ignores, one specialist for each goal.

Values marked [T] are the paper's text; the others are ours, found by the experiments that docs/maze.md records.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from gsljax.algorithms import AuxiliaryConfig, GAILConfig, ImitationConfig, PPOConfig, SACConfig
from gsljax.envs import BrushMaze, BrushMazeConfig, GymnaxLanes
from gsljax.evaluation import evaluate
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, TrainingConfig
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.network_config import NetworkConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.gsl.run import Outcome
from gsljax.presets.base import Preset
from gsljax.report.film import FilmStyle
from gsljax.report.maze_figure import maze_figure
from gsljax.report.maze_film import maze_film
from gsljax.train_state import TrainState, take


def _ppo(**changes) -> PPOConfig:
    """PPO with what all stages share: γ 0.95, λ 0.97, clip 0.2, entropy coefficient 0.01 [T]."""
    return dataclasses.replace(PPOConfig(discount=0.95, gae_lambda=0.97, clip=0.2, entropy_coefficient=0.01), **changes)


@dataclasses.dataclass(frozen=True)
class MazeConfig(GSLConfig):
    """A GSL run on the maze."""

    env: BrushMazeConfig = dataclasses.field(default_factory=BrushMazeConfig)
    """Geometry, context, reward and observation."""


_LONG = TrainingConfig(
    lanes=40,
    anneal=True,
    ppo=_ppo(learning_rate=3e-3, num_epochs=20, minibatch_size=250, entropy_coefficient=0.001),
)
"""Of the two stages that end a run: the baseline has the same settings as phase II."""

CONFIG = MazeConfig(
    total_samples=450_000,
    rollout_steps=151,  # one episode of 150 steps [T] and its reset: 40 lanes are 6,000 samples an epoch
    network=NetworkConfig(  # 2 × 256 ReLU [T]
        hidden=(256, 256), activation="relu", initial_std=0.6, min_std=0.1, max_std=1.0, squash_mean=True
    ),
    baseline=_LONG,  # the best of the settings tried for it
    generalist=TrainingConfig(lanes=40, ppo=_ppo(learning_rate=1e-3, num_epochs=10, minibatch_size=500)),
    generalist_share=0.267,  # at most 20 epochs
    plateau=PlateauCriterion(metric="success", kernel_sigma=1.0, window=3, epsilon=0.01),  # epsilon [T]
    num_low_performing=5,  # [T]
    num_specialists=5,  # one goal each [T]
    specialist=TrainingConfig(
        lanes=8, initial_std=0.9, ppo=_ppo(learning_rate=2e-3, num_epochs=20, minibatch_size=250)
    ),
    specialist_share=0.2,  # 15 epochs
    demonstrations=DemonstrationConfig(specialist_episodes=200, label="mode"),
    phase_two=_LONG,
    imitation=ImitationConfig(
        dapg_weight=3.0, classic_weight=0.1, classic_decay=1.0, interval=1, demonstration_std=0.6
    ),
    good_enough=0.98,
)


def _with_ppg(training: TrainingConfig) -> TrainingConfig:
    """PPG with as many passes as PPO, half of them over the last four rollouts in the auxiliary phases. Not tuned."""
    passes = training.ppo.num_epochs // 2
    return dataclasses.replace(
        training,
        ppo=dataclasses.replace(training.ppo, num_epochs=passes),
        auxiliary=AuxiliaryConfig(policy_phases=4, auxiliary_epochs=passes, auxiliary_minibatch=4),
    )


def _with_sac(training: TrainingConfig) -> TrainingConfig:
    """SAC with a gradient step of 256 transitions per 16 samples. Not tuned."""
    sac = SACConfig(
        discount=0.95,
        num_gradient_steps=training.lanes * 10,
        replay_capacity=100_000,
        warmup_samples=training.lanes * 150,
    )
    return dataclasses.replace(training, anneal=False, initial_std=None, sac=sac)


def _with(change: Callable[[TrainingConfig], TrainingConfig], **changes: Any) -> MazeConfig:
    stages = ("baseline", "generalist", "specialist", "phase_two")
    return dataclasses.replace(CONFIG, **{name: change(getattr(CONFIG, name)) for name in stages}, **changes)


PPG_CONFIG = _with(_with_ppg, algorithm="ppg")
SAC_CONFIG = _with(
    _with_sac,
    algorithm="sac",
    network=NetworkConfig(hidden=(64, 64)),
    imitation=dataclasses.replace(CONFIG.imitation, gail=GAILConfig(num_updates=20, minibatch_size=256)),
)


def make_environment(config: MazeConfig) -> GymnaxLanes:
    """The maze, whose variations are its goals."""
    maze = BrushMaze(config.env)
    params = maze.default_params
    return GymnaxLanes(maze, params, config.env.num_branches, lambda p, variation: p.replace(variation=variation))


def film_style(config: MazeConfig) -> FilmStyle:
    """The maze from above."""
    return maze_film(BrushMaze(config.env))


def draw_behaviour(experiment: Experiment, outcome: Outcome, shown: int = 6) -> dict[str, Figure]:
    """Trajectories of the generalist at its plateau, of the specialists, and of the final policy."""
    environment = experiment.environment
    assert isinstance(environment, GymnaxLanes)
    maze = environment.environment
    assert isinstance(maze, BrushMaze)

    def trajectories(state: TrainState) -> dict[int, np.ndarray]:
        episodes = experiment.config.evaluation_episodes  # as many as the final evaluation, which is compiled already
        goals, key = jnp.asarray(experiment.all_variations), jax.random.key(experiment.config.seed)
        rollout = evaluate(environment, experiment.acting.act, state, goals, episodes, key).rollout
        assert rollout is not None
        paths = np.swapaxes(np.asarray(maze.positions(rollout.observation)), 0, 1)
        paths = paths.reshape(maze.config.num_branches, episodes, *paths.shape[1:])
        return {goal: paths[goal, :shown] for goal in range(maze.config.num_branches)}

    panels = {}
    if outcome.generalist is not None:
        panels["generalist before its specialists"] = trajectories(outcome.generalist)
    if outcome.specialists is not None and outcome.subsets is not None:
        panels["specialists"] = {
            int(goal): trajectories(take(outcome.specialists, index))[int(goal)]
            for index, goals in enumerate(outcome.subsets)
            for goal in goals
        }
    final = "baseline after the same samples" if outcome.generalist is None else "generalist with demonstrations"
    panels[final] = trajectories(outcome.policy)
    return {"trajectories.png": maze_figure(maze, panels)}


MAZE = Preset(
    name="maze",
    description="the paper's maze: 5 goals, 5 specialists, DAPG + PPO (GSL §4, Fig. 2)",
    expected_time="about 3 minutes on 2 CPU cores",
    config=CONFIG,
    make_environment=make_environment,
    draw_behaviour=draw_behaviour,
    film_style=film_style,
    other_configs=(PPG_CONFIG, SAC_CONFIG),
)
