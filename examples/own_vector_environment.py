"""A vectorised environment of your own on the host: Gymnasium's CartPole, with a gravity per variation.

python examples/own_vector_environment.py [EPOCHS]
"""

import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.envs import GymnasiumAdapter, Pools
from gsljax.networks import ActorCritic
from gsljax.rollout import make_collect_from_pools
from gsljax.types import ActionSpec, EnvSpec

GRAVITIES = (9.8, 24.8)  # Earth's and Jupiter's, in m/s²
HORIZON, LANES = 100, 8


def open_pool(variations: tuple[int, ...], seeds: list[int], num_threads: int) -> GymnasiumAdapter:
    """A vectorised environment in which all lanes play one variation; any with Gymnasium's NEXT_STEP reset will do."""

    def make() -> gymnasium.Env:
        env = gymnasium.make("CartPole-v1", max_episode_steps=HORIZON)
        env.unwrapped.gravity = GRAVITIES[variations[0]]  # pyright: ignore[reportAttributeAccessIssue]
        return env

    return GymnasiumAdapter(gymnasium.vector.SyncVectorEnv([make] * len(seeds)), seeds)


spec = EnvSpec("poles", len(GRAVITIES), (4,), "float32", ActionSpec(num_actions=2), HORIZON, has_success=False)
environment = Pools(spec, open_pool)
network = ActorCritic(spec.action, hidden=(64, 64), activation="tanh")
algorithm = make_ppo(network, spec, PPOConfig(learning_rate=1e-3, num_epochs=4, minibatch_size=200))


def main(num_epochs: int = 20) -> None:
    """Train a population of one on all variations and print for how many steps it holds the pole."""
    init_key, lanes_key, act_key = jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(algorithm.init)(init_key[None])  # one member, on a leading member axis
    choices = jnp.tile(jnp.arange(len(GRAVITIES)), (1, LANES, 1))
    update, collect = jax.jit(jax.vmap(algorithm.update)), make_collect_from_pools(algorithm.act)
    with environment.open(jax.vmap(environment.reset)(lanes_key[None], choices)) as live:
        for epoch in range(num_epochs):
            rollout, times = collect(live, states, jax.random.fold_in(act_key, epoch)[None], HORIZON + 1)
            states, _metrics = update(states, rollout)
            steps = np.sum(rollout.valid) / max(np.sum(rollout.terminated), 1)
            print(f"epoch {epoch:2d}  steps per fall {steps:6.1f}  waited {times.env:.2f} s for the environments")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
