"""Flax Linen modules: policies, values and discriminators. They know distributions and nothing else of gsljax."""

from gsljax.networks.conv import Conv3x3
from gsljax.networks.discriminator import Discriminator
from gsljax.networks.impala import ImpalaActorCritic, ImpalaEncoder
from gsljax.networks.mlp import MLP, ActorCritic, GaussianHead, VectorEncoder
from gsljax.networks.packed_cloud import PackedCloudEncoder, unpack_cloud
from gsljax.networks.phasic import PhasicActorCritic
from gsljax.networks.point_cloud import PointCloud, PointCloudEncoder
from gsljax.networks.soft_actor_critic import (
    CategoricalActor,
    DiscreteTwinQ,
    TanhGaussianActor,
    TwinQ,
)

__all__ = [
    "MLP",
    "ActorCritic",
    "CategoricalActor",
    "Conv3x3",
    "DiscreteTwinQ",
    "Discriminator",
    "GaussianHead",
    "ImpalaActorCritic",
    "ImpalaEncoder",
    "PackedCloudEncoder",
    "PhasicActorCritic",
    "PointCloud",
    "PointCloudEncoder",
    "TanhGaussianActor",
    "TwinQ",
    "VectorEncoder",
    "unpack_cloud",
]
