"""What the rest of gsljax asks of an environment that lives inside a compiled program."""

from typing import Any, Protocol

import jax

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
