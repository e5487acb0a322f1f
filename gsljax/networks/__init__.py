"""Flax Linen modules: policies and values. They know distributions and nothing else of gsljax."""

from gsljax.networks.mlp import MLP, ActorCritic, GaussianHead

__all__ = ["MLP", "ActorCritic", "GaussianHead"]
