"""Where an episode begins: the original task's initial distribution, drawn with NumPy; and how long it lasts."""

from typing import NamedTuple

import numpy as np

HORIZON = 200
"""Steps of an episode."""
ARM = (0.0, 0.0, 0.0, -1.5, 0.0, 3.0, 0.78)
FINGERS = (0.02, 0.02)
HEIGHT = 0.9
"""The arms', the fingers' and the torso's joints at the start."""
CASTER_SCALE = 0.01
"""What the friction and damping of casters are multiplied by: spheres that roll need little of the original's."""


class JointResistance(NamedTuple):
    """Friction and damping of a chair's joint."""

    friction: float
    damping: float


class Start(NamedTuple):
    """A state in which an episode begins.

    Attributes:
      chair_position: `[2]`, on the floor; the target is the origin.
      chair_yaw: where its seat faces: roughly the target.
      robot: `[22]` joint positions, in the order of `gsljax.envs.push_chair.robot.JOINTS`: behind the chair, facing it.
      seat: resistance of the seat's swivel.
      casters: of every joint of the casters.
    """

    chair_position: np.ndarray
    chair_yaw: float
    robot: np.ndarray
    seat: JointResistance
    casters: tuple[JointResistance, ...]


def draw_start(random: np.random.Generator, num_caster_joints: int) -> Start:
    """Draw a start: the chair 0.8 to 1.2 m from the target, the robot 0.8 to 1.2 m behind it."""
    distance, direction = random.uniform(0.8, 1.2), random.uniform(-np.pi, np.pi)
    chair = distance * _direction(direction)
    yaw = direction - np.pi + random.uniform(-0.4, 0.4) * np.pi
    seat = JointResistance(random.uniform(0.05, 0.15), random.uniform(5.0, 15.0))
    casters = tuple(
        JointResistance(CASTER_SCALE * random.uniform(0.0, 0.1), CASTER_SCALE * random.uniform(0.0, 0.5))
        for _ in range(num_caster_joints)
    )
    behind = yaw + np.pi + random.uniform(-0.2, 0.2) * np.pi
    base = chair + random.uniform(0.8, 1.2) * _direction(behind)
    heading = behind - np.pi + random.uniform(-0.05, 0.05) * np.pi
    robot = np.array([*base, heading, HEIGHT, *ARM, *FINGERS, *ARM, *FINGERS], np.float32)
    return Start(chair, yaw, robot, seat, casters)


def _direction(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])
