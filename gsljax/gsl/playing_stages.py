"""The stages of Algorithm 1 that only play: the generalist's evaluation, and demonstrations (GSL §4)."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.compile_time import seconds_compiling
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.errors import TimeIsUp, UserError
from gsljax.evaluation import evaluate, evaluate_in_pools
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.assignment import spread
from gsljax.gsl.demonstrations import GENERALIST, Demonstrations
from gsljax.gsl.demonstrators import Played, Players, play
from gsljax.gsl.experiment import DESCRIPTIONS, Experiment
from gsljax.train_state import TrainState, clone
from gsljax.types import EnvSpec


def evaluate_generalist(experiment: Experiment, generalist: TrainState) -> np.ndarray:
    """Scores `[V]` of the generalist on every variation, in the plateau's metric; the episodes count as samples."""
    name, config, directory = "evaluation", experiment.config, experiment.directory
    record = directory.stage(name)
    if record is None:
        num_variations = experiment.environment.spec.num_variations
        budget = config.low_episodes * num_variations * experiment.environment.spec.horizon
        directory.rewind_metrics()
        experiment.reporter.begin_stage(name, DESCRIPTIONS[name], budget, 0)
        started = _now()
        key = experiment.key(name, "rollouts")
        results, samples = evaluate_variations(experiment, experiment.environment, generalist, config.low_episodes, key)
        record = {"name": name, "samples": samples, **results}
        _finish_single_epoch_stage(experiment, started, record)
    metric = config.plateau.metric
    return np.array([record["per_variation"][str(v)][metric] for v in experiment.all_variations])


def collect_demonstrations(
    experiment: Experiment, generalist: TrainState, specialists: TrainState, subsets: np.ndarray, rest: np.ndarray
) -> Demonstrations:
    """Lines 6 and 7 of Algorithm 1: each specialist's episodes on its own variations, the generalist's on the rest.

    Episodes are filtered as configured, and all that were played count as samples.

    Raises:
      UserError: if no episode passes the filter.
    """
    name, config, directory = "demonstrations", experiment.config, experiment.directory
    spec, wanted = experiment.environment.spec, config.demonstrations
    if directory.stage(name) is not None:
        return demonstration_sets.load(directory.demonstrations, spec)
    budget = (wanted.specialist_episodes + wanted.generalist_episodes) * spec.horizon
    directory.rewind_metrics()
    experiment.reporter.begin_stage(name, DESCRIPTIONS[name], budget, 0)
    started = _now()
    by_specialists, by_generalist = _play_demonstrations(experiment, generalist, specialists, subsets, rest)
    played = [by_specialists] if by_generalist is None else [by_specialists, by_generalist]
    parts = [part for one in played for part in one.kept if part.num_episodes]
    if not parts:
        best = max(one.returns.max() for one in played)
        raise UserError(
            f"None of the {sum(len(one.returns) for one in played)} demonstrated episodes passed "
            f"demonstrations.min_return = {wanted.min_return}, min_normalized = {wanted.min_normalized} and "
            f"require_success = {wanted.require_success} (their best return is {best:.4g}); loosen these in "
            f"{directory.path / 'config.json'} and resume, or train the specialists for longer."
        )
    for one in played:
        one.kept.clear()  # or their episodes would be in memory twice
    kept = demonstration_sets.gather(parts)
    demonstration_sets.save(kept, directory.demonstrations)
    record = {"name": name, "samples": sum(one.samples for one in played), **_results_of(spec, played)}
    record |= {"kept_episodes": kept.num_episodes, "kept_pairs": kept.num_pairs}
    counted = zip(*np.unique(kept.variation, return_counts=True), strict=True)
    record["kept_per_variation"] = {str(variation): int(count) for variation, count in counted}
    record["specialists"] = _by_variation(by_specialists, spec.has_success)
    _finish_single_epoch_stage(experiment, started, record)
    return kept


def _play_demonstrations(
    experiment: Experiment, generalist: TrainState, specialists: TrainState, subsets: np.ndarray, rest: np.ndarray
) -> tuple[Played, Played | None]:
    """What the specialists played, and what the generalist did, if anything is left for it."""
    wanted, key = experiment.config.demonstrations, partial(experiment.key, "demonstrations")
    per_specialist = wanted.specialist_episodes // subsets.size * subsets.shape[1]
    players = Players(specialists, subsets, per_specialist, range(len(subsets)))
    by_specialists = play(experiment, players, key("rollouts"))
    rest = spread(rest, wanted.generalist_episodes)
    if not len(rest):
        return by_specialists, None
    players = Players(clone(generalist, 1), rest[None], wanted.generalist_episodes, [GENERALIST])
    return by_specialists, play(experiment, players, key("generalist rollouts"))


def _results_of(spec: EnvSpec, played: Sequence[Played]) -> dict[str, Any]:
    """Means over all episodes, whether they were kept or not, and how many there are."""
    returns, successes = (np.concatenate([getattr(one, field) for one in played]) for field in ("returns", "successes"))
    results: dict[str, Any] = {"return": float(np.mean(returns)), "episodes": len(returns)}
    if spec.has_success:
        results["success"] = float(np.mean(successes))
    if spec.score_range is not None:
        results["normalized"] = spec.normalized(results["return"])
    return results


def _by_variation(played: Played, has_success: bool) -> dict[str, dict[str, float]]:
    """Mean return, and success where there is one, of all episodes of each variation, whether they were kept or not."""
    values = {"return": played.returns} | ({"success": played.successes} if has_success else {})
    return {
        str(variation): {name: float(np.mean(value[played.variations == variation])) for name, value in values.items()}
        for variation in np.unique(played.variations)
    }


def evaluate_variations(
    experiment: Experiment,
    environment: JaxEnvironment | PooledEnvironment,
    state: TrainState,
    episodes: int,
    key: jax.Array,
    deterministic: bool = False,
) -> tuple[dict[str, Any], int]:
    """Evaluate one member on all variations of an environment like the experiment's.

    Returns:
      `{"return", "success", "normalized", "per_variation": {id: {"name", "return", ...}}}`, with success,
      normalised scores and names where the environment has them, and the samples it took.
    """
    act, variations = experiment.acting.act, np.arange(environment.spec.num_variations, dtype=np.int32)
    if isinstance(environment, PooledEnvironment):
        found = evaluate_in_pools(environment, act, state, variations, episodes, key, deterministic)
    else:
        found = evaluate(environment, act, state, jnp.asarray(variations), episodes, key, deterministic)
    found = jax.device_get(found._replace(rollout=None))
    spec = environment.spec

    def results(episode_return, success):
        row = {"return": float(episode_return)} | ({"success": float(success)} if spec.has_success else {})
        return row if spec.score_range is None else row | {"normalized": spec.normalized(float(episode_return))}

    names = [{"name": name} for name in spec.variation_names] or [{} for _ in variations]
    per_variation = {
        str(v): name | results(r, s)
        for v, name, r, s in zip(variations, names, found.episode_return, found.success, strict=True)
    }
    mean = results(np.mean(found.episode_return), np.mean(found.success))
    return mean | {"per_variation": per_variation}, int(found.samples)


class _Moment(NamedTuple):
    """When something began, and how long the process had been compiling by then."""

    at: float
    compiling: float


def _now() -> _Moment:
    return _Moment(time.monotonic(), seconds_compiling())


def _finish_single_epoch_stage(experiment: Experiment, started: _Moment, record: dict[str, Any]) -> None:
    directory, name = experiment.directory, record["name"]
    wall, compiling = time.monotonic() - started.at, seconds_compiling() - started.compiling
    times = {"program": max(0.0, wall - compiling), "compile": compiling}
    line = {"stage": name, "epoch": 0, "samples": directory.samples + record["samples"]}
    line |= {metric: record[metric] for metric in ("return", "success") if metric in record} | {"time": times}
    record |= {"wall_seconds": wall, "time": times}
    directory.append_metrics([line])
    directory.finish_stage(record)
    experiment.reporter.advance(name, line)
    experiment.reporter.finish_stage(name, record)
    if experiment.is_time_up:
        raise TimeIsUp
