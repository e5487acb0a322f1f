"""A maze small enough that a whole GSL run takes seconds, most of them compilation."""

from gsljax.algorithms import ImitationConfig, PPOConfig
from gsljax.envs import BrushMazeConfig
from gsljax.gsl.config import DemonstrationConfig, NetworkConfig, TrainingConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.presets import MAZE, MazeConfig, Preset

HORIZON = 10
LANES = 10
SPECIALIST_LANES = 2
GENERALIST_EPOCH = LANES * HORIZON
SPECIALIST_EPOCH = SPECIALIST_LANES * HORIZON


def _training(lanes: int, minibatch_size: int) -> TrainingConfig:
    return TrainingConfig(lanes, PPOConfig(learning_rate=3e-3, num_epochs=2, minibatch_size=minibatch_size))


CONFIG = MazeConfig(
    total_samples=4000,
    rollout_steps=HORIZON + 1,
    checkpoint_interval=2,
    network=NetworkConfig(hidden=(8,), initial_std=0.6, min_std=0.1, max_std=1.0, squash_mean=True),
    baseline=_training(LANES, 50),
    generalist=_training(LANES, 50),
    generalist_share=0.25,
    plateau=PlateauCriterion(metric="return", kernel_sigma=1.0, window=2, epsilon=0.0),
    good_enough=0.0,  # no return reaches it
    low_episodes=2,
    specialist=_training(SPECIALIST_LANES, 11),
    specialist_share=0.125,
    demonstrations=DemonstrationConfig(specialist_episodes=20, require_success=False),
    phase_two=_training(LANES, 50),
    imitation=ImitationConfig(interval=2),
    evaluation_episodes=4,
    env=BrushMazeConfig(corridor_length=1.0, junction_width=0.5, branch_length=0.5, horizon=HORIZON),
)
"""Budgets in epochs: 10 of the generalist, 5 of the specialists, the rest after evaluation and demonstrations."""

PRESET: Preset = MAZE._replace(name="tiny", config=CONFIG)
