"""GAIL as a plug-in: a discriminator of its own that turns transitions into rewards (Ho & Ermon 2016; GSL §4)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gsljax.algorithms.checks import check_discriminator
from gsljax.errors import UserError
from gsljax.losses import (
    RewardForm,
    discriminator_logit,
    discriminator_loss,
    gradient_penalty,
    imitation_reward,
    interpolate_pairs,
    mixed_reward,
)
from gsljax.networks import Discriminator, ImpalaEncoder, VectorEncoder
from gsljax.normalization import Moments, normalized_observations
from gsljax.types import DemonstrationBatch, EnvSpec, Metrics, Scalar

LogProb = Callable[[Any, jax.Array, jax.Array], jax.Array]
"""Parameters of the policy, observations `[B, ...]` and actions `[B, ...]` to log π(a|s) `[B]`."""


@dataclasses.dataclass(frozen=True)
class GAILConfig:
    """The discriminator's settings; all are static."""

    reward: RewardForm = "negative-log"
    """The reward's form: negative-log (the paper's, pays for every step), log-odds, airl."""
    num_updates: int = 5
    """Discriminator steps per update of the algorithm."""
    minibatch_size: int = 250
    """Pairs of the policy, and as many demonstrated ones, in each step."""
    recent_samples: int = 20_000
    """How many of the newest samples in SAC's replay the policy's pairs are drawn from; PPO has its rollout."""
    learning_rate: float = 3e-4
    """Adam's step size for the discriminator."""
    keep_scale: bool = False
    """Divide the mixed reward by the environment's share of it (beta), so that the environment's part stays as large as
    without a discriminator. SAC's optimum is the same, as its temperature follows a target entropy; critics and a
    temperature that another stage hands on fit from the start."""
    gradient_penalty: float = 0.0
    """Weight of the gradient penalty between policy and demonstrations (10 is usual); 0 leaves it out."""
    hidden: tuple[int, ...] = (256, 256)
    """Units of the hidden layers (of the discriminator that vector observations get by default)."""

    def __post_init__(self):
        if self.reward not in get_args(RewardForm):
            raise UserError(f"GAIL's reward is {self.reward!r}, but must be one of {', '.join(get_args(RewardForm))}.")
        for name in ("num_updates", "minibatch_size", "recent_samples"):
            if getattr(self, name) < 1:
                raise UserError(f"GAIL's {name} is {getattr(self, name)}, but must be at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"GAIL's learning_rate is {self.learning_rate}, but must be positive and finite.")
        if not 0 <= self.gradient_penalty < math.inf:
            raise UserError(f"GAIL's gradient_penalty is {self.gradient_penalty}, but must be at least 0 and finite.")
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"GAIL's hidden layers are {self.hidden}, but must be one or more positive widths.")


class AdversaryState(NamedTuple):
    """The discriminator's parameters and its optimiser's state."""

    params: Any
    optimizer_state: Any


class PolicyPairs(NamedTuple):
    """Pairs that the policy played: `observation` `[B, ...]`, `action` `[B, ...]`, `valid` `[B]`."""

    observation: jax.Array
    action: jax.Array
    valid: jax.Array


class Adversary(NamedTuple):
    """A discriminator as a bundle of pure functions.

    Attributes:
      init: key to state.
      update: state, policy parameters, `PolicyPairs` in minibatches `[M, B, ...]`, demonstrations `[M, B, ...]` and a
        key to the next state and metrics.
      reward: state, policy parameters, observation, action and the environment's reward `[B]`, and the share of the
        imitation reward (1 − β), to the mixed reward `[B]`.
    """

    init: Callable[[jax.Array], AdversaryState]
    update: Callable[..., tuple[AdversaryState, Metrics]]
    reward: Callable[..., jax.Array]


def default_discriminator(spec: EnvSpec, config: GAILConfig) -> nn.Module:
    """An IMPALA network for images, an MLP of `config.hidden` for anything else."""
    is_image = len(spec.observation_shape) == 3
    return Discriminator(spec.action, ImpalaEncoder() if is_image else VectorEncoder(config.hidden))


def make_adversary(
    spec: EnvSpec,
    config: GAILConfig,
    log_prob: LogProb,
    network: nn.Module | None = None,
    statistics: Callable[[Any], Moments] | None = None,
) -> Adversary:
    """A discriminator as a plug-in.

    Args:
      spec: the environment's shapes.
      config: settings.
      log_prob: the policy's, of which the form `airl` is a function.
      network: observations `[B, ...]` and actions `[B, ...]` to logits `[B]`; None takes `default_discriminator`.
      statistics: parameters of the policy to the moments with which observations are normalised for the network, as
        they are for the policy; None leaves them as they are.

    Raises:
      UserError: if the network does not fit the environment, or the gradient penalty cannot be formed in it.
    """
    network = default_discriminator(spec, config) if network is None else network
    check_discriminator(network, spec)
    optimizer = optax.adam(config.learning_rate)
    apply = cast(Callable[..., jax.Array], network.apply)

    def init(key: jax.Array) -> AdversaryState:
        observation = jnp.zeros((1, *spec.observation_shape), spec.observation_dtype)
        shape, dtype = ((1,), jnp.int32) if spec.action.is_discrete else ((1, spec.action.dimension), jnp.float32)
        params = network.init(key, observation, jnp.zeros(shape, dtype))
        return AdversaryState(params, optimizer.init(params))

    def logit(params: Any, policy_params: Any, observation: jax.Array, action: jax.Array) -> jax.Array:
        output = apply(params, seen(policy_params, observation), played(action))
        known = log_prob(policy_params, observation, action) if config.reward == "airl" else None
        return discriminator_logit(output, known, config.reward)

    def seen(policy_params: Any, observation: jax.Array) -> jax.Array:
        """The observation as the policy's networks see it."""
        return observation if statistics is None else normalized_observations(statistics(policy_params), observation)

    def played(action: jax.Array) -> jax.Array:
        """The action as the environment plays it: demonstrations are clipped to its range, a Gaussian's are not."""
        return spec.action.clip(action)

    def loss(params, policy_params, pairs: PolicyPairs, demonstrations: DemonstrationBatch, key):
        policy_logit = logit(params, policy_params, pairs.observation, pairs.action)
        demonstration_logit = logit(params, policy_params, demonstrations.observation, demonstrations.action)
        total, metrics = discriminator_loss(policy_logit, demonstration_logit, pairs.valid)
        if config.gradient_penalty:
            penalty, penalty_metrics = between(params, policy_params, pairs, demonstrations, key)
            total = total + config.gradient_penalty * penalty
            metrics["discriminator_gradient_penalty"] = penalty_metrics["gradient_penalty"]
        return total, metrics

    def between(params, policy_params, pairs: PolicyPairs, demonstrations: DemonstrationBatch, key):
        """The penalty between a policy's and a demonstrated pair, of the network's output."""
        ours, theirs = (
            (seen(policy_params, x.observation).astype(jnp.float32), played(x.action)) for x in (pairs, demonstrations)
        )
        mixed = interpolate_pairs(key, ours, theirs)
        return gradient_penalty(lambda inputs: apply(params, *inputs), mixed, pairs.valid)

    def update(
        state: AdversaryState,
        policy_params: Any,
        pairs: PolicyPairs,
        demonstrations: DemonstrationBatch,
        key: jax.Array,
    ) -> tuple[AdversaryState, Metrics]:
        def step(state, inputs):
            minibatch, demonstrated, step_key = inputs
            gradient, metrics = jax.grad(loss, has_aux=True)(
                state.params, policy_params, minibatch, demonstrated, step_key
            )
            change, optimizer_state = optimizer.update(gradient, state.optimizer_state)
            return AdversaryState(cast(Any, optax.apply_updates(state.params, change)), optimizer_state), metrics

        keys = jax.random.split(key, pairs.valid.shape[0])
        state, metrics = jax.lax.scan(step, state, (pairs, demonstrations, keys))
        return state, jax.tree.map(jnp.mean, metrics)

    def reward(
        state: AdversaryState,
        policy_params: Any,
        observation: jax.Array,
        action: jax.Array,
        environment_reward: jax.Array,
        weight: Scalar,
    ) -> jax.Array:
        found = imitation_reward(logit(state.params, policy_params, observation, action), config.reward)
        mixed = mixed_reward(environment_reward, jax.lax.stop_gradient(found), 1 - weight)
        return mixed / (1 - weight) if config.keep_scale else mixed

    if config.gradient_penalty and (spec.action.is_discrete or spec.observation_dtype != "float32"):
        raise UserError(
            "GAIL's gradient_penalty needs real-valued observations and actions to interpolate; set it to 0 for "
            f"{spec.name}."
        )
    return Adversary(init, update, reward)
