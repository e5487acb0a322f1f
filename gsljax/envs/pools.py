"""Pools: vectorised environments on the host, such as EnvPool's or Gymnasium's, as lanes with chosen variations.

A pool is one vectorised environment with threads or processes of its own. Every half of the lanes has its own pools,
and all of a half's pools are sent their actions before anything is received from one of them.
"""

import contextlib
import dataclasses
import math
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.device import is_accelerator
from gsljax.envs.protocol import PoolAssignment
from gsljax.envs.vector_pools import PoolStep, VectorPool
from gsljax.errors import UserError
from gsljax.types import EnvSpec, Step

OpenPool = Callable[[tuple[int, ...], list[int], int], VectorPool]
"""Starts a pool from the ids of its variations, a seed in [0, 2**31) for each of its lanes, and a number of threads.

With one id all lanes play that variation; with several, every reset of a lane draws one of them uniformly.
"""


@dataclasses.dataclass(frozen=True)
class Pools:
    """Any vectorised environment behind `gsljax.envs.protocol.PooledEnvironment`.

    A member whose lanes all have the same choices draws from them at every reset, if a pool can (`can_draw`). Otherwise
    each lane plays one variation for ever: lane i of N plays entry `i * K // N` of its row of K choices, so that
    neighbours share a pool and the halves need not both have one of every variation.

    Attributes:
      spec: see `EnvSpec`.
      open_pool: starts a pool, see `OpenPool`; it raises `UserError` if something is not installed.
      can_draw: whether one pool can draw uniformly from several variations (ids without repetition).
      most_lanes: see `gsljax.envs.protocol.PooledEnvironment`.
    """

    spec: EnvSpec
    open_pool: OpenPool
    can_draw: Callable[[tuple[int, ...]], bool] = lambda variations: False
    most_lanes: int | None = None

    def lanes_needed(self, variations: tuple[int, ...]) -> int:
        """The fewest lanes with which a member can play these variations: one where a pool draws, else one for each."""
        return 1 if self.can_draw(variations) else len(variations)

    def reset(self, key: jax.Array, choices: jax.Array) -> PoolAssignment:
        """Describe fresh lanes, one for each row of `choices` `[N, K]`; pure."""
        return PoolAssignment(jax.random.bits(key, choices.shape[:1], jnp.uint32), jnp.asarray(choices, jnp.int32))

    def open(self, assignment: PoolAssignment) -> "OpenPools":
        """Start the pools of a population, see `gsljax.envs.protocol.PooledEnvironment.open`."""
        return OpenPools(self, assignment)


class _Pool(NamedTuple):
    """A pool and where its lanes stand in the half's arrays `[P, n, ...]`: `member`, and `lanes` of its n."""

    pool: VectorPool
    member: int
    lanes: slice | np.ndarray
    draws: bool


class _Half:
    """The pools of one half of the lanes, and what they said last; every array is `[P, n, ...]`."""

    def __init__(self, variation: np.ndarray, observations: "RecycledArrays"):
        self.pools: list[_Pool] = []
        self.variation, self.observations = variation, observations
        self.observation: np.ndarray | None = None
        shape = variation.shape
        self.ended, self.success = np.zeros(shape, bool), np.zeros(shape, bool)
        self.episode_return, self.length = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        self.is_stepping = False
        self.awake: list[_Pool] = []
        self.rests = np.zeros(shape, bool)  # the lanes of the pools that are not awake


class OpenPools:
    """The running pools of a population, a `gsljax.envs.protocol.LivePools`."""

    def __init__(self, environment: Pools, assignment: PoolAssignment):
        """Start all pools and wait for their first observations; closes them all again if one of them fails."""
        self.spec = spec = environment.spec
        seeds, choices = np.asarray(assignment.seed), np.asarray(assignment.choices)
        self.num_members, self.num_lanes = choices.shape[:2]
        self.halves = halves_of(self.num_lanes)
        _check_ids(spec, choices)
        draws = [_draws(environment, rows) for rows in choices]
        fixed = np.stack(
            [rows[:, 0] if draw else _fixed(spec, rows) for rows, draw in zip(choices, draws, strict=True)]
        )
        plans = [
            _plan(choices[:, lanes], fixed[:, lanes], seeds[:, lanes] & 0x7FFFFFFF, draws) for lanes in self.halves
        ]
        threads = threads_per_pool(max(len(plan) for plan in plans))
        self._halves: list[_Half] = []
        try:
            for lanes, plan in zip(self.halves, plans, strict=True):
                shape = (self.num_members, lanes.stop - lanes.start)
                observations = RecycledArrays((*shape, *spec.observation_shape), spec.observation_dtype)
                half = _Half(fixed[:, lanes], observations)
                self._halves.append(half)
                for planned in plan:
                    pool = environment.open_pool(planned.variations, planned.seeds, threads)
                    half.pools.append(_Pool(pool, planned.member, planned.lanes, len(planned.variations) > 1))
                    pool.reset()
                half.awake = list(half.pools)
            for half in self._halves:
                self._receive_first(half)
        except BaseException:
            self.close()
            raise

    def observation(self, half: int) -> np.ndarray:
        """What the policy acts on next, `[P, n, ...]`."""
        observation = self._half(half).observation
        if observation is None:
            raise UserError("Lanes that are stepping have no observation: receive from them first.")
        return observation

    def variation(self, half: int) -> np.ndarray:
        """The variation that each lane is at, `[P, n]`."""
        return self._half(half).variation

    def send(self, half: int, action: np.ndarray) -> None:
        """Hand the actions `[P, n, ...]` to all pools of a half; those of a box are clipped to its range."""
        lanes = self._half(half)
        if lanes.is_stepping:
            raise UserError("These lanes have been sent actions already: receive from them first.")
        action = self.spec.action.clip(action)
        lanes.is_stepping, lanes.observation = True, None
        for pool, member, where, _ in lanes.awake:
            pool.send(action[member, where])

    def receive(self, half: int) -> Step:
        """Wait for all pools of a half.

        Raises:
          UserError: if nothing was sent, or an episode is longer than the specification says.
        """
        lanes = self._half(half)
        if not lanes.is_stepping:
            raise UserError("These lanes have been sent no actions to receive the outcome of.")
        observation, reward, terminated, truncated, success, variation, lost = self._gather(lanes)
        lanes.is_stepping = False
        valid = ~(lanes.ended | lanes.rests | lost)
        reward = np.where(valid, reward, np.float32(0))
        terminated &= valid
        truncated &= valid
        lanes.observation, lanes.ended = observation, terminated | truncated
        # A drawn variation may already be the next episode's where one ends: it is read where the episode begins.
        lanes.variation = np.where(valid, lanes.variation, variation)
        lanes.episode_return = np.where(valid, lanes.episode_return + reward, np.float32(0))
        lanes.success = (lanes.success | success) & valid
        lanes.length = np.where(valid, lanes.length + 1, 0)
        if np.any(lanes.length > self.spec.horizon):  # budgets and masks of whole episodes rely on it
            raise UserError(f"An episode of {self.spec.name} is longer than its horizon of {self.spec.horizon} steps.")
        so_far = lanes.variation, lanes.episode_return, lanes.success
        return Step._make((observation, reward, terminated, truncated, valid, *so_far))

    def rest(self, half: int, done: np.ndarray) -> None:
        """Step those pools no more all of whose lanes are `done`, see `LivePools.rest`."""
        lanes = self._half(half)
        if lanes.is_stepping:
            raise UserError("Lanes that are stepping cannot rest: receive from them first.")
        lanes.awake = [pool for pool in lanes.pools if not done[pool.member, pool.lanes].all()]
        lanes.rests = np.ones_like(lanes.rests)
        for _, member, where, _ in lanes.awake:
            lanes.rests[member, where] = False

    def close(self) -> None:
        """End all pools and their threads or processes, also if one of them fails to end."""
        with contextlib.ExitStack() as ending:
            for half in self._halves:
                half.awake = []
                while half.pools:
                    ending.callback(half.pools.pop().pool.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _half(self, half: int) -> _Half:
        if not self._halves[half].pools:
            raise UserError("These pools are closed: open them again.")
        return self._halves[half]

    def _receive_first(self, half: _Half) -> None:
        half.observation, *_, half.variation, _ = self._gather(half, check=True)

    def _gather(self, half: _Half, check: bool = False) -> tuple[np.ndarray, ...]:
        """Receive from all pools; arrays `[P, n, ...]` in the lanes' order, new but for those that nobody holds."""
        shape = half.variation.shape
        reward = np.zeros(shape, np.float32)
        terminated, truncated = np.zeros(shape, bool), np.zeros(shape, bool)
        success, lost = np.zeros(shape, bool), np.zeros(shape, bool)
        variation = half.variation.copy()
        observation = half.observations.take()
        for pool, member, lanes, draws in half.awake:
            answer = pool.receive()
            if check:
                _check_answer(self.spec, answer, len(variation[member, lanes]), draws)
            observation[member, lanes] = answer.observation
            reward[member, lanes] = answer.reward
            terminated[member, lanes] = answer.terminated
            truncated[member, lanes] = answer.truncated
            if answer.success is not None:
                success[member, lanes] = answer.success
            if draws:
                variation[member, lanes] = answer.variation
            if answer.lost is not None:
                lost[member, lanes] = answer.lost
        return observation, reward, terminated, truncated, success, variation, lost


class RecycledArrays:
    """Arrays of one shape that are handed out again as soon as nobody else refers to them.

    Whoever keeps an array, a view of it, or a JAX array that aliases its memory holds a reference to it; CPython counts
    them. They begin at a page, so that compiled programs on the CPU do alias them; an array from elsewhere would cost
    another copy, and fresh memory for every step the system's page faults.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, keep: int = 4):
        """Arrays of `shape` and `dtype`, of which `keep` are kept at most."""
        self._shape, self._dtype, self._keep = shape, dtype, keep
        self._arrays: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """An array that nobody else refers to, its content undefined."""
        for index in range(len(self._arrays)):
            # Two references: the list's and the call's own.
            if sys.getrefcount(self._arrays[index]) == 2:
                return self._arrays[index]
        size = max(1, math.prod(self._shape) * np.dtype(self._dtype).itemsize)
        array: np.ndarray = np.ndarray(self._shape, self._dtype, buffer=_fresh_pages(size))
        if len(self._arrays) < self._keep:
            self._arrays.append(array)
        return array


def _fresh_pages(size: int) -> mmap.mmap:
    """Memory that begins at a page; private, or a process that is forked would share it."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


LANES_TO_HALVE = 128
"""Beside an accelerator a member's lanes are halved from this number on: Procgen's 64 are collected from faster as one
half (34,500 steps/s on an H200, in two 30,300 on an H100, `benchmarks/results/gpu`); 256 were tried in two only."""


def halves_of(num_lanes: int) -> tuple[slice, ...]:
    """The lanes of each half; one lane cannot be halved, and of an odd number the second half has one more.

    Beside an accelerator few lanes are one half, as calling it twice takes longer than they need to step. How many
    members there are does not count: random draws depend on the half, and a member is the same alone.
    """
    middle = num_lanes // 2
    if is_accelerator() and num_lanes < LANES_TO_HALVE:
        middle = 0
    return (slice(0, middle), slice(middle, num_lanes)) if middle else (slice(0, num_lanes),)


def threads_per_pool(num_pools: int, cores: int | None = None) -> int:
    """How many threads each of the pools that step at the same time gets: together at least one for every core.

    A pool's step ends with its slowest lane, so a few pools need all cores each; where there are more pools than cores,
    one thread each keeps all of them busy already.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, -(-cores // num_pools))


class _Plan(NamedTuple):
    """A pool to be opened: its variations, its lanes' seeds, and where they stand."""

    variations: tuple[int, ...]
    seeds: list[int]
    member: int
    lanes: slice | np.ndarray


def _plan(choices: np.ndarray, fixed: np.ndarray, seeds: np.ndarray, draws: Sequence[bool]) -> list[_Plan]:
    """The pools of one half: its choices `[P, n, K]`, its lanes' fixed variations and seeds `[P, n]`."""
    plans = []
    for member, draw in enumerate(draws):
        if draw:
            groups = [(tuple(sorted(choices[member, 0].tolist())), np.arange(fixed.shape[1]))]
        else:
            groups = [((int(v),), np.flatnonzero(fixed[member] == v)) for v in np.unique(fixed[member])]
        for variations, lanes in groups:
            where = slice(int(lanes[0]), int(lanes[-1]) + 1) if np.all(np.diff(lanes) == 1) else lanes
            plans.append(_Plan(variations, seeds[member, lanes].tolist(), member, where))
    return plans


def _draws(environment: Pools, rows: np.ndarray) -> bool:
    """Whether one pool draws for all lanes of a member, whose choices are `rows` `[N, K]`."""
    distinct = np.unique(rows[0])
    same = bool(np.all(rows == rows[0])) and len(distinct) == rows.shape[1] > 1
    return same and environment.can_draw(tuple(distinct.tolist()))


def _fixed(spec: EnvSpec, rows: np.ndarray) -> np.ndarray:
    """The one variation that each lane of a member plays for ever, `[N]`."""
    lanes, width = rows.shape
    chosen = rows[np.arange(lanes), np.arange(lanes) * width // lanes]
    distinct = len(np.unique(rows))
    if len(np.unique(chosen)) < distinct:
        raise UserError(
            f"{spec.name} plays one fixed variation in each lane here, but a member has {lanes} lanes for {distinct} "
            "variations; it needs a lane for each of them."
        )
    return chosen


def _check_ids(spec: EnvSpec, choices: np.ndarray) -> None:
    wrong = choices[(choices < 0) | (choices >= spec.num_variations)]
    if wrong.size:
        raise UserError(
            f"{spec.name} was asked for variation {wrong[0]}, but its variations are 0 .. {spec.num_variations - 1}."
        )


def _check_answer(spec: EnvSpec, answer: PoolStep, lanes: int, draws: bool) -> None:
    """Refuse a pool whose first answer does not fit the specification, before any array is overwritten or broadcast."""
    found, expected = answer.observation.shape, (lanes, *spec.observation_shape)
    if found != expected:
        raise UserError(f"A pool of {spec.name} gives observations of shape {found}, but its spec says {expected}.")
    if not np.can_cast(answer.observation.dtype, spec.observation_dtype, "same_kind"):
        raise UserError(
            f"A pool of {spec.name} gives observations of type {answer.observation.dtype}, but its spec says "
            f"{spec.observation_dtype}."
        )
    if draws and answer.variation is None:
        raise UserError(f"A pool of {spec.name} draws its variations, but does not say which one a lane plays.")
