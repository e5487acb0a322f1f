"""The one training loop: every stage of a run is a population in it, the generalist a population of one.

With a pure-JAX environment a call of it is one compiled program; with pools on the host an epoch collects, then learns.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms.base import Algorithm
from gsljax.compile_time import seconds_compiling
from gsljax.device import compiler_options, is_accelerator
from gsljax.envs.protocol import JaxEnvironment, LivePools, PooledEnvironment
from gsljax.evaluation import EpisodeStatistics, episode_statistics
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.streaming import Stream
from gsljax.population import Strategy, fastest_strategy, over_members
from gsljax.rollout import collect, make_collect_from_pools
from gsljax.train_state import TrainState, actors, keep_best
from gsljax.types import DemonstrationBatch, Metrics, Rollout, Scalar


class Carry(NamedTuple):
    """What one member carries from epoch to epoch; all of it is in a checkpoint, so training resumes exactly.

    Pools are not, but what they are opened from.

    Attributes:
      state: the algorithm's.
      lanes: the environment's; of pools what they were opened from.
      key: for acting.
      noise_steps: int32, how many steps in a row share a draw of exploration noise.
      rests: bool, whether what it plays does not count: no sample of it, and nothing is learnt from it.
      demonstration_key: of the endless shuffled pass over the demonstrations, fixed for the stage.
      recent: float32 `[2, W]`, the sum of returns and the number of episodes of each of the last W epochs; NaN before
        there were so many.
      best_params: parameters of the epoch that ends the W epochs with the highest mean return so far.
      best_score: that return.
      pairs_drawn: int32, demonstration pairs used so far.
    """

    state: TrainState
    lanes: Any
    key: jax.Array
    noise_steps: jax.Array
    rests: jax.Array
    demonstration_key: jax.Array
    recent: jax.Array
    best_params: Any
    best_score: jax.Array
    pairs_drawn: jax.Array


class Epoch(NamedTuple):
    """What one epoch of one member tells: the update's metrics, its episodes by variation, its valid steps."""

    metrics: Metrics
    statistics: EpisodeStatistics
    samples: jax.Array


def begin(
    environment: JaxEnvironment | PooledEnvironment,
    state: TrainState,
    variations: jax.Array,
    num_lanes: int,
    key: jax.Array,
    noise_steps: Scalar = 1,
    best_window: int = 1,
) -> Carry:
    """A member at the start of a stage, with fresh lanes that draw from `variations` `[K]`; see `Carry`.

    Args:
      environment: whose lanes these are.
      state: the algorithm's.
      variations: `[K]` int32.
      num_lanes: of this member.
      key: for all that is random.
      noise_steps: see `Carry`.
      best_window: W, over how many epochs the return is averaged that says which parameters are the best.
    """
    lanes_key, act_key, demonstration_key = jax.random.split(key, 3)
    lanes = environment.reset(lanes_key, jnp.tile(variations, (num_lanes, 1)))
    held, rests, none = jnp.asarray(noise_steps, jnp.int32), jnp.asarray(False), jnp.zeros((), jnp.int32)
    recent, worst = jnp.full((2, best_window), jnp.nan, jnp.float32), jnp.full((), -jnp.inf, jnp.float32)
    return Carry(state, lanes, act_key, held, rests, demonstration_key, recent, state.params, worst, none)


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
    learn = make_learn(algorithm, environment.spec.num_variations)

    def epoch(carry: Carry, demonstrations: DemonstrationBatch | None) -> tuple[Carry, Epoch]:
        next_key, act_key = jax.random.split(carry.key)
        lanes, rollout = collect(
            environment, algorithm.act, carry.state, carry.lanes, act_key, num_steps, noise_steps=carry.noise_steps
        )
        return learn(carry._replace(lanes=lanes, key=next_key), rollout, demonstrations)

    def population_epoch(carry: Carry, demonstrations: DemonstrationBatch | None) -> tuple[Carry, Epoch]:
        return over_members(epoch, chosen_strategy(strategy, carry.state))(carry, demonstrations)

    def train(carry, demonstrations, num_epochs):
        shapes = jax.eval_shape(population_epoch, carry, demonstrations)[1]
        records = jax.tree.map(lambda x: jnp.zeros((max_epochs, *x.shape), x.dtype), shapes)

        def body(index, carry_and_records):
            carry, records = carry_and_records
            carry, record = population_epoch(carry, demonstrations)
            return carry, jax.tree.map(lambda all_, one: all_.at[index].set(one), records, record)

        return jax.lax.fori_loop(0, num_epochs, body, (carry, records))

    return train


def make_train_from_pools(
    algorithm: Algorithm, num_variations: int, num_steps: int, strategy: Strategy, to_act: Strategy | None = None
) -> Callable[[LivePools, Carry, DemonstrationBatch | Stream | None], tuple[Carry, Epoch, dict[str, float]]]:
    """An epoch of a population beside its pools; make it once per stage, as it holds the compiled programs.

    Args:
      algorithm: the algorithm; one that imitates needs demonstrations.
      num_variations: V of the environment.
      num_steps: rollout length T.
      strategy: how members run, see `gsljax.population.over_members`.
      to_act: how they run while they act, if not like that.

    Returns:
      A function of the open pools, the population's carry (which is donated) and the demonstrations, on the device or a
      stream of them, to the carry, the epoch's record `[P, ...]` on the host, and the seconds that went to `env`,
      `act`, `update` and `compile`.
    """
    collect_from_pools = make_collect_from_pools(algorithm.act, strategy if to_act is None else to_act)
    learn, learn_from_drawn = (
        jax.jit(
            over_members(make_learn(algorithm, num_variations, are_drawn), strategy),
            donate_argnums=0,
            compiler_options=compiler_options(),
        )
        for are_drawn in (False, True)
    )
    split = jax.jit(lambda keys: jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0))

    def epoch(live, carry, demonstrations):
        compiled = seconds_compiling()
        _let_rest(live, np.asarray(carry.rests))
        next_key, act_key = split(carry.key)
        acting = actors(carry.state.params, len(next_key))  # every array that a call is given takes time
        rollout, times = collect_from_pools(live, acting, act_key, num_steps, noise_steps=carry.noise_steps)
        compiled_to_act = seconds_compiling() - compiled
        started = time.perf_counter()
        carry = carry._replace(key=next_key)
        if isinstance(demonstrations, Stream):
            drawn = demonstrations.draw(carry.demonstration_key, carry.pairs_drawn)
            carry, record = learn_from_drawn(carry, rollout, drawn)
        else:
            carry, record = learn(carry, rollout, demonstrations)
        record = jax.device_get(record)
        learning = time.perf_counter() - started
        compiling = seconds_compiling() - compiled
        # What JAX reports may overlap a little, where compiling one program needs another: no time is negative.
        act, update = max(0.0, times.act - compiled_to_act), max(0.0, learning - (compiling - compiled_to_act))
        return carry, record, {"env": times.env, "act": act, "update": update, "compile": compiling}

    return epoch


def _let_rest(live: LivePools, rests: np.ndarray) -> None:
    """Spare the environments of the members `[P]` that rest."""
    if rests.any():
        for half, lanes in enumerate(live.halves):
            live.rest(half, np.repeat(rests[:, None], lanes.stop - lanes.start, axis=1))


def make_learn(
    algorithm: Algorithm, num_variations: int, are_drawn: bool = False
) -> Callable[[Carry, Rollout, DemonstrationBatch | None], tuple[Carry, Epoch]]:
    """What one member does with a rollout: remember its best parameters, draw demonstrations, update; pure.

    The carry holds the lanes as the rollout left them, and a key that was not used. If the demonstrations `are_drawn`,
    they are the minibatches of this very update.
    """

    def learn(carry: Carry, rollout: Rollout, demonstrations: DemonstrationBatch | None) -> tuple[Carry, Epoch]:
        counts = {name: getattr(rollout, name) & ~carry.rests for name in ("valid", "terminated", "truncated")}
        rollout = rollout._replace(**counts)
        statistics = episode_statistics(rollout, num_variations)
        played = jnp.stack([jnp.sum(statistics.return_sum), jnp.sum(statistics.episodes).astype(jnp.float32)])
        recent = jnp.concatenate([carry.recent[:, 1:], played[:, None]], axis=1)
        recent = jnp.where(carry.rests, carry.recent, recent)
        mean_return = jnp.sum(recent[0]) / jnp.sum(recent[1])  # NaN before W epochs, and if no episode ended in them
        best_params, best_score = keep_best(carry.best_params, carry.best_score, carry.state.params, mean_return)
        batches, pairs_drawn = None, carry.pairs_drawn
        if demonstrations is not None:
            shape = algorithm.num_demonstration_pairs(rollout.valid.size)
            batches = demonstrations
            if not are_drawn:
                batches = demonstration_sets.draw(demonstrations, carry.demonstration_key, pairs_drawn, *shape)
            pairs_drawn += shape[0] * shape[1]
        state, metrics = algorithm.update(carry.state, rollout, batches)
        best = {"recent": recent, "best_params": best_params, "best_score": best_score}
        carry = carry._replace(state=state, pairs_drawn=pairs_drawn, **best)
        return carry, Epoch(metrics, statistics, jnp.sum(rollout.valid))

    return learn


def chosen_strategy(strategy: Strategy | Literal["auto"], state: TrainState) -> Strategy:
    """The strategy, or for `auto` the fastest one for a population to learn with."""
    return fastest_strategy((state.params, state.optimizer_state)) if strategy == "auto" else strategy


def acting_strategy(strategy: Strategy | Literal["auto"], state: TrainState) -> Strategy:
    """How members run while they act beside pools: for `auto` on an accelerator all at once, else `chosen_strategy`.

    There image networks learn one after another, and would act six times as slowly like that (`gsljax.networks.conv`).
    """
    return "vmap" if strategy == "auto" and is_accelerator() else chosen_strategy(strategy, state)
