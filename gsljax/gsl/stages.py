"""The stages of Algorithm 1 (GSL §4), each a line or two of it; every one is resumable and records its samples."""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms import ImitationConfig
from gsljax.compile_time import seconds_compiling
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.errors import TimeIsUp, UserError
from gsljax.evaluation import evaluate, evaluate_in_pools
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.assignment import best_of_each, low_count, lowest_performing, spread
from gsljax.gsl.config import TrainingConfig
from gsljax.gsl.demonstrations import GENERALIST, Demonstrations
from gsljax.gsl.demonstrators import Played, Players, play
from gsljax.gsl.experiment import DESCRIPTIONS, Experiment
from gsljax.gsl.mastery import Mastery
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.gsl.population_training import TrainingStage, train_population
from gsljax.networks.mlp import with_std
from gsljax.train_state import TrainState, clone, take, where_members


def train_baseline(experiment: Experiment) -> TrainState:
    """The baseline: one member on all variations, with the whole budget."""
    return _train_generalist(experiment, "baseline", experiment.config.baseline, experiment.config.total_samples, None)


def train_generalist(experiment: Experiment) -> TrainState:
    """Line 1 of Algorithm 1: the generalist on all of E, until the plateau criterion H fires."""
    config = experiment.config
    budget = int(config.generalist_share * config.total_samples)
    epochs = budget // (config.generalist.lanes * config.rollout_steps)
    return _train_generalist(experiment, "generalist", config.generalist, budget, config.plateau.for_budget(epochs))


def _train_generalist(
    experiment: Experiment, name: str, training: TrainingConfig, budget: int, criterion: PlateauCriterion | None
) -> TrainState:
    stage = _training_stage(experiment, name, training, experiment.all_variations[None], budget)
    return take(train_population(experiment, stage._replace(criterion=criterion)), 0)


def _training_stage(
    experiment: Experiment,
    name: str,
    training: TrainingConfig,
    variations: np.ndarray,
    budget: int,
    params: Any = None,
    imitation: ImitationConfig | None = None,
    explores: np.ndarray | None = None,
    fresh: np.ndarray | None = None,
) -> TrainingStage:
    """A stage whose members start with `params` `[P, ...]` (None: initialised), with a fresh optimiser and own keys.

    Those that explore, `[P]` (None: all), start with the stage's `initial_std`, if it has one. Those that are fresh,
    `[P]` (None: none), are initialised whatever the others start with.
    """
    algorithm, count = experiment.algorithm(training, imitation), len(variations)
    init = partial(algorithm.init, rollout_shape=(experiment.config.rollout_steps, training.lanes))

    def members() -> TrainState:
        states = experiment.over_members(init)(jax.random.split(experiment.key(name, "members"), count))
        if params is not None:
            inherited = params if fresh is None else where_members(fresh, states.params, params)
            states = states._replace(params=inherited)
        if training.initial_std is not None:
            explored = with_std(states.params, training.initial_std)
            chosen = explored if explores is None else where_members(explores, explored, states.params)
            states = states._replace(params=chosen)
        if training.anneal:
            samples = jnp.full(count, budget / count, jnp.float32)
            states = states._replace(hyperparameters=states.hyperparameters._replace(anneal_samples=samples))
        return states

    return TrainingStage(name, algorithm, members, variations.astype(np.int32), training.lanes, budget)


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


def is_good_enough(experiment: Experiment, scores: np.ndarray) -> bool:
    """Line 2 of Algorithm 1: whether the generalist's mean score leaves nothing to do."""
    threshold = experiment.config.good_enough
    return threshold is not None and bool(np.mean(scores) >= threshold)


def low_performing(experiment: Experiment, scores: np.ndarray) -> np.ndarray:
    """Line 3 of Algorithm 1: E_low, the worst variations, as many as configured or as are below the threshold."""
    config, count = experiment.config, experiment.config.num_low_performing
    if config.low_threshold is not None:
        count = low_count(scores, config.low_threshold, config.variations_per_specialist, count)
    return lowest_performing(scores, count)


def fine_tune(experiment: Experiment, generalist: TrainState, low: np.ndarray) -> TrainState:
    """Line 5 of Algorithm 1, optional: the generalist trained on E_low; the generalist itself if it is left out."""
    config = experiment.config
    if config.fine_tuning_share == 0:
        return generalist
    budget = int(config.fine_tuning_share * config.total_samples)
    params = clone(generalist.params, 1)
    stage = _training_stage(experiment, "fine_tuning", config.specialist, low[None], budget, params)
    return take(train_population(experiment, stage), 0)


def train_specialists(
    experiment: Experiment, origin: TrainState, subsets: np.ndarray, scores: np.ndarray
) -> TrainState:
    """Line 6 of Algorithm 1: one specialist per row of `subsets` `[N_s, K]`, cloned from `origin`; each one's best.

    Where several are trained on the same subset, it is the best of them in the last quarter of their epochs, by the
    plateau's metric; with a `trial_share` they are compared when it is spent, and only that one goes on. With the
    method `gsl-scratch` they are initialised afresh instead, as the last `fresh_specialists` of each subset always are.
    The generalist's `scores` `[V]` tell which of the clones explore anew, if the configuration leaves that to them.
    """
    config = experiment.config
    budget = int(config.specialist_share * config.total_samples)
    mastery = None if config.mastery is None else Mastery(config.plateau.metric, config.mastery)
    if not config.trial_share:
        candidates = _candidates(experiment, "specialists", origin, subsets, scores, budget)
        return _best_specialists(experiment, candidates._replace(mastery=mastery))
    trial_budget = int(config.trial_share * config.total_samples)
    trials = _candidates(experiment, "trials", origin, subsets, scores, trial_budget)
    chosen = _best_specialists(experiment, trials)
    none = np.zeros(len(subsets), bool)  # nobody explores anew
    training, left = config.specialist, budget - trial_budget
    stage = _training_stage(experiment, "specialists", training, subsets, left, chosen.params, explores=none)
    return train_population(experiment, stage._replace(takes_best=True, mastery=mastery))


def _candidates(
    experiment: Experiment, name: str, origin: TrainState, subsets: np.ndarray, scores: np.ndarray, budget: int
) -> TrainingStage:
    """The stage in which `specialists_per_subset` are trained on each subset, clones and fresh ones."""
    config, each = experiment.config, experiment.config.specialists_per_subset
    members = np.repeat(subsets, each, axis=0)
    fresh = np.tile(np.arange(each) >= each - config.fresh_specialists, len(subsets))
    params = explores = None
    if config.method == "gsl-scratch":
        fresh[:] = True
    else:
        params = clone(origin.params, len(members))
        if config.explore_up_to is not None:
            explores = scores[members].mean(axis=1) <= config.explore_up_to
    stage = _training_stage(experiment, name, config.specialist, members, budget, params, None, explores, fresh)
    noise_steps = np.where(fresh, config.fresh_noise_steps, 1).astype(np.int32)
    return stage._replace(takes_best=True, noise_steps=noise_steps)


def _best_specialists(experiment: Experiment, candidates: TrainingStage) -> TrainState:
    """Train the candidates, and take of each subset the one that stood best at the end, as it was at its best epoch."""
    trained, each = train_population(experiment, candidates), experiment.config.specialists_per_subset
    return trained if each == 1 else take(trained, best_of_each(_standings(experiment, candidates.name), each))


def _standings(experiment: Experiment, name: str) -> np.ndarray:
    """A number for each member of a finished stage, `[P]`: the higher, the better it stood at the end.

    That is the mean of the plateau's metric, of equal ones the mean return, then the place: what is trapped may collect
    more than what has begun to succeed. The end is a quarter of the stage's epochs, the last in which an episode of its
    ended.
    """
    lines = experiment.directory.metrics(name)
    late = max(1, len(lines) // 4)

    def means(metric: str) -> list[float]:
        values = np.array([line["members"][metric] for line in lines], float)
        known = [column[~np.isnan(column)][-late:] for column in values.T]
        return [np.mean(last).item() if len(last) else -np.inf for last in known]

    returns, scores = means("return"), means(experiment.config.plateau.metric)
    worst_first = np.lexsort(np.array([-np.arange(len(scores)), returns, scores]))
    return np.argsort(worst_first).astype(float)


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
    per_specialist = wanted.specialist_episodes // subsets.size * subsets.shape[1]
    players = Players(specialists, subsets, per_specialist, range(len(subsets)))
    played = [play(experiment, players, experiment.key(name, "rollouts"))]
    rest = spread(rest, wanted.generalist_episodes)
    if len(rest):
        players = Players(clone(generalist, 1), rest[None], wanted.generalist_episodes, [GENERALIST])
        played.append(play(experiment, players, experiment.key(name, "generalist rollouts")))
    parts = [part for one in played for part in one.kept if part.num_episodes]
    returns, successes = (np.concatenate([getattr(one, field) for one in played]) for field in ("returns", "successes"))
    if not parts:
        raise UserError(
            f"None of the {len(returns)} demonstrated episodes passed demonstrations.min_return = {wanted.min_return}, "
            f"min_normalized = {wanted.min_normalized} and require_success = {wanted.require_success} (their best "
            f"return is {returns.max():.4g}); loosen these in {directory.path / 'config.json'} and resume, or train "
            "the specialists for longer."
        )
    for one in played:
        one.kept.clear()
    kept = demonstration_sets.gather(parts)
    demonstration_sets.save(kept, directory.demonstrations)
    record: dict[str, Any] = {"name": name, "samples": sum(one.samples for one in played)}
    record |= {"return": float(np.mean(returns)), "episodes": len(returns)}
    if spec.has_success:
        record["success"] = float(np.mean(successes))
    if spec.score_range is not None:
        record["normalized"] = spec.normalized(record["return"])
    record |= {"kept_episodes": kept.num_episodes, "kept_pairs": kept.num_pairs}
    counted = zip(*np.unique(kept.variation, return_counts=True), strict=True)
    record["kept_per_variation"] = {str(variation): int(count) for variation, count in counted}
    record["specialists"] = _by_variation(played[0], spec.has_success)
    _finish_single_epoch_stage(experiment, started, record)
    return kept


def _by_variation(played: Played, has_success: bool) -> dict[str, dict[str, float]]:
    """Mean return, and success where there is one, of all episodes of each variation, whether they were kept or not."""
    values = {"return": played.returns} | ({"success": played.successes} if has_success else {})
    return {
        str(variation): {name: float(np.mean(value[played.variations == variation])) for name, value in values.items()}
        for variation in np.unique(played.variations)
    }


def train_with_demonstrations(
    experiment: Experiment, generalist: TrainState, demonstrations: Demonstrations
) -> TrainState:
    """Line 8 of Algorithm 1: the generalist on all of E again, with the auxiliary signal, until the total is spent."""
    config = experiment.config
    name, params = "imitation", clone(generalist.params, 1)
    is_complete = experiment.directory.stage(name) is not None  # then its own samples are already in the total
    budget = 0 if is_complete else experiment.samples_left
    stage = _training_stage(
        experiment, name, config.phase_two, experiment.all_variations[None], budget, params, config.imitation
    )
    if config.imitation.method != "none":
        stage = stage._replace(demonstrations=demonstrations)
    return take(train_population(experiment, stage), 0)


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
