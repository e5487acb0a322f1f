"""What all algorithms check of what they are given, while they are built or traced: shapes and types, never values."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gsljax.distributions import Categorical, TanhGaussian
from gsljax.errors import UserError
from gsljax.types import DemonstrationBatch, EnvSpec, Rollout


def check_network(name: str, network: nn.Module, spec: EnvSpec) -> None:
    """Refuse an actor-critic that does not map the environment's observations to its actions and to values.

    Args:
      name: the algorithm's, for the message.
      network: to be applied to observations `[B, ...]`.
      spec: the environment's shapes.

    Raises:
      UserError: if it fails on such observations, or its actions or values have another shape or type.
    """

    def outputs(key: jax.Array) -> Any:
        observation = jnp.zeros((2, *spec.observation_shape), spec.observation_dtype)
        policy, value = network.apply(network.init(key, observation), observation)  # pyright: ignore[reportGeneralTypeIssues]
        return policy.sample(key), value

    called = f"{name}'s network {type(network).__name__}"
    action, value = _outputs(called, outputs, spec)
    _check_output(f"{called} gives actions", action, _actions(spec, (2,)), spec)
    _check_output(f"{called} gives values", value, _like((2,), "float32"), spec)


def check_actor_and_critic(actor: nn.Module, critic: nn.Module, spec: EnvSpec) -> None:
    """Refuse SAC's networks where they do not map the environment's observations to its policies and Q values.

    Args:
      actor: observations `[B, ...]` to a `Categorical` or a `TanhGaussian`, as the environment's actions need.
      critic: observations to `[n, B, A]`, or with continuous actions `[B, D]` to `[n, B]`; any number n of them.
      spec: the environment's shapes.

    Raises:
      UserError: if one fails on such observations, or gives something else.
    """
    observation = jnp.zeros((2, *spec.observation_shape), spec.observation_dtype)
    num_actions, action = spec.action.num_actions, _actions(spec, (2,))
    inputs = (observation,) if num_actions is not None else (observation, jnp.zeros(action.shape, action.dtype))
    called, wanted = f"SAC's actor {type(actor).__name__}", Categorical if num_actions is not None else TanhGaussian
    policy = _outputs(called, lambda key: actor.apply(actor.init(key, observation), observation), spec)
    if not isinstance(policy, wanted):
        raise UserError(f"{called} gives a {type(policy).__name__}, but {spec.name} needs a {wanted.__name__}.")
    if isinstance(policy, Categorical):
        _check_output(f"{called} gives logits", policy.logits, _like((2, num_actions or 0), "float32"), spec)
    else:
        _check_output(f"{called} gives means", policy.mean, action, spec)
    called = f"SAC's critic {type(critic).__name__}"
    q = _outputs(called, lambda key: critic.apply(critic.init(key, *inputs), *inputs), spec)
    expected = _like((*q.shape[:1], 2, *([] if num_actions is None else [num_actions])), "float32")
    _check_output(f"{called} gives Q values", q, expected, spec)


def check_discriminator(network: nn.Module, spec: EnvSpec) -> None:
    """Refuse a discriminator that does not map the environment's observations and actions `[B, ...]` to logits `[B]`.

    Raises:
      UserError: if it fails on them, or its logits have another shape or type.
    """

    def logit(key: jax.Array) -> Any:
        action = _actions(spec, (2,))
        inputs = jnp.zeros((2, *spec.observation_shape), spec.observation_dtype), jnp.zeros(action.shape, action.dtype)
        return network.apply(network.init(key, *inputs), *inputs)

    called = f"GAIL's discriminator {type(network).__name__}"
    _check_output(f"{called} gives logits", _outputs(called, logit, spec), _like((2,), "float32"), spec)


def check_rollout(name: str, rollout: Rollout, spec: EnvSpec) -> None:
    """Refuse a rollout whose fields do not fit together or the environment.

    A rollout that has no valid step is none of these: it has no weight in any loss.

    Raises:
      UserError: naming the field.
    """
    if jnp.ndim(rollout.valid) != 2:
        raise UserError(f"{name} needs rollouts [T, N], but the mask `valid` has the shape {jnp.shape(rollout.valid)}.")
    steps, lanes = jnp.shape(rollout.valid)
    expected = {
        "observation": _like((steps + 1, lanes, *spec.observation_shape), spec.observation_dtype),
        "action": _actions(spec, (steps, lanes)),
        "value": _like((steps + 1, lanes), "float32"),
    }
    expected |= {field: _like((steps, lanes), "float32") for field in ("reward", "log_prob")}
    expected |= {field: _like((steps, lanes), "bool") for field in ("terminated", "truncated", "valid")}
    for field, needed in expected.items():
        found = getattr(rollout, field)
        _check(f"{name}'s rollout has {field}", found, needed)


def check_demonstrations(
    name: str, demonstrations: DemonstrationBatch | None, shape: tuple[int, int], spec: EnvSpec
) -> None:
    """Refuse demonstration minibatches of other shapes or types than the algorithm called `name` asked for.

    Args:
      name: the algorithm's.
      demonstrations: what it was given.
      shape: `[minibatches, pairs]`; (0, 0) if it does not imitate.
      spec: the environment's shapes.

    Raises:
      UserError: saying what was given and what is needed.
    """
    if shape == (0, 0):
        if demonstrations is not None:
            raise UserError(f"{name} was built without imitation, but its update was given demonstrations.")
        return
    if demonstrations is None:
        raise UserError(f"{name}'s update needs demonstration minibatches of leading shape {shape}, but got none.")
    observation = _like((*shape, *spec.observation_shape), spec.observation_dtype)
    _check(f"{name}'s demonstrations have observations", demonstrations.observation, observation)
    _check(f"{name}'s demonstrations have actions", demonstrations.action, _actions(spec, shape))


def _outputs(called: str, outputs: Callable[[jax.Array], Any], spec: EnvSpec) -> Any:
    """The shapes of what a network makes of 2 observations; whatever keeps it from making any is the user's to read."""
    try:
        return jax.eval_shape(outputs, jax.random.key(0))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{called} cannot be applied to the observations of {spec.name} (shape {spec.observation_shape}, "
            f"{spec.observation_dtype}): {reason}"
        ) from error


def _check_output(what: str, found: Any, needed: jax.ShapeDtypeStruct, spec: EnvSpec) -> None:
    if (found.shape, found.dtype) != (needed.shape, needed.dtype):
        raise UserError(
            f"{what} of shape {found.shape} and type {found.dtype} for 2 observations, but {spec.name} needs "
            f"{needed.shape} and {needed.dtype}."
        )


def _like(shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))


def _actions(spec: EnvSpec, leading: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    if spec.action.dimension is None:
        return _like(leading, "int32")
    return _like((*leading, spec.action.dimension), "float32")


def _check(what: str, found: Any, needed: jax.ShapeDtypeStruct) -> None:
    if (jnp.shape(found), jnp.result_type(found)) != (needed.shape, needed.dtype):
        raise UserError(
            f"{what} of shape {jnp.shape(found)} and type {jnp.result_type(found)}, but needs {needed.shape} and "
            f"{needed.dtype}."
        )
