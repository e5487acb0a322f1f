"""One vectorised environment of the host, whichever library it comes from: send actions, receive NumPy arrays."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from gsljax.errors import UserError


class PoolStep(NamedTuple):
    """What a pool of n lanes answers, NumPy arrays that it never writes to again.

    Attributes:
      observation: `[n, ...]`.
      reward: `[n]`.
      terminated, truncated: `[n]` bool, never both. In the step after an end the lane resets and ignores its action.
      success: `[n]`, non-zero where this step was a success; None if there is no such thing.
      variation: `[n]`, the id being played; None where it is the one that the lane was opened with.
      lost: `[n]` bool, where the running episode was lost, for instance with a process that died: like a reset, this
        step ignored its action, and its observation is the first one of a new episode. None if that cannot happen.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray | None = None
    variation: np.ndarray | None = None
    lost: np.ndarray | None = None


class VectorPool(Protocol):
    """One vectorised environment of n lanes with the next-step reset rule."""

    def reset(self) -> None:
        """Begin an episode in every lane; `receive` tells the first observations, the rest of its answer is unused."""
        ...

    def send(self, action: np.ndarray) -> None:
        """Begin a step with actions `[n, ...]`, within the action range."""
        ...

    def receive(self) -> PoolStep:
        """Wait for what `reset` or `send` began."""
        ...

    def close(self) -> None:
        """End the pool's threads or processes."""
        ...


def require(package: str, environment: str, extra: str = "pools") -> None:
    """Refuse to go on without an optional package.

    Raises:
      UserError: if it is not installed, saying what `environment` needs, and which extra of gsljax has it.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{environment} needs the package {package}, which is not installed: run `pip install 'gsljax[{extra}]'`."
        )


class EnvPoolAdapter:
    """A pool of EnvPool (`envpool.make(..., env_type="gymnasium")`, all lanes in every batch) as a `VectorPool`.

    It calls what EnvPool's `send` and `recv` call after they have looked at every argument and before they have built
    dictionaries: with hundreds of small pools these take a third of the time.
    """

    def __init__(
        self,
        pool: Any,
        success: str | None = None,
        variation: str | None = None,
        to_variation: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        """Wrap a pool.

        Args:
          pool: EnvPool's; the caller keeps no reference, as EnvPool ends a pool's threads only with its last one.
          success: the entry of `info` that is non-zero in a successful step.
          variation: the entry of `info` that tells what is played, for a pool that draws.
          to_variation: maps that entry `[n]` to variation ids.
        """
        self._pool: Any = pool
        self._lanes = np.arange(pool.config["num_envs"], dtype=np.int32)
        self._action_type = pool.spec.action_array_spec["action"].dtype
        keys = {name: index for index, name in enumerate(pool._state_keys)}
        self._observation, self._reward = keys["obs"], keys["reward"]
        self._ended, self._truncated = keys["done"], keys["trunc"]
        self._success = keys[f"info:{success}"] if success else None
        self._variation = keys[f"info:{variation}"] if variation else None
        self._to_variation = to_variation

    def reset(self) -> None:
        """Begin an episode in every lane."""
        self._pool._reset(self._lanes)

    def send(self, action: np.ndarray) -> None:
        """Begin a step."""
        # Copied: EnvPool refuses what it may not write to, such as the memory of a JAX array.
        self._pool._send([self._lanes, self._lanes, np.array(action, self._action_type, order="C")])

    def receive(self) -> PoolStep:
        """Wait for it."""
        answer = self._pool._recv()
        truncated = answer[self._truncated]
        success = None if self._success is None else answer[self._success]
        variation = None if self._variation is None else answer[self._variation]
        if variation is not None and self._to_variation is not None:
            variation = self._to_variation(variation)
        # EnvPool's `done` is true for both kinds of end, so where they differ an episode terminated.
        terminated = answer[self._ended] != truncated
        return PoolStep(answer[self._observation], answer[self._reward], terminated, truncated, success, variation)

    def close(self) -> None:
        """End the pool's threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class GymnasiumAdapter:
    """A Gymnasium `VectorEnv` with the autoreset mode NEXT_STEP as a `VectorPool`.

    One that has `step_async` and `step_wait` (`AsyncVectorEnv`) steps beside the others; any other one steps while it
    is waited for. A step is a success where `info["success"]` is true.
    """

    def __init__(self, env: Any, seeds: list[int]):
        """Wrap a vectorised environment whose lanes are seeded at the first reset.

        Raises:
          UserError: if it resets by another rule.
        """
        mode = env.metadata.get("autoreset_mode")
        if getattr(mode, "name", mode) != "NEXT_STEP":
            raise UserError(
                f"The vector environment {env} has the autoreset mode {mode}, but must have AutoresetMode.NEXT_STEP."
            )
        self._env: Any = env
        self._seeds = seeds
        self._is_concurrent = hasattr(env, "step_async") and hasattr(env, "step_wait")
        self._action: np.ndarray | None = None
        self._is_resetting = False

    def reset(self) -> None:
        """Begin an episode in every lane, when it is received."""
        self._is_resetting = True

    def send(self, action: np.ndarray) -> None:
        """Begin a step."""
        self._action = np.asarray(action, self._env.single_action_space.dtype)
        if self._is_concurrent:
            self._guarded(self._env.step_async, self._action)

    def receive(self) -> PoolStep:
        """Wait for it."""
        if self._is_resetting:
            observation, _ = self._guarded(self._env.reset, seed=self._seeds)
            self._is_resetting = False
            nothing = np.zeros(len(self._seeds))
            return PoolStep(np.array(observation), nothing, nothing != 0, nothing != 0)
        if self._is_concurrent:
            observation, reward, terminated, truncated, info = self._guarded(self._env.step_wait)
        else:
            observation, reward, terminated, truncated, info = self._env.step(self._action)
        # Copied, as an environment may write its next observation into the same array.
        truncated = np.asarray(truncated, bool) & ~np.asarray(terminated, bool)
        success = np.asarray(info["success"]).astype(bool) if "success" in info else None
        return PoolStep(np.array(observation), np.array(reward), np.array(terminated), truncated, success)

    def close(self) -> None:
        """End its processes, if it has any."""
        if self._env is not None:
            if self._is_concurrent:
                self._env.close(terminate=True)  # or it would wait for a step that is under way
            else:
                self._env.close()
            self._env = None

    def _guarded(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (EOFError, ConnectionError) as error:
            raise UserError(
                f"A process of the vector environment {self._env} has ended unexpectedly, and its lanes are lost: "
                "start again from the last checkpoint."
            ) from error
