"""Training one population as a resumable, recorded stage.

A stage that is complete is not run again: its result is read back from the run directory. A stage that was cut off goes
on from its newest checkpoint, and from there does exactly what it would have done; beside pools, which cannot be saved,
it goes on with fresh episodes.
"""

import contextlib
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax import checkpoint
from gsljax.algorithms import Algorithm
from gsljax.envs.protocol import LivePools, PoolAssignment, PooledEnvironment
from gsljax.evaluation import EpisodeStatistics
from gsljax.gsl.checks import most_valid_steps
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.gsl.experiment import DESCRIPTIONS, Experiment
from gsljax.gsl.plateau import PlateauCriterion, first_plateau, nearest_checkpoint
from gsljax.gsl.training import Carry, Epoch, begin, chosen_strategy, make_train, make_train_from_pools
from gsljax.train_state import TrainState, clone
from gsljax.types import DemonstrationBatch


class TrainingStage(NamedTuple):
    """What distinguishes one stage of training from another.

    Attributes:
      name: see `DESCRIPTIONS`.
      algorithm: with its settings for this stage.
      members: makes the population at its start, leaves `[P, ...]`; called inside compiled code, once.
      variations: `[P, K]` int32, what each member trains on.
      lanes: per member.
      budget: samples of all members together; the stage stops before the epoch that would exceed it.
      demonstrations: to imitate, None for none.
      criterion: ends the stage when it fires, and takes the checkpoint nearest to the plateau; None trains to the end.
      records_members: whether the stage's record lists its members: what each trained on, and its best epoch's return.
    """

    name: str
    algorithm: Algorithm
    members: Callable[[], TrainState]
    variations: np.ndarray
    lanes: int
    budget: int
    demonstrations: Demonstrations | None = None
    criterion: PlateauCriterion | None = None
    records_members: bool = False


_TrainEpochs = Callable[[Carry, DemonstrationBatch | None, int], tuple[Carry, Epoch, list[dict[str, float]]]]
"""Carry, demonstrations and a number of epochs to the carry, the epochs' records `[epochs, P, ...]` and seconds."""


class _Done(NamedTuple):
    """How far a stage has come; the JSON record of its checkpoints."""

    epochs: int = 0
    samples: int = 0
    wall_seconds: float = 0.0
    metrics_bytes: int | None = None


def train_population(experiment: Experiment, stage: TrainingStage) -> Carry:
    """Train a population until its budget is spent or its criterion fires; resumes, records, and reports.

    Returns:
      The population's carry: at the end, or at the checkpoint nearest to the plateau.
    """
    directory, reporter = experiment.directory, experiment.reporter
    template = jax.eval_shape(lambda: _first_carry(experiment, stage))
    complete = directory.stage(stage.name)
    if complete is not None:
        carry, _ = _restore(experiment, stage, complete["checkpoint"], template)
        if not directory.is_finished:  # the kill may have come before, or while, those of no more use were deleted
            checkpoint.prune(directory.checkpoints(stage.name), keep={complete["checkpoint"]})
        return carry

    started = time.monotonic()
    carry, done = _begin_or_resume(experiment, stage, template)
    lines = directory.metrics(stage.name)
    reporter.begin_stage(stage.name, DESCRIPTIONS[stage.name], stage.budget, done.samples)
    pairs = _on_device(stage.demonstrations, len(stage.variations))
    started -= done.wall_seconds
    plateau = _plateau(stage, lines, done)
    with contextlib.ExitStack() as open_pools:
        train_epochs = _trainer(experiment, stage, carry, pairs, done, open_pools)
        while plateau is None and _affordable_epochs(experiment, stage, done) > 0:
            count = _epochs_of_next_call(experiment, stage, done)
            carry, epochs, times = train_epochs(carry, pairs, count)
            for index in range(count):
                done, line = _account(experiment, stage, done, jax.tree.map(itemgetter(index), epochs))
                lines.append(line | {"time": times[index]})
            directory.append_metrics(lines[-count:])
            done = done._replace(wall_seconds=time.monotonic() - started, metrics_bytes=directory.metrics_bytes)
            plateau = _plateau(stage, lines, done)
            is_last = plateau is not None or _affordable_epochs(experiment, stage, done) == 0
            if is_last or done.epochs % experiment.config.checkpoint_interval == 0:
                _save(experiment, stage, carry, done)
            for line in lines[-count:]:
                reporter.advance(stage.name, line)

    return _finish(experiment, stage, carry, template, lines, plateau, done)


def _begin_or_resume(experiment: Experiment, stage: TrainingStage, template: Carry) -> tuple[Carry, _Done]:
    latest = experiment.directory.latest_checkpoint(stage.name)
    if latest is None:
        carry, done = _first_carry(experiment, stage), _Done()
    else:
        carry, done = _restore(experiment, stage, latest, template)
    experiment.directory.rewind_metrics(done.metrics_bytes)
    return carry, done


def _restore(experiment: Experiment, stage: TrainingStage, epoch: int, template: Carry) -> tuple[Carry, _Done]:
    path = experiment.directory.checkpoints(stage.name) / str(epoch)
    carry, record = checkpoint.restore(path, template)
    return carry, _Done(**record)


def _save(experiment: Experiment, stage: TrainingStage, carry: Carry, done: _Done) -> None:
    """Save a checkpoint; only a stage that may go back to an earlier one keeps those before it."""
    path = experiment.directory.checkpoints(stage.name)
    checkpoint.save(path / str(done.epochs), carry, done._asdict())
    if stage.criterion is None:
        checkpoint.prune(path, keep={done.epochs})


def _epochs_of_next_call(experiment: Experiment, stage: TrainingStage, done: _Done) -> int:
    """As many as one call may run, without passing a checkpoint or the budget."""
    interval = experiment.config.checkpoint_interval
    to_checkpoint = interval - done.epochs % interval
    return min(experiment.config.epochs_per_call, to_checkpoint, _affordable_epochs(experiment, stage, done))


def _affordable_epochs(experiment: Experiment, stage: TrainingStage, done: _Done) -> int:
    """How many epochs fit into what is left of the budget, at the most samples that an epoch can take."""
    steps = most_valid_steps(experiment.config.rollout_steps, experiment.environment.spec.horizon)
    return (stage.budget - done.samples) // (len(stage.variations) * stage.lanes * steps)


def _account(experiment: Experiment, stage: TrainingStage, done: _Done, record: Epoch) -> tuple[_Done, dict[str, Any]]:
    """Count one more epoch, and write its line of `metrics.jsonl`."""
    done = done._replace(epochs=done.epochs + 1, samples=done.samples + int(np.sum(record.samples)))
    samples = experiment.directory.samples + done.samples
    line = {"stage": stage.name, "epoch": done.epochs - 1, "samples": samples}
    return done, line | _results(experiment, record)


def _plateau(stage: TrainingStage, lines: list[dict[str, Any]], done: _Done) -> int | None:
    """The epoch of the plateau as far as it is known by now."""
    if stage.criterion is None or not lines:
        return None
    curve = np.array([np.nan if (value := line[stage.criterion.metric]) is None else value for line in lines])
    total_epochs = stage.budget * done.epochs // max(done.samples, 1)
    return first_plateau(curve, stage.criterion, max(done.epochs, total_epochs))


def _finish(
    experiment: Experiment,
    stage: TrainingStage,
    carry: Carry,
    template: Carry,
    lines: list[dict[str, Any]],
    plateau: int | None,
    done: _Done,
) -> Carry:
    """Record the stage as complete, with the checkpoint that is its result."""
    directory = experiment.directory
    path = directory.checkpoints(stage.name)
    chosen = done.epochs
    record = {"name": stage.name, "samples": done.samples, "wall_seconds": done.wall_seconds, "epochs": done.epochs}
    record |= {metric: lines[-1][metric] for metric in ("return", "success") if lines and metric in lines[-1]}
    record["time"] = {name: sum(line["time"].get(name, 0.0) for line in lines) for name in lines[-1]["time"]}
    if stage.criterion is not None:
        if plateau is not None:  # the checkpoint after e epochs holds the policy that acts in epoch e (from 0)
            chosen = nearest_checkpoint(plateau, checkpoint.epochs(path))
        carry, at_checkpoint = _restore(experiment, stage, chosen, template)
        fired_at = done.epochs if plateau is None else plateau
        record["plateau"] = {"fired": plateau is not None, "epoch": fired_at}
        record["plateau"] |= {"checkpoint": chosen, "samples": at_checkpoint.samples}
    if stage.records_members:
        best = jax.device_get(carry.best_score)
        record["members"] = [
            {"variations": variations.tolist(), "best_return": float(score) if np.isfinite(score) else None}
            for variations, score in zip(stage.variations, best, strict=True)
        ]
    record["checkpoint"] = chosen
    directory.finish_stage(record)
    checkpoint.prune(path, keep={chosen})
    experiment.reporter.finish_stage(stage.name, record)
    return carry


def _first_carry(experiment: Experiment, stage: TrainingStage) -> Carry:
    count = len(stage.variations)
    keys = jax.random.split(experiment.key(stage.name, "rollouts"), count)

    def first(member, variations, key):
        return begin(experiment.environment, member, variations, stage.lanes, key)

    # Compiled with the members as arguments: a program that held their values would differ for every seed.
    return jax.jit(experiment.over_members(first))(stage.members(), jnp.asarray(stage.variations), keys)


def _trainer(
    experiment: Experiment,
    stage: TrainingStage,
    carry: Carry,
    pairs: DemonstrationBatch | None,
    done: _Done,
    open_pools: contextlib.ExitStack,
) -> _TrainEpochs:
    """What trains the stage's next epochs; pools that it needs close with `open_pools`."""
    environment = experiment.environment
    if isinstance(environment, PooledEnvironment):
        live = open_pools.enter_context(environment.open(_reseeded(carry.lanes, done.epochs)))
        return _beside_pools(experiment, stage, carry, live)
    experiment.reporter.message(f"compiling {stage.name}")
    started = time.monotonic()
    program = _compile(experiment, stage, carry, pairs)
    compile_seconds = time.monotonic() - started

    def train_epochs(carry, pairs, count):
        nonlocal compile_seconds
        started = time.monotonic()
        carry, epochs = program(carry, pairs, jnp.int32(count))
        epochs = jax.device_get(epochs)
        seconds = (time.monotonic() - started) / count
        times = [{"program": seconds, "compile": 0.0 if index else compile_seconds} for index in range(count)]
        compile_seconds = 0.0
        return carry, epochs, times

    return train_epochs


def _compile(experiment: Experiment, stage: TrainingStage, carry: Carry, pairs: DemonstrationBatch | None):
    assert not isinstance(experiment.environment, PooledEnvironment)
    config = experiment.config
    function = make_train(
        experiment.environment, stage.algorithm, config.rollout_steps, config.epochs_per_call,
        config.population_strategy,
    )  # fmt: skip
    return jax.jit(function, donate_argnums=0).lower(carry, pairs, jnp.int32(0)).compile()


def _beside_pools(experiment: Experiment, stage: TrainingStage, carry: Carry, live: LivePools) -> _TrainEpochs:
    config = experiment.config
    strategy = chosen_strategy(config.population_strategy, carry)
    num_variations = experiment.environment.spec.num_variations
    train_epoch = make_train_from_pools(stage.algorithm, num_variations, config.rollout_steps, strategy)

    def train_epochs(carry, pairs, count):
        records, times = [], []
        for _ in range(count):
            carry, record, seconds = train_epoch(live, carry, pairs)
            records.append(record)
            times.append(seconds)
        return carry, jax.tree.map(lambda *epochs: np.stack(epochs), *records), times

    return train_epochs


def _reseeded(assignment: PoolAssignment, epochs: int) -> PoolAssignment:
    """The assignment with seeds that no earlier opening of the stage's pools had: they cannot be saved."""
    seed = np.asarray(assignment.seed) + np.uint32((epochs * 0x9E3779B9) % 2**32)
    return PoolAssignment(seed, np.asarray(assignment.choices))


def _on_device(demonstrations: Demonstrations | None, num_members: int) -> DemonstrationBatch | None:
    if demonstrations is None:
        return None
    batch = DemonstrationBatch(jnp.asarray(demonstrations.observation), jnp.asarray(demonstrations.action))
    return clone(batch, num_members)


def _results(experiment: Experiment, record: Epoch) -> dict[str, Any]:
    """What a line of `metrics.jsonl` says of one epoch's record, whose leaves are `[P, ...]`."""
    pooled = EpisodeStatistics(*(np.sum(field, axis=0) for field in record.statistics))
    results: dict[str, Any] = {"return": _number(pooled.mean_return())}
    members = {"return": [_number(x) for x in record.statistics.mean_return()]}
    if experiment.environment.spec.has_success:
        results["success"] = _number(pooled.mean_success())
        members["success"] = [_number(x) for x in record.statistics.mean_success()]
    if len(members["return"]) > 1:
        results["members"] = members
    return results | {name: float(np.mean(value)) for name, value in record.metrics.items()}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
