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
from gsljax.errors import TimeIsUp
from gsljax.evaluation import EpisodeStatistics
from gsljax.gsl.candidates import Candidates
from gsljax.gsl.checks import most_valid_steps
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.gsl.experiment import DESCRIPTIONS, Experiment
from gsljax.gsl.mastery import Mastery, resting
from gsljax.gsl.plateau import PlateauCriterion, first_plateau
from gsljax.gsl.streaming import Stream, is_large
from gsljax.gsl.training import Carry, Epoch, acting_strategy, begin, chosen_strategy, make_train, make_train_from_pools
from gsljax.normalization import with_new_episodes
from gsljax.train_state import TrainState, actors, clone
from gsljax.types import DemonstrationBatch


class TrainingStage(NamedTuple):
    """What distinguishes one stage of training from another.

    Attributes:
      name: see `DESCRIPTIONS`.
      algorithm: with its settings for this stage.
      members: makes the population at its start, leaves `[P, ...]`.
      variations: `[P, K]` int32, what each member trains on.
      lanes: per member.
      budget: samples of all members together; the stage stops before the epoch that would exceed it.
      demonstrations: to imitate, None for none.
      criterion: ends the stage when it fires, and takes the members as they were nearest to the plateau; None trains to
        the end.
      best_window: epochs over whose episodes a member's return is averaged; the result is each one as it was at the
        end of its best such window, and the record lists the members. None takes them as they are at the end.
      hands_on: whether the result has with each member what of its memory a clone inherits.
      mastery: from when on a member rests, and leaves its samples to the others; None trains all of them to the end.
      noise_steps: `[P]` int32, how many steps in a row a member's actions share a draw of exploration noise; None is 1.
      trial_members: `[P]` int, which member of the trials each one was there, for the record; None without trials.
    """

    name: str
    algorithm: Algorithm
    members: Callable[[], TrainState]
    variations: np.ndarray
    lanes: int
    budget: int
    demonstrations: Demonstrations | None = None
    criterion: PlateauCriterion | None = None
    best_window: int | None = None
    hands_on: bool = False
    mastery: Mastery | None = None
    noise_steps: np.ndarray | None = None
    trial_members: np.ndarray | None = None


_TrainEpochs = Callable[[Carry, DemonstrationBatch | Stream | None, int], tuple[Carry, Epoch, list[dict[str, float]]]]
"""Carry, demonstrations and a number of epochs to the carry, the epochs' records `[epochs, P, ...]` and seconds."""


class _Done(NamedTuple):
    """How far a stage has come; the JSON record of its checkpoints."""

    epochs: int = 0
    samples: int = 0
    wall_seconds: float = 0.0
    metrics_bytes: int | None = None


def train_population(experiment: Experiment, stage: TrainingStage) -> TrainState:
    """Train a population until its budget is spent or its criterion fires; resumes, records, and reports.

    Returns:
      The members `[P, ...]` that are the stage's result, for acting and for being cloned.

    Raises:
      TimeIsUp: after an epoch, saved, at whose end the experiment's deadline has passed.
    """
    directory, reporter = experiment.directory, experiment.reporter
    template = jax.eval_shape(lambda: _first_carry(experiment, stage))
    if directory.stage(stage.name) is not None:
        if not directory.is_finished:  # the kill may have come before, or while, what is of no more use was deleted
            directory.discard_checkpoints(stage.name)
        params, _ = checkpoint.restore(directory.result(stage.name), template.best_params)
        heritage: Any = ()
        if stage.hands_on and not directory.is_finished:
            heritage, _ = checkpoint.restore(directory.heritage(stage.name), _heritage(stage, template))
        return actors(params, len(stage.variations), heritage)

    started = time.monotonic()
    carry, done = _begin_or_resume(experiment, stage, template)
    lines = directory.metrics(stage.name)
    reporter.begin_stage(stage.name, DESCRIPTIONS[stage.name], stage.budget, done.samples)
    started -= done.wall_seconds
    plateau, candidates = _plateau(stage, lines, done), _candidates(experiment, stage, done)
    with contextlib.ExitStack() as open_pools:
        pairs = _pairs(experiment, stage, open_pools)
        train_epochs: _TrainEpochs | None = None
        rests = resting(stage.mastery, len(stage.variations), lines)
        while plateau is None and (affordable := _affordable_epochs(experiment, stage, done, rests)) > 0:
            count = min(affordable, _epochs_of_next_call(experiment, done))
            carry = carry._replace(rests=jnp.asarray(rests))
            train_epochs = train_epochs or _trainer(experiment, stage, carry, pairs, done, open_pools)
            carry, epochs, times = train_epochs(carry, pairs, count)
            for index in range(count):
                done, line = _account(experiment, stage, done, jax.tree.map(itemgetter(index), epochs))
                lines.append(line | {"time": times[index]})
            directory.append_metrics(lines[-count:])
            done = done._replace(wall_seconds=time.monotonic() - started, metrics_bytes=directory.metrics_bytes)
            plateau = _plateau(stage, lines, done)
            rests = resting(stage.mastery, len(stage.variations), lines)
            if candidates is not None:
                candidates.add(done.epochs, carry.state.params)
            is_time_up = experiment.is_time_up
            if is_time_up or done.epochs % experiment.config.checkpoint_interval == 0:
                _save(experiment, stage, carry, candidates, done)
            for line in lines[-count:]:
                reporter.advance(stage.name, line)
            if is_time_up:
                raise TimeIsUp

    return _finish(experiment, stage, carry, candidates, lines, plateau, done)


def _begin_or_resume(experiment: Experiment, stage: TrainingStage, template: Carry) -> tuple[Carry, _Done]:
    latest = experiment.directory.latest_checkpoint(stage.name)
    if latest is None:
        carry, done = _first_carry(experiment, stage), _Done()
    else:
        carry, record = checkpoint.restore(experiment.directory.checkpoints(stage.name) / str(latest), template)
        done = _Done(**record)
        if isinstance(experiment.environment, PooledEnvironment):  # which cannot be saved
            memory = with_new_episodes(carry.state.memory)
            carry = carry._replace(state=carry.state._replace(memory=memory))
    experiment.directory.rewind_metrics(done.metrics_bytes)
    return carry, done


def _candidates(experiment: Experiment, stage: TrainingStage, done: _Done) -> Candidates | None:
    """The parameters among which the plateau's will be, None where no plateau is looked for."""
    if stage.criterion is None:
        return None
    reach = stage.criterion.reach + experiment.config.epochs_per_call
    return Candidates(experiment.directory.candidates(stage.name), reach, done.epochs)


def _save(
    experiment: Experiment, stage: TrainingStage, carry: Carry, candidates: Candidates | None, done: _Done
) -> None:
    """Save a checkpoint in place of the last one, and before it the candidates that training from there must find."""
    if candidates is not None:
        candidates.save()
    path = experiment.directory.checkpoints(stage.name)
    checkpoint.save(path / str(done.epochs), carry, done._asdict())
    checkpoint.prune(path, keep={done.epochs})
    if candidates is not None:
        candidates.prune()


def _epochs_of_next_call(experiment: Experiment, done: _Done) -> int:
    """As many as one call may run, without passing a checkpoint."""
    interval = experiment.config.checkpoint_interval
    return min(experiment.config.epochs_per_call, interval - done.epochs % interval)


def _affordable_epochs(experiment: Experiment, stage: TrainingStage, done: _Done, rests: np.ndarray) -> int:
    """How many epochs fit into what is left of the budget, at the most that an epoch can take; 0 if all rest."""
    steps = most_valid_steps(experiment.config.rollout_steps, experiment.environment.spec.horizon)
    epoch = int(np.count_nonzero(~rests)) * stage.lanes * steps
    return (stage.budget - done.samples) // epoch if epoch else 0


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
    candidates: Candidates | None,
    lines: list[dict[str, Any]],
    plateau: int | None,
    done: _Done,
) -> TrainState:
    """Record the stage as complete, and keep of it the parameters that are its result."""
    directory = experiment.directory
    result = carry.state.params if stage.best_window is None else carry.best_params
    record = {"name": stage.name, "samples": done.samples, "wall_seconds": done.wall_seconds, "epochs": done.epochs}
    record |= {metric: lines[-1][metric] for metric in ("return", "success") if metric in lines[-1]}
    record["time"] = {name: sum(line["time"].get(name, 0.0) for line in lines) for name in lines[-1]["time"]}
    if candidates is not None:
        taken_at = done.epochs
        if plateau is not None:  # the parameters after e epochs are the policy that acts in epoch e (from 0)
            taken_at, result = candidates.nearest(plateau, result)
        samples = lines[taken_at - 1]["samples"] - directory.samples
        fired_at = done.epochs if plateau is None else plateau
        record["plateau"] = {"fired": plateau is not None, "epoch": fired_at, "taken_at": taken_at, "samples": samples}
    if stage.best_window is not None:
        record["members"] = _members_record(stage, carry, resting(stage.mastery, len(stage.variations), lines))
    heritage = _heritage(stage, carry) if stage.hands_on else ()
    if stage.hands_on:
        checkpoint.save(directory.heritage(stage.name), heritage, {})
    checkpoint.save(directory.result(stage.name), result, {})
    directory.finish_stage(record)
    directory.discard_checkpoints(stage.name)
    experiment.reporter.finish_stage(stage.name, record)
    return actors(result, len(stage.variations), heritage)


def _heritage(stage: TrainingStage, carry: Carry) -> dict[str, Any]:
    """What of the members' memory a clone inherits."""
    return {name: carry.state.memory[name] for name in stage.algorithm.heritage}


def _members_record(stage: TrainingStage, carry: Carry, rests: np.ndarray) -> list[dict[str, Any]]:
    """What each trained on, its mean return at its best, whether it has mastered that, and who it was before."""
    scores = jax.device_get(carry.best_score)
    members: list[dict[str, Any]] = [
        {"variations": variations.tolist(), "best_return": float(score) if np.isfinite(score) else None}
        for variations, score in zip(stage.variations, scores, strict=True)
    ]
    if stage.mastery is not None:
        members = [member | {"mastered": bool(rest)} for member, rest in zip(members, rests, strict=True)]
    if stage.trial_members is not None:
        members = [member | {"candidate": int(one)} for member, one in zip(members, stage.trial_members, strict=True)]
    return members


def _first_carry(experiment: Experiment, stage: TrainingStage) -> Carry:
    count = len(stage.variations)
    keys = jax.random.split(experiment.key(stage.name, "rollouts"), count)

    noise_steps = np.ones(count, np.int32) if stage.noise_steps is None else stage.noise_steps

    def first(memory, rest, variations, key, noise_steps):
        member = rest._replace(memory=memory)
        return begin(experiment.environment, member, variations, stage.lanes, key, noise_steps, stage.best_window or 1)

    # Compiled with the members as arguments: a program that held their values would differ for every seed. What they
    # remember, a replay perhaps, is not there twice.
    members = stage.members()
    return jax.jit(experiment.over_members(first), donate_argnums=0)(
        members.memory, members._replace(memory=()), jnp.asarray(stage.variations), keys, jnp.asarray(noise_steps)
    )  # fmt: skip


def _trainer(
    experiment: Experiment,
    stage: TrainingStage,
    carry: Carry,
    pairs: DemonstrationBatch | Stream | None,
    done: _Done,
    open_pools: contextlib.ExitStack,
) -> _TrainEpochs:
    """What trains the stage's next epochs; pools that it needs close with `open_pools`."""
    environment = experiment.environment
    if isinstance(environment, PooledEnvironment):
        live = open_pools.enter_context(environment.open(_reseeded(carry.lanes, done.epochs)))
        return _beside_pools(experiment, stage, carry, live)
    assert not isinstance(pairs, Stream)
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
    to_learn = chosen_strategy(config.population_strategy, carry.state)
    num_variations = experiment.environment.spec.num_variations
    to_act = acting_strategy(config.population_strategy, carry.state)
    train_epoch = make_train_from_pools(stage.algorithm, num_variations, config.rollout_steps, to_learn, to_act)

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


def _pairs(
    experiment: Experiment, stage: TrainingStage, open_pools: contextlib.ExitStack
) -> DemonstrationBatch | Stream | None:
    """The demonstrations on the device, or a stream of them, if they are many and pools make the epochs."""
    demonstrations = stage.demonstrations
    if demonstrations is None:
        return None
    if isinstance(experiment.environment, PooledEnvironment) and is_large(demonstrations):
        shape = stage.algorithm.num_demonstration_pairs(experiment.config.rollout_steps * stage.lanes)
        return open_pools.enter_context(contextlib.closing(Stream(demonstrations, *shape)))
    batch = DemonstrationBatch(jnp.asarray(demonstrations.observation), jnp.asarray(demonstrations.action))
    return clone(batch, len(stage.variations))


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
    learns = record.samples > 0 if np.any(record.samples > 0) else np.ones(len(record.samples), bool)
    return results | {name: float(np.mean(value[learns])) for name, value in record.metrics.items()}


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
