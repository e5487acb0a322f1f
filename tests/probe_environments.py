"""Tiny gymnax environments with known values: whatever an algorithm gets wrong shows in one of them.

All probes of one action space are variations of one environment, so that a population with one probe per member learns
them all in a single compiled program.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from gsljax.envs import GymnaxLanes


class Probe(NamedTuple):
    """A probe.

    Attributes:
      length: steps of an episode.
      terminates: whether it then terminates; otherwise it is truncated.
      reward: of a step, from its clue (-1 or 1, drawn anew in every episode), its time (from 0) and its action.
      shows_clue, shows_time: what of that is in the observation (0 where it is not).
    """

    length: int
    terminates: bool
    reward: Callable[[jax.Array, jax.Array, jax.Array], Any]
    shows_clue: bool = False
    shows_time: bool = False


def one(clue, time, action):
    """Reward 1 for every step."""
    return 1.0


def agreement(clue, time, action):
    """Reward 1 where the action (0 or 1) has the clue's sign, else −1."""
    return jnp.where(action == (clue > 0), 1.0, -1.0)


DISCRETE = {
    # V = 1 / (1 − γ), as a truncation bootstraps. In the second one every other step is a reset.
    "one forever": Probe(5, False, one),
    "one forever in single steps": Probe(1, False, one),
    # V = 1.
    "one at once": Probe(1, True, one),
    # The time left is not in the observation: with λ 1 the mean over it of 1, 1 + γ, 1 + γ + γ², 1 + γ + γ² + γ³.
    "one for four steps": Probe(4, True, one),
    # V = γ, then 1.
    "one at the second step": Probe(2, True, lambda clue, time, action: time == 1, shows_time=True),
    # V = 1 for the policy that always plays 1.
    "action": Probe(1, True, lambda clue, time, action: 2.0 * action - 1.0),
    # V = the clue.
    "observation": Probe(1, True, lambda clue, time, action: clue, shows_clue=True),
    # V = 1 for the policy that plays the clue.
    "observation and action": Probe(1, True, agreement, shows_clue=True),
}

CONTINUOUS = {
    # V = −Σ σ² for the policy with the mean ½ · clue.
    "target": Probe(1, True, lambda clue, time, action: -jnp.sum((action - 0.5 * clue) ** 2), shows_clue=True),
}


@struct.dataclass
class ProbeParams(environment.EnvParams):
    """`probe`: the index of the probe that is played."""

    probe: int | jax.Array = 0
    max_steps_in_episode: int | jax.Array = 1


@struct.dataclass
class ProbeState(environment.EnvState):
    """The steps so far, and the episode's clue."""

    time: int | jax.Array
    clue: jax.Array


class ProbeEnvironment(environment.Environment[ProbeState, ProbeParams]):
    """The probes of one action space as one environment: observation `[2]` is (clue, time)."""

    def __init__(self, probes: Sequence[Probe], num_actions: int | None):
        super().__init__()
        self.probes = list(probes)
        self.discrete_actions = num_actions

    @property
    def default_params(self) -> ProbeParams:
        return self.params_of(ProbeParams(), 0)

    def params_of(self, params: ProbeParams, probe: int | jax.Array) -> ProbeParams:
        lengths = jnp.array([probe.length for probe in self.probes])
        return params.replace(probe=probe, max_steps_in_episode=lengths[probe])

    def reset_env(self, key: jax.Array, params: ProbeParams) -> tuple[jax.Array, ProbeState]:
        state = ProbeState(0, jax.random.rademacher(key, dtype=jnp.float32))
        return self.observe(key, state, None, params), state

    def step_env(self, key, state: ProbeState, action, params: ProbeParams):
        rewards = jnp.stack([jnp.asarray(p.reward(state.clue, state.time, action), jnp.float32) for p in self.probes])
        state = state.replace(time=state.time + 1)
        return (
            self.observe(key, state, action, params),
            state,
            rewards[params.probe],
            self.is_terminated(state, params),
            {},
        )

    def observe(self, key, state: ProbeState, action, params: ProbeParams) -> jax.Array:
        shown = jnp.array([(p.shows_clue, p.shows_time) for p in self.probes], jnp.float32)
        return jnp.stack([state.clue, jnp.asarray(state.time, jnp.float32)]) * shown[params.probe]

    def is_terminated(self, state: ProbeState, params: ProbeParams) -> jax.Array:
        terminates = jnp.array([p.terminates for p in self.probes])
        return terminates[params.probe] & (state.time >= params.max_steps_in_episode)

    def action_space(self, params: ProbeParams | None = None) -> spaces.Discrete | spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,)) if self.discrete_actions is None else spaces.Discrete(self.discrete_actions)


def lanes_of(probes: dict[str, Probe]) -> GymnaxLanes:
    """The probes as lanes; variation k is the k-th of them."""
    env = ProbeEnvironment(list(probes.values()), num_actions=2 if probes is DISCRETE else None)
    return GymnaxLanes(env, env.default_params, len(probes), env.params_of)
