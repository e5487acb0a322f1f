"""A training loop of your own: members that differ in their learning rate, all in one compiled program.

python examples/own_loop.py [EPOCHS]
"""

import sys

import jax
import jax.numpy as jnp
from gymnax.environments.classic_control.cartpole import CartPole, EnvParams

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.envs import GymnaxLanes
from gsljax.evaluation import EpisodeStatistics, episode_statistics
from gsljax.networks import ActorCritic
from gsljax.rollout import collect

LEARNING_RATES = (1e-4, 1e-3, 3e-3, 1e-2)
HORIZON, LANES = 200, 8

params = EnvParams(max_steps_in_episode=HORIZON)
environment = GymnaxLanes(CartPole(), params, num_variations=1, set_variation=lambda params, variation: params)
network = ActorCritic(environment.spec.action, hidden=(64, 64), activation="tanh")
algorithm = make_ppo(network, environment.spec, PPOConfig(num_epochs=4, minibatch_size=200))


def train_member(key: jax.Array, learning_rate: jax.Array, num_epochs: int) -> EpisodeStatistics:
    """Train one member; returns what episodes ended in each epoch."""
    init_key, lanes_key, act_key = jax.random.split(key, 3)
    state = algorithm.init(init_key)
    state = state._replace(hyperparameters=state.hyperparameters._replace(learning_rate=learning_rate))
    lanes = environment.reset(lanes_key, choices=jnp.zeros((LANES, 1), jnp.int32))

    def epoch(carry, key):
        state, lanes = carry
        lanes, rollout = collect(environment, algorithm.act, state, lanes, key, num_steps=HORIZON + 1)
        state, _metrics = algorithm.update(state, rollout)
        return (state, lanes), episode_statistics(rollout, num_variations=1)

    return jax.lax.scan(epoch, (state, lanes), jax.random.split(act_key, num_epochs))[1]


def main(num_epochs: int = 40) -> None:
    """Train all members and print the return that each begins and ends with."""
    train = jax.jit(jax.vmap(train_member, in_axes=(0, 0, None)), static_argnums=2)
    keys = jax.random.split(jax.random.key(0), len(LEARNING_RATES))
    returns = train(keys, jnp.array(LEARNING_RATES), num_epochs).mean_return()  # [members, epochs]
    for learning_rate, curve in zip(LEARNING_RATES, returns, strict=True):
        print(f"learning rate {learning_rate:<6g}  return {curve[0]:5.1f} at first, {curve[-1]:5.1f} at last")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
