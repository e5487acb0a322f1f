"""Collecting rollouts: one compiled scan of acting and stepping, or a compiled policy beside pools on the host."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms.base import ActFunction, ActorOutput
from gsljax.envs.protocol import Choose, JaxEnvironment, LivePools
from gsljax.errors import UserError
from gsljax.population import Strategy, over_members
from gsljax.train_state import TrainState
from gsljax.types import Rollout, Step


def collect(
    environment: JaxEnvironment,
    act: ActFunction,
    state: TrainState,
    lanes: Any,
    key: jax.Array,
    num_steps: int,
    deterministic: bool = False,
) -> tuple[Any, Rollout]:
    """`num_steps` steps of all lanes of one member, inside a compiled program.

    Args:
      environment: the environment.
      act: the algorithm's `act`.
      state: the acting member.
      lanes: the environment's lanes, as `reset` or an earlier `collect` left them.
      key: for the actions.
      num_steps: T (static).
      deterministic: whether the policy's mode is played (static).

    Returns:
      The lanes afterwards and the rollout. With an environment that ends episodes at its horizon alone,
      `num_steps = horizon + 1` is one whole episode per lane and its reset.
    """

    def step(lanes, step_key):
        observation = environment.observation(lanes)
        output = act(state, observation, step_key, deterministic=deterministic)
        lanes, result = environment.step(lanes, output.action)
        return lanes, (observation, output, result)

    keys = jax.random.split(key, num_steps + 1)
    lanes, (observation, output, result) = jax.lax.scan(step, lanes, keys[:-1])
    last_observation = environment.observation(lanes)
    last_value = act(state, last_observation, keys[-1], deterministic=deterministic).value
    # The step's variation is the one it was played in; a reset step already shows the next one and is not valid.
    return lanes, Rollout(
        observation=jnp.concatenate([observation, last_observation[None]]),
        action=output.action,
        reward=result.reward,
        terminated=result.terminated,
        truncated=result.truncated,
        valid=result.valid,
        log_prob=output.log_prob,
        value=jnp.concatenate([output.value, last_value[None]]),
        variation=result.variation,
        episode_return=result.episode_return,
        success=result.success,
    )


class Times(NamedTuple):
    """Where a rollout's seconds went: `env`, waiting for the pools, and `act`, for the policy, transfers included."""

    env: float
    act: float


class CollectFromPools(Protocol):
    """`collect` for pools and whole populations, see `make_collect_from_pools`."""

    def __call__(
        self,
        live: LivePools,
        states: TrainState,
        keys: jax.Array,
        num_steps: int,
        deterministic: bool = False,
        overlap: bool = True,
    ) -> tuple[Rollout, Times]:
        """`num_steps` steps of all lanes of all members, from where the pools are.

        Args:
          live: the pools.
          states: the acting members, leaves `[P, ...]`.
          keys: `[P]`, for the actions.
          num_steps: T.
          deterministic: whether the policy's mode is played.
          overlap: whether the policy acts for one half of the lanes while the other half steps; the rollout is the
            same, bit for bit.

        Returns:
          The rollout on the device, leaves `[P, T, N, ...]` (`[P, T + 1, N, ...]` for observation and value), and the
          seconds spent.
        """
        ...


class _Record(NamedTuple):
    """What the policy saw and did, `[P, T + 1, N, ...]`; what it does in the last row is not played."""

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array


def make_collect_from_pools(act: ActFunction, strategy: Strategy = "vmap") -> CollectFromPools:
    """The collecting function of pools for one `act`; make it once, as it holds the compiled programs.

    An observation crosses to the device once, to be acted on, and is recorded there, and only actions come back; what
    the pools say besides crosses at the end. It compiles once for each shape of the pools, T and `deterministic`.

    Args:
      act: the algorithm's, of one member.
      strategy: how members run, see `gsljax.population.over_members`.
    """
    act_for_all = _act_for_all(act, strategy)

    @partial(jax.jit, static_argnames=("num_steps", "num_lanes"))
    def empty_record(states, observation, keys, num_steps, num_lanes):
        output = jax.eval_shape(partial(act_for_all, deterministic=False), states, observation, keys, 0, 0)

        def empty(one):
            return jnp.zeros((one.shape[0], num_steps + 1, num_lanes, *one.shape[2:]), one.dtype)

        return jax.tree.map(empty, _Record(observation, *output))

    @partial(jax.jit, static_argnames="deterministic", donate_argnames="record")
    def act_and_record(record, states, observation, keys, step, half, first_lane, deterministic):
        output = act_for_all(states, observation, keys, step, half, deterministic)

        def write(rows, row):
            return jax.lax.dynamic_update_slice(rows, row[:, None], (0, step, first_lane, *[0] * (row.ndim - 2)))

        return jax.tree.map(write, record, _Record(observation, *output)), output.action

    @jax.jit
    def joined(record: _Record, results: Step) -> Rollout:
        num_steps = results.reward.shape[1]
        return Rollout(
            observation=record.observation,
            action=record.action[:, :num_steps],
            reward=results.reward,
            terminated=results.terminated,
            truncated=results.truncated,
            valid=results.valid,
            log_prob=record.log_prob[:, :num_steps],
            value=record.value,
            variation=results.variation,
            episode_return=results.episode_return,
            success=results.success,
        )

    def collect_from_pools(live, states, keys, num_steps, deterministic=False, overlap=True):
        started, waited = time.perf_counter(), _Stopwatch()
        record = empty_record(states, live.observation(0), keys, num_steps, live.num_lanes)

        def choose(half: int, step: int) -> np.ndarray | None:
            nonlocal record
            record, action = act_and_record(
                record, states, live.observation(half), keys, np.int32(step), np.int32(half),
                np.int32(live.halves[half].start), deterministic=deterministic,
            )  # fmt: skip
            return np.asarray(action) if step < num_steps else None

        results: list[list[Any]] = [[] for _ in live.halves]
        for half, result in _exchange(live, choose, waited, overlap):
            results[half].append(result._replace(observation=None))
        by_half = [jax.tree.map(lambda *steps: np.stack(steps, axis=1), *steps) for steps in results]
        rollout = joined(record, jax.tree.map(lambda *halves: np.concatenate(halves, axis=2), *by_half))
        jax.block_until_ready(rollout)
        return rollout, Times(waited.seconds, time.perf_counter() - started - waited.seconds)

    return collect_from_pools


@lru_cache  # it holds the compiled program
def make_policy(act: ActFunction, strategy: Strategy = "vmap") -> Callable[..., Choose]:
    """What plays a population in `play_episodes`, the same for the same arguments.

    Args:
      act: the algorithm's, of one member.
      strategy: how members run, see `gsljax.population.over_members`.

    Returns:
      A function of the states (leaves `[P, ...]`), keys `[P]` and `deterministic` (False unless given).
    """
    act_for_all = jax.jit(_act_for_all(act, strategy), static_argnames="deterministic")

    def policy(states: TrainState, keys: jax.Array, deterministic: bool = False) -> Choose:
        def choose(half: int, observation: np.ndarray, step: int) -> np.ndarray:
            output = act_for_all(states, observation, keys, np.int32(step), np.int32(half), deterministic=deterministic)
            return np.asarray(output.action)

        return choose

    return policy


class Episode(NamedTuple):
    """One whole episode of `L` steps.

    Attributes:
      member, lane, variation: who played it where, and what.
      episode_return, success: undiscounted return, and whether any step was a success.
      observation: `[L, ...]`, what the policy acted on.
      action: `[L, ...]`, clipped to the action range.
      final_observation: `[...]`, what the last action led to.
    """

    member: int
    lane: int
    variation: int
    episode_return: float
    success: bool
    observation: np.ndarray
    action: np.ndarray
    final_observation: np.ndarray


class EpisodeResults(NamedTuple):
    """Of the first E episodes of every lane, each `[P, N, E]`: undiscounted return, success, steps, variation id."""

    episode_return: np.ndarray
    success: np.ndarray
    length: np.ndarray
    variation: np.ndarray


def play_episodes(
    live: LivePools, choose: Choose, episodes_per_lane: int, on_episode: Callable[[Episode], None] | None = None
) -> EpisodeResults:
    """Play exactly `episodes_per_lane` whole episodes in every lane, and look at no other.

    Counting the episodes that end within so many steps would favour the short ones; here all lanes weigh the same.

    Args:
      live: pools that have just been opened, so that every lane begins an episode.
      choose: who plays: `make_policy`, or any function on the host.
      episodes_per_lane: E.
      on_episode: is given each of these episodes as it ends; without it no observation is kept.

    Raises:
      UserError: if E is not positive, or an episode is longer than the environment's horizon.
    """
    if episodes_per_lane < 1:
        raise UserError(f"The number of episodes per lane is {episodes_per_lane}, but must be at least 1.")
    shape = live.num_members, live.num_lanes
    results = EpisodeResults(
        *(np.zeros((*shape, episodes_per_lane), dtype) for dtype in (np.float32, bool, np.int32, np.int32))
    )
    finished, length = np.zeros(shape, int), np.zeros(shape, int)
    pairs: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {index: [] for index in np.ndindex(shape)}
    sent: list[Any] = [None for _ in live.halves]

    def choose_until_finished(half: int, step: int) -> np.ndarray | None:
        if np.all(finished[:, live.halves[half]] >= episodes_per_lane):
            return None
        observation = live.observation(half)
        action = choose(half, observation, step)
        sent[half] = observation, action
        return action

    def end(member: int, lane: int, result: Step, column: int) -> None:
        at = member, lane, finished[member, lane]
        for field in ("episode_return", "success", "variation"):
            getattr(results, field)[at] = getattr(result, field)[member, column]
        results.length[at] = length[member, lane]
        finished[member, lane] += 1
        if on_episode is not None:
            observation, action = (np.stack(each) for each in zip(*pairs[member, lane], strict=True))
            pairs[member, lane] = []
            action = live.spec.action.clip(action)
            variation, total, success = (results[field][at] for field in (3, 0, 1))
            facts = member, lane, int(variation), float(total), bool(success)
            on_episode(Episode(*facts, observation, action, np.array(result.observation[member, column])))

    for half, result in _exchange(live, choose_until_finished, _Stopwatch()):
        lanes = live.halves[half]
        valid, ended = np.asarray(result.valid), np.asarray(result.terminated | result.truncated)
        playing = finished[:, lanes] < episodes_per_lane
        length[:, lanes] = np.where(valid, length[:, lanes] + 1, 0)
        if np.any(length > live.spec.horizon):
            raise UserError(f"An episode of {live.spec.name} is longer than its horizon of {live.spec.horizon} steps.")
        if on_episode is not None:
            observation, action = sent[half]
            for member, column in np.argwhere(valid & playing):  # copied, or each would keep all lanes' alive
                pair = observation[member, column].copy(), action[member, column].copy()
                pairs[member, lanes.start + column].append(pair)
        for member, column in np.argwhere(ended & playing):
            end(int(member), int(lanes.start + column), result, int(column))
    return results


class _Stopwatch:
    """Seconds spent between `start` and `stop`, summed."""

    def __init__(self):
        self.seconds = 0.0

    def start(self) -> None:
        self.seconds -= time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter()


def _act_for_all(act: ActFunction, strategy: Strategy) -> Callable[..., ActorOutput]:
    """`act` of a population for one half of its lanes, with a random key for every step and half."""

    def act_for_all(states, observation, keys, step, half, deterministic):
        def act_of_one(state, observation, key):
            key = jax.random.fold_in(jax.random.fold_in(key, step), half)
            return act(state, observation, key, deterministic=deterministic)

        return over_members(act_of_one, strategy)(states, observation, keys)

    return act_for_all


def _exchange(
    live: LivePools, choose: Callable[[int, int], np.ndarray | None], waited: _Stopwatch, overlap: bool = True
) -> Iterator[tuple[int, Step]]:
    """Step every half with the actions `choose(half, step)` until these are None; yields each half's results in order.

    With `overlap` one half steps while the caller chooses for, and looks at, the other one; otherwise both step at
    once, and nothing else happens until both are done.
    """

    def send(half: int, action: np.ndarray) -> None:
        waited.start()
        live.send(half, action)
        waited.stop()

    def receive(half: int) -> Step:
        waited.start()
        result = live.receive(half)
        waited.stop()
        return result

    stepping: deque[tuple[int, int]] = deque()
    following = [(half, 0) for half in range(len(live.halves))]
    while following or stepping:
        chosen = ((half, step, choose(half, step)) for half, step in following)
        for half, step, action in chosen if overlap else list(chosen):
            if action is not None:
                send(half, action)
                stepping.append((half, step))
        following = []
        while stepping and (not overlap or not following):
            half, step = stepping.popleft()
            yield half, receive(half)
            following.append((half, step + 1))
