"""Phasic policy gradient (Cobbe et al. 2021): PPO's policy phases, and an auxiliary phase after every few of them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.algorithms.base import Algorithm
from gsljax.algorithms.gradients import gradient_of_mean
from gsljax.algorithms.imitation import ImitationConfig
from gsljax.algorithms.optimizer import descend
from gsljax.algorithms.ppo import make_policy_phase
from gsljax.algorithms.ppo_config import PPOConfig
from gsljax.conditions import any_member
from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import auxiliary_phase_loss, zero_invalid
from gsljax.shuffling import shuffled_minibatches
from gsljax.train_state import TrainState
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxiliaryConfig:
    """PPG's auxiliary phase."""

    policy_phases: int = 32
    """Updates between two auxiliary phases, all of whose rollouts are stored (N_pi)."""
    auxiliary_epochs: int = 6
    """Passes over them in an auxiliary phase (E_aux)."""
    auxiliary_minibatch: int = 4
    """Lanes of stored rollouts in each minibatch of an auxiliary phase."""
    clone_weight: float = 1.0
    """Weight of the KL that keeps the policy where it was (beta_clone)."""

    def __post_init__(self):
        for name in ("policy_phases", "auxiliary_epochs", "auxiliary_minibatch"):
            if getattr(self, name) < 1:
                raise UserError(f"PPG's {name} is {getattr(self, name)}, but must be at least 1.")
        if not self.clone_weight >= 0:
            raise UserError(f"PPG's clone_weight is {self.clone_weight}, but must not be negative.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPGConfig(AuxiliaryConfig):
    """PPG's settings; `ppo` is the policy phase, whose traced fields are PPG's."""

    ppo: PPOConfig = dataclasses.field(default_factory=lambda: PPOConfig(num_epochs=1, entropy_coefficient=0.0))
    """The policy phase: PPO on a policy network and a value network of their own (E_pi = E_v = its num_epochs)."""


class AuxiliaryMemory(NamedTuple):
    """The rollouts since the last auxiliary phase, `[N_pi, T, N, ...]`, and the phase's own optimiser's state."""

    observation: jax.Array
    target: jax.Array
    valid: jax.Array
    optimizer_state: Any


def make_ppg(
    network: nn.Module,
    spec: EnvSpec,
    config: PPGConfig,
    imitation: ImitationConfig | None = None,
    discriminator: nn.Module | None = None,
) -> Algorithm:
    """PPG for a network with an auxiliary value, such as `PhasicActorCritic`.

    Every `policy_phases`-th `update` ends with the auxiliary phase: over all stored rollouts, π_old taken once at its
    start, the value targets as they were in their policy phases, its own Adam with the same learning rates.
    Demonstrations enter the policy phases as in PPO.

    Args:
      network: `apply(params, observation)` as PPO's, and a method `with_auxiliary` that adds an auxiliary value.
      spec: the environment's shapes.
      config: settings.
      imitation, discriminator: how demonstrations are used, None for not at all; see `make_ppo`.

    Returns:
      The bundle. `init` needs the rollouts' shape `(T, N)`. Metrics of the auxiliary phase are 0 in updates without it.

    Raises:
      UserError: as `make_ppo`, and if values are to be normalised.
    """
    if config.ppo.normalize_values:
        raise UserError(
            "PPG's ppo.normalize_values is True, but must be False: its auxiliary phase learns from stored targets, "
            "which would be in the units of several updates."
        )
    phase = make_policy_phase(network, spec, config.ppo, imitation, discriminator)
    apply = cast(Callable[..., tuple[Distribution, jax.Array, jax.Array]], phase.network.apply)
    optimizer = phase.optimizer

    def init(key: jax.Array, rollout_shape: tuple[int, int] | None = None) -> TrainState:
        if rollout_shape is None:
            raise UserError("PPG stores rollouts, so its init needs their shape (steps, lanes).")
        num_pairs = config.policy_phases * rollout_shape[1]
        if config.auxiliary_minibatch > num_pairs:
            raise UserError(
                f"PPG's auxiliary_minibatch is {config.auxiliary_minibatch}, but {config.policy_phases} rollouts of "
                f"{rollout_shape[1]} lanes are only {num_pairs}."
            )
        state = phase.init(key, rollout_shape)
        shape = (config.policy_phases, *rollout_shape)
        stored = AuxiliaryMemory(
            observation=jnp.zeros((*shape, *spec.observation_shape), spec.observation_dtype),
            target=jnp.zeros(shape),
            valid=jnp.zeros(shape, bool),
            optimizer_state=optimizer.init(state.params),
        )
        return state._replace(memory={**state.memory, "auxiliary_phase": stored})

    def loss(params, samples) -> tuple[jax.Array, Metrics]:
        observation, target, valid, old_policy = samples
        policy, value, auxiliary_value = apply(params, observation, method="with_auxiliary")
        kl = old_policy.kl(policy)
        return auxiliary_phase_loss(auxiliary_value, value, target, kl, valid, config.clone_weight)

    def auxiliary_phase(params, stored: AuxiliaryMemory, learning_rates, key):
        num_phases, _, num_lanes = stored.valid.shape
        old_policy = jax.lax.map(lambda x: apply(params, x, method="with_auxiliary")[0], stored.observation)

        def minibatch_step(carry, pairs):
            params, optimizer_state = carry
            segment, lane = pairs // num_lanes, pairs % num_lanes

            def of_minibatch(x):  # [N_pi, T, N, ...] to [pairs · T, ...]
                chosen = x[segment, :, lane]
                return chosen.reshape(-1, *chosen.shape[2:])

            parts = stored.observation, stored.target, stored.valid, old_policy
            samples = jax.tree.map(of_minibatch, parts)
            gradient, metrics = gradient_of_mean(loss, params, samples, valid=samples[2])
            direction, optimizer_state = optimizer.update(gradient, optimizer_state)
            return (descend(params, direction, *learning_rates), optimizer_state), metrics

        num_pairs = num_phases * num_lanes
        minibatches = shuffled_minibatches(key, num_pairs, config.auxiliary_epochs, config.auxiliary_minibatch)
        (params, optimizer_state), metrics = jax.lax.scan(minibatch_step, (params, stored.optimizer_state), minibatches)
        return params, optimizer_state, jax.tree.map(jnp.mean, metrics)

    def update(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics]:
        index = state.num_updates % config.policy_phases
        rollout = jax.tree.map(jnp.asarray, rollout)
        state, metrics, target = phase.update(state, rollout, demonstrations)
        stored: AuxiliaryMemory = state.memory["auxiliary_phase"]
        observation = zero_invalid(rollout.observation[:-1], rollout.valid)
        stored = stored._replace(
            observation=stored.observation.at[index].set(observation),
            target=stored.target.at[index].set(zero_invalid(target, rollout.valid)),
            valid=stored.valid.at[index].set(rollout.valid),
        )
        due = index == config.policy_phases - 1
        key, phase_key = jax.random.split(state.key)

        learning_rates = [metrics[name] for name in ("learning_rate", "value_learning_rate") if name in metrics]
        arguments = state.params, stored, learning_rates, phase_key

        def run():
            return jax.tree.map(lambda new, old: jnp.where(due, new, old), auxiliary_phase(*arguments), skip())

        def skip():
            of_phase = jax.eval_shape(auxiliary_phase, *arguments)[2]
            return state.params, stored.optimizer_state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), of_phase)

        params, optimizer_state, auxiliary_metrics = jax.lax.cond(any_member(due), run, skip)
        memory = {**state.memory, "auxiliary_phase": stored._replace(optimizer_state=optimizer_state)}
        return state._replace(params=params, key=key, memory=memory), {**metrics, **auxiliary_metrics}

    return Algorithm(init, phase.act, update, phase.num_demonstration_pairs)
