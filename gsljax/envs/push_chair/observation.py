"""What the policy sees, in the robot's frame: the robot's own state, and of the chair its points or its state."""

from typing import NamedTuple

import numpy as np

from gsljax.cloud_layout import CloudLayout
from gsljax.envs.push_chair.frames import RobotFrame, wrapped

NUM_ACTIONS = 22
NUM_CONTACTS = 19
"""Contact indicators: of all joints but the base's three, whose links touch nothing."""
ROBOT_STATE = 68
CHAIR_STATE = 18
ROBOT, CHAIR = 0, 1
"""The segments of a point cloud."""
CLOUD_LAYOUT = CloudLayout(points=1200, segments=2, state=ROBOT_STATE + NUM_CONTACTS)
MOST_ROBOT_POINTS = 800
"""Of the points, so that the chair always has some."""


class RobotReading(NamedTuple):
    """What is read of the robot, in the world's frame.

    Attributes:
      position, velocity: `[22]` of the joints, in the order of `gsljax.envs.push_chair.robot.JOINTS`.
      fingertips, finger_velocities: `[4, 3]`.
      contacts: `[19]` bool, for each joint but the base's three whether what moves with it touches something else than
        the robot.
    """

    position: np.ndarray
    velocity: np.ndarray
    fingertips: np.ndarray
    finger_velocities: np.ndarray
    contacts: np.ndarray

    @property
    def frame(self) -> RobotFrame:
        """Where it stands."""
        return RobotFrame(self.position[:2], float(self.position[2]))


class ChairReading(NamedTuple):
    """What is read of the chair: its support's pose `[3]`, `[3, 3]` and velocities `[3]`, and its seat's swivel."""

    position: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray
    angular_velocity: np.ndarray
    swivel: float
    swivel_rate: float


def robot_state(robot: RobotReading) -> np.ndarray:
    """The original's 68 numbers with the robot's frame in place of the world's, and the 19 contact indicators, `[87]`.

    Fingertips 12, their velocities 12; the target's position 2 and the direction of the world's x axis 1, in place of
    the base's pose; the base's velocity 2 and its turning rate 1; positions 19 and velocities 19 of all other joints.
    """
    frame = robot.frame
    target = frame.points(np.zeros(3))[:2]
    base_velocity = frame.vectors(np.array([*robot.velocity[:2], 0.0]))[:2]
    parts = [
        frame.points(robot.fingertips).ravel(),
        frame.vectors(robot.finger_velocities).ravel(),
        target,
        [wrapped(-frame.yaw)],
        base_velocity,
        robot.velocity[2:3],
        robot.position[3:],
        robot.velocity[3:],
        robot.contacts,
    ]
    return np.concatenate(parts).astype(np.float32)


def chair_state(chair: ChairReading, frame: RobotFrame) -> np.ndarray:
    """The chair's position 3, its x and z axes 6, velocities 3 and 3, and its seat's cosine, sine and rate, `[18]`.

    The casters are left out.
    """
    parts = [
        frame.points(chair.position),
        frame.vectors(chair.rotation[:, 0]),
        frame.vectors(chair.rotation[:, 2]),
        frame.vectors(chair.velocity),
        frame.vectors(chair.angular_velocity),
        [np.cos(chair.swivel), np.sin(chair.swivel), chair.swivel_rate],
    ]
    return np.concatenate(parts).astype(np.float32)


def chosen_points(xyz: np.ndarray, segment: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """1200 of the points: at most 800 of the robot's, the chair's, and zeros as padding (ManiSkill-Learn's rule).

    Args:
      xyz: `[M, 3]`.
      segment: `[M]`, `ROBOT` or `CHAIR`.
      random: chooses where there are more.

    Returns:
      xyz `[1200, 3]` and segmentation `[1200, 2]` bool; padding belongs to no segment.
    """
    robot = random.permutation(np.flatnonzero(segment == ROBOT))[:MOST_ROBOT_POINTS]
    chair = random.permutation(np.flatnonzero(segment == CHAIR))[: CLOUD_LAYOUT.points - len(robot)]
    rows = np.concatenate([robot, chair])
    points = np.zeros((CLOUD_LAYOUT.points, 3), np.float32)
    segmentation = np.zeros((CLOUD_LAYOUT.points, CLOUD_LAYOUT.segments), bool)
    points[: len(rows)] = xyz[rows]
    segmentation[np.arange(len(rows)), segment[rows]] = True
    return points, segmentation
