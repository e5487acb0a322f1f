"""The configuration of the networks: of vectors, of images, of point clouds."""

import dataclasses
from typing import Literal

from gsljax.errors import UserError
from gsljax.networks.conv import DEFAULT_COMPUTE, Compute
from gsljax.networks.mlp import Activation


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The networks of a vector observation."""

    hidden: tuple[int, ...] = (256, 256)
    """Units of the hidden layers."""
    activation: Activation = "relu"
    """Activation after each hidden layer."""
    shared_trunk: bool = False
    """Whether policy and value share their hidden layers (PPO)."""
    initial_std: float = 1.0
    """Where the policy's std starts (continuous actions; PPO and PPG, as all of the std: SAC's is the network's)."""
    min_std: float = 0.5
    """Lower end of what the std is clamped to."""
    max_std: float = 1.5
    """Upper end of what the std is clamped to."""
    squash_mean: bool = False
    """Whether the mean goes through tanh, which keeps it within the action range (PPO and PPG)."""

    def __post_init__(self):
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"The network's hidden layers are {self.hidden}, but must be one or more positive widths.")
        if not 0 < self.min_std <= self.initial_std <= self.max_std:
            raise UserError(
                f"The network's min_std, initial_std and max_std are {self.min_std}, {self.initial_std} and "
                f"{self.max_std}, but must be positive and in ascending order."
            )


@dataclasses.dataclass(frozen=True)
class ImageNetworkConfig:
    """The IMPALA networks of an image observation."""

    channels: tuple[int, ...] = (16, 32, 32)
    """Channels of each stack, which halves height and width."""
    hidden: int = 256
    """Units of the dense layer."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the encoder computes in."""
    compute: Compute = DEFAULT_COMPUTE
    """How convolutions are computed, which changes speed only: see gsljax.networks.conv. What is fastest for a
    population differs between machines, see benchmarks/procgen.py."""
    shrink: int = 1
    """Images are averaged over squares of so many pixels first: 2 makes the network four times as fast, and what is
    smaller than that is lost. 1 takes them as they are."""

    def __post_init__(self):
        if not self.channels or min(self.channels) < 1:
            raise UserError(
                f"The network's channels are {self.channels}, but must be those of one or more stacks, all positive."
            )
        for name in ("hidden", "shrink"):
            if getattr(self, name) < 1:
                raise UserError(f"The network's {name} is {getattr(self, name)}, but must be at least 1.")


@dataclasses.dataclass(frozen=True)
class PointCloudNetworkConfig:
    """The networks of a point cloud (SAC): PointNets over its segments and a Transformer over their tokens."""

    width: int = 192
    """Units of the PointNets, and of the tokens."""
    blocks: int = 2
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    head_size: int = 32
    """Units of each head."""
    feedforward: int = 768
    """Units of the hidden layer in each block."""
    hidden: int = 128
    """Units of the layer after the attention pooling."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise UserError(f"The network's {field.name} is {getattr(self, field.name)}, but must be at least 1.")
        if self.width % 2:
            raise UserError(f"The network's width is {self.width}, but must be even: half is pooled by maximum.")
