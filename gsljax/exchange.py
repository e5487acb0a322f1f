"""What everything that plays in pools shares: the halves of the lanes in turn, and a policy for all members at once."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from gsljax.algorithms.base import ActFunction, ActorOutput
from gsljax.envs.protocol import LivePools
from gsljax.population import Strategy, over_members
from gsljax.types import Step


class Stopwatch:
    """Seconds spent inside its `with` blocks, summed."""

    def __init__(self):
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter()


def policy_of_population(act: ActFunction, strategy: Strategy) -> Callable[..., ActorOutput]:
    """`act` of a population for one half of its lanes, with a random key for every step and half."""

    def act_for_all(states, observation, keys, step, half, deterministic):
        def act_of_one(state, observation, key):
            key = jax.random.fold_in(jax.random.fold_in(key, step), half)
            return act(state, observation, key, deterministic=deterministic)

        return over_members(act_of_one, strategy)(states, observation, keys)

    return act_for_all


def exchange(
    live: LivePools, choose: Callable[[int, int], np.ndarray | None], waited: Stopwatch, overlap: bool = True
) -> Iterator[tuple[int, Step]]:
    """Step every half with the actions `choose(half, step)` until these are None; yields each half's results in order.

    With `overlap` one half steps while the caller chooses for, and looks at, the other one; otherwise both step at
    once, and nothing else happens until both are done. `waited` adds up the time spent sending and receiving.
    """
    stepping: deque[tuple[int, int]] = deque()
    following = [(half, 0) for half in range(len(live.halves))]
    while following or stepping:
        chosen = ((half, step, choose(half, step)) for half, step in following)
        for half, step, action in chosen if overlap else list(chosen):
            if action is not None:
                with waited:
                    live.send(half, action)
                stepping.append((half, step))
        following = []
        while stepping and (not overlap or not following):
            half, step = stepping.popleft()
            with waited:
                result = live.receive(half)
            yield half, result
            following.append((half, step + 1))
