"""Nothing compiles anew after the first update."""

import jax
import jax.numpy as jnp
import pytest

from gsljax.algorithms import PPGConfig, PPOConfig, SACConfig, make_ppg, make_ppo, make_sac
from gsljax.networks import MLP, ActorCritic, CategoricalActor, DiscreteTwinQ, PhasicActorCritic, VectorEncoder
from gsljax.population import over_members
from gsljax.rollout import collect
from tests import probe_environments as probes

pytestmark = pytest.mark.usefixtures("compilation_cache")

ENVIRONMENT = probes.lanes_of(probes.DISCRETE)
SPEC, STEPS, LANES, MEMBERS = ENVIRONMENT.spec, 8, 4, 2
PPO = PPOConfig(num_epochs=1, minibatch_size=16)
PPG = PPGConfig(policy_phases=2, auxiliary_epochs=1, auxiliary_minibatch=4, ppo=PPO)
ENCODER = VectorEncoder((8,))
ACTIONS = SPEC.action.num_actions
assert ACTIONS is not None
ALGORITHMS = {
    "ppo": make_ppo(ActorCritic(SPEC.action, (8,)), SPEC, PPO),
    "ppo, normalised": make_ppo(
        ActorCritic(SPEC.action, (8,)), SPEC, PPOConfig(num_epochs=1, minibatch_size=16, normalize_rewards=True)
    ),
    "ppg": make_ppg(PhasicActorCritic(SPEC.action, MLP((8,))), SPEC, PPG),
    "sac": make_sac(
        CategoricalActor(ACTIONS, ENCODER), DiscreteTwinQ(ACTIONS, ENCODER), SPEC,
        SACConfig(num_gradient_steps=2, minibatch_size=8, replay_capacity=64, warmup_samples=40),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALGORITHMS)
def test_epochs_after_the_first_compile_nothing(name):
    algorithm = ALGORITHMS[name]

    def start(key):
        lanes = ENVIRONMENT.reset(key, jnp.zeros((LANES, 1), jnp.int32))
        return algorithm.init(key, (STEPS, LANES)), lanes

    def play(state, lanes, key):
        return collect(ENVIRONMENT, algorithm.act, state, lanes, key, STEPS)

    playing, learning = jax.jit(over_members(play)), jax.jit(over_members(algorithm.update))
    state, lanes = jax.jit(jax.vmap(start))(jax.random.split(jax.random.key(0), MEMBERS))
    for epoch in range(4):
        lanes, rollout = playing(state, lanes, jax.random.split(jax.random.key(epoch), MEMBERS))
        state, _ = learning(state, rollout)
        assert playing._cache_size() == learning._cache_size() == 1
