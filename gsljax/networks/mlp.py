"""Networks for vector observations: MLP, encoder, policy heads, actor-critic."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.distributions import Categorical, ClampedGaussian, Distribution
from gsljax.types import ActionSpec

Activation = Literal["relu", "tanh"]


def orthogonal(gain: float) -> nn.initializers.Initializer:
    """Orthogonal weights times `gain`; under `vmap` one after another.

    XLA's batched QR decomposition on the CPU can wait for its own threads for ever when other work runs beside it (seen
    with jax 0.10.2 on two cores).
    """
    initialize = nn.initializers.orthogonal(gain)

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        return jax.custom_batching.sequential_vmap(lambda one: initialize(one, shape, dtype))(key)

    return init


class MLP(nn.Module):
    """Dense layers of `hidden` units, each followed by the activation; orthogonal weights of gain √2, zero biases."""

    hidden: Sequence[int]
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """`[..., D]` to `[..., hidden[-1]]`."""
        activate = {"relu": nn.relu, "tanh": nn.tanh}[self.activation]
        for units in self.hidden:
            inputs = activate(nn.Dense(units, kernel_init=orthogonal(2**0.5))(inputs))
        return inputs


class VectorEncoder(nn.Module):
    """An `MLP` of the observation, or of observation and action side by side.

    Attributes:
      hidden: units of each layer.
      activation: `relu` or `tanh`.
    """

    hidden: Sequence[int] = (256, 256)
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array | None = None) -> jax.Array:
        """Observation `[..., O]` and perhaps an action `[..., D]` to features `[..., hidden[-1]]`."""
        inputs = observation if action is None else jnp.concatenate([observation, action], axis=-1)
        return MLP(self.hidden, self.activation, name="mlp")(inputs)


class GaussianHead(nn.Module):
    """A `ClampedGaussian` over continuous actions: linear mean, learnable std that does not depend on the state.

    Attributes:
      action: the action space, D reals within its bounds.
      initial_std: where the std starts.
      min_std, max_std: what it is clamped to. Once outside, it gets no gradient in either direction, and stays.
      squash_mean: whether the mean goes through tanh and onto the action's range, which it then cannot leave. A mean
        that is not squashed starts near 0 and the std is in the action's own units, whatever the range.
    """

    action: ActionSpec
    initial_std: float
    min_std: float
    max_std: float
    squash_mean: bool

    @nn.compact
    def __call__(self, features: jax.Array) -> ClampedGaussian:
        """`[..., D_features]` to a Gaussian with mean and std `[..., D]`."""
        low, high, dimension = self.action.low, self.action.high, self.action.dimension
        assert dimension is not None
        mean = nn.Dense(dimension, kernel_init=orthogonal(0.01))(features)
        if self.squash_mean:
            mean = 0.5 * (high + low) + 0.5 * (high - low) * nn.tanh(mean)
        log_std = self.param("log_std", nn.initializers.constant(jnp.log(self.initial_std)), (dimension,))
        std = jnp.clip(jnp.exp(log_std), self.min_std, self.max_std)
        return ClampedGaussian(mean, jnp.broadcast_to(std, mean.shape))


StdSettings = tuple[float, float, float, bool]
"""`initial_std, min_std, max_std, squash_mean` of a `GaussianHead`."""


def policy_layer(
    action: ActionSpec, kernel_init: nn.initializers.Initializer, settings: StdSettings, name: str
) -> Callable[[jax.Array], Distribution]:
    """The layer called `name` that gives a policy, to be used where a Flax module may make submodules.

    Args:
      action: the action space; discrete gives a `Categorical`, continuous a `ClampedGaussian`.
      kernel_init: initial weights of the logits.
      settings: of a continuous policy's `GaussianHead`.
      name: of the layer's parameters.
    """
    if action.num_actions is None:
        return GaussianHead(action, *settings, name=name)
    logits = nn.Dense(action.num_actions, kernel_init=kernel_init, name=name)
    return lambda features: Categorical(logits(features))


class PolicyHead(nn.Module):
    """One linear layer from features to a distribution over actions.

    Attributes:
      action: the action space; discrete gives a `Categorical`, continuous a `ClampedGaussian`.
      kernel_init: initial weights of the logits; a Gaussian's mean always starts orthogonal with gain 0.01.
      initial_std, min_std, max_std, squash_mean: see `GaussianHead`; unused for discrete actions.
    """

    action: ActionSpec
    kernel_init: nn.initializers.Initializer
    initial_std: float = 1.0
    min_std: float = 0.5
    max_std: float = 1.5
    squash_mean: bool = False

    @nn.compact
    def __call__(self, features: jax.Array) -> Distribution:
        """Features `[..., F]` to a distribution over `[...]`."""
        settings = (self.initial_std, self.min_std, self.max_std, self.squash_mean)
        name = "logits" if self.action.is_discrete else "gaussian"
        return policy_layer(self.action, self.kernel_init, settings, name)(features)


def with_std(params: Any, std: float) -> Any:
    """Parameters in which every `log_std` of a `GaussianHead` stands at `std`; unchanged where there is none."""

    def at_std(path, leaf):
        return jnp.full_like(leaf, jnp.log(std)) if getattr(path[-1], "key", None) == "log_std" else leaf

    return jax.tree_util.tree_map_with_path(at_std, params)


class ActorCritic(nn.Module):
    """Policy and value of a vector observation, on one shared trunk or on two.

    Attributes:
      action: the action space; discrete gives a `Categorical`, continuous a `ClampedGaussian`.
      hidden: units of each hidden layer.
      activation: `relu` or `tanh`.
      shared_trunk: whether policy and value share their hidden layers.
      initial_std, min_std, max_std, squash_mean: see `GaussianHead`; unused for discrete actions.
    """

    action: ActionSpec
    hidden: Sequence[int] = (256, 256)
    activation: Activation = "relu"
    shared_trunk: bool = False
    initial_std: float = 1.0
    min_std: float = 0.5
    max_std: float = 1.5
    squash_mean: bool = False

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[Distribution, jax.Array]:
        """`[..., D]` to a distribution over actions and values `[...]`."""
        features = MLP(self.hidden, self.activation, name="policy_trunk")(observation)
        if self.shared_trunk:
            value_features = features
        else:
            value_features = MLP(self.hidden, self.activation, name="value_trunk")(observation)
        value = nn.Dense(1, kernel_init=orthogonal(1.0), name="value_head")(value_features)[..., 0]
        settings = (self.initial_std, self.min_std, self.max_std, self.squash_mean)
        return policy_layer(self.action, orthogonal(0.01), settings, "policy_head")(features), value
