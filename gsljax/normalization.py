"""Running statistics of observations, rewards and value targets, inside the network's variables.

What a network has learnt is in their units, so that they go wherever it goes.
"""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.errors import UserError
from gsljax.losses import masked_mean_by_group
from gsljax.types import EnvSpec

STATISTICS = "statistics"
"""The Flax collection that holds a network's statistics: inherited, kept and saved with its parameters."""


class Moments(NamedTuple):
    """Mean and variance of everything seen so far, each of one entry's shape, and how much that was (scalar).

    Or all three `[G]`, of groups of numbers that are seen apart.
    """

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def initial_moments(shape: tuple[int, ...] = ()) -> Moments:
    """Of nothing yet: mean 0, variance 1, so that normalising changes nothing."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def initial_moments_of_groups(num_groups: int) -> Moments:
    """Of nothing yet, for each group apart: every field `[G]`."""
    return initial_moments((num_groups,))._replace(count=jnp.zeros(num_groups))


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
    mean = jnp.sum(values, axes) / jnp.maximum(count, 1.0)
    variance = jnp.sum(jnp.where(weight, jnp.square(values - mean), 0.0), axes) / jnp.maximum(count, 1.0)
    return _merged(moments, Moments(mean, variance, count))


def update_moments_of_groups(moments: Moments, values: jax.Array, valid: jax.Array, group: jax.Array) -> Moments:
    """The moments of each group with more values, exact for the whole history; `update_moments` of every group's own.

    Args:
      moments: of G groups, each field `[G]`.
      values, valid: `[...]`; what is not valid has no weight, and may be NaN.
      group: `[...]` int32, which group each value belongs to; anything where not valid.

    Returns:
      The new moments; those of groups without a valid value are unchanged.
    """
    num_groups = moments.mean.shape[0]
    count = jax.ops.segment_sum(valid.reshape(-1).astype(jnp.float32), group.reshape(-1), num_groups)
    mean = masked_mean_by_group(values, valid, group, num_groups)
    variance = masked_mean_by_group(jnp.square(values - mean[group]), valid, group, num_groups)
    return _merged(moments, Moments(mean, variance, count))


def _merged(moments: Moments, more: Moments) -> Moments:
    total = moments.count + more.count
    share = more.count / jnp.maximum(total, 1.0)
    shift = more.mean - moments.mean
    merged = (1 - share) * moments.variance + share * more.variance + share * (1 - share) * jnp.square(shift)
    updated = Moments(moments.mean + share * shift, merged, total)
    return jax.tree.map(lambda new, old: jnp.where(more.count > 0, new, old), updated, moments)


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
        return normalized_observations(jax.lax.stop_gradient(self.moments.value), observation, self.clip)


def normalized_observations(moments: Moments, observation: jax.Array, clip: float = 10.0) -> jax.Array:
    """Observations `[..., *shape]` as (observation − mean) / std, clipped to ± `clip`; moments `[*shape]`."""
    return jnp.clip((observation - moments.mean) / _std(moments), -clip, clip)


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
    if "observation" not in variables.get(STATISTICS, {}):
        return variables
    moments = update_moments(statistics_of(variables, "observation"), observation, valid)
    return with_statistics(variables, observation=moments)


def with_statistics(variables: Any, **moments: Moments) -> Any:
    """A network's variables with these statistics in them, beside the others that they hold."""
    return {**variables, STATISTICS: {**variables.get(STATISTICS, {}), **moments}}


def statistics_of(variables: Any, name: str) -> Moments:
    """One of the statistics in a network's variables."""
    return variables[STATISTICS][name]


def normalized_values(moments: Moments, value: jax.Array, variation: jax.Array) -> jax.Array:
    """Values or value targets `[T, N]` in the units of their variation's std, from its mean; moments `[V]`.

    As in PopArt (van Hasselt et al. 2016; for several tasks Hessel et al. 2018), but when the moments move, the network
    is left as it is: one head serves all variations, so that its weights could make up for one of them only. What a
    prediction means then moves as well, by as much as new returns move the moments of all returns so far.
    """
    return (value - moments.mean[variation]) / _std(moments)[variation]


def denormalized_values(moments: Moments, value: jax.Array, variation: jax.Array, valid: jax.Array) -> jax.Array:
    """What a network that predicts normalised values means by them, as returns.

    Args:
      moments: of each variation, `[V]`.
      value: `[T + 1, N]`, of a rollout's observations.
      variation: `[T, N]`, which was played; in a reset step already the next one.
      valid: `[T, N]` bool; the value before a step that is not, of an episode's final observation, is that episode's.
    """
    before = jnp.concatenate([variation[:1], variation[:-1]])
    of_value = jnp.concatenate([jnp.where(valid, variation, before), variation[-1:]])
    return moments.mean[of_value] + _std(moments)[of_value] * value


def _std(moments: Moments) -> jax.Array:
    return jnp.sqrt(moments.variance + 1e-8)


class RewardScaling(NamedTuple):
    """The discounted return of every lane so far, `[N]`, and the moments of all the values that it had.

    The moments are those of each variation, `[V]`, where rewards are scaled by variation.
    """

    discounted: jax.Array
    moments: Moments


def with_new_episodes(memory: dict[str, Any]) -> dict[str, Any]:
    """An algorithm's memory where every lane begins an episode anew: none has a discounted return yet."""
    if "discounted_return" not in memory:
        return memory
    return {**memory, "discounted_return": jnp.zeros_like(memory["discounted_return"])}


def scale_rewards(
    scaling: RewardScaling,
    reward: jax.Array,
    ended: jax.Array,
    valid: jax.Array,
    variation: jax.Array | None = None,
    discount: float = 0.99,
    clip: float = 10.0,
) -> tuple[RewardScaling, jax.Array]:
    """Rewards divided by the std of the running discounted return, clipped (openai/baselines' VecNormalize).

    The return of a lane is R ← γR + r, and 0 after an episode's end; its std is over all steps so far, this rollout's
    included. The mean is not subtracted.

    Args:
      scaling: so far.
      reward, ended, valid: `[T, N]`; a step that is not valid changes nothing.
      variation: `[T, N]` int32; each step's reward is then divided by the std over all steps of its variation, in
        whichever lanes. None takes the std over all steps.
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
    if variation is None:
        moments = update_moments(scaling.moments, returns, valid)
        std = _std(moments)
    else:
        moments = update_moments_of_groups(scaling.moments, returns, valid, variation)
        std = _std(moments)[variation]
    scaled = jnp.clip(reward / std, -clip, clip)
    return RewardScaling(discounted, moments), scaled
