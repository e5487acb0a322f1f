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

ChooseNext = Callable[[int, int], np.ndarray | jax.Array | None]
"""The actions of a half's lanes `[P, n, ...]` for a step, or None if there are none left."""


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


def exchange(live: LivePools, choose: ChooseNext, waited: Stopwatch, ahead: bool = False) -> Iterator[tuple[int, Step]]:
    """Step every half with the actions `choose(half, step)` until these are None; yields each half's results in order.

    One half steps while the caller chooses for, and looks at, the other one. With `ahead` actions may be arrays that an
    accelerator still computes: both halves are chosen for before the first is waited for, so that what a call of it and
    a transfer take, which is more than what a few lanes take, passes once for both. `waited` adds up the time spent
    sending and receiving.
    """
    return (_ahead if ahead else _in_turns)(live, choose, waited)


def _in_turns(live: LivePools, choose: ChooseNext, waited: Stopwatch) -> Iterator[tuple[int, Step]]:
    stepping: deque[tuple[int, int]] = deque()
    following = [(half, 0) for half in range(len(live.halves))]
    while following or stepping:
        for half, step in following:
            action = choose(half, step)
            if action is not None:
                _send(live, half, action, waited)
                stepping.append((half, step))
        following = []
        if stepping:
            half, step = stepping.popleft()
            with waited:
                result = live.receive(half)
            yield half, result
            following.append((half, step + 1))


def _ahead(live: LivePools, choose: ChooseNext, waited: Stopwatch) -> Iterator[tuple[int, Step]]:
    step = 0
    chosen = [(half, choose(half, step)) for half in range(len(live.halves))]
    while chosen:
        stepping: list[int] = []
        for half, action in chosen:
            if action is not None:
                _send(live, half, action, waited)
                stepping.append(half)
        step += 1
        chosen = []
        for half in stepping:
            with waited:
                result = live.receive(half)
            yield half, result
            chosen.append((half, choose(half, step)))


def _send(live: LivePools, half: int, action: np.ndarray | jax.Array, waited: Stopwatch) -> None:
    action = np.asarray(action)  # may wait for the policy
    with waited:
        live.send(half, action)
