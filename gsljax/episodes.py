"""Playing an exact number of whole episodes in pools, with any policy."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from gsljax.algorithms.base import ActFunction
from gsljax.device import compiler_options
from gsljax.envs.protocol import Choose, LivePools
from gsljax.errors import UserError
from gsljax.exchange import Stopwatch, exchange, policy_of_population
from gsljax.population import Strategy
from gsljax.train_state import TrainState
from gsljax.types import Step

FEW_LANES = 8
"""So few lanes of a member are not worth a program of their own."""


@lru_cache  # it holds the compiled program
def make_policy(act: ActFunction, strategy: Strategy = "vmap") -> Callable[..., Choose]:
    """What plays a population in `play_episodes`, the same for the same arguments.

    Args:
      act: the algorithm's, of one member.
      strategy: how members run, see `gsljax.population.over_members`.

    Returns:
      A function of the states (leaves `[P, ...]`), keys `[P]` and `deterministic` (False unless given).
    """
    act_for_all = jax.jit(
        policy_of_population(act, strategy), static_argnames="deterministic", compiler_options=compiler_options()
    )

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
    """Of the first E episodes of every lane, each `[P, N, E]`: undiscounted return, success, steps, variation id.

    `samples` `[P, N]` are all valid steps up to there, of episodes that were lost too.
    """

    episode_return: np.ndarray
    success: np.ndarray
    length: np.ndarray
    variation: np.ndarray
    samples: np.ndarray


def play_episodes(
    live: LivePools,
    choose: Choose,
    episodes_per_lane: int,
    on_episode: Callable[[Episode], None] | None = None,
    any_lanes: bool = False,
) -> EpisodeResults:
    """Play exactly `episodes_per_lane` whole episodes in every lane, and look at no other.

    Counting the episodes that end within so many steps would favour the short ones; here all lanes weigh the same.
    Lanes that have played theirs wait for the others: a pool does not step any more, once all of its lanes wait.

    Args:
      live: pools that have just been opened, so that every lane begins an episode.
      choose: who plays: `make_policy`, or any function on the host.
      episodes_per_lane: E.
      on_episode: is given each of these episodes as it ends; without it no observation is kept.
      any_lanes: whether `choose` takes the observations of any lanes, however many, as `make_policy`'s does; it is then
        asked for those only that still play, in a few sizes, as every size is compiled.

    Raises:
      UserError: if E is not positive, or an episode is longer than the environment's horizon.
    """
    if episodes_per_lane < 1:
        raise UserError(f"The number of episodes per lane is {episodes_per_lane}, but must be at least 1.")
    shape = live.num_members, live.num_lanes
    results = EpisodeResults(
        *(np.zeros((*shape, episodes_per_lane), dtype) for dtype in (np.float32, bool, np.int32, np.int32)),
        samples=np.zeros(shape, np.int32),
    )
    finished, length = np.zeros(shape, int), np.zeros(shape, int)
    pairs: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {index: [] for index in np.ndindex(shape)}
    sent: list[Any] = [None for _ in live.halves]
    waiting = np.zeros(len(live.halves), int)

    def choose_until_finished(half: int, step: int) -> np.ndarray | None:
        done = finished[:, live.halves[half]] >= episodes_per_lane
        if done.all():
            return None
        if np.count_nonzero(done) > waiting[half]:
            waiting[half] = np.count_nonzero(done)
            live.rest(half, done)
        observation = live.observation(half)
        chosen = _playing_lanes(done) if any_lanes else None
        if chosen is None:
            action = choose(half, observation, step)
        else:
            some = choose(half, observation[chosen], step)
            action = np.zeros((*done.shape, *some.shape[2:]), some.dtype)
            action[chosen] = some
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
            outcome = float(results.episode_return[at]), bool(results.success[at])
            facts = member, lane, int(results.variation[at]), *outcome
            on_episode(Episode(*facts, observation, action, np.array(result.observation[member, column])))

    for half, result in exchange(live, choose_until_finished, Stopwatch()):
        lanes = live.halves[half]
        valid, ended = np.asarray(result.valid), np.asarray(result.terminated | result.truncated)
        playing = finished[:, lanes] < episodes_per_lane
        length[:, lanes] = np.where(valid, length[:, lanes] + 1, 0)
        results.samples[:, lanes] += valid & playing
        if on_episode is not None:
            observation, action = sent[half]
            for member, column in np.argwhere(~valid):  # what there is of an episode that was lost
                pairs[int(member), int(lanes.start + column)] = []
            for member, column in np.argwhere(valid & playing):  # copied, or each would keep all lanes' alive
                pair = observation[member, column].copy(), action[member, column].copy()
                pairs[member, lanes.start + column].append(pair)
        for member, column in np.argwhere(ended & playing):
            end(int(member), int(lanes.start + column), result, int(column))
    return results


def _playing_lanes(done: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Where those of the lanes `[P, n]` are that still play: equally many of each member, others among them if need be.

    Their number halves at a time, down to a few; None where it is still all of them.
    """
    most, size = int(np.max(np.sum(~done, axis=1))), done.shape[1]
    while size > FEW_LANES and most <= -(-size // 2):
        size = -(-size // 2)
    if size == done.shape[1]:
        return None
    lanes = np.argsort(done, axis=1, kind="stable")[:, :size]
    return np.arange(len(done))[:, None], lanes
