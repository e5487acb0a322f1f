"""The stage of Algorithm 1 in which the specialists train (GSL §4), after trials of several on the same variations."""

import numpy as np

from gsljax.gsl import population_training
from gsljax.gsl.assignment import best_of_each, standings
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.mastery import Mastery
from gsljax.gsl.training_stages import training_stage
from gsljax.train_state import TrainState, clone, take


def train_specialists(
    experiment: Experiment, origin: TrainState, subsets: np.ndarray, scores: np.ndarray
) -> TrainState:
    """Line 6 of Algorithm 1: one specialist per row of `subsets` `[N_s, K]`, cloned from `origin`; each one's best.

    Where several are trained on the same subset, it is the best of them in the last quarter of their epochs, see
    `gsljax.gsl.assignment.standings`; with a `trial_share` they are compared when it is spent, and only that one goes
    on. With the method `gsl-scratch` they are initialised afresh instead, as the last `fresh_specialists` of each
    subset always are. The generalist's `scores` `[V]` tell which of the clones explore anew, if the configuration
    leaves that to them.
    """
    config = experiment.config
    budget = int(config.specialist_share * config.total_samples)
    mastery = None if config.mastery is None else Mastery(config.plateau.metric, config.mastery)
    if not config.trial_share:
        stage = _candidates(experiment, "specialists", origin, subsets, scores, budget)
        trained = population_training.train_population(experiment, stage._replace(mastery=mastery))
        return take(trained, _best_candidates(experiment, "specialists", len(subsets)))
    trial_budget = int(config.trial_share * config.total_samples)
    trials = _candidates(experiment, "trials", origin, subsets, scores, trial_budget)
    tried = population_training.train_population(experiment, trials)
    best = _best_candidates(experiment, "trials", len(subsets))
    none = np.zeros(len(subsets), bool)  # nobody explores anew
    training, left = config.specialist, budget - trial_budget
    params, heritage = take(tried, best).params, origin.memory
    stage = training_stage(experiment, "specialists", training, subsets, left, params, explores=none, heritage=heritage)
    stage = stage._replace(best_window=config.best_window, mastery=mastery, trial_members=best)
    return population_training.train_population(experiment, stage)


def _candidates(
    experiment: Experiment, name: str, origin: TrainState, subsets: np.ndarray, scores: np.ndarray, budget: int
) -> population_training.TrainingStage:
    """The stage in which `specialists_per_subset` are trained on each subset, clones and fresh ones."""
    config, each = experiment.config, experiment.config.specialists_per_subset
    members = np.repeat(subsets, each, axis=0)
    fresh = np.tile(np.arange(each) >= each - config.fresh_specialists, len(subsets))
    params, explores, heritage = None, None, ()
    if config.method == "gsl-scratch":
        fresh[:] = True
    else:
        params, heritage = clone(origin.params, len(members)), origin.memory
        if config.explore_up_to is not None:
            explores = scores[members].mean(axis=1) <= config.explore_up_to
    stage = training_stage(
        experiment, name, config.specialist, members, budget, params, None, explores, fresh, heritage
    )
    noise_steps = np.where(fresh, config.fresh_noise_steps, 1).astype(np.int32)
    return stage._replace(best_window=config.best_window, noise_steps=noise_steps)


def _best_candidates(experiment: Experiment, name: str, num_subsets: int) -> np.ndarray:
    """Of a stage's candidates `[N_s · each]` the one `[N_s]` for each subset that stood best at the end."""
    each = experiment.config.specialists_per_subset
    if each == 1:
        return np.arange(num_subsets)
    members = [line["members"] for line in experiment.directory.metrics(name)]
    scores, returns = (
        np.array([one[metric] for one in members], float) for metric in (experiment.config.plateau.metric, "return")
    )
    return best_of_each(standings(scores, returns), each)
