"""Evaluating a member on every variation, with no bias to short episodes; and single episodes, to be looked at."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms.base import ActFunction
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.episodes import Episode, make_policy, play_episodes
from gsljax.parts import most_divisor
from gsljax.rollout import collect
from gsljax.train_state import TrainState, clone
from gsljax.types import Rollout


class EpisodeStatistics(NamedTuple):
    """Of the episodes that ended in a rollout, by variation, each `[V]` (before it, any leading axes)."""

    episodes: jax.Array
    return_sum: jax.Array
    success_sum: jax.Array

    def mean_return(self) -> np.ndarray:
        """Mean return over all episodes; NaN where none ended."""
        return _ratio(self.return_sum, self.episodes)

    def mean_success(self) -> np.ndarray:
        """Success rate over all episodes; NaN where none ended."""
        return _ratio(self.success_sum, self.episodes)


def _ratio(total: jax.Array, count: jax.Array) -> np.ndarray:
    total, count = np.sum(np.asarray(total, np.float64), -1), np.sum(np.asarray(count, np.float64), -1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def episode_statistics(rollout: Rollout, num_variations: int) -> EpisodeStatistics:
    """Statistics of one member's rollout `[T, N]`; an episode counts in the step in which it ends."""
    ended = rollout.terminated | rollout.truncated

    def by_variation(values):
        counted = jnp.where(ended, values, 0.0).reshape(-1)
        return jax.ops.segment_sum(counted, rollout.variation.reshape(-1), num_variations)

    ones = jnp.ones(ended.shape)
    return EpisodeStatistics(
        by_variation(ones), by_variation(rollout.episode_return), by_variation(rollout.success * ones)
    )


class Evaluation(NamedTuple):
    """Per-variation results of one member: `episode_return` and `success` `[V']`, `samples` spent, the rollout.

    There is no rollout from pools, where it may be larger than the memory.
    """

    episode_return: jax.Array | np.ndarray
    success: jax.Array | np.ndarray
    samples: jax.Array | int
    rollout: Rollout | None = None


@partial(jax.jit, static_argnames=("environment", "act", "episodes", "deterministic"))
def evaluate(
    environment: JaxEnvironment,
    act: ActFunction,
    state: TrainState,
    variations: jax.Array,
    episodes: int,
    key: jax.Array,
    deterministic: bool = False,
) -> Evaluation:
    """Play exactly `episodes` episodes of each variation, each in a lane of its own, and average.

    One lane plays one episode to its end and what comes after is not looked at, so long and short episodes weigh the
    same. Compiled once for each environment, `act`, `episodes` and `deterministic`.

    Args:
      environment: the environment.
      act: the algorithm's `act`.
      state: the member.
      variations: `[V']` int32 ids.
      episodes: per variation (static).
      key: for resets and actions.
      deterministic: whether to play the policy's mode (static).

    Returns:
      Means per variation, in the order of `variations`; the rollout's lanes are ordered the same, `episodes` each.
    """
    reset_key, act_key = jax.random.split(key)
    lanes = environment.reset(reset_key, jnp.repeat(variations, episodes)[:, None])
    _, rollout = collect(environment, act, state, lanes, act_key, environment.spec.horizon, deterministic)
    ended = rollout.terminated | rollout.truncated
    first = ended & (jnp.cumsum(ended, axis=0) == 1)
    before_end = (jnp.cumsum(ended, axis=0) - ended) == 0

    def mean(values):
        per_lane = jnp.sum(jnp.where(first, values, 0.0), axis=0)
        return jnp.mean(per_lane.reshape(-1, episodes), axis=1)

    return Evaluation(
        episode_return=mean(rollout.episode_return),
        success=mean(rollout.success.astype(jnp.float32)),
        samples=jnp.sum(before_end & rollout.valid),
        rollout=rollout,
    )


def evaluate_in_pools(
    environment: PooledEnvironment,
    act: ActFunction,
    state: TrainState,
    variations: np.ndarray,
    episodes: int,
    key: jax.Array,
    deterministic: bool = False,
    most_lanes: int = 256,
) -> Evaluation:
    """`evaluate` for pools on the host: exactly `episodes` whole episodes of each variation, and no other counts.

    A lane plays one variation, and the same number of episodes as every other lane.

    Args:
      environment, act, state, variations, episodes, key, deterministic: as of `evaluate`.
      most_lanes: that are open at once, or fewer if the environment says so; many variations are played in turns.
    """
    most_lanes = min(most_lanes, environment.most_lanes or most_lanes)
    per_variation = most_divisor(episodes, max(1, most_lanes // len(variations)))
    policy = make_policy(act)
    returns, successes, samples = [], [], 0
    for turn, first in enumerate(range(0, len(variations), most_lanes)):
        some = variations[first : first + most_lanes]
        lanes_key, act_key = jax.random.split(jax.random.fold_in(key, turn))
        choices = jnp.repeat(jnp.asarray(some, jnp.int32), per_variation)[:, None]
        assignment = clone(environment.reset(lanes_key, choices), 1)
        with environment.open(jax.device_get(assignment)) as live:
            choose = policy(clone(state, 1), act_key[None], deterministic)
            played = play_episodes(live, choose, episodes // per_variation, any_lanes=True)
        returns.append(played.episode_return.reshape(len(some), episodes).mean(1))
        successes.append(played.success.reshape(len(some), episodes).mean(1))
        samples += int(played.samples.sum())
    return Evaluation(np.concatenate(returns), np.concatenate(successes), samples)


def play_once(
    environment: JaxEnvironment | PooledEnvironment,
    act: ActFunction,
    state: TrainState,
    variations: np.ndarray,
    key: jax.Array,
    on_episode: Callable[[Episode], None],
) -> None:
    """Play one whole episode of each variation, each in a lane of its own, and hand over all that happened.

    Args:
      environment: either kind.
      act: the algorithm's `act`.
      state: the member.
      variations: `[V']` int32 ids, each once.
      key: for resets and actions.
      on_episode: is given each episode as NumPy arrays, as it ends; their order is not that of `variations`.
    """
    if isinstance(environment, PooledEnvironment):
        lanes_key, act_key = jax.random.split(key)
        assignment = clone(environment.reset(lanes_key, jnp.asarray(variations, jnp.int32)[:, None]), 1)
        with environment.open(jax.device_get(assignment)) as live:
            play_episodes(live, make_policy(act)(clone(state, 1), act_key[None]), 1, on_episode)
        return
    played = evaluate(environment, act, state, jnp.asarray(variations, jnp.int32), 1, key).rollout
    assert played is not None
    rollout: Rollout = jax.device_get(played)
    observation, action = np.asarray(rollout.observation), np.asarray(rollout.action)
    ends = np.argmax(rollout.terminated | rollout.truncated, axis=0)
    for lane, (variation, end) in enumerate(zip(variations, ends, strict=True)):
        on_episode(
            Episode(
                member=0,
                lane=lane,
                variation=int(variation),
                episode_return=float(rollout.episode_return[end, lane]),
                success=bool(rollout.success[end, lane]),
                observation=observation[: end + 1, lane],
                action=environment.spec.action.clip(action[: end + 1, lane]),
                final_observation=observation[end + 1, lane],
            )
        )
