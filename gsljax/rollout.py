"""Collecting rollouts: one compiled scan of acting and stepping."""

from typing import Any

import jax
import jax.numpy as jnp

from gsljax.algorithms.base import ActFunction
from gsljax.envs.protocol import JaxEnvironment
from gsljax.train_state import TrainState
from gsljax.types import Rollout


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
