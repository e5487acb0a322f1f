"""Proximal policy optimisation as a bundle of pure functions, with an optional demonstration term.

Formulas: `gsljax.losses.ppo`, `gsljax.losses.returns`; the common settings of the paper: GSL App. A.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gsljax.algorithms.adversary import PolicyPairs
from gsljax.algorithms.base import ActFunction, ActorOutput, Algorithm, InitFunction
from gsljax.algorithms.checks import check_demonstrations, check_network, check_rollout
from gsljax.algorithms.gradients import gradient_of_mean
from gsljax.algorithms.imitation import ImitationConfig, adversary_of, imitation_loss, usable_imitation
from gsljax.algorithms.optimizer import clipped_adam, descend, has_value_network
from gsljax.algorithms.ppo_config import PPOConfig, PPOHyperparameters, hyperparameters
from gsljax.distributions import Distribution
from gsljax.errors import UserError
from gsljax.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    generalized_advantages,
    normalize,
    normalize_by_group,
    value_loss,
    zero_invalid,
)
from gsljax.normalization import (
    RewardScaling,
    denormalized_values,
    initial_moments,
    initial_moments_of_groups,
    normalized_values,
    scale_rewards,
    statistics_of,
    update_moments_of_groups,
    update_observations,
    with_normalized_observations,
    with_statistics,
)
from gsljax.shuffling import shuffled_minibatches
from gsljax.train_state import TrainState
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Rollout


class _Samples(NamedTuple):
    """A rollout's samples, flattened to `[B, ...]`, with what the losses need; values and targets as the network's."""

    observation: jax.Array
    action: jax.Array
    valid: jax.Array
    old_log_prob: jax.Array
    old_value: jax.Array
    advantage: jax.Array
    target: jax.Array


class PolicyPhase(NamedTuple):
    """PPO's parts, for algorithms that build on it: as `Algorithm`, but `update` returns the value targets as well.

    Attributes:
      init, act, num_demonstration_pairs: see `Algorithm`.
      update: state, rollout and demonstrations to the next state, metrics, and value targets `[T, N]` in the
        network's units.
      network: the network that parameters are applied with, normalisation included.
      optimizer: clipping and Adam, without the learning rate.
    """

    init: InitFunction
    act: ActFunction
    update: Callable[..., tuple[TrainState, Metrics, jax.Array]]
    num_demonstration_pairs: Callable[[int], tuple[int, int]]
    network: nn.Module
    optimizer: optax.GradientTransformation


def make_ppo(
    network: nn.Module,
    spec: EnvSpec,
    config: PPOConfig,
    imitation: ImitationConfig | None = None,
    discriminator: nn.Module | None = None,
) -> Algorithm:
    """PPO for a network that maps observations to `(Distribution, value)`.

    With `imitation`, `update` takes demonstration minibatches `[M, B, ...]` shaped as `num_demonstration_pairs` says.
    A method with a loss adds it to the gradient of every `imitation.interval`-th minibatch, one of the M to each;
    `bc` drops the policy loss and the entropy bonus, and keeps the value loss. `gail` trains a discriminator with the M
    first, and PPO then sees the mixed reward.

    Args:
      network: Flax module; `apply(params, observation)` returns a distribution and values.
      spec: the environment's shapes.
      config: settings; see `PPOConfig` for which are traced.
      imitation: how demonstrations are used, None for plain PPO.
      discriminator: of `gail`, see `make_adversary`; None takes one that fits vectors or images.

    Returns:
      The bundle. `init` needs the rollouts' shape where rewards are normalised. `update` raises `UserError` (while it
      is traced) where a rollout holds less than one minibatch, or it or the demonstrations do not fit the environment.

    Raises:
      UserError: if a network does not fit the environment, or the method of imitation not its actions.
    """
    phase = make_policy_phase(network, spec, config, imitation, discriminator)

    def update(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics]:
        return phase.update(state, rollout, demonstrations)[:2]

    return Algorithm(phase.init, phase.act, update, phase.num_demonstration_pairs)


def make_policy_phase(
    network: nn.Module,
    spec: EnvSpec,
    config: PPOConfig,
    imitation: ImitationConfig | None = None,
    discriminator: nn.Module | None = None,
) -> PolicyPhase:
    """What `make_ppo` makes its bundle of; see there."""
    imitation = usable_imitation(imitation, spec)
    if config.normalize_observations:
        network = with_normalized_observations(network, spec)
    check_network("PPO", network, spec)
    apply = cast(Callable[[Any, jax.Array], tuple[Distribution, jax.Array]], network.apply)
    optimizer = clipped_adam(config.max_grad_norm, config.value_learning_rate is not None)
    scales_by_variation = config.reward_scope == "variation"
    has_imitation_loss = imitation is not None and imitation.has_loss
    reinforcement = 0.0 if imitation is not None and imitation.method == "bc" else 1.0
    adversary = adversary_of(
        imitation, spec, lambda p, o, a: apply(p, o)[0].log_prob(a), discriminator,
        partial(statistics_of, name="observation") if config.normalize_observations else None,
    )  # fmt: skip

    def init(key: jax.Array, rollout_shape: tuple[int, int] | None = None) -> TrainState:
        params_key, state_key, adversary_key = jax.random.split(key, 3)
        observation = jnp.zeros((1, *spec.observation_shape), spec.observation_dtype)
        params = network.init(params_key, observation)
        if config.value_learning_rate is not None and not has_value_network(params):
            raise UserError(
                f"PPO's value_learning_rate is set, but the value of the network {type(network).__name__} has no "
                "layers of its own (a value_trunk); give it some, or leave value_learning_rate None."
            )
        memory: dict[str, Any] = {}
        of_each = initial_moments_of_groups(spec.num_variations)
        if config.normalize_values:
            params = with_statistics(params, value=of_each)
        if config.normalize_rewards:
            if rollout_shape is None:
                raise UserError("PPO with normalize_rewards needs the rollouts' shape (steps, lanes) in init.")
            params = with_statistics(params, reward=of_each if scales_by_variation else initial_moments())
            memory["discounted_return"] = jnp.zeros(rollout_shape[1])
        if adversary is not None:
            memory["adversary"] = adversary.init(adversary_key)
        zero = jnp.zeros((), jnp.int32)
        traced = hyperparameters(config, imitation)
        return TrainState(params, optimizer.init(params), traced, state_key, zero, zero, memory)

    def act(state: TrainState, observation: jax.Array, key: jax.Array, deterministic: bool = False) -> ActorOutput:
        policy, value = apply(state.params, observation)
        action = policy.mode() if deterministic else policy.sample(key)
        return ActorOutput(action, policy.log_prob(action), value)

    def online_loss(traced: PPOHyperparameters, params, samples: _Samples) -> tuple[jax.Array, Metrics]:
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

    def demonstration_loss(advantage_max, state, params, batch) -> tuple[jax.Array, Metrics]:
        assert imitation is not None
        policy, _ = apply(params, batch.observation)
        weight = state.hyperparameters.imitation_weight
        return imitation_loss(imitation, policy, batch, advantage_max, weight, state.num_updates)

    def demonstration_gradient(params, minibatch_index, demonstrations, advantage_max, state):
        assert imitation is not None
        batch_index = (minibatch_index // imitation.interval) % demonstrations.action.shape[0]
        batch = jax.tree.map(lambda x: x[batch_index], demonstrations)
        gradient = partial(gradient_of_mean, partial(demonstration_loss, advantage_max, state), params, batch)
        use = minibatch_index % imitation.interval == 0
        shape = jax.eval_shape(gradient)
        return jax.lax.cond(use, gradient, lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape))

    def shaped(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None, key: jax.Array
    ) -> tuple[Rollout, Any, dict[str, Any], Metrics]:
        """The rollout with the rewards that PPO is to see, the parameters and the memory afterwards, and metrics."""
        params, memory, metrics = state.params, dict(state.memory), {}
        if adversary is not None:
            assert demonstrations is not None and imitation is not None
            key, pairs_key = jax.random.split(key)
            pairs = _policy_pairs(rollout, pairs_key, num_demonstration_pairs(rollout.valid.size))
            trained, metrics = adversary.update(memory["adversary"], state.params, pairs, demonstrations, key)
            flat = _masked(rollout)
            weight = state.hyperparameters.imitation_weight
            reward = adversary.reward(
                trained, state.params, flat.observation, flat.action, rollout.reward.reshape(-1), weight
            )
            rollout = rollout._replace(reward=reward.reshape(rollout.reward.shape))
            memory["adversary"] = trained
        if config.normalize_rewards:
            ended = rollout.terminated | rollout.truncated
            variation = rollout.variation if scales_by_variation else None
            scaling = RewardScaling(memory["discounted_return"], statistics_of(params, "reward"))
            scaling, reward = scale_rewards(scaling, rollout.reward, ended, rollout.valid, variation)
            memory["discounted_return"] = scaling.discounted
            params = with_statistics(params, reward=scaling.moments)
            rollout = rollout._replace(reward=reward)
        return rollout, params, memory, metrics

    def prepare(params: Any, rollout: Rollout, traced: PPOHyperparameters) -> tuple[_Samples, Any, Metrics]:
        """What the losses need, the parameters with the values' statistics moved, and what these samples tell."""
        valid, variation, value = rollout.valid, rollout.variation, rollout.value
        if config.normalize_values:  # as they were when these values were predicted
            value = denormalized_values(statistics_of(params, "value"), value, variation, valid)
        advantage = generalized_advantages(
            rollout.reward, value, rollout.terminated, rollout.truncated, valid, traced.discount, traced.gae_lambda
        )
        value = value[:-1]
        target = advantage + value
        if config.normalize_values:
            moments = update_moments_of_groups(statistics_of(params, "value"), target, valid, variation)
            value, target = (normalized_values(moments, x, variation) for x in (value, target))
            params = with_statistics(params, value=moments)
        metrics = {"explained_variance": explained_variance(value.reshape(-1), target.reshape(-1), valid.reshape(-1))}
        pairs = _masked(rollout)
        metrics["advantage_max"] = jnp.max(jnp.where(valid, advantage, 0.0))  # never negative: it would repel
        if config.normalize_advantages == "variation":
            scaled = normalize_by_group(advantage, valid, variation, spec.num_variations)
        else:
            scaled = normalize(advantage, valid)
        output = rollout.value[:-1]  # the network's own: what its clipped loss stays near, in whatever units
        flat, *others = (x.reshape(-1) for x in (valid, rollout.log_prob, output, scaled, target))
        return _Samples(pairs.observation, pairs.action, flat, *others), params, metrics

    def update(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics, jax.Array]:
        rollout, demonstrations = jax.tree.map(jnp.asarray, (rollout, demonstrations))
        check_rollout("PPO", rollout, spec)
        _check_size(rollout.valid.size)
        check_demonstrations("PPO", demonstrations, num_demonstration_pairs(rollout.valid.size), spec)
        key, shuffle_key, reward_key = jax.random.split(state.key, 3)
        rollout, params, memory, reward_metrics = shaped(state, rollout, demonstrations, reward_key)
        samples, params, told = prepare(params, rollout, state.hyperparameters)

        def minibatch_step(carry, index_and_rows):
            params, optimizer_state = carry
            minibatch_index, rows = index_and_rows
            minibatch = jax.tree.map(lambda x: x[rows], samples)
            loss = partial(online_loss, state.hyperparameters)
            gradient, metrics = gradient_of_mean(loss, params, minibatch, minibatch.valid)
            if has_imitation_loss:
                extra, extra_metrics = demonstration_gradient(
                    params, minibatch_index, demonstrations, told["advantage_max"], state
                )
                gradient = jax.tree.map(jnp.add, gradient, extra)
                metrics |= extra_metrics
            metrics["gradient_norm"] = optax.tree.norm(gradient)
            direction, optimizer_state = optimizer.update(gradient, optimizer_state)
            return (descend(params, direction, *learning_rates), optimizer_state), metrics

        traced = state.hyperparameters
        left = jnp.maximum(0.0, 1 - state.num_samples / traced.anneal_samples)
        learning_rates = [
            rate * left for rate in (traced.learning_rate, traced.value_learning_rate) if rate is not None
        ]
        rows = shuffled_minibatches(shuffle_key, samples.valid.shape[0], config.num_epochs, config.minibatch_size)
        (params, optimizer_state), metrics = jax.lax.scan(
            minibatch_step, (params, state.optimizer_state), (jnp.arange(rows.shape[0]), rows)
        )
        metrics = jax.tree.map(jnp.mean, metrics)
        if has_imitation_loss:  # these are zero on the minibatches that the term skips
            assert imitation is not None
            shown = rows.shape[0] / -(-rows.shape[0] // imitation.interval)
            metrics = {name: x * shown if name.startswith("demonstration") else x for name, x in metrics.items()}
        metrics |= reward_metrics
        metrics |= dict(zip(("learning_rate", "value_learning_rate"), learning_rates, strict=False))
        metrics |= told
        if config.normalize_observations:
            params = update_observations(params, rollout.observation[:-1], rollout.valid)
        state = state._replace(
            params=params,
            optimizer_state=optimizer_state,
            key=key,
            num_updates=state.num_updates + 1,
            num_samples=state.num_samples + jnp.sum(rollout.valid),
            memory=memory,
        )
        return state, metrics, samples.target.reshape(rollout.valid.shape)

    def _check_size(num_samples: int) -> None:
        if num_samples < config.minibatch_size:
            raise UserError(
                f"PPO's minibatch_size is {config.minibatch_size}, but a rollout holds only {num_samples} samples."
            )

    def num_demonstration_pairs(num_samples: int) -> tuple[int, int]:
        if imitation is None:
            return 0, 0
        if imitation.method == "gail":
            return imitation.gail.num_updates, imitation.gail.minibatch_size
        _check_size(num_samples)
        num_updates = config.num_epochs * (num_samples // config.minibatch_size)
        return -(-num_updates // imitation.interval), config.minibatch_size

    return PolicyPhase(init, act, update, num_demonstration_pairs, network, optimizer)


def _masked(rollout: Rollout) -> PolicyPairs:
    """The rollout's pairs, flat, and zero where not valid."""
    observation, action = (zero_invalid(x, rollout.valid) for x in (rollout.observation[:-1], rollout.action))
    pairs = PolicyPairs(observation, action, rollout.valid)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pairs)


def _policy_pairs(rollout: Rollout, key: jax.Array, shape: tuple[int, int]) -> PolicyPairs:
    """Minibatches `[M, B, ...]` of the rollout's pairs, drawn with replacement."""
    rows = jax.random.randint(key, shape, 0, rollout.valid.size)
    return jax.tree.map(lambda x: x[rows], _masked(rollout))
