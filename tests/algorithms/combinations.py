"""Tiny algorithms of every kind with every use of demonstrations, and the data that they take."""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from gsljax.algorithms import (
    Algorithm,
    GAILConfig,
    ImitationConfig,
    PPGConfig,
    PPOConfig,
    SACConfig,
    make_ppg,
    make_ppo,
    make_sac,
)
from gsljax.algorithms.imitation import CloningLoss, ImitationMethod
from gsljax.networks import (
    MLP,
    ActorCritic,
    CategoricalActor,
    DiscreteTwinQ,
    ImpalaActorCritic,
    ImpalaEncoder,
    PhasicActorCritic,
    TanhGaussianActor,
    TwinQ,
    VectorEncoder,
)
from gsljax.train_state import TrainState
from gsljax.types import ActionSpec, DemonstrationBatch, EnvSpec, Rollout
from tests.algorithms.test_ppo import LANES, SAMPLES, STEPS, random_demonstrations, random_rollout

DISCRETE, CONTINUOUS = ActionSpec(num_actions=3), ActionSpec(dimension=2)
IMAGE = (8, 8, 3)


class Combination(NamedTuple):
    """An algorithm, how it imitates, its kind of actions, whether it normalises all it can and sees images."""

    algorithm: Literal["ppo", "ppg", "sac"]
    imitation: ImitationMethod = "none"
    action: ActionSpec = CONTINUOUS
    normalized: bool = False
    images: bool = False
    bc_loss: CloningLoss = "log-likelihood"

    def __str__(self):
        kind = "discrete" if self.action.is_discrete else "continuous"
        more = ["normalised"] * self.normalized + ["images"] * self.images
        return "-".join([self.algorithm, self.imitation, kind, *more])


class Compiled(NamedTuple):
    """An algorithm, a fresh state, and the update compiled once for all tests of a module."""

    algorithm: Algorithm
    state: TrainState
    update: Callable[..., Any]
    demonstrations: DemonstrationBatch | None


@cache
def compiled(combination: Combination) -> Compiled:
    """The combination, ready to be updated with `rollout_of` it."""
    algorithm = make(combination)
    state = jax.jit(lambda key: algorithm.init(key, (STEPS, LANES)))(jax.random.key(0))
    return Compiled(algorithm, state, jax.jit(algorithm.update), demonstrations_of(combination, algorithm))


def make(combination: Combination) -> Algorithm:
    """The combination's algorithm, with networks of 8 units."""
    c = combination
    spec = EnvSpec("test", 1, IMAGE if c.images else (4,), "uint8" if c.images else "float32", c.action, 5, False)
    gail = GAILConfig(num_updates=2, minibatch_size=6, hidden=(8,))
    imitation = ImitationConfig(c.imitation, gail=gail, interval=2, bc_loss=c.bc_loss)
    ppo = PPOConfig(
        learning_rate=1e-2, num_epochs=1, minibatch_size=12,
        normalize_observations=c.normalized, normalize_rewards=c.normalized,
    )  # fmt: skip
    if c.algorithm == "ppo":
        network = ImpalaActorCritic(c.action, (2,), 8) if c.images else ActorCritic(c.action, (8,))
        return make_ppo(network, spec, ppo, imitation)
    if c.algorithm == "ppg":
        trunk = ImpalaEncoder((2,), 8, "ppg") if c.images else MLP((8,))
        config = PPGConfig(ppo=ppo, policy_phases=2, auxiliary_epochs=1, auxiliary_minibatch=6)
        return make_ppg(PhasicActorCritic(c.action, trunk), spec, config, imitation)
    sac = SACConfig(
        learning_rate=1e-2, num_gradient_steps=2, minibatch_size=8, replay_capacity=100, warmup_samples=0,
        normalize_observations=c.normalized,
    )  # fmt: skip
    encoder: nn.Module = ImpalaEncoder((2,), 8) if c.images else VectorEncoder((8,))
    if c.action.num_actions is not None:
        count = c.action.num_actions
        return make_sac(CategoricalActor(count, encoder), DiscreteTwinQ(count, encoder), spec, sac, imitation)
    return make_sac(TanhGaussianActor(c.action, encoder), TwinQ(encoder), spec, sac, imitation)


def rollout_of(combination: Combination, seed: int = 0) -> Rollout:
    """A rollout of random numbers."""
    rollout = random_rollout(combination.action, seed)
    if not combination.images:
        return rollout
    pixels = np.random.default_rng(seed).integers(0, 256, (STEPS + 1, LANES, *IMAGE), np.uint8)
    return rollout._replace(observation=pixels)


def demonstrations_of(combination: Combination, algorithm: Algorithm) -> DemonstrationBatch | None:
    """Pairs of random numbers, where the combination imitates."""
    shape = algorithm.num_demonstration_pairs(SAMPLES)
    if shape == (0, 0):
        return None
    pairs = random_demonstrations(algorithm, combination.action)
    if not combination.images:
        return pairs
    return pairs._replace(observation=np.random.default_rng(0).integers(0, 256, (*shape, *IMAGE), np.uint8))
