"""PushChair in a worker process: one chair, NumPy in and out, truncated after 200 steps."""

import functools
import importlib
import warnings
from typing import Any, Literal

import numpy as np

from gsljax.cloud_layout import pack
from gsljax.envs.lane_worker import EnvironmentStep
from gsljax.envs.push_chair.chairs import CHAIRS
from gsljax.envs.push_chair.observation import CLOUD_LAYOUT, chair_state, robot_state

Mode = Literal["state", "cloud"]
"""What is observed: the robot's and the chair's state and which chair it is, or the robot's state and the points."""


class PushChairLane:
    """A chair to push, as `gsljax.envs.lane_worker.HostEnvironment`."""

    def __init__(self, chair: int, mode: Mode, physics_frequency: int, horizon: int):
        """Build the scene of a chair, which takes a moment."""
        task = _task()
        self._id = np.eye(len(CHAIRS), dtype=np.float32)[chair]
        self._mode, self._horizon, self._steps = mode, horizon, 0
        self.task: Any = task.PushChair(
            chair=chair,
            has_cloud=mode == "cloud",
            physics_frequency=physics_frequency,
            obs_mode="none",
            reward_mode="dense",
            render_backend="none",
        )

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode, whose start the seed determines.

        How it goes on is the same bit for bit after the same episodes before it: PhysX keeps contacts from one to the
        next, which changes the last digits of a first step's velocities, and with them what a chaotic episode comes to.
        """
        self.task.reset(seed=seed)
        self._steps = 0
        return self._observation()

    def step(self, action: np.ndarray) -> EnvironmentStep:
        """One step of 50 ms."""
        _, reward, _, _, info = self.task.step(action)
        self._steps += 1
        is_over = self._steps >= self._horizon
        return EnvironmentStep(self._observation(), float(reward[0]), False, is_over, bool(info["success"][0]))

    def _observation(self) -> np.ndarray:
        robot = self.task.robot_reading()
        if self._mode == "cloud":
            xyz, segmentation = self.task.point_cloud(robot)
            return pack(CLOUD_LAYOUT, xyz, segmentation, robot_state(robot))
        return np.concatenate([robot_state(robot), chair_state(self.task.chair_reading(), robot.frame), self._id])


@functools.cache
def _task() -> Any:
    """The module of the task, imported where ManiSkill is, with its warnings of what is not there kept quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("gsljax.envs.push_chair.task")
    importlib.import_module("torch").set_num_threads(1)
    return module


def make_lane(
    variation: int, chairs: tuple[int, ...], mode: Mode, physics_frequency: int, horizon: int
) -> PushChairLane:
    """For `gsljax.envs.process_lanes.ProcessLanes`; a variation's chair is its entry of `chairs`."""
    return PushChairLane(chairs[variation], mode, physics_frequency, horizon)
