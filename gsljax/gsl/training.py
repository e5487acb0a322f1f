"""The one training loop: every stage of a run is a population in it, the generalist a population of one."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gsljax.algorithms.base import Algorithm
from gsljax.envs.protocol import JaxEnvironment
from gsljax.evaluation import EpisodeStatistics, episode_statistics
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.population import Strategy, fastest_strategy, over_members
from gsljax.rollout import collect
from gsljax.train_state import TrainState, keep_best
from gsljax.types import DemonstrationBatch, Metrics


class Carry(NamedTuple):
    """What one member carries from epoch to epoch; all of it is in a checkpoint, so training resumes exactly.

    Attributes:
      state: the algorithm's.
      lanes: the environment's.
      key: for acting.
      demonstration_key: of the endless shuffled pass over the demonstrations, fixed for the stage.
      best_params: parameters of the epoch with the highest mean return so far.
      best_score: that return.
      pairs_drawn: int32, demonstration pairs used so far.
    """

    state: TrainState
    lanes: Any
    key: jax.Array
    demonstration_key: jax.Array
    best_params: Any
    best_score: jax.Array
    pairs_drawn: jax.Array


class Epoch(NamedTuple):
    """What one epoch of one member tells: the update's metrics, its episodes by variation, its valid steps."""

    metrics: Metrics
    statistics: EpisodeStatistics
    samples: jax.Array


def begin(
    environment: JaxEnvironment, state: TrainState, variations: jax.Array, num_lanes: int, key: jax.Array
) -> Carry:
    """A member at the start of a stage, with fresh lanes that draw from `variations` `[K]`."""
    lanes_key, act_key, demonstration_key = jax.random.split(key, 3)
    lanes = environment.reset(lanes_key, jnp.tile(variations, (num_lanes, 1)))
    worst = jnp.full((), -jnp.inf, jnp.float32)
    return Carry(state, lanes, act_key, demonstration_key, state.params, worst, jnp.zeros((), jnp.int32))


def make_train(
    environment: JaxEnvironment,
    algorithm: Algorithm,
    num_steps: int,
    max_epochs: int,
    strategy: Strategy | Literal["auto"] = "auto",
) -> Callable[[Carry, DemonstrationBatch | None, jax.Array], tuple[Carry, Epoch]]:
    """A pure function that trains a population for up to `max_epochs` epochs; to be compiled once per stage.

    Args:
      environment: the environment.
      algorithm: the algorithm; one that imitates needs demonstrations.
      num_steps: rollout length T.
      max_epochs: length of the returned records.
      strategy: how members run, see `gsljax.population.over_members`; `auto` is its `fastest_strategy`.

    Returns:
      A function of the population's carry, the demonstrations (`[P, M, ...]` or None) and the number of epochs to run
      (traced, at most `max_epochs`), to the carry and the epochs' records `[max_epochs, P, ...]`, zero beyond them.
    """
    num_variations = environment.spec.num_variations

    def epoch(carry: Carry, demonstrations: DemonstrationBatch | None) -> tuple[Carry, Epoch]:
        next_key, act_key = jax.random.split(carry.key)
        lanes, rollout = collect(environment, algorithm.act, carry.state, carry.lanes, act_key, num_steps)
        statistics = episode_statistics(rollout, num_variations)
        mean_return = jnp.sum(statistics.return_sum) / jnp.sum(statistics.episodes)  # NaN if no episode ended
        best_params, best_score = keep_best(carry.best_params, carry.best_score, carry.state.params, mean_return)
        batches, pairs_drawn = None, carry.pairs_drawn
        if demonstrations is not None:
            shape = algorithm.num_demonstration_pairs(rollout.valid.size)
            batches = demonstration_sets.draw(demonstrations, carry.demonstration_key, pairs_drawn, *shape)
            pairs_drawn += shape[0] * shape[1]
        state, metrics = algorithm.update(carry.state, rollout, batches)
        carry = Carry(state, lanes, next_key, carry.demonstration_key, best_params, best_score, pairs_drawn)
        return carry, Epoch(metrics, statistics, jnp.sum(rollout.valid))

    def population_epoch(carry: Carry, demonstrations: DemonstrationBatch | None) -> tuple[Carry, Epoch]:
        chosen = strategy
        if chosen == "auto":
            chosen = fastest_strategy((carry.state.params, carry.state.optimizer_state))
        return over_members(epoch, chosen)(carry, demonstrations)

    def train(carry, demonstrations, num_epochs):
        shapes = jax.eval_shape(population_epoch, carry, demonstrations)[1]
        records = jax.tree.map(lambda x: jnp.zeros((max_epochs, *x.shape), x.dtype), shapes)

        def body(index, carry_and_records):
            carry, records = carry_and_records
            carry, record = population_epoch(carry, demonstrations)
            return carry, jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)

        return jax.lax.fori_loop(0, num_epochs, body, (carry, records))

    return train
