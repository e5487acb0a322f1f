"""Training an algorithm on the probes, one member per probe, as one compiled program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gsljax.algorithms import Algorithm
from gsljax.population import over_members
from gsljax.rollout import collect
from gsljax.train_state import TrainState, take
from gsljax.types import DemonstrationBatch
from tests import probe_environments as probes

NUM_STEPS, NUM_LANES = 8, 16


def learn(
    table: dict[str, probes.Probe],
    make: Callable[..., Algorithm],
    num_epochs: int,
    demonstrations: Callable[[jax.Array, tuple[int, int]], DemonstrationBatch] | None = None,
) -> tuple[Algorithm, dict[str, TrainState]]:
    """Each probe's member after `num_epochs` updates with rollouts of 8 steps in 16 lanes.

    Args:
      table: the probes.
      make: spec to algorithm.
      num_epochs: updates.
      demonstrations: key and `[M, B]` to pairs, for an algorithm that imitates.

    Returns:
      The algorithm, and the final state by the probe's name.
    """
    environment = probes.lanes_of(table)
    algorithm = make(environment.spec)
    shape = algorithm.num_demonstration_pairs(NUM_STEPS * NUM_LANES)

    def member(key, variation):
        init_key, lanes_key, act_key = jax.random.split(key, 3)
        lanes = environment.reset(lanes_key, jnp.broadcast_to(variation, (NUM_LANES, 1)))

        def epoch(carry, key):
            state, lanes = carry
            act_key, pairs_key = jax.random.split(key)
            lanes, rollout = collect(environment, algorithm.act, state, lanes, act_key, NUM_STEPS)
            pairs = None if demonstrations is None else demonstrations(pairs_key, shape)
            return (algorithm.update(state, rollout, pairs)[0], lanes), None

        start = algorithm.init(init_key, (NUM_STEPS, NUM_LANES)), lanes
        return jax.lax.scan(epoch, start, jax.random.split(act_key, num_epochs))[0][0]

    keys = jax.random.split(jax.random.key(0), len(table))
    states = jax.jit(over_members(member))(keys, jnp.arange(len(table)))
    return algorithm, {name: take(states, index) for index, name in enumerate(table)}
