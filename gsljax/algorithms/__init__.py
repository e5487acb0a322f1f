"""Algorithms as frozen bundles `init / act / update`, and the imitation terms that plug into them."""

from gsljax.algorithms.base import ActorOutput, Algorithm
from gsljax.algorithms.imitation import ImitationConfig
from gsljax.algorithms.ppo import PPOConfig, PPOHyperparameters, make_ppo

__all__ = ["ActorOutput", "Algorithm", "ImitationConfig", "PPOConfig", "PPOHyperparameters", "make_ppo"]
