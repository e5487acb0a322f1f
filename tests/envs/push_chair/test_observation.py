"""What is observed, in the robot's frame, against numbers worked by hand."""

import numpy as np

from gsljax.envs.push_chair.frames import RobotFrame, wrapped
from gsljax.envs.push_chair.observation import (
    CHAIR,
    CHAIR_STATE,
    CLOUD_LAYOUT,
    NUM_CONTACTS,
    ROBOT,
    ROBOT_STATE,
    ChairReading,
    RobotReading,
    chair_state,
    chosen_points,
    robot_state,
)

QUARTER = np.pi / 2


def reading(position=(2.0, 1.0), yaw=QUARTER, velocity=(0.0, 0.5)):
    """A robot at (2, 1) that faces the world's y, and drives that way."""
    joints, rates = np.arange(22.0), np.arange(22.0) / 100
    joints[:3], rates[:3] = (*position, yaw), (*velocity, 0.25)
    tips = np.array([[2.0, 2.0, 0.5], [1.0, 1.0, 0.0], [2.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
    speeds = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    return RobotReading(joints, rates, tips, speeds, np.arange(NUM_CONTACTS) == 3)


def test_a_frame_turns_and_shifts_points_and_only_turns_vectors():
    frame = RobotFrame(np.array([2.0, 1.0]), QUARTER)
    np.testing.assert_allclose(frame.points(np.array([2.0, 3.0, 0.4])), [2.0, 0.0, 0.4], atol=1e-12)
    np.testing.assert_allclose(frame.points(np.array([1.0, 1.0, 0.0])), [0.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(frame.vectors(np.array([1.0, 0.0, 0.0])), [0.0, -1.0, 0.0], atol=1e-12)
    assert wrapped(np.pi + 0.5) == np.float64(0.5 - np.pi) and wrapped(-7.0) == np.float64(2 * np.pi - 7.0)


def test_the_robots_state():
    state = robot_state(reading())
    assert state.shape == (ROBOT_STATE + NUM_CONTACTS,) and ROBOT_STATE == 68 and state.dtype == np.float32
    np.testing.assert_allclose(state[:12].reshape(4, 3), [[1, 0, 0.5], [0, 1, 0], [0, 0, 1], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(state[12:24].reshape(4, 3), [[1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, 0]], atol=1e-6)
    # the target, the world's origin, lies 1 m behind and 2 m to the left
    np.testing.assert_allclose(state[24:27], [-1.0, 2.0, -QUARTER], atol=1e-6)
    np.testing.assert_allclose(state[27:30], [0.5, 0.0, 0.25], atol=1e-6)
    np.testing.assert_allclose(state[30:49], np.arange(3, 22))
    np.testing.assert_allclose(state[49:68], np.arange(3, 22) / 100)
    assert np.flatnonzero(state[68:]).tolist() == [3]


def test_the_chairs_state():
    facing_back = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # its x is the world's −y
    chair = ChairReading(
        np.array([2.0, 2.5, 0.0]), facing_back, np.array([0.0, 0.2, 0.0]), np.array([0.0, 0.0, 0.3]), np.pi, -0.5
    )
    state = chair_state(chair, reading().frame)
    assert state.shape == (CHAIR_STATE,)
    expected = [1.5, 0, 0, -1, 0, 0, 0, 0, 1, 0.2, 0, 0, 0, 0, 0.3, -1, 0, -0.5]
    np.testing.assert_allclose(state, expected, atol=1e-6)


def test_everything_observed_is_the_same_wherever_the_scene_stands():
    """Turning and shifting robot, chair and target together changes nothing; the target stays at the origin here."""
    turned = reading(position=(-1.0, 2.0), yaw=2 * QUARTER, velocity=(-0.5, 0.0))
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = turned._replace(
        fingertips=reading().fingertips @ quarter, finger_velocities=reading().finger_velocities @ quarter
    )
    first, second = robot_state(reading()), robot_state(turned)
    where = np.arange(len(first)) != 26  # the direction of the world's x axis
    np.testing.assert_allclose(second[where], first[where], atol=1e-6)


def test_points_are_chosen_by_the_rule():
    random = np.random.default_rng(0)
    xyz = np.arange(3 * 2500, dtype=np.float32).reshape(2500, 3)
    segment = np.where(np.arange(2500) < 1500, ROBOT, CHAIR)
    points, segmentation = chosen_points(xyz, segment, random)
    assert points.shape == (1200, 3) and segmentation.shape == (1200, 2) and CLOUD_LAYOUT.points == 1200
    assert segmentation.sum(0).tolist() == [800, 400] and segmentation.sum(1).max() == 1
    rows = (points[:, 0] / 3).astype(int)
    np.testing.assert_array_equal(segment[rows], np.where(segmentation[:, ROBOT], ROBOT, CHAIR))
    assert len(np.unique(rows)) == 1200
    few, padded = chosen_points(xyz[1400:1600], segment[1400:1600], random)
    assert padded.sum(0).tolist() == [100, 100]
    assert not padded[200:].any() and not few[200:].any()
