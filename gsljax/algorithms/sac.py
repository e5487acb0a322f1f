"""Soft actor-critic as a bundle of pure functions (Haarnoja et al. 2018; for discrete actions Christodoulou 2019).

The replay is flashbax's item buffer, in the state's memory: a population has one for each member.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import flashbax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gsljax.algorithms.adversary import PolicyPairs
from gsljax.algorithms.base import ActorOutput, Algorithm
from gsljax.algorithms.checks import check_actor_and_critic, check_demonstrations, check_rollout
from gsljax.algorithms.imitation import ImitationConfig, adversary_of, imitation_loss, usable_imitation
from gsljax.algorithms.replay import Transition, drawn_of_newest, inherited, transitions_of
from gsljax.algorithms.sac_config import SACConfig, SACHyperparameters, hyperparameters
from gsljax.distributions import Categorical, Distribution, TanhGaussian
from gsljax.errors import UserError
from gsljax.losses import (
    chosen_q,
    discrete_soft_policy_loss,
    discrete_soft_value,
    soft_policy_loss,
    soft_target,
    soft_value,
    temperature_loss,
    twin_q_loss,
)
from gsljax.normalization import statistics_of, update_observations, with_normalized_observations
from gsljax.train_state import TrainState
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Rollout


def make_sac(
    actor: nn.Module,
    critic: nn.Module,
    spec: EnvSpec,
    config: SACConfig,
    imitation: ImitationConfig | None = None,
    discriminator: nn.Module | None = None,
) -> Algorithm:
    """SAC for an actor that maps observations to a distribution, and critics that give both Q values.

    `update` stores the rollout in the replay and then takes `num_gradient_steps` steps, each on a minibatch of its own:
    critics, actor, temperature, targets. Before `warmup_samples` samples are stored nothing changes, and actions are
    random; a member that starts with the `params` of one that has learnt plays its policy from the first step, and
    learns when its own replay holds as much, what it inherits included. With `imitation`, `bc` replaces the actor's
    loss by that of demonstrated pairs, in every `imitation.interval`-th gradient step; `gail` trains a discriminator
    first, and every Q-target is formed with its present reward (GSL §5.4). DAPG needs an advantage over a rollout,
    which SAC does not have.

    Args:
      actor: `TanhGaussianActor` or `CategoricalActor`, for the environment's kind of actions.
      critic: `TwinQ` or `DiscreteTwinQ`.
      spec: the environment's shapes.
      config: settings; see `SACConfig` for which are traced.
      imitation: how demonstrations are used, None for not at all.
      discriminator: of `gail`, see `make_adversary`; None takes one that fits vectors or images.

    Returns:
      The bundle; `params` is `{"actor", "critic", "target_critic", "log_temperature", "has_learnt"}`, the last one
      whether there has been a gradient step (bool). The values and log-probabilities of `act` are zeros, which SAC does
      not need.

    Raises:
      UserError: for DAPG, and for networks that do not fit the environment.
    """
    imitation = usable_imitation(imitation, spec)
    if imitation is not None and imitation.method not in ("bc", "gail"):
        raise UserError(
            f"The imitation method is {imitation.method!r}, but SAC has no advantage for it; allowed are bc and gail."
        )
    if config.normalize_observations:
        actor, critic = (with_normalized_observations(network, spec) for network in (actor, critic))
    check_actor_and_critic(actor, critic, spec)
    policy_of = cast(Callable[[Any, jax.Array], Distribution], actor.apply)
    q_of = cast(Callable[..., jax.Array], critic.apply)
    optimizer = optax.scale_by_adam()

    size = config.minibatch_size
    replay = flashbax.make_item_buffer(config.replay_capacity, size, size, add_batches=True)
    is_discrete = spec.action.is_discrete
    is_cloning = imitation is not None and imitation.method == "bc"
    adversary = adversary_of(
        imitation, spec, lambda p, o, a: policy_of(p["actor"], o).log_prob(a), discriminator,
        (lambda p: statistics_of(p["actor"], "observation")) if config.normalize_observations else None,
    )  # fmt: skip

    def empty_transition() -> Transition:
        observation = jnp.zeros(spec.observation_shape, spec.observation_dtype)
        action = jnp.zeros((), jnp.int32) if is_discrete else jnp.zeros(spec.action.dimension or 0)
        false = jnp.zeros((), bool)
        return Transition(observation, action, jnp.zeros(()), false, observation, false, jnp.zeros((), jnp.int32))

    def init(key: jax.Array, rollout_shape: tuple[int, int] | None = None) -> TrainState:
        del rollout_shape
        actor_key, critic_key, adversary_key, state_key = jax.random.split(key, 4)
        example = jax.tree.map(lambda x: x[None], empty_transition())
        critic_inputs = (example.observation,) if is_discrete else (example.observation, example.action)
        critic_params = critic.init(critic_key, *critic_inputs)
        params = {
            "actor": actor.init(actor_key, example.observation),
            "critic": critic_params,
            "target_critic": jax.tree.map(jnp.array, critic_params),
            "log_temperature": jnp.asarray(math.log(config.initial_temperature), jnp.float32),
            "has_learnt": jnp.zeros((), bool),
        }
        memory: dict[str, Any] = {"replay": replay.init(empty_transition())}
        if adversary is not None:
            memory["adversary"] = adversary.init(adversary_key)
        learnt = {name: params[name] for name in _LEARNT}
        zero = jnp.zeros((), jnp.int32)
        traced = hyperparameters(config, spec, imitation)
        return TrainState(params, optimizer.init(cast(Any, learnt)), traced, state_key, zero, zero, memory)

    def act(state: TrainState, observation: jax.Array, key: jax.Array, deterministic: bool = False) -> ActorOutput:
        policy = policy_of(state.params["actor"], observation)
        if deterministic:
            action = policy.mode()
        else:
            policy_key, random_key = jax.random.split(key)
            action = policy.sample(policy_key)
            if spec.action.num_actions is not None:
                random = jax.random.randint(random_key, action.shape, 0, spec.action.num_actions, action.dtype)
            else:
                random = jax.random.uniform(random_key, action.shape, action.dtype, spec.action.low, spec.action.high)
            is_beginner = ~state.params["has_learnt"] & (state.num_samples < config.warmup_samples)
            action = jnp.where(is_beginner, random, action)
        zeros = jnp.zeros(observation.shape[: observation.ndim - len(spec.observation_shape)])
        return ActorOutput(action, zeros, zeros)

    def critic_loss(learnt, params, batch: Transition, reward, traced: SACHyperparameters, key):
        temperature = jnp.exp(params["log_temperature"])
        next_policy = policy_of(params["actor"], batch.next_observation)
        if is_discrete:
            log_probs = jax.nn.log_softmax(cast(Categorical, next_policy).logits)
            next_value = discrete_soft_value(
                q_of(params["target_critic"], batch.next_observation), log_probs, temperature
            )
            q = chosen_q(q_of(learnt["critic"], batch.observation), batch.action)
        else:
            next_action, log_prob = cast(TanhGaussian, next_policy).sample_and_log_prob(key)
            next_q = q_of(params["target_critic"], batch.next_observation, next_action)
            next_value = soft_value(next_q, log_prob, temperature)
            q = q_of(learnt["critic"], batch.observation, batch.action)
        target = soft_target(reward, batch.terminated, next_value, traced.discount)
        return twin_q_loss(q, target, batch.valid)

    def actor_and_temperature_loss(learnt, params, batch: Transition, traced: SACHyperparameters, key):
        policy = policy_of(learnt["actor"], batch.observation)
        temperature = jnp.exp(params["log_temperature"])
        if is_discrete:
            log_probs = jax.nn.log_softmax(cast(Categorical, policy).logits)
            q = q_of(params["critic"], batch.observation)
            policy_loss, metrics = discrete_soft_policy_loss(q, log_probs, temperature, batch.valid)
            log_prob = jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
        else:
            action, log_prob = cast(TanhGaussian, policy).sample_and_log_prob(key)
            q = q_of(params["critic"], batch.observation, action)
            policy_loss, metrics = soft_policy_loss(q, log_prob, temperature, batch.valid)
        alpha_loss, alpha_metrics = temperature_loss(
            learnt["log_temperature"], log_prob, traced.target_entropy, batch.valid
        )
        return (0.0 if is_cloning else 1.0) * policy_loss + alpha_loss, {**metrics, **alpha_metrics}

    def cloning_loss(learnt, demonstrated: DemonstrationBatch, state: TrainState):
        assert imitation is not None
        policy = policy_of(learnt["actor"], demonstrated.observation)
        weight = state.hyperparameters.imitation_weight
        return imitation_loss(imitation, policy, demonstrated, jnp.zeros(()), weight, state.num_updates)

    def demonstrated_at(index: jax.Array, demonstrations: Any) -> tuple[DemonstrationBatch, jax.Array]:
        """The demonstrated pairs for a gradient step, and 1 or 0: whether it has the term."""
        assert imitation is not None
        use = index % imitation.interval == 0
        row = index // imitation.interval
        return jax.tree.map(lambda x: x[row], demonstrations), use.astype(jnp.float32)

    def gradient_step(state: TrainState, params, optimizer_state, batch: Transition, demonstrated, key):
        """One step of everything; the critics' gradient does not wait for the actor's, nor the other way round."""
        traced: SACHyperparameters = state.hyperparameters
        target_key, actor_key = jax.random.split(key)
        reward = batch.reward + config.reward_offset
        if adversary is not None:
            reward = adversary.reward(
                state.memory["adversary"], params, batch.observation, batch.action, reward, traced.imitation_weight
            )
        learnt = {name: params[name] for name in _LEARNT}

        def loss(learnt):
            q_loss, q_metrics = critic_loss(learnt, params, batch, reward, traced, target_key)
            policy_loss, policy_metrics = actor_and_temperature_loss(learnt, params, batch, traced, actor_key)
            metrics = {**q_metrics, **policy_metrics}
            total = q_loss + policy_loss
            if is_cloning:
                pairs, use = demonstrated
                extra, extra_metrics = cloning_loss(learnt, pairs, state)
                total, metrics = total + use * extra, {**metrics, **{k: use * x for k, x in extra_metrics.items()}}
            return total, metrics

        gradient, metrics = jax.grad(loss, has_aux=True)(learnt)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        direction, optimizer_state = optimizer.update(gradient, optimizer_state)
        learnt = jax.tree.map(lambda p, d: p - traced.learning_rate * d, learnt, direction)
        moved = jax.tree.map(lambda old, new: old + traced.tau * (new - old), params["target_critic"], learnt["critic"])
        return {**learnt, "target_critic": moved, "has_learnt": jnp.ones((), bool)}, optimizer_state, metrics

    def update(
        state: TrainState, rollout: Rollout, demonstrations: DemonstrationBatch | None = None
    ) -> tuple[TrainState, Metrics]:
        rollout, demonstrations = jax.tree.map(jnp.asarray, (rollout, demonstrations))
        check_rollout("SAC", rollout, spec)
        check_demonstrations("SAC", demonstrations, num_demonstration_pairs(rollout.valid.size), spec)
        if rollout.valid.size > config.replay_capacity:
            raise UserError(
                f"SAC's replay_capacity is {config.replay_capacity}, but a rollout holds {rollout.valid.size} samples."
            )
        memory = {**state.memory, "replay": replay.add(state.memory["replay"], transitions_of(rollout))}
        num_samples = state.num_samples + jnp.sum(rollout.valid)
        ready = (num_samples >= config.warmup_samples) & replay.can_sample(memory["replay"])
        key, sample_key, step_key, adversary_key = jax.random.split(state.key, 4)
        metrics: Metrics = {}
        if adversary is not None:
            assert demonstrations is not None and imitation is not None
            shape = imitation.gail.num_updates, imitation.gail.minibatch_size
            batches = drawn_of_newest(memory["replay"], sample_key, shape, imitation.gail.recent_samples)
            pairs = PolicyPairs(batches.observation, batches.action, batches.valid)
            trained, metrics = adversary.update(memory["adversary"], state.params, pairs, demonstrations, adversary_key)
            memory["adversary"] = _where(ready, trained, memory["adversary"])
        working = state._replace(memory=memory)

        def step(carry, inputs):
            params, optimizer_state = carry
            index, step_key = inputs
            sample_key, noise_key = jax.random.split(step_key)
            batch = cast(Transition, replay.sample(memory["replay"], sample_key).experience)
            demonstrated = demonstrated_at(index, demonstrations) if is_cloning else None
            *after, metrics = gradient_step(working, params, optimizer_state, batch, demonstrated, noise_key)
            return _where(ready, tuple(after), carry), metrics

        indices, keys = jnp.arange(config.num_gradient_steps), jax.random.split(step_key, config.num_gradient_steps)
        (params, optimizer_state), step_metrics = jax.lax.scan(
            step, (state.params, state.optimizer_state), (indices, keys)
        )
        metrics |= jax.tree.map(jnp.mean, step_metrics)
        if is_cloning:  # these are zero in the steps without the term
            shown = config.num_gradient_steps / num_demonstration_pairs(0)[0]
            metrics = {name: x * shown if name.startswith("demonstration") else x for name, x in metrics.items()}
        if config.normalize_observations:
            seen = rollout.observation[:-1], rollout.valid
            networks = {name: update_observations(params[name], *seen) for name in ("actor", "critic", "target_critic")}
            params = {**params, **networks}
        return state._replace(
            params=params,
            optimizer_state=optimizer_state,
            key=key,
            num_updates=state.num_updates + 1,
            num_samples=num_samples,
            memory=memory,
        ), metrics

    def num_demonstration_pairs(num_samples: int) -> tuple[int, int]:
        del num_samples
        if imitation is None:
            return 0, 0
        if imitation.method == "gail":
            return imitation.gail.num_updates, imitation.gail.minibatch_size
        return -(-config.num_gradient_steps // imitation.interval), config.minibatch_size

    def inherit(state: TrainState, heritage: Any, variations: jax.Array) -> TrainState:
        """The newest transitions of its variations that its replay can hold; they count as its samples."""
        replay, count = inherited(state.memory["replay"], heritage["replay"], variations)
        return state._replace(memory={**state.memory, "replay": replay}, num_samples=count)

    return Algorithm(init, act, update, num_demonstration_pairs, ("replay",), inherit)


_LEARNT = ("actor", "critic", "log_temperature")


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), new, old)
