"""What every stage of a run has in common: the configuration, the environment, where to write, whom to tell."""

import math
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import numpy as np

from gsljax.algorithms import Algorithm, ImitationConfig
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.gsl.agent import make_algorithm, settings_of
from gsljax.gsl.config import GSLConfig, TrainingConfig
from gsljax.population import over_members
from gsljax.run_directory import RunDirectory

DESCRIPTIONS = {
    "baseline": "baseline on all variations",
    "generalist": "generalist on all variations, until it stops improving",
    "evaluation": "generalist on every variation",
    "fine_tuning": "generalist on its worst variations",
    "specialists": "specialists, each on its variations",
    "demonstrations": "demonstrations of the best specialists",
    "imitation": "generalist with demonstrations",
    "trials": "several specialists on each subset, of which the best goes on",
}
ADOPTABLE = ("generalist", "evaluation", "fine_tuning", "trials", "specialists", "demonstrations")
"""The stages before phase II, which runs that differ only in phase II have in common."""
Purpose = Literal["members", "rollouts", "generalist rollouts"]
_KEY_OF_STAGE = {name: number for number, name in enumerate(DESCRIPTIONS)}  # a new stage comes last, or keys change
_KEY_OF_PURPOSE = {name: number for number, name in enumerate(get_args(Purpose))}


class Reporter(Protocol):
    """Whoever shows the user what goes on."""

    def begin_stage(self, name: str, description: str, budget: int, done: int) -> None:
        """A stage begins, or goes on with `done` of at most `budget` samples."""
        ...

    def advance(self, stage: str, record: dict[str, Any]) -> None:
        """An epoch is over; `record` is its line in `metrics.jsonl`."""
        ...

    def message(self, text: str) -> None:
        """Something worth a line."""
        ...

    def finish_stage(self, name: str, record: dict[str, Any]) -> None:
        """A stage is complete; `record` is its entry in `stages.json`."""
        ...


class Experiment(NamedTuple):
    """What every stage needs: the configuration, the environment, where to write, whom to tell.

    `evaluation_environment` is what the policy is evaluated on after the run: the same variations. `deadline` is when
    the run is to stop, on `time.monotonic`'s clock.
    """

    config: GSLConfig
    environment: JaxEnvironment | PooledEnvironment
    evaluation_environment: JaxEnvironment | PooledEnvironment
    directory: RunDirectory
    reporter: Reporter
    deadline: float = math.inf

    @property
    def is_time_up(self) -> bool:
        """Whether the run is to stop, with what it has just done saved; it always does something before it looks."""
        return time.monotonic() >= self.deadline

    def key(self, stage: str, purpose: Purpose) -> jax.Array:
        """A random key of a stage: the same in every run with this seed, whatever the other stages do.

        Every purpose has a key of its own, to be used in one way only: `fold_in(key, i)` is the i-th of `split(key)`.
        """
        stage_key = jax.random.fold_in(jax.random.key(self.config.seed), _KEY_OF_STAGE[stage])
        return jax.random.fold_in(stage_key, _KEY_OF_PURPOSE[purpose])

    def algorithm(self, training: TrainingConfig, imitation: ImitationConfig | None = None) -> Algorithm:
        """The configured algorithm with a stage's settings."""
        settings = settings_of(self.config.algorithm, training)
        return make_algorithm(settings, self.config.network, self.environment.spec, imitation)

    @property
    def acting(self) -> Algorithm:
        """The algorithm whose `act` plays every policy of the run."""
        return self.algorithm(self.config.baseline if self.config.is_baseline else self.config.generalist)

    def over_members(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of one member for a population, run as the configuration says."""
        strategy = self.config.population_strategy
        return over_members(function, "vmap" if strategy == "auto" else strategy)

    @property
    def all_variations(self) -> np.ndarray:
        """All variation ids, `[V]`."""
        return np.arange(self.environment.spec.num_variations, dtype=np.int32)

    @property
    def samples_left(self) -> int:
        """Samples of the run's total that no complete stage has taken."""
        return self.config.total_samples - self.directory.samples
