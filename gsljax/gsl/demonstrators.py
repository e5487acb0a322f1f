"""Playing demonstrations: whole episodes of each member of a population on its own variations (GSL Algorithm 1)."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms.base import ActFunction
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.episodes import Episode, make_policy, play_episodes
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.training import acting_strategy
from gsljax.parts import most_divisor
from gsljax.rollout import collect
from gsljax.train_state import TrainState, take


class Players(NamedTuple):
    """A population that is to demonstrate.

    Attributes:
      members: leaves `[P, ...]`.
      variations: `[P, K]`, each one's own.
      episodes: that each of them plays, in turn on its variations; with pools a multiple of K, rounded down.
      sources: `[P]`, how the demonstrations name them, see `Demonstrations.source`.
    """

    members: TrainState
    variations: np.ndarray
    episodes: int
    sources: Sequence[int]


class Played(NamedTuple):
    """The episodes that passed the filter; of all of them variation, return and success `[E]`, and the samples."""

    kept: list[Demonstrations]
    variations: np.ndarray
    returns: np.ndarray
    successes: np.ndarray
    samples: int


def play(experiment: Experiment, players: Players, key: jax.Array) -> Played:
    """Let every member play its episodes, and filter them as configured."""
    if isinstance(experiment.environment, PooledEnvironment):
        return _play_in_pools(experiment, experiment.environment, players, key)
    return _play_compiled(experiment, experiment.environment, players, key)


def passes(experiment: Experiment, played: Demonstrations) -> np.ndarray:
    """Which of the episodes `[E]` the configured filter keeps."""
    wanted, spec = experiment.config.demonstrations, experiment.environment.spec
    least = wanted.min_return
    if wanted.min_normalized is not None:
        of_score = spec.return_of(wanted.min_normalized)
        least = of_score if least is None else max(least, of_score)
    return demonstration_sets.worth_keeping(played, least, wanted.require_success and spec.has_success)


def _play_compiled(experiment: Experiment, environment: JaxEnvironment, players: Players, key: jax.Array) -> Played:
    act, horizon = experiment.acting.act, environment.spec.horizon
    lane_variations = np.resize(np.arange(players.variations.shape[1]), players.episodes)

    def play_one(state, choices, key):
        reset_key, act_key = jax.random.split(key)
        lanes = environment.reset(reset_key, choices)
        rollout = collect(environment, act, state, lanes, act_key, horizon)[1]
        if experiment.config.demonstrations.label == "mode":
            mode = act(state, rollout.observation[:-1], act_key, deterministic=True).action
            rollout = rollout._replace(action=mode)
        return rollout

    choices = jnp.asarray(players.variations[:, lane_variations, None], jnp.int32)
    keys = jax.random.split(key, len(players.variations))
    rollouts = jax.device_get(jax.jit(experiment.over_members(play_one))(players.members, choices, keys))
    parts = [
        demonstration_sets.from_rollout(take(rollouts, index), environment.spec, source)
        for index, source in enumerate(players.sources)
    ]
    everything = demonstration_sets.concatenate(parts)
    kept = [demonstration_sets.select(part, passes(experiment, part)) for part in parts]
    return Played(kept, everything.variation, everything.episode_return, everything.success, everything.num_pairs)


def _play_in_pools(
    experiment: Experiment, environment: PooledEnvironment, players: Players, key: jax.Array, most_lanes: int = 512
) -> Played:
    """As many variations of each member at a time as there are lanes for; only what is kept stays in memory."""
    act, wanted = experiment.acting.act, experiment.config.demonstrations
    count, width = players.variations.shape
    at_once = max(1, min(most_lanes, environment.most_lanes or most_lanes) // count)
    per_variation = max(1, players.episodes // width)
    lanes = most_divisor(per_variation, max(1, at_once // width))
    policy = make_policy(act, acting_strategy(experiment.config.population_strategy, players.members))
    kept: list[Demonstrations] = []
    variations, returns, successes, samples = [], [], [], 0

    def keep(episode: Episode) -> None:
        part = _as_demonstrations(episode, players.sources[episode.member])
        if not passes(experiment, part).all():
            return
        if wanted.label == "mode":
            part = part._replace(action=_mode(act, take(players.members, episode.member), episode, environment))
        kept.append(part)

    for turn, first in enumerate(range(0, width, at_once)):
        some = np.repeat(players.variations[:, first : first + at_once], lanes, axis=1)
        keys = jax.random.split(jax.random.fold_in(key, turn), (2, count))
        assignment = jax.vmap(environment.reset)(keys[0], jnp.asarray(some[..., None], jnp.int32))
        with environment.open(jax.device_get(assignment)) as live:
            choose = policy(players.members, keys[1])
            played = play_episodes(live, choose, per_variation // lanes, keep, any_lanes=True)
        variations.append(played.variation.reshape(-1))
        returns.append(played.episode_return.reshape(-1))
        successes.append(played.success.reshape(-1))
        samples += int(played.samples.sum())
    joined = [np.concatenate(values) for values in (variations, returns, successes)]
    return Played(kept, joined[0], joined[1], joined[2], samples)


@partial(jax.jit, static_argnames="act")
def _deterministic(act: ActFunction, state: TrainState, observation: jax.Array) -> jax.Array:
    return act(state, observation, jax.random.key(0), deterministic=True).action


def _mode(
    act: ActFunction, state: TrainState, episode: Episode, environment: PooledEnvironment, at_once: int = 256
) -> np.ndarray:
    """The mode of the member's policy at each of the episode's observations, clipped; some at a time, of one shape."""
    length, spec = len(episode.observation), environment.spec
    padding = [(0, -length % at_once), *[(0, 0)] * len(spec.observation_shape)]
    padded = np.pad(episode.observation, padding)
    parts = [_deterministic(act, state, padded[i : i + at_once]) for i in range(0, len(padded), at_once)]
    action = np.concatenate(parts)[:length]
    return spec.action.clip(action)


def _as_demonstrations(episode: Episode, source: int) -> Demonstrations:
    return Demonstrations(
        observation=episode.observation,
        action=episode.action,
        episode=np.zeros(len(episode.action), np.int32),
        variation=np.array([episode.variation], np.int32),
        source=np.array([source], np.int32),
        episode_return=np.array([episode.episode_return], np.float32),
        success=np.array([episode.success]),
    )
