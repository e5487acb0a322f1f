"""The robot's frame: its origin on the floor under the robot, x forwards, y to the left, z upwards."""

from typing import NamedTuple

import numpy as np


class RobotFrame(NamedTuple):
    """Where the robot stands, in the world's frame: position `[2]` on the floor and yaw in rad."""

    position: np.ndarray
    yaw: float

    @property
    def axes(self) -> np.ndarray:
        """`[3, 3]`; `vectors @ axes` are a world's vectors `[..., 3]` in this frame."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])

    def points(self, world: np.ndarray) -> np.ndarray:
        """Positions `[..., 3]` of the world's frame in this one."""
        return (world - np.array([*self.position, 0.0], world.dtype)) @ self.axes.astype(world.dtype)

    def vectors(self, world: np.ndarray) -> np.ndarray:
        """Directions or velocities `[..., 3]` of the world's frame in this one, the robot's motion not subtracted."""
        return world @ self.axes.astype(world.dtype)


def wrapped(angle: float) -> float:
    """The angle between −π and π."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
