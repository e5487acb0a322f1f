"""The bundle every algorithm is: pure functions of one member, which `gsljax.population` runs for many."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from gsljax.train_state import TrainState
from gsljax.types import DemonstrationBatch, Metrics, Rollout


class ActorOutput(NamedTuple):
    """What acting yields for each lane: `action` `[N, ...]`, its `log_prob` `[N]`, and the `value` `[N]`.

    The value is the network's own: where that predicts normalised values, `update` turns a rollout's into returns, as
    only the rollout says of which variation they are.
    """

    action: jax.Array
    log_prob: jax.Array
    value: jax.Array


class InitFunction(Protocol):
    """Makes a fresh member."""

    def __call__(self, key: jax.Array, rollout_shape: tuple[int, int] | None = None) -> TrainState:
        """A state for rollouts of `(T, N)` steps and lanes, which an algorithm that stores them must know."""
        ...


class ActFunction(Protocol):
    """Chooses an action per lane."""

    def __call__(
        self, state: TrainState, observation: jax.Array, key: jax.Array, deterministic: bool = False
    ) -> ActorOutput:
        """Actions for observations `[N, ...]`; `deterministic` (static) plays the distribution's mode."""
        ...


class UpdateFunction(Protocol):
    """Improves a member with a rollout, and with demonstrations if it was built to imitate."""

    def __call__(
        self, state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics]:
        """The next state and scalar metrics."""
        ...


class InheritFunction(Protocol):
    """Gives a fresh member what it can use of another one's memory."""

    def __call__(self, state: TrainState, heritage: Any, variations: jax.Array) -> TrainState:
        """The member that is to train on `variations` `[K]`, with its share of `heritage`."""
        ...


def inherit_nothing(state: TrainState, heritage: Any, variations: jax.Array) -> TrainState:
    """Of an algorithm whose members keep nothing that another one could use."""
    del heritage, variations
    return state


class Algorithm(NamedTuple):
    """An algorithm as an immutable bundle of pure functions (in the manner of `optax.GradientTransformation`).

    Attributes:
      init: key to a fresh `TrainState`; some algorithms must know the rollouts' shape `(T, N)` too.
      act: state, observations `[N, ...]` and a key to `ActorOutput`.
      update: state, rollout and, if it imitates, demonstration minibatches to the next state and metrics.
      num_demonstration_pairs: how many pairs one `update` wants, as `[minibatches, pairs]`; (0, 0) if it does not
        imitate.
      heritage: the entries of a state's `memory` that a clone can use: an off-policy algorithm's replay.
      inherit: a fresh member, these entries `{name: ...}` of the one that it is cloned from, and the variations `[K]`
        that it will train on, to the member with its share of them.
    """

    init: InitFunction
    act: ActFunction
    update: UpdateFunction
    num_demonstration_pairs: Callable[[int], tuple[int, int]]
    heritage: tuple[str, ...] = ()
    inherit: InheritFunction = inherit_nothing
