"""Proximal policy optimisation as a bundle of pure functions, with an optional demonstration term.

Formulas: `gsljax.losses.ppo`, `gsljax.losses.returns`; the common settings of the paper: GSL App. A.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gsljax.algorithms.base import ActorOutput, Algorithm
from gsljax.algorithms.imitation import ImitationConfig, imitation_loss
from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    generalized_advantages,
    normalize,
    value_loss,
)
from gsljax.train_state import TrainState
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Rollout, Scalar


class PPOHyperparameters(NamedTuple):
    """The traced hyperparameters: members of one population may differ in them without recompiling.

    They are the fields of `PPOConfig` and `ImitationConfig`, and `anneal_samples`: the number of samples over which the
    learning rate falls linearly to 0 (infinity keeps it constant).
    """

    learning_rate: Scalar
    anneal_samples: Scalar
    discount: Scalar
    gae_lambda: Scalar
    clip: Scalar
    entropy_coefficient: Scalar
    value_coefficient: Scalar
    imitation_weight: Scalar


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """PPO's settings; the fields of `PPOHyperparameters` become traced, the rest is static."""

    learning_rate: float = 3e-4
    """Adam's step size."""
    discount: float = 0.99
    """γ."""
    gae_lambda: float = 0.95
    """λ of the generalised advantage."""
    clip: float = 0.2
    """ε of the clipped policy loss (and of the clipped value loss)."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""
    value_coefficient: float = 1.0
    """Weight of the value loss, ½ · MSE."""
    num_epochs: int = 10
    """Passes over each rollout."""
    minibatch_size: int = 500
    """Samples per gradient step; what does not fill a minibatch is left out, another part in every pass."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm."""
    clip_value_loss: bool = False
    """Whether the value loss is clipped too."""

    def __post_init__(self):
        for name in ("num_epochs", "minibatch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must be at least 1.")
        for name in ("learning_rate", "clip", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must be positive.")
        for name in ("entropy_coefficient", "value_coefficient"):
            if not getattr(self, name) >= 0:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must not be negative.")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"PPO's {name} is {getattr(self, name)}, but must lie between 0 and 1.")


def hyperparameters(config: PPOConfig, imitation: ImitationConfig | None = None) -> PPOHyperparameters:
    """The traced part of a configuration, as strongly typed float32 scalars."""
    apart = {
        "imitation_weight": imitation.weight if imitation else 0.0,
        "anneal_samples": math.inf,
    }
    values = {name: getattr(config, name) for name in PPOHyperparameters._fields if name not in apart} | apart
    return PPOHyperparameters(**{name: jnp.asarray(value, jnp.float32) for name, value in values.items()})


class _Samples(NamedTuple):
    """A rollout's samples, flattened to `[B, ...]`, with what the losses need."""

    observation: jax.Array
    action: jax.Array
    valid: jax.Array
    old_log_prob: jax.Array
    old_value: jax.Array
    advantage: jax.Array
    target: jax.Array


def make_ppo(
    network: nn.Module, spec: EnvSpec, config: PPOConfig, imitation: ImitationConfig | None = None
) -> Algorithm:
    """PPO for a network that maps observations to `(Distribution, value)`.

    With `imitation`, `update` takes demonstration minibatches `[M, B, ...]` shaped as `num_demonstration_pairs` says,
    and adds the demonstration term to the gradient of every `imitation.interval`-th minibatch, one of the M to each.
    `bc` drops the policy loss and the entropy bonus, and keeps the value loss.

    Args:
      network: Flax module; `apply(params, observation)` returns a distribution and values.
      spec: the environment's shapes.
      config: settings; see `PPOConfig` for which are traced.
      imitation: the demonstration term, None for plain PPO.

    Returns:
      The bundle. `update` raises `UserError` (while it is traced) where a rollout holds less than one minibatch or the
      demonstrations do not have the expected shape.
    """
    if imitation is not None and imitation.method == "none":
        imitation = None
    apply = cast(Callable[[Any, jax.Array], tuple[Distribution, jax.Array]], network.apply)
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5))
    reinforcement = 0.0 if imitation is not None and imitation.method == "bc" else 1.0

    def init(key: jax.Array) -> TrainState:
        params_key, state_key = jax.random.split(key)
        observation = jnp.zeros((1, *spec.observation_shape), spec.observation_dtype)
        params = network.init(params_key, observation)
        traced = hyperparameters(config, imitation)
        return TrainState(
            params, optimizer.init(params), traced, state_key, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        )

    def act(state: TrainState, observation: jax.Array, key: jax.Array, deterministic: bool = False) -> ActorOutput:
        policy, value = apply(state.params, observation)
        action = policy.mode() if deterministic else policy.sample(key)
        return ActorOutput(action, policy.log_prob(action), value)

    def online_loss(params, samples: _Samples, traced: PPOHyperparameters) -> tuple[jax.Array, Metrics]:
        policy, value = apply(params, samples.observation)
        log_prob = policy.log_prob(samples.action)
        policy_loss, metrics = clipped_policy_loss(
            log_prob, samples.old_log_prob, samples.advantage, samples.valid, traced.clip
        )
        entropy = jnp.sum(jnp.where(samples.valid, policy.entropy(), 0.0)) / jnp.maximum(jnp.sum(samples.valid), 1)
        if config.clip_value_loss:
            critic_loss, critic_metrics = clipped_value_loss(
                value, samples.old_value, samples.target, samples.valid, traced.clip
            )
        else:
            critic_loss, critic_metrics = value_loss(value, samples.target, samples.valid)
        loss = reinforcement * (policy_loss - traced.entropy_coefficient * entropy)
        return loss + traced.value_coefficient * critic_loss, {**metrics, **critic_metrics, "entropy": entropy}

    def demonstration_loss(params, batch, advantage_max, state) -> tuple[jax.Array, Metrics]:
        assert imitation is not None
        policy, _ = apply(params, batch.observation)
        weight = state.hyperparameters.imitation_weight
        return imitation_loss(imitation, policy, batch, advantage_max, weight, state.num_updates)

    def demonstration_gradient(params, minibatch_index, demonstrations, advantage_max, state):
        assert imitation is not None
        batch_index = (minibatch_index // imitation.interval) % demonstrations.action.shape[0]
        batch = jax.tree.map(lambda x: x[batch_index], demonstrations)
        gradient = jax.grad(demonstration_loss, has_aux=True)
        use = minibatch_index % imitation.interval == 0
        shape = jax.eval_shape(gradient, params, batch, advantage_max, state)
        return jax.lax.cond(
            use,
            lambda: gradient(params, batch, advantage_max, state),
            lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape),
        )

    def prepare(rollout: Rollout, traced: PPOHyperparameters) -> tuple[_Samples, jax.Array]:
        advantage = generalized_advantages(
            rollout.reward, rollout.value, rollout.terminated, rollout.truncated, rollout.valid,
            traced.discount, traced.gae_lambda,
        )  # fmt: skip
        value = rollout.value[:-1]

        def masked(x):  # a gradient of 0 times NaN, from an observation that has no weight, would still be NaN
            return jnp.where(rollout.valid.reshape(*rollout.valid.shape, *[1] * (x.ndim - 2)), x, jnp.zeros_like(x))

        samples = _Samples(
            masked(rollout.observation[:-1]), masked(rollout.action), rollout.valid, rollout.log_prob, value,
            normalize(advantage, rollout.valid), advantage + value,
        )  # fmt: skip
        advantage_max = jnp.max(jnp.where(rollout.valid, advantage, 0.0))  # never negative: it would repel
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples), advantage_max

    def update(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics]:
        rollout, demonstrations = jax.tree.map(jnp.asarray, (rollout, demonstrations))
        samples, advantage_max = prepare(rollout, state.hyperparameters)
        num_minibatches = _num_minibatches(samples.valid.shape[0])
        if imitation is not None:
            _check_demonstrations(demonstrations, num_demonstration_pairs(samples.valid.shape[0]))

        def minibatch_step(carry, index_and_rows):
            params, optimizer_state = carry
            minibatch_index, rows = index_and_rows
            minibatch = jax.tree.map(lambda x: x[rows], samples)
            gradient, metrics = jax.grad(online_loss, has_aux=True)(params, minibatch, state.hyperparameters)
            if imitation is not None:
                extra, extra_metrics = demonstration_gradient(
                    params, minibatch_index, demonstrations, advantage_max, state
                )
                gradient = jax.tree.map(jnp.add, gradient, extra)
                metrics |= extra_metrics
            metrics["gradient_norm"] = optax.tree.norm(gradient)
            direction, optimizer_state = optimizer.update(gradient, optimizer_state)
            params = jax.tree.map(lambda p, d: p - learning_rate * d, params, direction)
            return (params, optimizer_state), metrics

        traced = state.hyperparameters
        learning_rate = traced.learning_rate * jnp.maximum(0.0, 1 - state.num_samples / traced.anneal_samples)
        key, shuffle_key = jax.random.split(state.key)
        rows = _shuffled_minibatches(shuffle_key, samples.valid.shape[0], num_minibatches)
        (params, optimizer_state), metrics = jax.lax.scan(
            minibatch_step, (state.params, state.optimizer_state), (jnp.arange(rows.shape[0]), rows)
        )
        metrics = jax.tree.map(jnp.mean, metrics)
        if imitation is not None:  # these are zero on the minibatches that the term skips
            shown = rows.shape[0] / -(-rows.shape[0] // imitation.interval)
            metrics = {name: x * shown if name.startswith("demonstration") else x for name, x in metrics.items()}
        metrics["learning_rate"] = learning_rate
        metrics["advantage_max"] = advantage_max
        metrics["explained_variance"] = explained_variance(samples.old_value, samples.target, samples.valid)
        return state._replace(
            params=params,
            optimizer_state=optimizer_state,
            key=key,
            num_updates=state.num_updates + 1,
            num_samples=state.num_samples + jnp.sum(rollout.valid),
        ), metrics

    def _num_minibatches(num_samples: int) -> int:
        if num_samples < config.minibatch_size:
            raise UserError(
                f"PPO's minibatch_size is {config.minibatch_size}, but a rollout holds only {num_samples} samples."
            )
        return num_samples // config.minibatch_size

    def _shuffled_minibatches(key: jax.Array, num_samples: int, num_minibatches: int) -> jax.Array:
        used = num_minibatches * config.minibatch_size
        passes = jax.vmap(lambda k: jax.random.permutation(k, num_samples)[:used])(
            jax.random.split(key, config.num_epochs)
        )
        return passes.reshape(config.num_epochs * num_minibatches, config.minibatch_size)

    def num_demonstration_pairs(num_samples: int) -> tuple[int, int]:
        if imitation is None:
            return 0, 0
        num_updates = config.num_epochs * _num_minibatches(num_samples)
        return -(-num_updates // imitation.interval), config.minibatch_size

    return Algorithm(init, act, update, num_demonstration_pairs)


def _check_demonstrations(demonstrations: DemonstrationBatch | None, expected: tuple[int, int]) -> None:
    found = None if demonstrations is None else tuple(demonstrations.action.shape[:2])
    if found != expected:
        raise UserError(f"PPO's update needs demonstration minibatches of leading shape {expected}, but got {found}.")
