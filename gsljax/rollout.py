"""Collecting rollouts: one compiled scan of acting and stepping, or a compiled policy beside pools on the host."""

import time
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms.base import ActFunction
from gsljax.device import compiler_options, is_accelerator
from gsljax.envs.protocol import JaxEnvironment, LivePools
from gsljax.exchange import Stopwatch, draw_of_step, exchange, policy_of_population
from gsljax.population import Strategy
from gsljax.train_state import TrainState
from gsljax.types import Rollout, Scalar, Step


def collect(
    environment: JaxEnvironment,
    act: ActFunction,
    state: TrainState,
    lanes: Any,
    key: jax.Array,
    num_steps: int,
    deterministic: bool = False,
    noise_steps: Scalar = 1,
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
      noise_steps: how many steps in a row share a draw of exploration noise, see `gsljax.exchange.draw_of_step`.

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
    draws = draw_of_step(jnp.arange(num_steps), noise_steps, key)
    lanes, (observation, output, result) = jax.lax.scan(step, lanes, keys[draws])
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
        ahead: bool | None = None,
        noise_steps: jax.Array | None = None,
    ) -> tuple[Rollout, Times]:
        """`num_steps` steps of all lanes of all members, from where the pools are.

        Args:
          live: the pools.
          states: the acting members, leaves `[P, ...]`.
          keys: `[P]`, for the actions.
          num_steps: T.
          deterministic: whether the policy's mode is played.
          ahead: whether the policy is started for both halves of the lanes before one of them steps, see
            `gsljax.exchange.exchange`; None for everywhere but on a CPU. The rollout is the same, bit for bit.
          noise_steps: `[P]` int32, how many steps in a row share a draw of exploration noise, see
            `gsljax.exchange.draw_of_step`; None for 1.

        Returns:
          The rollout on the device, leaves `[P, T, N, ...]` (`[P, T + 1, N, ...]` for observation and value), and the
          seconds spent.
        """
        ...


class _Place(NamedTuple):
    """Where in the record a half's next row goes, int32 on the device: a number that crosses takes 0.1 ms on a GPU."""

    step: jax.Array
    half: jax.Array
    first_lane: jax.Array

    @classmethod
    def at(cls, half: int, first_lane: int) -> Self:
        """A half's first row."""
        return cls(*(jnp.asarray(value, jnp.int32) for value in (0, half, first_lane)))


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
    act_for_all = policy_of_population(act, strategy)

    @partial(jax.jit, static_argnames=("num_steps", "num_lanes"))
    def empty_record(states, observation, keys, num_steps, num_lanes):
        output = jax.eval_shape(partial(act_for_all, deterministic=False), states, observation, keys, 0, 0)

        def empty(one):
            return jnp.zeros((one.shape[0], num_steps + 1, num_lanes, *one.shape[2:]), one.dtype)

        return jax.tree.map(empty, _Record(observation, *output))

    @partial(jax.jit, static_argnames="deterministic", donate_argnames="record", compiler_options=compiler_options())
    def act_and_record(record, states, observation, keys, place, deterministic, noise_steps):
        output = act_for_all(states, observation, keys, place.step, place.half, deterministic, noise_steps)

        def write(rows, row):
            at = (0, place.step, place.first_lane, *[0] * (row.ndim - 2))
            return jax.lax.dynamic_update_slice(rows, row[:, None], at)

        record = jax.tree.map(write, record, _Record(observation, *output))
        return record, place._replace(step=place.step + 1), output.action

    def joined(record: _Record, results: Step) -> Rollout:
        # Outside of compiled code, which would copy all observations.
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

    def collect_from_pools(live, states, keys, num_steps, deterministic=False, ahead=None, noise_steps=None):
        started, waited = time.perf_counter(), Stopwatch()
        record = empty_record(states, live.observation(0), keys, num_steps, live.num_lanes)
        ahead = is_accelerator() if ahead is None else ahead
        places = [_Place.at(half, lanes.start) for half, lanes in enumerate(live.halves)]

        def choose(half: int, step: int) -> jax.Array | None:
            nonlocal record
            record, places[half], action = act_and_record(
                record, states, live.observation(half), keys, places[half], deterministic, noise_steps
            )
            if step == num_steps:
                return None
            action.copy_to_host_async()
            return action

        results: list[list[Any]] = [[] for _ in live.halves]
        for half, result in exchange(live, choose, waited, ahead):
            results[half].append(result._replace(observation=None))
        by_half = [jax.tree.map(lambda *steps: np.stack(steps, axis=1), *steps) for steps in results]
        rollout = joined(record, jax.tree.map(lambda *halves: jnp.asarray(np.concatenate(halves, axis=2)), *by_half))
        jax.block_until_ready(rollout)
        return rollout, Times(waited.seconds, time.perf_counter() - started - waited.seconds)

    return collect_from_pools
