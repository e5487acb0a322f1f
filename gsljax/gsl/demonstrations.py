"""Demonstrations: whole episodes out of rollouts, filtered, stored with their provenance, drawn from endlessly."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.errors import UserError
from gsljax.files import reason, write_atomically
from gsljax.shuffling import random_order
from gsljax.types import DemonstrationBatch, EnvSpec, Rollout

GENERALIST = -1
"""The `source` of an episode that the generalist played; specialists count from 0."""


class Demonstrations(NamedTuple):
    """`M` pairs of `E` whole episodes, as NumPy arrays on the host.

    Attributes:
      observation: `[M, ...]`.
      action: `[M, ...]`, clipped to the action range.
      episode: `[M]` int32, the row of the pair's episode in the arrays below.
      variation: `[E]` int32, the variation that was played.
      source: `[E]` int32, the specialist that played it, or `GENERALIST`.
      episode_return: `[E]` float32, undiscounted.
      success: `[E]` bool.
    """

    observation: np.ndarray
    action: np.ndarray
    episode: np.ndarray
    variation: np.ndarray
    source: np.ndarray
    episode_return: np.ndarray
    success: np.ndarray

    @property
    def num_pairs(self) -> int:
        """M."""
        return len(self.episode)

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.variation)


def from_rollout(rollout: Rollout, spec: EnvSpec, source: int) -> Demonstrations:
    """The first episode of every lane of one member's rollout, lane by lane.

    One episode a lane, as in `gsljax.evaluation.evaluate`, so that short episodes are not over-represented.

    Args:
      rollout: one member's, `[T, N]`, beginning with fresh episodes; a lane whose episode does not end is left out.
      spec: for the action range.
      source: the specialist's index, or `GENERALIST`.
    """
    arrays: Any = jax.tree.map(np.asarray, rollout)
    ended = arrays.terminated | arrays.truncated
    lanes = np.flatnonzero(ended.any(axis=0))
    end = ended.argmax(axis=0)[lanes]
    rows = np.arange(len(ended))[:, None] <= end  # [T, E]
    action = spec.action.clip(arrays.action)

    def lane_major(field):
        return np.swapaxes(field[:, lanes], 0, 1)[rows.T]

    return Demonstrations(
        observation=lane_major(arrays.observation[:-1]),
        action=lane_major(action),
        episode=np.repeat(np.arange(len(lanes)), end + 1).astype(np.int32),
        variation=arrays.variation[end, lanes].astype(np.int32),
        source=np.full(len(lanes), source, np.int32),
        episode_return=arrays.episode_return[end, lanes].astype(np.float32),
        success=arrays.success[end, lanes],
    )


def select(demonstrations: Demonstrations, keep: np.ndarray) -> Demonstrations:
    """The episodes for which `keep` `[E]` is true, renumbered."""
    new_number = np.cumsum(keep) - 1
    pairs = keep[demonstrations.episode]
    return Demonstrations(
        demonstrations.observation[pairs],
        demonstrations.action[pairs],
        new_number[demonstrations.episode[pairs]].astype(np.int32),
        *(field[keep] for field in demonstrations[3:]),
    )


def worth_keeping(demonstrations: Demonstrations, min_return: float | None, require_success: bool) -> np.ndarray:
    """Which episodes `[E]` pass the filter: a return of at least `min_return`, and success (GSL §4)."""
    keep = np.ones(demonstrations.num_episodes, bool)
    if min_return is not None:
        keep &= demonstrations.episode_return >= min_return
    if require_success:
        keep &= demonstrations.success
    return keep


def concatenate(parts: list[Demonstrations]) -> Demonstrations:
    """All episodes of several sets, one after another."""
    offsets = np.cumsum([0, *(part.num_episodes for part in parts[:-1])])
    shifted = [part._replace(episode=part.episode + offset) for part, offset in zip(parts, offsets, strict=True)]
    joined = Demonstrations(*(np.concatenate(fields) for fields in zip(*shifted, strict=True)))
    return joined._replace(episode=joined.episode.astype(np.int32))


def draw(
    batch: DemonstrationBatch, key: jax.Array, position: jax.Array, num_minibatches: int, minibatch_size: int
) -> DemonstrationBatch:
    """The next minibatches of an endless pass over the pairs, shuffled anew in every round; pure, so it resumes.

    Args:
      batch: all pairs, `[M, ...]` on the device.
      key: fixed for the whole pass.
      position: int32, pairs drawn so far; the caller adds `num_minibatches * minibatch_size` for the next call.
      num_minibatches, minibatch_size: static.

    Returns:
      Pairs `[num_minibatches, minibatch_size, ...]`.
    """
    num_pairs, needed = batch.action.shape[0], num_minibatches * minibatch_size
    first_round = position // num_pairs
    rounds = first_round + jnp.arange(needed // num_pairs + 2)
    order = jax.vmap(lambda r: random_order(jax.random.fold_in(key, r), num_pairs))(rounds).reshape(-1)
    rows = jax.lax.dynamic_slice(order, (position - first_round * num_pairs,), (needed,))
    return jax.tree.map(lambda x: x[rows].reshape(num_minibatches, minibatch_size, *x.shape[1:]), batch)


def save(demonstrations: Demonstrations, path: Path) -> None:
    """Write to an npz file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez_compressed(file, **demonstrations._asdict()))


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is not an npz archive")
        return {name: archive[name] for name in archive.files}


def load(path: Path, spec: EnvSpec) -> Demonstrations:
    """Read what `save` wrote, checked against the environment.

    Raises:
      UserError: if the file is missing, unreadable, lacks a field, or a field has the wrong shape, type or range.
    """
    try:
        fields = _read_archive(path)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"The demonstrations file {path} cannot be read ({reason(error)}).") from None
    missing = [name for name in Demonstrations._fields if name not in fields]
    if missing:
        raise UserError(f"The demonstrations file {path} lacks the field {missing[0]!r}.")
    demonstrations = Demonstrations(**{name: fields[name] for name in Demonstrations._fields})
    pairs, episodes = (demonstrations.episode.size,), (demonstrations.variation.size,)
    whole, real = np.integer, np.floating
    action_shape, action_kind = ((), whole) if spec.action.is_discrete else ((spec.action.dimension,), real)
    expected = {
        "observation": ((*pairs, *spec.observation_shape), np.number),
        "action": ((*pairs, *action_shape), action_kind),
        "episode": (pairs, whole),
        "variation": (episodes, whole),
        "source": (episodes, whole),
        "episode_return": (episodes, real),
        "success": (episodes, np.bool_),
    }
    for name, (shape, kind) in expected.items():
        array = fields[name]
        if array.shape != shape:
            raise UserError(
                f"The demonstrations file {path} has {name} of shape {array.shape}, but it must be {shape}."
            )
        if not np.issubdtype(array.dtype, kind):
            raise UserError(
                f"The demonstrations file {path} has {name} of type {array.dtype}, but it must be {kind.__name__}."
            )
    low, high = (0, spec.action.num_actions - 1) if spec.action.num_actions else (spec.action.low, spec.action.high)
    if not np.all((low <= demonstrations.action) & (demonstrations.action <= high)):
        raise UserError(f"The demonstrations file {path} has actions outside {low} .. {high}.")
    if demonstrations.num_pairs and not (
        0 <= demonstrations.episode.min() and demonstrations.episode.max() < demonstrations.num_episodes
    ):
        raise UserError(f"The demonstrations file {path} has pairs of episodes that it does not list.")
    if episodes[0] and not (
        0 <= demonstrations.variation.min() and demonstrations.variation.max() < spec.num_variations
    ):
        raise UserError(f"The demonstrations file {path} has variations outside 0 .. {spec.num_variations - 1}.")
    return demonstrations
