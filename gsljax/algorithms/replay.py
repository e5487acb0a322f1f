"""What an off-policy algorithm's replay holds, flashbax's item buffer, and how another member inherits from it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gsljax.losses import zero_invalid
from gsljax.types import Rollout, Scalar


class Transition(NamedTuple):
    """One step as the replay holds it, leaves `[B, ...]`; one that is not `valid` has no weight."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    next_observation: jax.Array
    valid: jax.Array
    variation: jax.Array


def transitions_of(rollout: Rollout) -> Transition:
    """The rollout's steps `[T · N, ...]`; observation t + 1 is the true next one, also where an episode ends."""
    parts = rollout.observation[:-1], rollout.action, rollout.reward, rollout.terminated, rollout.observation[1:]
    observation, action, reward, terminated, following, variation = (
        zero_invalid(x, rollout.valid) for x in (*parts, rollout.variation)
    )
    steps = Transition(observation, action, reward, terminated, following, rollout.valid, variation)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)


def inherited(replay: Any, parent: Any, variations: jax.Array) -> tuple[Any, Scalar]:
    """A replay that holds another one's newest transitions of some variations, as many as fit.

    Args:
      replay: an empty one.
      parent: another member's, of any capacity.
      variations: `[K]` int32.

    Returns:
      The replay, its transitions in the parent's order; and how many they are, int32.
    """
    capacity = replay.experience.valid.shape[1]
    kept, count = _newest(parent, variations, capacity)
    full = jax.tree.map(  # without a copy more, where the parent's is as large or larger
        lambda new, old: old[None] if len(old) == capacity else new.at[:, : len(old)].set(old), replay.experience, kept
    )
    index, is_full = (count % capacity).astype(jnp.int32), count == capacity
    return replay.replace(experience=full, current_index=index, is_full=is_full), count


def drawn_of_newest(replay: Any, key: jax.Array, shape: tuple[int, ...], most: int) -> Transition:
    """Transitions drawn with replacement from the newest of a replay that is not empty, at most so many of them.

    Args:
      replay: flashbax's.
      key: of the draw.
      shape: of what is drawn.
      most: how many the newest are; all, where the replay has fewer.

    Returns:
      Leaves `[*shape, ...]`; those of masked steps are among them, and are not `valid`.
    """
    capacity = replay.experience.valid.shape[1]
    count = jnp.where(replay.is_full, capacity, replay.current_index)
    age = jax.random.randint(key, shape, 1, jnp.minimum(count, most) + 1)
    rows = (replay.current_index - age) % capacity
    return jax.tree.map(lambda x: x[0, rows], replay.experience)


def _newest(replay: Any, variations: jax.Array, most: int) -> tuple[Transition, jax.Array]:
    """The newest valid transitions of some variations `[K]`, at most so many of them, in a replay's order.

    Returns:
      Leaves `[min(most, capacity), ...]`, of which the first ones count, from the oldest to the newest; and how many.
    """
    experience: Transition = jax.tree.map(lambda x: x[0], replay.experience)  # flashbax's axis of added batches
    capacity = experience.valid.shape[0]
    places = jnp.arange(capacity)
    age = (replay.current_index - 1 - places) % capacity
    is_there = replay.is_full | (places < replay.current_index)
    wanted = is_there & experience.valid & jnp.isin(experience.variation, variations)
    newest_first = jnp.argsort(jnp.where(wanted, age, capacity + age))[:most]
    count = jnp.minimum(jnp.sum(wanted), most).astype(jnp.int32)
    rows = newest_first[jnp.maximum(count - 1 - jnp.arange(len(newest_first)), 0)]
    return jax.tree.map(lambda x: x[rows], experience), count
