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
from gsljax.errors import UserError
from gsljax.gsl.config import AlgorithmName, TrainingConfig
from gsljax.gsl.network_config import ImageNetworkConfig, NetworkConfig, PointCloudNetworkConfig
from gsljax.networks import (
    ActorCritic,
    CategoricalActor,
    DiscreteTwinQ,
    Discriminator,
    ImpalaActorCritic,
    ImpalaEncoder,
    PackedCloudEncoder,
    PhasicActorCritic,
    PointCloudEncoder,
    TanhGaussianActor,
    TwinQ,
    VectorEncoder,
)
from gsljax.types import ActionSpec, EnvSpec

AlgorithmConfig: TypeAlias = PPOConfig | PPGConfig | SACConfig
AnyNetworkConfig: TypeAlias = NetworkConfig | ImageNetworkConfig | PointCloudNetworkConfig


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
    if isinstance(network, ImageNetworkConfig) and any(size % network.shrink for size in spec.observation_shape[:2]):
        sizes = " x ".join(map(str, spec.observation_shape[:2]))
        raise UserError(f"The network's shrink is {network.shrink}, but must divide the images' size, {sizes}.")
    if isinstance(network, PointCloudNetworkConfig) and not isinstance(settings, SACConfig):
        raise UserError("The algorithm is not sac, but it must be, as the networks of point clouds are SAC's.")
    if isinstance(settings, PPOConfig):
        return make_ppo(_actor_critic(network, spec.action), spec, settings, imitation)
    if isinstance(settings, PPGConfig):
        return make_ppg(_phasic_actor_critic(network, spec), spec, settings, imitation)
    encoder = _encoder(network, spec)
    if spec.action.num_actions is None:
        actor, critic = TanhGaussianActor(spec.action, encoder), TwinQ(encoder)
        has_own = isinstance(network, PointCloudNetworkConfig) and imitation is not None and imitation.method == "gail"
        discriminator = Discriminator(spec.action, encoder) if has_own else None
        return make_sac(actor, critic, spec, settings, imitation, discriminator)
    count = spec.action.num_actions
    return make_sac(CategoricalActor(count, encoder), DiscreteTwinQ(count, encoder), spec, settings, imitation)


def _actor_critic(network: AnyNetworkConfig, action: ActionSpec) -> nn.Module:
    if isinstance(network, ImageNetworkConfig):
        return ImpalaActorCritic(action, network.channels, network.hidden, **_computing(network))
    return ActorCritic(action, **dataclasses.asdict(network))


def _phasic_actor_critic(network: AnyNetworkConfig, spec: EnvSpec) -> nn.Module:
    action = spec.action
    if isinstance(network, ImageNetworkConfig):
        return PhasicActorCritic(action, ImpalaEncoder(network.channels, network.hidden, "ppg", **_computing(network)))
    assert isinstance(network, NetworkConfig)
    std = network.initial_std, network.min_std, network.max_std, network.squash_mean
    return PhasicActorCritic(action, _encoder(network, spec), *std)


def _encoder(network: AnyNetworkConfig, spec: EnvSpec) -> nn.Module:
    if isinstance(network, PointCloudNetworkConfig):
        if spec.cloud_layout is None:
            raise UserError(f"The networks are those of point clouds, but {spec.name} has none to observe.")
        return PackedCloudEncoder(spec.cloud_layout, PointCloudEncoder(**dataclasses.asdict(network)))
    if isinstance(network, ImageNetworkConfig):
        return ImpalaEncoder(network.channels, network.hidden, **_computing(network))
    return VectorEncoder(network.hidden, network.activation)


def _computing(network: ImageNetworkConfig) -> dict[str, Any]:
    return {"compute": network.compute, "dtype": jnp.dtype(network.dtype), "shrink": network.shrink}
