"""The stages of Algorithm 1 in which the generalist trains (GSL §4); every one is resumable and records its samples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms import ImitationConfig
from gsljax.algorithms.base import InheritFunction
from gsljax.gsl import population_training
from gsljax.gsl.checks import most_valid_steps
from gsljax.gsl.config import TrainingConfig
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.networks.mlp import with_std
from gsljax.train_state import TrainState, clone, take, where_members


def train_baseline(experiment: Experiment) -> TrainState:
    """The baseline: one member on all variations, with the whole budget."""
    return _train_generalist(experiment, "baseline", experiment.config.baseline, experiment.config.total_samples, None)


def train_generalist(experiment: Experiment) -> TrainState:
    """Line 1 of Algorithm 1: the generalist on all of E, until the plateau criterion H fires."""
    config = experiment.config
    budget = int(config.generalist_share * config.total_samples)
    steps = most_valid_steps(config.rollout_steps, experiment.environment.spec.horizon)
    epochs = budget // (config.generalist.lanes * steps)
    criterion = config.plateau.for_budget(epochs)
    if not criterion.can_fire(epochs) and experiment.directory.stage("generalist") is None:
        experiment.reporter.message(
            f"plateau: H cannot fire, as W is {criterion.window} and head {criterion.head:g} of {epochs} epochs; the "
            "generalist trains to the end of its budget"
        )
    return _train_generalist(experiment, "generalist", config.generalist, budget, criterion)


def _train_generalist(
    experiment: Experiment, name: str, training: TrainingConfig, budget: int, criterion: PlateauCriterion | None
) -> TrainState:
    stage = training_stage(experiment, name, training, experiment.all_variations[None], budget)
    is_cloned = name == "generalist" and experiment.config.inherit_replay and bool(stage.algorithm.heritage)
    stage = stage._replace(criterion=criterion, hands_on=is_cloned)
    return take(population_training.train_population(experiment, stage), 0)


def fine_tune(experiment: Experiment, generalist: TrainState, low: np.ndarray) -> TrainState:
    """Line 5 of Algorithm 1, optional: the generalist trained on E_low; the generalist itself if it is left out."""
    config = experiment.config
    if config.fine_tuning_share == 0:
        return generalist
    budget = int(config.fine_tuning_share * config.total_samples)
    params, heritage = clone(generalist.params, 1), generalist.memory
    stage = training_stage(experiment, "fine_tuning", config.specialist, low[None], budget, params, heritage=heritage)
    tuned = take(population_training.train_population(experiment, stage), 0)
    return tuned._replace(memory=heritage)


def train_with_demonstrations(
    experiment: Experiment, generalist: TrainState, demonstrations: Demonstrations
) -> TrainState:
    """Line 8 of Algorithm 1: the generalist on all of E again, with the auxiliary signal, until the total is spent."""
    config = experiment.config
    name, params = "imitation", clone(generalist.params, 1)
    is_complete = experiment.directory.stage(name) is not None  # then its own samples are already in the total
    budget = 0 if is_complete else experiment.samples_left
    stage = training_stage(
        experiment, name, config.phase_two, experiment.all_variations[None], budget, params, config.imitation,
        heritage=generalist.memory,
    )  # fmt: skip
    if config.imitation.method != "none":
        stage = stage._replace(demonstrations=demonstrations)
    return take(population_training.train_population(experiment, stage), 0)


@partial(jax.jit, static_argnums=0, donate_argnums=1)  # a replay may fill much of the device's memory
def _inherited(
    inherit: InheritFunction, memory: Any, rest: TrainState, heritage: Any, variations: jax.Array, are_clones: jax.Array
) -> tuple[Any, jax.Array]:
    """Memory and number of samples of members `[P, ...]`; clones have what they can use of `heritage`."""
    states = rest._replace(memory=memory)
    heirs = jax.vmap(inherit, in_axes=(0, None, 0))(states, heritage, variations)
    return where_members(are_clones, *((one.memory, one.num_samples) for one in (heirs, states)))


def training_stage(
    experiment: Experiment,
    name: str,
    training: TrainingConfig,
    variations: np.ndarray,
    budget: int,
    params: Any = None,
    imitation: ImitationConfig | None = None,
    explores: np.ndarray | None = None,
    fresh: np.ndarray | None = None,
    heritage: Any = (),
) -> population_training.TrainingStage:
    """A stage whose members start with `params` `[P, ...]` (None: initialised), with a fresh optimiser and own keys.

    Those that explore, `[P]` (None: all), start with the stage's `initial_std`, if it has one. Those that are fresh,
    `[P]` (None: none), are initialised whatever the others start with. The others inherit what they can use of
    `heritage`, the memory of the one that they are clones of, if it was handed on.
    """
    algorithm, count = experiment.algorithm(training, imitation), len(variations)
    init = partial(algorithm.init, rollout_shape=(experiment.config.rollout_steps, training.lanes))

    def members() -> TrainState:
        states = experiment.over_members(init)(jax.random.split(experiment.key(name, "members"), count))
        if params is not None:
            inherited = params if fresh is None else where_members(fresh, states.params, params)
            states = states._replace(params=inherited)
        if heritage:
            are_clones = np.ones(count, bool) if fresh is None else ~fresh
            memory, rest = states.memory, states._replace(memory=())
            memory, num_samples = _inherited(algorithm.inherit, memory, rest, heritage, variations, are_clones)
            states = states._replace(memory=memory, num_samples=num_samples)
        if training.initial_std is not None:
            explored = with_std(states.params, training.initial_std)
            chosen = explored if explores is None else where_members(explores, explored, states.params)
            states = states._replace(params=chosen)
        if training.anneal:
            samples = jnp.full(count, budget / count, jnp.float32)
            states = states._replace(hyperparameters=states.hyperparameters._replace(anneal_samples=samples))
        return states

    return population_training.TrainingStage(
        name, algorithm, members, variations.astype(np.int32), training.lanes, budget
    )
