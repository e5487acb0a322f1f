"""What the rest of gsljax asks of an environment: of one inside a compiled program, and of one on the host."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import jax
import numpy as np

from gsljax.types import EnvSpec, Step


class JaxEnvironment(Protocol):
    """`N` lanes of one member, stepped by pure functions.

    `choices` `[N, K]` int32 says which variations a lane may play: it draws one of its row uniformly at every reset. A
    generalist's rows all hold its whole set, a specialist's rows its subset, an evaluation's rows a single id. Repeat
    ids to fill a row.
    """

    spec: EnvSpec

    def reset(self, key: jax.Array, choices: jax.Array) -> Any:
        """Fresh lanes, each at the start of an episode of one of its choices."""
        ...

    def observation(self, lanes: Any) -> jax.Array:
        """What the policy acts on next, `[N, ...]`."""
        ...

    def step(self, lanes: Any, action: jax.Array) -> tuple[Any, Step]:
        """One step of all lanes, with the next-step reset rule of `gsljax.types.Step`."""
        ...


class PoolAssignment(NamedTuple):
    """What pools on the host are opened from: arrays, which lie in a training carry as a `JaxEnvironment`'s lanes do.

    Attributes:
      seed: `[N]` uint32, of each lane.
      choices: `[N, K]` int32, see `JaxEnvironment`.
    """

    seed: jax.Array | np.ndarray
    choices: jax.Array | np.ndarray


class LivePools(Protocol):
    """Running environments of `P` members with `N` lanes each; a context manager that closes itself.

    The lanes come in halves that step independently: while one half steps, a policy can act for the other. What it
    hands out is never written to again, so JAX may alias it for as long as it likes.

    Attributes:
      spec: the environment's.
      num_members: P.
      num_lanes: N.
      halves: the lanes of each half, `(slice(0, N // 2), slice(N // 2, N))`, or one slice where halves do not pay.
    """

    spec: EnvSpec
    num_members: int
    num_lanes: int
    halves: tuple[slice, ...]

    def observation(self, half: int) -> np.ndarray:
        """What the policy acts on next, `[P, n, ...]`; not to be called between `send` and `receive`."""
        ...

    def variation(self, half: int) -> np.ndarray:
        """The id that each lane plays next, `[P, n]` int32, under the same condition."""
        ...

    def send(self, half: int, action: np.ndarray) -> None:
        """Hand the actions `[P, n, ...]` to all environments of a half, which begin to step."""
        ...

    def receive(self, half: int) -> Step:
        """Wait for what `send` began: NumPy arrays `[P, n, ...]`, with the next-step reset rule."""
        ...

    def rest(self, half: int, done: np.ndarray) -> None:
        """Spare the environments of lanes that nobody looks at any more.

        From the next `send` on, environments all of whose lanes are `done` do not step: these lanes' steps are not
        valid, and their observations mean nothing. Not to be called between `send` and `receive`.

        Args:
          half: of the lanes.
          done: `[P, n]` bool; in place of what was given before, and never less.
        """
        ...

    def close(self) -> None:
        """End all environments and their threads; closing twice does no harm."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Choose = Callable[[int, np.ndarray, int], np.ndarray]
"""Who plays pools: a half, its observations `[P, n, ...]` and the number of the step to actions `[P, n, ...]`."""


@runtime_checkable
class PooledEnvironment(Protocol):
    """An environment that steps on the host, outside compiled programs."""

    @property
    def spec(self) -> EnvSpec:
        """What the rest of gsljax must know about it."""
        ...

    @property
    def most_lanes(self) -> int | None:
        """The most lanes that evaluations and demonstrations should open, where opening one is costly; else None."""
        ...

    def lanes_needed(self, variations: tuple[int, ...]) -> int:
        """The fewest lanes with which a member can play these variations (distinct ids)."""
        ...

    def reset(self, key: jax.Array, choices: jax.Array) -> PoolAssignment:
        """Describe fresh lanes of one member, one for each row of `choices` `[N, K]`; pure."""
        ...

    def open(self, assignment: PoolAssignment) -> LivePools:
        """Start the lanes of a population, each at the start of an episode.

        Environments cannot be saved: the same assignment opened again starts the same fresh episodes. A caller that
        resumes a run folds how far it came into the seeds first.

        Args:
          assignment: `[P, N]` seeds and `[P, N, K]` choices.

        Raises:
          UserError: if the choices cannot be played, or something that the environment needs is not installed.
        """
        ...
