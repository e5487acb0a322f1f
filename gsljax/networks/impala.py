"""The IMPALA convolutional network (Espeholt et al. 2018), the paper's network for Procgen (GSL §5.3)."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.distributions import Distribution
from gsljax.networks.conv import DEFAULT_COMPUTE, Compute, Conv3x3, max_pool_3x3
from gsljax.networks.mlp import PolicyHead, orthogonal
from gsljax.types import ActionSpec

Initialization = Literal["ppo", "ppg"]
"""Initial weights: those of train-procgen's PPO (openai/baselines), or those of phasic-policy-gradient."""

BLOCKS_PER_STACK = 2


def normalized(scale: float) -> nn.initializers.Initializer:
    """Uniform weights, rescaled so that those of each output unit (the last axis) have Euclidean norm `scale`.

    `NormedConv2d` and `NormedLinear` of openai/phasic-policy-gradient, `torch_util.py`.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        weights = jax.random.uniform(key, shape, dtype, -1.0, 1.0)
        return scale * weights / jnp.sqrt(jnp.sum(weights**2, axis=tuple(range(len(shape) - 1)), keepdims=True))

    return init


def head_initializers(
    initialization: Initialization,
) -> tuple[nn.initializers.Initializer, nn.initializers.Initializer]:
    """Initial weights of a policy head and of a value head: orthogonal 0.01 and 1 for PPO, norm 0.1 for PPG."""
    return {"ppo": (orthogonal(0.01), orthogonal(1.0)), "ppg": (normalized(0.1), normalized(0.1))}[initialization]


class ImpalaEncoder(nn.Module):
    """Image to features: stacks of (conv, max-pool, 2 residual blocks), then relu, dense, relu.

    A residual block adds relu, conv, relu, conv. With 64×64×3 images and the default sizes: 622,144 parameters, of
    which 97,600 are the convolutions'.

    Attributes:
      channels: of each stack, which halves height and width.
      hidden: units of the dense layer.
      initialization: `"ppo"`, Glorot-uniform weights; `"ppg"`, weights of norm 1 for a stack's first conv, for residual
        convs (stacks · blocks)^(-1/4) = 0.639, and 1.4 for the dense layer. Biases start at zero in both.
      compute: how convolutions are computed, see `gsljax.networks.conv`.
      dtype: what is computed in; parameters and features are float32 either way.
      shrink: images are first averaged over squares of so many pixels, which divide height and width.
    """

    channels: Sequence[int] = (16, 32, 32)
    hidden: int = 256
    initialization: Initialization = "ppo"
    compute: Compute = DEFAULT_COMPUTE
    dtype: Any = jnp.float32
    shrink: int = 1

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array | None = None) -> jax.Array:
        """Image `[..., H, W, C]` and perhaps an action `[..., D]` to features `[..., hidden]`.

        Integer images are divided by 255, floating-point ones are taken as they are. An action (as a Q function and a
        discriminator have it) joins the flattened image in front of the dense layer.
        """
        glorot = nn.initializers.glorot_uniform()
        residual_scale = (len(self.channels) * BLOCKS_PER_STACK) ** -0.25
        first_init, residual_init, dense_init = {
            "ppo": (glorot, glorot, glorot),
            "ppg": (normalized(1.0), normalized(residual_scale), normalized(1.4)),
        }[self.initialization]

        batch_axes = observation.shape[:-3]
        images = observation.reshape(-1, *observation.shape[-3:])
        x = images.astype(self.dtype)
        if jnp.issubdtype(images.dtype, jnp.integer):
            x = x / 255
        if self.shrink > 1:
            x = nn.avg_pool(x, (self.shrink, self.shrink), (self.shrink, self.shrink))
        for stack, channels in enumerate(self.channels):
            x = Conv3x3(channels, first_init, self.compute, self.dtype, name=f"stack{stack}_conv")(x)
            x = max_pool_3x3(x)
            for block in range(BLOCKS_PER_STACK):
                residual = x
                for layer in range(2):
                    name = f"stack{stack}_block{block}_conv{layer}"
                    residual = Conv3x3(channels, residual_init, self.compute, self.dtype, name=name)(nn.relu(residual))
                x = x + residual
        x = nn.relu(x.reshape(*batch_axes, -1))
        if action is not None:
            x = jnp.concatenate([x, action.astype(self.dtype)], axis=-1)
        x = nn.relu(nn.Dense(self.hidden, kernel_init=dense_init, dtype=self.dtype, name="dense")(x))
        return x.astype(jnp.float32)


class ImpalaActorCritic(nn.Module):
    """Policy and value of an image on one shared IMPALA encoder: the paper's PPO agent on Procgen.

    Attributes:
      action: the action space; discrete gives a `Categorical`, continuous a `ClampedGaussian` with std in [0.5, 1.5].
      channels, hidden, compute, dtype, shrink: see `ImpalaEncoder`.
      initialization: `"ppo"`, logits orthogonal with gain 0.01 and value with gain 1; `"ppg"`, both of norm 0.1.
    """

    action: ActionSpec
    channels: Sequence[int] = (16, 32, 32)
    hidden: int = 256
    initialization: Initialization = "ppo"
    compute: Compute = DEFAULT_COMPUTE
    dtype: Any = jnp.float32
    shrink: int = 1

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[Distribution, jax.Array]:
        """`[..., H, W, C]` to a distribution over actions and values `[...]`."""
        encoder = ImpalaEncoder(
            self.channels, self.hidden, self.initialization, self.compute, self.dtype, self.shrink, name="encoder"
        )
        features = encoder(observation)
        policy_init, value_init = head_initializers(self.initialization)
        value = nn.Dense(1, kernel_init=value_init, name="value_head")(features)[..., 0]
        return PolicyHead(self.action, policy_init, name="policy_head")(features), value
