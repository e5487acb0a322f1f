"""Demonstrations: whole episodes out of rollouts, filtered, stored with their provenance, drawn from endlessly."""

import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.errors import UserError
from gsljax.files import PARTIAL, reason, write_atomically
from gsljax.shuffling import random_order
from gsljax.types import DemonstrationBatch, EnvSpec, Rollout

SHARD_BYTES = 2**28
"""About the most bytes of observations in one file; a larger set is several files."""

_SET = "set"
"""The field that the files of one set have in common."""

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


def gather(parts: list[Demonstrations]) -> Demonstrations:
    """`concatenate` that empties the list as it goes, so that memory holds the pairs once and not twice."""
    first, counts = parts[0], [part.num_pairs for part in parts]
    episodes = concatenate([part._replace(observation=part.episode, action=part.episode) for part in parts])
    observation = np.empty((sum(counts), *first.observation.shape[1:]), first.observation.dtype)
    action = np.empty((sum(counts), *first.action.shape[1:]), first.action.dtype)
    del first
    begin = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        rows = slice(begin, begin + part.num_pairs)
        observation[rows], action[rows] = part.observation, part.action
        begin = rows.stop
    return episodes._replace(observation=observation, action=action)


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
    rows = rows_of_draw(batch.action.shape[0], key, position, num_minibatches, minibatch_size)
    return jax.tree.map(lambda x: x[rows], batch)


def rows_of_draw(
    num_pairs: int, key: jax.Array, position: jax.Array, num_minibatches: int, minibatch_size: int
) -> jax.Array:
    """Which of `num_pairs` (static) pairs `draw` takes, `[num_minibatches, minibatch_size]`; see there."""
    needed = num_minibatches * minibatch_size
    first_round = position // num_pairs
    rounds = first_round + jnp.arange(needed // num_pairs + 2)
    order = jax.vmap(lambda r: random_order(jax.random.fold_in(key, r), num_pairs))(rounds).reshape(-1)
    rows = jax.lax.dynamic_slice(order, (position - first_round * num_pairs,), (needed,))
    return rows.reshape(num_minibatches, minibatch_size)


def shards_of(path: Path) -> list[Path]:
    """The files that `save` makes of a set that is too large for `path` alone, as far as they are there, in order."""
    return sorted(path.parent.glob(f"{path.stem}-*-of-*{path.suffix}"))


def save(demonstrations: Demonstrations, path: Path) -> None:
    """Write to an npz file, whole or not at all; a large set to several beside it, whole episodes in each.

    The files of another set that was there are deleted when all of this one's are written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = _shards(demonstrations)
    count = len(parts)
    paths = [path]
    if count > 1:
        paths = [path.with_name(f"{path.stem}-{index + 1:04}-of-{count:04}{path.suffix}") for index in range(count)]
    name_of_set = np.uint32(zlib.crc32(b"".join(field.tobytes() for field in demonstrations[3:])))

    def write(part: Demonstrations, file: Path) -> None:
        also: dict[str, Any] = {_SET: name_of_set} if count > 1 else {}
        write_atomically(file, lambda target: np.savez_compressed(target, **part._asdict(), **also))

    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:  # compressing lets go of the interpreter's lock
        for written in [pool.submit(write, part, file) for part, file in zip(parts, paths, strict=True)]:
            written.result()
    torn = path.parent.glob(f"{path.stem}*{PARTIAL}")  # by a kill
    for old in {path, *shards_of(path), *torn} - set(paths):
        old.unlink(missing_ok=True)


def _shards(demonstrations: Demonstrations) -> list[Demonstrations]:
    """The set in parts of whole episodes, of `SHARD_BYTES` at most if an episode is no longer, as views."""
    if np.any(np.diff(demonstrations.episode) < 0):  # made by hand: episodes are not in order
        return [demonstrations]
    pairs = np.bincount(demonstrations.episode, minlength=demonstrations.num_episodes)
    size = demonstrations.observation.nbytes // max(1, demonstrations.num_pairs)
    first_pair = np.concatenate([[0], np.cumsum(pairs)])
    borders = [0]
    for episode in range(1, demonstrations.num_episodes):
        if (first_pair[episode + 1] - first_pair[borders[-1]]) * size > SHARD_BYTES:
            borders.append(episode)
    borders.append(demonstrations.num_episodes)
    if len(borders) == 2:
        return [demonstrations]

    def part(first: int, last: int) -> Demonstrations:
        rows = slice(first_pair[first], first_pair[last])
        episodes = (field[first:last] for field in demonstrations[3:])
        episode = (demonstrations.episode[rows] - first).astype(np.int32)
        return Demonstrations(demonstrations.observation[rows], demonstrations.action[rows], episode, *episodes)

    return [part(first, last) for first, last in pairwise(borders)]


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is not an npz archive")
        return {name: archive[name] for name in archive.files}


def load(path: Path, spec: EnvSpec) -> Demonstrations:
    """Read what `save` wrote, checked against the environment.

    Raises:
      UserError: if a file is missing, unreadable, lacks a field, is of another set than the others, or a field has the
        wrong shape, type or range.
    """
    shards = shards_of(path)
    if path.exists() or not shards:
        return _load_file(path, spec)[0]
    count = int(shards[0].stem.rsplit("-", 1)[1])
    expected = [path.with_name(f"{path.stem}-{index + 1:04}-of-{count:04}{path.suffix}") for index in range(count)]
    for file in expected:
        if file not in shards:
            raise UserError(f"The demonstrations are not whole: the file {file} is missing.")
    parts, sets = [], []
    for file in expected:
        part, name_of_set = _load_file(file, spec)
        parts.append(part)
        sets.append(name_of_set)
    if None in sets or len(set(sets)) > 1:
        raise UserError(f"The demonstrations in {path.parent} are not whole: their files are of different sets.")
    return gather(parts)


def _load_file(path: Path, spec: EnvSpec) -> tuple[Demonstrations, int | None]:
    """The episodes of one file, and the name of the set of which it is a part, if it is."""
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
    name_of_set = fields.get(_SET)
    return demonstrations, None if name_of_set is None else int(name_of_set)
