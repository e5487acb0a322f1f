"""Meta-World v3 (Yu et al. 2019) by EnvPool: manipulation tasks of one robot arm, each a variation."""

import importlib
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from gsljax.envs.pools import Pools
from gsljax.envs.protocol import Choose, LivePools
from gsljax.envs.vector_pools import EnvPoolAdapter, PoolStep, require
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec

MT10 = (
    "reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "drawer-open-v3", "drawer-close-v3",
    "button-press-topdown-v3", "peg-insert-side-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip
"""The benchmark of ten tasks, in the order of the `metaworld` package."""

MT50 = (
    "assembly-v3", "basketball-v3", "bin-picking-v3", "box-close-v3", "button-press-topdown-v3",
    "button-press-topdown-wall-v3", "button-press-v3", "button-press-wall-v3", "coffee-button-v3", "coffee-pull-v3",
    "coffee-push-v3", "dial-turn-v3", "disassemble-v3", "door-close-v3", "door-lock-v3", "door-open-v3",
    "door-unlock-v3", "hand-insert-v3", "drawer-close-v3", "drawer-open-v3", "faucet-open-v3", "faucet-close-v3",
    "hammer-v3", "handle-press-side-v3", "handle-press-v3", "handle-pull-side-v3", "handle-pull-v3", "lever-pull-v3",
    "pick-place-wall-v3", "pick-out-of-hole-v3", "pick-place-v3", "plate-slide-v3", "plate-slide-side-v3",
    "plate-slide-back-v3", "plate-slide-back-side-v3", "peg-insert-side-v3", "peg-unplug-side-v3", "soccer-v3",
    "stick-push-v3", "stick-pull-v3", "push-v3", "push-wall-v3", "push-back-v3", "reach-v3", "reach-wall-v3",
    "shelf-place-v3", "sweep-into-v3", "sweep-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip
"""All tasks there are, in the order of the `metaworld` package."""

FRAME_SIZE, GOAL_SIZE = 18, 3
"""A frame is hand, gripper and two objects; a raw observation is this step's frame, the last one's, and the goal."""

PreviousFrame = Literal["raw", "difference", "none"]
"""What observations have of the last step's frame: itself, the motion since then, or nothing."""

MOTION_SCALE = 10.0
"""What the difference of two frames is multiplied by: a step moves things by a hundredth of a metre or two."""


def meta_world(
    tasks: Sequence[str] = MT10,
    task_id: bool = True,
    horizon: int = 500,
    reward_scales: Sequence[float] | None = None,
    previous_frame: PreviousFrame = "raw",
) -> Pools:
    """Meta-World tasks; variation v is `tasks[v]`, and every reset draws its goal and objects anew.

    Observations are float32 `[39]`, this step's frame, the last one's and the goal (`[21]` without the last one's), or
    V more with the one-hot id of the task after it; actions `[4]` in [-1, 1]: the hand's motion and the gripper. An
    episode never terminates: it is truncated at the horizon, and is a success if any of its steps was one.

    Args:
      tasks: names in `MT50`, without repetition.
      task_id: whether observations tell the task.
      horizon: steps of an episode, 500 in the benchmark.
      reward_scales: what each task's rewards are multiplied by; None for 1.
      previous_frame: `raw`, as Meta-World has it; `difference`, (this frame − the last) · `MOTION_SCALE` in its place,
        which two nearly equal frames hide; `none`, left out. At a reset the two frames are equal.

    Raises:
      UserError: if a task does not exist, is listed twice or none is, the horizon or a scale is out of range,
        `previous_frame` is something else, or EnvPool is not installed.
    """
    tasks = tuple(tasks)
    unknown = [task for task in tasks if task not in MT50]
    if unknown:
        raise UserError(f"The Meta-World task {unknown[0]!r} does not exist; the tasks are {', '.join(MT50)}.")
    if not tasks or len(set(tasks)) < len(tasks):
        raise UserError(f"The Meta-World tasks are {list(tasks)}, but must be at least one, each named once.")
    if horizon < 1:
        raise UserError(f"Meta-World's horizon is {horizon}, but must be at least 1.")
    scales = np.ones(len(tasks)) if reward_scales is None else np.asarray(reward_scales, np.float64)
    if scales.shape != (len(tasks),) or not np.all((scales > 0) & np.isfinite(scales)):
        raise UserError(
            f"Meta-World's reward_scales are {reward_scales}, but must be a positive number for each of the "
            f"{len(tasks)} tasks."
        )
    if previous_frame not in typing.get_args(PreviousFrame):
        allowed = ", ".join(typing.get_args(PreviousFrame))
        raise UserError(f"Meta-World's previous_frame is {previous_frame!r}, but must be one of: {allowed}.")
    require("envpool", "Meta-World")

    def open_pool(variations: tuple[int, ...], lane_seeds: list[int], num_threads: int) -> "_TaskPool":
        (variation,) = variations
        one_hot = np.eye(len(tasks), dtype=np.float32)[variation] if task_id else None
        pool = importlib.import_module("envpool").make(
            f"MetaWorld/{_camel_case(tasks[variation])}",
            env_type="gymnasium",
            num_envs=len(lane_seeds),
            num_threads=min(num_threads, len(lane_seeds)),
            seed=lane_seeds,
            max_episode_steps=horizon,
            partially_observable=False,
        )
        return _TaskPool(pool, one_hot, float(scales[variation]), previous_frame)

    spec = EnvSpec(
        name="Meta-World",
        num_variations=len(tasks),
        observation_shape=(observation_size(previous_frame) + task_id * len(tasks),),
        observation_dtype="float32",
        action=ActionSpec(dimension=4, low=-1.0, high=1.0),
        horizon=horizon,
        has_success=True,
        variation_names=tasks,
    )
    return Pools(spec, open_pool)


def observation_size(previous_frame: PreviousFrame) -> int:
    """How many numbers an observation has before the one-hot id."""
    return (1 if previous_frame == "none" else 2) * FRAME_SIZE + GOAL_SIZE


def with_previous_frame(observation: np.ndarray, previous_frame: PreviousFrame) -> np.ndarray:
    """Meta-World's own observations `[..., 39]` as the setting has them."""
    if previous_frame == "raw":
        return observation
    frame, last, goal = np.split(observation, [FRAME_SIZE, 2 * FRAME_SIZE], axis=-1)
    motion = [MOTION_SCALE * (frame - last)] if previous_frame == "difference" else []
    return np.concatenate([frame, *motion, goal], axis=-1)


def raw_observation(observation: np.ndarray, previous_frame: PreviousFrame) -> np.ndarray:
    """What `with_previous_frame` was given, `[..., 39]`; where the last frame is left out, this one stands for it."""
    size = observation_size(previous_frame)
    frame, goal = observation[..., :FRAME_SIZE], observation[..., size - GOAL_SIZE : size]
    if previous_frame == "raw":
        return observation[..., :size]
    motion = observation[..., FRAME_SIZE : 2 * FRAME_SIZE] / MOTION_SCALE if previous_frame == "difference" else 0.0
    return np.concatenate([frame, frame - motion, goal], axis=-1)


def scripted_experts(tasks: Sequence[str], previous_frame: PreviousFrame = "raw") -> Callable[[LivePools], Choose]:
    """The scripted experts of the `metaworld` package as what plays in `gsljax.episodes.play_episodes`.

    They are demonstrations for free: `play_episodes(live, scripted_experts(tasks)(live), 10, on_episode=...)`. Every
    task has one; not all of them succeed always.

    Args:
      tasks, previous_frame: what the environment was made with.

    Returns:
      A function of the pools to what plays them, each lane with the expert of the task that it was opened with.

    Raises:
      UserError: if `metaworld` is not installed.
    """
    require("metaworld", "Meta-World's scripted experts")
    policies = importlib.import_module("metaworld.policies").ENV_POLICY_MAP

    def of_pools(live: LivePools) -> Choose:
        experts = [
            [[policies[tasks[variation]]() for variation in lanes] for lanes in live.variation(half)]
            for half in range(len(live.halves))
        ]

        def choose(half: int, observation: np.ndarray, step: int) -> np.ndarray:
            del step
            seen = raw_observation(observation.astype(np.float64), previous_frame)
            members = zip(experts[half], seen, strict=True)
            with warnings.catch_warnings():  # they warn of actions beyond [-1, 1], which are clipped
                warnings.filterwarnings("ignore", "Constant", UserWarning)
                actions = [[expert.get_action(one) for expert, one in zip(*lanes, strict=True)] for lanes in members]
            return np.array(actions, np.float32)

        return choose

    return of_pools


class _TaskPool(EnvPoolAdapter):
    """A pool of one task, with its id in the observations, the last frame as configured, and its reward scaled."""

    def __init__(self, pool: Any, one_hot: np.ndarray | None, reward_scale: float, previous_frame: PreviousFrame):
        super().__init__(pool, success="success")
        self._reward_scale = reward_scale
        self._previous_frame: PreviousFrame = previous_frame
        self._ids = None if one_hot is None else np.tile(one_hot, (len(self._lanes), 1))

    def receive(self) -> PoolStep:
        """Wait for a step."""
        answer = super().receive()
        observation = with_previous_frame(answer.observation, self._previous_frame).astype(np.float32)
        if self._ids is not None:
            observation = np.concatenate([observation, self._ids], axis=1)
        return answer._replace(observation=observation, reward=answer.reward * self._reward_scale)


def _camel_case(task: str) -> str:
    *words, version = task.split("-")
    return "".join(word.capitalize() for word in words) + f"-{version}"
