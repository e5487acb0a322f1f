"""From the configuration to the algorithm: its networks, its settings, and how it uses demonstrations."""

import dataclasses
from functools import lru_cache
from typing import Any, TypeAlias

import flax.linen as nn
import jax.numpy as jnp

from gsljax.algorithms import (
    Algorithm,
    ImitationConfig,
    PPGConfig,
    PPOConfig,
    SACConfig,
    make_ppg,
    make_ppo,
    make_sac,
)
from gsljax.gsl.config import AlgorithmName, ImageNetworkConfig, NetworkConfig, TrainingConfig
from gsljax.networks import (
    ActorCritic,
    CategoricalActor,
    DiscreteTwinQ,
    ImpalaActorCritic,
    ImpalaEncoder,
    PhasicActorCritic,
    TanhGaussianActor,
    TwinQ,
    VectorEncoder,
)
from gsljax.types import ActionSpec, EnvSpec

AlgorithmConfig: TypeAlias = PPOConfig | PPGConfig | SACConfig
AnyNetworkConfig: TypeAlias = NetworkConfig | ImageNetworkConfig


def settings_of(algorithm: AlgorithmName, training: TrainingConfig) -> AlgorithmConfig:
    """The part of a stage's settings that belongs to the algorithm."""
    if algorithm == "ppo":
        return training.ppo
    if algorithm == "ppg":
        return PPGConfig(**dataclasses.asdict(training.auxiliary), ppo=training.ppo)
    return training.sac


@lru_cache  # the same functions for the same settings, so that what uses them compiles once
def make_algorithm(
    settings: AlgorithmConfig, network: AnyNetworkConfig, spec: EnvSpec, imitation: ImitationConfig | None = None
) -> Algorithm:
    """The algorithm whose settings these are, with networks for the environment's observations and actions.

    Raises:
      UserError: if settings, imitation, networks and environment do not fit together.
    """
    if isinstance(settings, PPOConfig):
        return make_ppo(_actor_critic(network, spec.action), spec, settings, imitation)
    if isinstance(settings, PPGConfig):
        return make_ppg(_phasic_actor_critic(network, spec.action), spec, settings, imitation)
    encoder = _encoder(network)
    if spec.action.num_actions is None:
        return make_sac(TanhGaussianActor(spec.action, encoder), TwinQ(encoder), spec, settings, imitation)
    count = spec.action.num_actions
    return make_sac(CategoricalActor(count, encoder), DiscreteTwinQ(count, encoder), spec, settings, imitation)


def _actor_critic(network: AnyNetworkConfig, action: ActionSpec) -> nn.Module:
    if isinstance(network, ImageNetworkConfig):
        return ImpalaActorCritic(action, network.channels, network.hidden, **_computing(network))
    return ActorCritic(action, **dataclasses.asdict(network))


def _phasic_actor_critic(network: AnyNetworkConfig, action: ActionSpec) -> nn.Module:
    if isinstance(network, ImageNetworkConfig):
        return PhasicActorCritic(action, ImpalaEncoder(network.channels, network.hidden, "ppg", **_computing(network)))
    std = network.initial_std, network.min_std, network.max_std, network.squash_mean
    return PhasicActorCritic(action, _encoder(network), *std)


def _encoder(network: AnyNetworkConfig) -> nn.Module:
    if isinstance(network, ImageNetworkConfig):
        return ImpalaEncoder(network.channels, network.hidden, **_computing(network))
    return VectorEncoder(network.hidden, network.activation)


def _computing(network: ImageNetworkConfig) -> dict[str, Any]:
    return {"compute": network.compute, "dtype": jnp.dtype(network.dtype)}
