"""Actors and twin Q functions of SAC, for continuous (Haarnoja et al. 2018) and discrete (Christodoulou 2019) actions.

An *encoder* is a module that maps an observation, and perhaps an action, to features: `VectorEncoder` for vectors,
`ImpalaEncoder` for images, `PointCloudEncoder` for point clouds. Everything here puts one linear layer on top of it.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.distributions import Categorical, TanhGaussian
from gsljax.networks.mlp import VectorEncoder
from gsljax.types import ActionSpec


class TanhGaussianActor(nn.Module):
    """A Gaussian whose mean and std depend on the observation, squashed by tanh into the action range.

    Attributes:
      action: the action space, D reals within its bounds.
      encoder: observation to features.
      min_log_std, max_log_std: what the log std is clamped to (GSL A.4). Outside it has no gradient.
    """

    action: ActionSpec
    encoder: nn.Module = VectorEncoder()
    min_log_std: float = -20.0
    max_log_std: float = 2.0

    @nn.compact
    def __call__(self, observation: Any) -> TanhGaussian:
        """Observation `[..., *shape]` to a distribution with mean and std `[..., D]`."""
        assert self.action.dimension is not None
        outputs = linear(2 * self.action.dimension, "mean_and_log_std")(self.encoder(observation))
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        std = jnp.exp(jnp.clip(log_std, self.min_log_std, self.max_log_std))
        return TanhGaussian(mean, std, self.action.low, self.action.high)


class CategoricalActor(nn.Module):
    """A `Categorical` over `num_actions` discrete actions; `encoder` maps observations to features."""

    num_actions: int
    encoder: nn.Module = VectorEncoder()

    @nn.compact
    def __call__(self, observation: Any) -> Categorical:
        """Observation `[..., *shape]` to logits `[..., A]`."""
        return Categorical(linear(self.num_actions, "logits")(self.encoder(observation)))


class TwinQ(nn.Module):
    """Two separate Q functions of observation and continuous action.

    Attributes:
      encoder: observation and action to features; each Q has its own. Parameters have a leading axis of 2.
    """

    encoder: nn.Module = VectorEncoder()

    @nn.compact
    def __call__(self, observation: Any, action: jax.Array) -> jax.Array:
        """Observation `[..., *shape]` and action `[..., D]` to both Q values `[2, ...]`."""
        return twin(self.encoder, 1)(observation, action)[..., 0]


class DiscreteTwinQ(nn.Module):
    """Two separate Q functions of all of `num_actions` discrete actions; see `TwinQ`."""

    num_actions: int
    encoder: nn.Module = VectorEncoder()

    @nn.compact
    def __call__(self, observation: Any) -> jax.Array:
        """Observation `[..., *shape]` to both Q functions' values of all actions `[2, ..., A]`."""
        return twin(self.encoder, self.num_actions)(observation)


class _Q(nn.Module):
    """An encoder and a linear layer of `outputs` values."""

    encoder: nn.Module
    outputs: int

    @nn.compact
    def __call__(self, *inputs: Any) -> jax.Array:
        return linear(self.outputs, "value")(self.encoder(*inputs))


def twin(encoder: nn.Module, outputs: int) -> nn.Module:
    """Two `_Q` with parameters stacked along a leading axis, so that both run as one batched computation."""
    pair = nn.vmap(_Q, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=2)  # pyright: ignore[reportArgumentType]
    return pair(encoder.copy(parent=None), outputs, name="twin")


def linear(units: int, name: str) -> nn.Dense:
    """The last layer, with Glorot-uniform weights and zero biases (ManiSkill-Learn, `linear_init_cfg`)."""
    return nn.Dense(units, kernel_init=nn.initializers.glorot_uniform(), name=name)
