"""What everything that plays in pools shares: the halves of the lanes in turn, and a policy for all members at once."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import jax
import numpy as np

from gsljax.algorithms.base import ActFunction, ActorOutput
from gsljax.envs.protocol import LivePools
from gsljax.population import Strategy, over_members
from gsljax.types import Scalar, Step


class Stopwatch:
    """Seconds spent inside its `with` blocks, summed."""

    def __init__(self):
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter()


def policy_of_population(act: ActFunction, strategy: Strategy) -> Callable[..., ActorOutput]:
    """`act` of a population for one half of its lanes, with a random key for every step and half.

    A member with `noise_steps` `[P]` above 1 acts with the same key for so many steps, see `draw_of_step`.
    """

    def act_for_all(states, observation, keys, step, half, deterministic, noise_steps=None):
        def act_of_one(state, observation, key, noise_steps):
            draw = step if noise_steps is None else draw_of_step(step, noise_steps, key)
            key = jax.random.fold_in(jax.random.fold_in(key, draw), half)
            return act(state, observation, key, deterministic=deterministic)

        return over_members(act_of_one, strategy)(states, observation, keys, noise_steps)

    return act_for_all


def draw_of_step(step: Scalar, noise_steps: Scalar, key: jax.Array) -> jax.Array:
    """Which random draw a step's actions are made with, where `noise_steps` steps in a row share one.

    Actions stay samples of the policy, but the noise of a Gaussian one no longer averages out within a few steps: what
    must be done for a while to be of any use is found (as with the noise that gSDE holds, Raffin et al. 2021). The
    first draw is cut short at random, so that changes fall on all steps alike.

    Args:
      step: int32, any shape, from 0.
      noise_steps: int32; 1 gives every step a draw of its own, number `step`.
      key: of the rollout.
    """
    begun = jax.random.randint(jax.random.fold_in(key, 2**32 - 1), (), 0, noise_steps)
    return (step + begun) // noise_steps


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
