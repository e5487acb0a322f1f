"""Algorithms as frozen bundles `init / act / update`, and how they use demonstrations."""

from gsljax.algorithms.adversary import GAILConfig
from gsljax.algorithms.base import ActorOutput, Algorithm
from gsljax.algorithms.imitation import ImitationConfig
from gsljax.algorithms.ppg import AuxiliaryConfig, PPGConfig, make_ppg
from gsljax.algorithms.ppo import make_ppo
from gsljax.algorithms.ppo_config import PPOConfig, PPOHyperparameters
from gsljax.algorithms.sac import make_sac
from gsljax.algorithms.sac_config import SACConfig, SACHyperparameters

__all__ = [
    "ActorOutput",
    "Algorithm",
    "AuxiliaryConfig",
    "GAILConfig",
    "ImitationConfig",
    "PPGConfig",
    "PPOConfig",
    "PPOHyperparameters",
    "SACConfig",
    "SACHyperparameters",
    "make_ppg",
    "make_ppo",
    "make_sac",
]
