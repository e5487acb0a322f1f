"""A maze small enough that a whole GSL run takes seconds, most of them for compiling; and a run of it, watched.

`python -m tests.gsl.tiny DIR` runs (or finishes) `EVERY_STAGE` in DIR, saying what happens.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from gsljax.algorithms import AuxiliaryConfig, GAILConfig, ImitationConfig, PPOConfig, SACConfig
from gsljax.envs import BrushMazeConfig
from gsljax.gsl import population_training
from gsljax.gsl.config import DemonstrationConfig, TrainingConfig, resolve
from gsljax.gsl.experiment import Experiment, Reporter
from gsljax.gsl.network_config import NetworkConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.gsl.population_training import TrainingStage
from gsljax.gsl.run import Outcome, run
from gsljax.gsl.training import Carry
from gsljax.presets import MAZE, MazeConfig, Preset
from gsljax.report.progress import Silent
from gsljax.run_directory import RunDirectory
from gsljax.train_state import TrainState

HORIZON = 10
LANES = 10
SPECIALIST_LANES = 2
VARIATIONS = 5


def _training(lanes: int, minibatch_size: int) -> TrainingConfig:
    return TrainingConfig(
        lanes=lanes,
        ppo=PPOConfig(learning_rate=3e-3, num_epochs=2, minibatch_size=minibatch_size),
        auxiliary=AuxiliaryConfig(policy_phases=2, auxiliary_epochs=1, auxiliary_minibatch=2),
        sac=SACConfig(num_gradient_steps=2, minibatch_size=8, replay_capacity=300, warmup_samples=40),
    )


CONFIG = MazeConfig(
    total_samples=3000,
    rollout_steps=HORIZON + 1,
    checkpoint_interval=2,
    network=NetworkConfig(hidden=(8,), initial_std=0.6, min_std=0.1, max_std=1.0, squash_mean=True),
    baseline=_training(LANES, 50),
    generalist=_training(LANES, 50),
    generalist_share=0.3,
    plateau=PlateauCriterion(metric="return", kernel_sigma=0.0, window=3, epsilon=1000.0, head=0.2, tail=0.0),
    good_enough=0.0,  # a return never is
    low_episodes=2,
    specialist=_training(SPECIALIST_LANES, 11),
    specialist_share=0.2,
    demonstrations=DemonstrationConfig(specialist_episodes=20, require_success=False),
    phase_two=_training(LANES, 50),
    imitation=ImitationConfig(interval=2, gail=GAILConfig(num_updates=2, minibatch_size=8, hidden=(8,))),
    evaluation_episodes=4,
    env=BrushMazeConfig(corridor_length=1.0, junction_width=0.5, branch_length=0.5, horizon=HORIZON),
)
"""In samples: at most 900 of the generalist, 100 of its evaluation, 600 of the specialists, 200 of demonstrations.

The first epoch outside the head is a plateau: of the 9 epochs it is number 2 (from 0), known after 6.
"""

PRESET: Preset = MAZE._replace(name="tiny", config=CONFIG, draw_behaviour=None)


def changed(config: Any = CONFIG, **changes: Any) -> Any:
    """A configuration with other values; a name such as `plateau__epsilon` reaches into a nested one."""
    values: dict[str, Any] = {}
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        values[outer] = changed(values.get(outer, getattr(config, outer)), **{inner: value}) if inner else value
    return dataclasses.replace(config, **values)


FINE_TUNED: MazeConfig = changed(
    fine_tuning_share=0.05,
    **{
        f"{stage}__ppo__{name}": value
        for stage in ("generalist", "specialist", "phase_two")
        for name, value in {
            "normalize_observations": True,
            "normalize_rewards": True,
            "reward_scope": "variation",
            "normalize_values": True,
            "normalize_advantages": "variation",
            "value_learning_rate": 5e-3,
        }.items()
    },
)
"""With everything that an algorithm may keep from update to update."""

EVERY_STAGE: MazeConfig = changed(
    FINE_TUNED,
    specialist_share=0.25,
    specialists_per_subset=2,
    fresh_specialists=1,
    fresh_noise_steps=3,
    trial_share=0.14,
)
"""With all stages there are."""


class Watched(NamedTuple):
    """A run with what happened inside.

    Attributes:
      outcome: its result.
      summary: the content of `summary.json`.
      path: the run directory.
      stages: what each stage of training was given.
      results: the members that each stage of training gave back.
      carries: by stage, what training carried after the last epoch that this process ran.
      acted: by stage, the parameters that acted in each epoch that this process ran, on the host.
    """

    outcome: Outcome
    summary: dict[str, Any]
    path: Path
    stages: dict[str, TrainingStage]
    results: dict[str, TrainState]
    carries: dict[str, Carry]
    acted: dict[str, list[Any]]


def experiment(path: Path, config: MazeConfig = CONFIG, reporter: Reporter | None = None) -> Experiment:
    """The experiment of a new run directory, or of one that was begun."""
    config = resolve(config)
    environment = PRESET.make_environment(config)
    header = {"preset": "tiny", "method": config.method, "seed": config.seed, "config": dataclasses.asdict(config)}
    begun = (path / "config.json").exists()
    directory = RunDirectory.reopen(path) if begun else RunDirectory.create(path, header)
    return Experiment(config, environment, environment, directory, reporter or Silent())


def watch(
    path: Path, config: MazeConfig = CONFIG, reporter: Reporter | None = None, deadline: float = math.inf
) -> Watched:
    """Run (or finish) a configuration; programs of the same shapes are compiled once per process."""
    given: dict[str, TrainingStage] = {}
    results: dict[str, TrainState] = {}
    carries: dict[str, Carry] = {}
    acted: dict[str, list[Any]] = {}

    def train_population(experiment, stage):
        given[stage.name], acted[stage.name] = stage, []
        results[stage.name] = train(experiment, stage)
        return results[stage.name]

    def compile_once(experiment, stage, carry, pairs):
        key = _what_a_program_depends_on(experiment.config, stage, (carry, pairs))
        if key not in _PROGRAMS:
            _PROGRAMS[key] = compile_anew(experiment, stage, carry, pairs)

        def program(carry, pairs, count):
            acted[stage.name].append(jax.tree.map(np.array, carry.state.params))  # copies: the carry is donated
            carries[stage.name], epochs = _PROGRAMS[key](carry, pairs, count)
            return carries[stage.name], epochs

        return program

    used = experiment(path, config, reporter)._replace(deadline=deadline)
    compile_anew, train = population_training._compile, population_training.train_population
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population_training, "train_population", train_population)
        patch.setattr(population_training, "_compile", compile_once)
        try:
            outcome, summary = run(used, "tiny")
        finally:
            used.directory.close()
    return Watched(outcome, summary, path, given, results, carries, acted)


_PROGRAMS: dict[Any, Any] = {}


def _what_a_program_depends_on(config: MazeConfig, stage: TrainingStage, arguments: Any) -> Any:
    trainings = {"baseline": config.baseline, "generalist": config.generalist, "imitation": config.phase_two}
    settings = [config.env, config.network, config.rollout_steps, config.epochs_per_call, config.population_strategy]
    settings += [trainings.get(stage.name, config.specialist), config.imitation if stage.name == "imitation" else None]
    return str(jax.tree.map(jax.typeof, arguments)), *settings


class Loud(Silent):
    """Prints a line for everything that happens."""

    def begin_stage(self, name: str, description: str, budget: int, done: int) -> None:
        """Print `begin NAME`."""
        print("begin", name, flush=True)

    def advance(self, stage: str, record: Mapping[str, Any]) -> None:
        """Print `epoch NAME`."""
        print("epoch", stage, flush=True)

    def finish_stage(self, name: str, record: Mapping[str, Any]) -> None:
        """Print `finish NAME`."""
        print("finish", name, flush=True)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), EVERY_STAGE, Loud())
