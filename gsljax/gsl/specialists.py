"""The stage of Algorithm 1 in which the specialists train (GSL §4), after trials of several on the same variations."""

import numpy as np

from gsljax.gsl import population_training
from gsljax.gsl.assignment import best_of_each
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.mastery import Mastery
from gsljax.gsl.training_stages import training_stage
from gsljax.train_state import TrainState, clone, take


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
    stage = training_stage(experiment, "specialists", training, subsets, left, chosen.params, explores=none)
    return population_training.train_population(experiment, stage._replace(takes_best=True, mastery=mastery))


def _candidates(
    experiment: Experiment, name: str, origin: TrainState, subsets: np.ndarray, scores: np.ndarray, budget: int
) -> population_training.TrainingStage:
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
    stage = training_stage(experiment, name, config.specialist, members, budget, params, None, explores, fresh)
    noise_steps = np.where(fresh, config.fresh_noise_steps, 1).astype(np.int32)
    return stage._replace(takes_best=True, noise_steps=noise_steps)


def _best_specialists(experiment: Experiment, candidates: population_training.TrainingStage) -> TrainState:
    """Train the candidates, and take of each subset the one that stood best at the end, as it was at its best epoch."""
    trained, each = (
        population_training.train_population(experiment, candidates),
        experiment.config.specialists_per_subset,
    )
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
