"""What all algorithms check of what they are given, while they are built or traced: shapes and types, never values."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

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

    kind = type(network).__name__
    try:
        action, value = jax.eval_shape(outputs, jax.random.key(0))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{name}'s network {kind} cannot be applied to the observations of {spec.name} (shape "
            f"{spec.observation_shape}, {spec.observation_dtype}): {reason}"
        ) from error
    for what, found, expected in (("actions", action, _actions(spec, (2,))), ("values", value, _like((2,), "float32"))):
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise UserError(
                f"{name}'s network {kind} gives {what} of shape {found.shape} and type {found.dtype} for 2 "
                f"observations, but {spec.name} needs {expected.shape} and {expected.dtype}."
            )


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
