"""Generalist-specialist learning on an environment of your own: CartPole, with a pole length per variation.

python examples/own_environment.py [TOTAL_SAMPLES [RUN_DIR]]
"""

import dataclasses
import sys

import jax.numpy as jnp
from gymnax.environments.classic_control.cartpole import CartPole, EnvParams

from gsljax import api
from gsljax.algorithms import PPOConfig
from gsljax.envs import GymnaxLanes
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, TrainingConfig
from gsljax.gsl.network_config import NetworkConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.presets import Preset

POLE_LENGTHS = (0.1, 0.5, 2.0, 6.0)  # of half the pole, in metres
PPO = PPOConfig(learning_rate=1e-3, num_epochs=8, minibatch_size=256)

CONFIG = GSLConfig(
    total_samples=120_000,
    rollout_steps=64,
    network=NetworkConfig(hidden=(64, 64)),
    generalist=TrainingConfig(lanes=32, ppo=PPO),
    plateau=PlateauCriterion(metric="return", kernel_sigma=1.0, window=4, epsilon=2.0),
    low_episodes=4,
    num_low_performing=2,
    num_specialists=2,
    specialist=TrainingConfig(lanes=16, ppo=PPO),
    demonstrations=DemonstrationConfig(specialist_episodes=20, require_success=False),
    phase_two=TrainingConfig(lanes=32, ppo=PPO),
)


def set_variation(params, variation):
    """CartPole's parameters with the pole that belongs to a variation id."""
    length = jnp.array(POLE_LENGTHS)[variation]
    return params.replace(length=length, polemass_length=params.masspole * length)


def make_environment(config: GSLConfig) -> GymnaxLanes:
    """A gymnax environment, its parameters, how many variations it has, and what a variation changes."""
    return GymnaxLanes(CartPole(), EnvParams(max_steps_in_episode=100), len(POLE_LENGTHS), set_variation)


def main(total_samples: int | str = CONFIG.total_samples, run_dir: str | None = None) -> None:
    """Run it and print what the final policy reaches with each pole."""
    preset = Preset("poles", "CartPole with four poles", "under a minute", CONFIG, make_environment)
    summary = api.train(preset, dataclasses.replace(CONFIG, total_samples=int(total_samples)), run_dir)
    for length, result in zip(POLE_LENGTHS, summary["final"]["per_variation"].values(), strict=True):
        print(f"pole of {length:g} m: return {result['return']:.1f} of 100")


if __name__ == "__main__":
    main(*sys.argv[1:])
