"""Any gymnax environment with variations, as lanes with the next-step reset rule."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import environment, spaces

from gsljax.conditions import any_member
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec, Step

SetVariation = Callable[[Any, jax.Array], Any]
"""Maps the environment's params and a variation id (traced int32) to the params of that variation."""


class Lanes(NamedTuple):
    """`N` lanes between two steps; `ended` marks those whose next step is a reset, `key` is the episode's."""

    environment_state: Any
    observation: jax.Array
    variation: jax.Array
    ended: jax.Array
    episode_return: jax.Array
    success: jax.Array
    choices: jax.Array
    key: jax.Array
    steps: jax.Array


class _Stepped(NamedTuple):
    lanes: Lanes
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class GymnaxLanes:
    """A gymnax 1.0 environment behind `gsljax.envs.protocol.JaxEnvironment`.

    `step_env` and `reset_env` are called directly, without gymnax's own same-step reset. An episode is a success if
    `info["success"]` was true in any of its steps.

    Attributes:
      environment: the wrapped environment.
      params: its parameters, shared by all lanes up to the variation.
      spec: see `EnvSpec`.
    """

    def __init__(
        self,
        env: environment.Environment,
        params: environment.EnvParams,
        num_variations: int,
        set_variation: SetVariation,
    ):
        """Wrap `env`, whose variation `v` is played with the parameters `set_variation(params, v)`.

        Args:
          env: the environment.
          params: its parameters.
          num_variations: how many variations there are.
          set_variation: pure, called inside compiled code, e.g. `lambda p, v: p.replace(variation=v)`.

        Raises:
          UserError: if there is no variation, or the action space is neither discrete nor a bounded box of one axis.
        """
        if num_variations < 1:
            raise UserError(f"{env.name} was given {num_variations} variations, but needs at least 1.")
        self.environment, self.params, self._set_variation = env, params, set_variation
        example = jax.eval_shape(self._reset_lane, jax.random.key(0), jnp.zeros(1, jnp.int32))
        self.spec = EnvSpec(
            name=env.name,
            num_variations=num_variations,
            observation_shape=tuple(example.observation.shape),
            observation_dtype=str(example.observation.dtype),
            action=_action_spec(env, params),
            horizon=self._longest_horizon(num_variations),
            has_success="success" in self._example_info(),
        )

    def reset(self, key: jax.Array, choices: jax.Array) -> Lanes:
        """Fresh lanes, one for each row of `choices` `[N, K]`."""
        chex.assert_rank(choices, 2)
        return jax.vmap(self._reset_lane)(jax.random.split(key, choices.shape[0]), choices)

    def observation(self, lanes: Lanes) -> jax.Array:
        """What the policy acts on next, `[N, ...]`."""
        return lanes.observation

    def step(self, lanes: Lanes, action: jax.Array) -> tuple[Lanes, Step]:
        """One step of all lanes; a lane whose episode ended resets instead, and that step is not valid."""
        stepped = jax.vmap(self._step_lane)(lanes, action)
        following = self._reset_ended(lanes, stepped.lanes)
        valid = ~lanes.ended
        return following, Step(
            observation=following.observation,
            reward=jnp.where(valid, stepped.reward, 0.0),
            terminated=stepped.terminated & valid,
            truncated=stepped.truncated & valid,
            valid=valid,
            variation=following.variation,
            episode_return=following.episode_return,
            success=following.success,
        )

    def _reset_lane(self, key: jax.Array, choices: jax.Array) -> Lanes:
        episode_key, draw_key, reset_key = jax.random.split(key, 3)
        only_one = choices.shape[0] == 1  # no draw, then: it takes more random bits than many a reset
        variation = choices[0] if only_one else choices[jax.random.randint(draw_key, (), 0, choices.shape[0])]
        observation, state = self.environment.reset_env(reset_key, self._set_variation(self.params, variation))
        # Strong types from the start: a weak one (`time=0`) would turn strong in the first step, and all recompile.
        state = jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), state)
        no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
        return Lanes(state, observation, variation, no, jnp.zeros(()), no, choices, episode_key, zero)

    def _step_lane(self, lane: Lanes, action: jax.Array) -> _Stepped:
        """The lane a step on, as if its episode had not ended."""
        params = self._set_variation(self.params, lane.variation)
        observation, state, reward, terminated, info = self.environment.step_env(
            jax.random.fold_in(lane.key, lane.steps), lane.environment_state, action, params
        )
        terminated = jnp.asarray(terminated, bool)
        truncated = self.environment.is_truncated(state, params) & ~terminated
        reward = jnp.asarray(reward, jnp.float32)
        lane = Lanes(
            environment_state=jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), state, lane.environment_state),
            observation=jnp.asarray(observation, lane.observation.dtype),
            variation=lane.variation,
            ended=terminated | truncated,
            episode_return=lane.episode_return + reward,
            success=lane.success | jnp.asarray(info.get("success", False), bool),
            choices=lane.choices,
            key=lane.key,
            steps=lane.steps + 1,
        )
        return _Stepped(lane, reward, terminated, truncated)

    def _reset_ended(self, lanes: Lanes, stepped: Lanes) -> Lanes:
        """`stepped`, with a fresh episode where the one in `lanes` had ended; nothing is drawn while none has."""

        def reset() -> Lanes:
            keys = jax.vmap(jax.random.fold_in)(lanes.key, lanes.steps)
            fresh = jax.vmap(self._reset_lane)(keys, lanes.choices)
            return jax.vmap(lambda ended, *both: jax.tree.map(partial(jnp.where, ended), *both))(
                lanes.ended, fresh, stepped
            )

        return jax.lax.cond(any_member(jnp.any(lanes.ended)), reset, lambda: stepped)

    def _longest_horizon(self, num_variations: int) -> int:
        def horizon(variation):
            return jnp.asarray(self._set_variation(self.params, variation).max_steps_in_episode)

        return int(jnp.max(jax.vmap(horizon)(jnp.arange(num_variations))))

    def _example_info(self) -> dict[str, Any]:
        def info():
            fresh = self._reset_lane(jax.random.key(0), jnp.zeros(1, jnp.int32))
            action = self.environment.action_space(self.params).sample(jax.random.key(0))
            params = self._set_variation(self.params, fresh.variation)
            return self.environment.step_env(jax.random.key(0), fresh.environment_state, action, params)[-1]

        return jax.eval_shape(info)


def _action_spec(env: environment.Environment, params: environment.EnvParams) -> ActionSpec:
    space = env.action_space(params)
    if isinstance(space, spaces.Discrete):
        return ActionSpec(num_actions=int(space.n))
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        low, high = np.unique(np.asarray(space.low)), np.unique(np.asarray(space.high))
        if len(low) == len(high) == 1 and np.isfinite([low, high]).all():
            return ActionSpec(dimension=int(space.shape[0]), low=float(low[0]), high=float(high[0]))
    raise UserError(
        f"{env.name} has the action space {space}, but must have a discrete one, or a box of one axis with "
        "the same finite bounds for every dimension."
    )
