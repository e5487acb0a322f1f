"""Algorithm 1 of the paper (GSL §4), line by line; and the plain baseline beside it."""

from typing import Any, NamedTuple

import jax
import numpy as np

from gsljax.gsl.assignment import is_good_enough, low_performing, remaining, split
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.playing_stages import collect_demonstrations, evaluate_generalist, evaluate_variations
from gsljax.gsl.specialists import train_specialists
from gsljax.gsl.training_stages import fine_tune, train_baseline, train_generalist, train_with_demonstrations
from gsljax.train_state import TrainState


class Outcome(NamedTuple):
    """What a run leaves: its final policy, and on the way there the generalist at its plateau and the specialists.

    Attributes:
      policy: the final generalist (or baseline).
      generalist: at its plateau; None for the baseline.
      specialists: each one's best, leaves `[N_s, ...]`; None if there were none.
      subsets: `[N_s, K]` the specialists' variations; None if there were none.
    """

    policy: TrainState
    generalist: TrainState | None = None
    specialists: TrainState | None = None
    subsets: np.ndarray | None = None


def train_gsl(experiment: Experiment) -> Outcome:
    """Generalist-specialist learning (GSL Algorithm 1)."""
    config = experiment.config
    generalist = train_generalist(experiment)
    scores = evaluate_generalist(experiment, generalist)
    if is_good_enough(config, scores):
        return Outcome(generalist, generalist)
    low = low_performing(config, scores)
    subsets = split(np.sort(low), len(low) // config.variations_per_specialist)
    origin = fine_tune(experiment, generalist, low)
    specialists = train_specialists(experiment, origin, subsets, scores)
    rest = remaining(experiment.environment.spec.num_variations, low)
    demonstrations = collect_demonstrations(experiment, generalist, specialists, subsets, rest)
    policy = train_with_demonstrations(experiment, generalist, demonstrations)
    return Outcome(policy, generalist, specialists, subsets)


def run(experiment: Experiment, preset: str) -> tuple[Outcome, dict[str, Any]]:
    """Run (or finish) the configured method and evaluate its final policy on every variation.

    Returns:
      The outcome, and the content of `summary.json`, which is also written; that of a finished run stays as it is.

    Raises:
      TimeIsUp: after an epoch, or another stage, at whose end the experiment's deadline has passed; it is saved.
    """
    config, directory = experiment.config, experiment.directory
    outcome = Outcome(train_baseline(experiment)) if config.is_baseline else train_gsl(experiment)
    if directory.is_finished:
        return outcome, directory.summary
    key = jax.random.fold_in(jax.random.key(config.seed), 2**31)
    num_variations = experiment.evaluation_environment.spec.num_variations
    experiment.reporter.message(f"final evaluation: {evaluation_message(config.evaluation_episodes, num_variations)}")
    evaluated = experiment, experiment.evaluation_environment, outcome.policy, config.evaluation_episodes, key
    final, _ = evaluate_variations(*evaluated)
    modal, _ = evaluate_variations(*evaluated, deterministic=True)
    generalist = directory.stage("generalist")
    summary = {
        "preset": preset,
        "method": config.method,
        "algorithm": config.algorithm,
        "seed": config.seed,
        "total_samples": directory.samples,
        "wall_seconds": sum(stage["wall_seconds"] for stage in directory.stages),
        "stages": directory.stages,
        "plateau": generalist["plateau"] if generalist else None,
        "final": final | {"deterministic": modal},
    }
    directory.finish(summary)
    return outcome, summary


def evaluation_message(episodes: int, num_variations: int) -> str:
    """What an evaluation plays, in words."""
    return f"{episodes} episodes of each of {num_variations} variations with sampled actions, and as many with modes"
