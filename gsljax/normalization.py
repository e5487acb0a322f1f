"""Running statistics: of observations, inside the network's variables, and of rewards, in an algorithm's memory."""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.errors import UserError
from gsljax.types import EnvSpec

STATISTICS = "statistics"
"""The Flax collection that holds a network's observation statistics: inherited, kept and saved with its parameters."""


class Moments(NamedTuple):
    """Mean and variance of everything seen so far, each of one entry's shape, and how much that was (scalar)."""

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def initial_moments(shape: tuple[int, ...] = ()) -> Moments:
    """Of nothing yet: mean 0, variance 1, so that normalising changes nothing."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_moments(moments: Moments, values: jax.Array, valid: jax.Array) -> Moments:
    """The moments with more values, exact for the whole history (Chan et al. 1979).

    Args:
      moments: of entries of some shape S.
      values: `[..., *S]`.
      valid: `[...]` bool; the rest has no weight, and may be NaN.

    Returns:
      The new moments; unchanged where nothing is valid.
    """
    axes = tuple(range(valid.ndim))
    weight = valid.reshape(*valid.shape, *[1] * (values.ndim - valid.ndim))
    values = jnp.where(weight, values.astype(jnp.float32), 0.0)
    count = jnp.sum(valid, dtype=jnp.float32)
    total = moments.count + count
    share = count / jnp.maximum(total, 1.0)
    mean = jnp.sum(values, axes) / jnp.maximum(count, 1.0)
    variance = jnp.sum(jnp.where(weight, jnp.square(values - mean), 0.0), axes) / jnp.maximum(count, 1.0)
    shift = mean - moments.mean
    merged = (1 - share) * moments.variance + share * variance + share * (1 - share) * jnp.square(shift)
    updated = Moments(moments.mean + share * shift, merged, total)
    return jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), updated, moments)


class NormalizedObservation(nn.Module):
    """A network that sees (observation − mean) / std, clipped to ± `clip`, of all observations so far.

    The statistics are variables of the collection `statistics`, without gradient; `update_observations` moves them.
    `init` makes them, and `apply(variables, observation, ...)` reads them: cloning, evaluating and resuming a member
    takes them along.

    Attributes:
      network: any module whose first argument is an observation `[..., *shape]` of floats.
      shape: one observation's shape.
      clip: largest magnitude of a normalised entry.
    """

    network: nn.Module
    shape: tuple[int, ...]
    clip: float = 10.0

    def setup(self) -> None:
        """The statistics, shared by all methods."""
        self.moments = self.variable(STATISTICS, "observation", initial_moments, self.shape)

    def __call__(self, observation: jax.Array, *arguments: Any) -> Any:
        """What the network makes of the normalised observation."""
        return self.network(self._normalized(observation), *arguments)

    def with_auxiliary(self, observation: jax.Array) -> Any:
        """The same for a network that has an auxiliary value (PPG's)."""
        return cast(Any, self.network).with_auxiliary(self._normalized(observation))

    def _normalized(self, observation: jax.Array) -> jax.Array:
        moments = jax.lax.stop_gradient(self.moments.value)
        scaled = (observation - moments.mean) / jnp.sqrt(moments.variance + 1e-8)
        return jnp.clip(scaled, -self.clip, self.clip)


def with_normalized_observations(network: nn.Module, spec: EnvSpec) -> NormalizedObservation:
    """The network for normalised observations of an environment.

    Raises:
      UserError: if they are not float32.
    """
    if spec.observation_dtype != "float32":
        raise UserError(
            f"normalize_observations needs float32 observations, but those of {spec.name} are {spec.observation_dtype}."
        )
    return NormalizedObservation(network, spec.observation_shape)


def update_observations(variables: Any, observation: jax.Array, valid: jax.Array) -> Any:
    """A `NormalizedObservation`'s variables with more observations `[..., *shape]` in them; others as they are."""
    if STATISTICS not in variables:
        return variables
    moments = update_moments(variables[STATISTICS]["observation"], observation, valid)
    return {**variables, STATISTICS: {"observation": moments}}


class RewardScaling(NamedTuple):
    """Statistics of the discounted return of every lane: `discounted` `[N]`, and `moments` of all its values."""

    discounted: jax.Array
    moments: Moments


def initial_reward_scaling(num_lanes: int) -> RewardScaling:
    """Of no reward yet."""
    return RewardScaling(jnp.zeros(num_lanes), initial_moments())


def scale_rewards(
    scaling: RewardScaling,
    reward: jax.Array,
    ended: jax.Array,
    valid: jax.Array,
    discount: float = 0.99,
    clip: float = 10.0,
) -> tuple[RewardScaling, jax.Array]:
    """Rewards divided by the std of the running discounted return, clipped (openai/baselines' VecNormalize).

    The return of a lane is R ← γR + r, and 0 after an episode's end; its std is over all steps so far, this rollout's
    included. The mean is not subtracted.

    Args:
      scaling: so far.
      reward, ended, valid: `[T, N]`; a step that is not valid changes nothing.
      discount: γ of the return.
      clip: largest magnitude of a scaled reward.

    Returns:
      The statistics afterwards, and the scaled rewards `[T, N]`.
    """

    def step(discounted, inputs):
        reward, ended, valid = inputs
        grown = jnp.where(valid, discount * discounted + reward, discounted)
        return jnp.where(ended & valid, 0.0, grown), grown

    discounted, returns = jax.lax.scan(step, scaling.discounted, (reward, ended, valid))
    moments = update_moments(scaling.moments, returns, valid)
    scaled = jnp.clip(reward / jnp.sqrt(moments.variance + 1e-8), -clip, clip)
    return RewardScaling(discounted, moments), scaled
