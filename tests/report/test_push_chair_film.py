"""Films of PushChair: where things are drawn, from states and from clouds of the same situation."""

import numpy as np
import pytest

from gsljax.cloud_layout import pack
from gsljax.envs.push_chair.observation import (
    CLOUD_LAYOUT,
    NUM_CONTACTS,
    ChairReading,
    RobotReading,
    chair_state,
    robot_state,
)
from gsljax.report.push_chair_film import CHAIR, ROBOT, TARGET, push_chair_film, push_chair_frames, scene

TIPS = np.array([[1.0, 0.5, 0.8], [1.0, 0.6, 0.8], [1.2, 0.5, 0.7], [1.2, 0.6, 0.7]])


def robot_at(x, y, yaw):
    joints = np.zeros(22)
    joints[:3] = x, y, yaw
    return RobotReading(joints, np.zeros(22), TIPS, np.zeros((4, 3)), np.zeros(NUM_CONTACTS, bool))


def observations(mode, poses=((2.0, 1.0, np.pi / 2), (1.5, 1.0, 3.0))):
    """A chair at (-1, 1) that faces the world's y, seen from each of these poses."""
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    chair = ChairReading(np.array([-1.0, 1.0, 0.0]), turned, np.zeros(3), np.zeros(3), 0.0, 0.0)
    rows = []
    for pose in poses:
        robot = robot_at(*pose)
        if mode == "state":
            rows.append(np.concatenate([robot_state(robot), chair_state(chair, robot.frame), np.eye(8)[0]]))
            continue
        xyz, segmentation = np.zeros((1200, 3)), np.zeros((1200, 2), bool)
        xyz[:2] = robot.frame.points(np.array([[-1.0, 1.0, 0.4], [1.8, 1.0, 1.0]]))
        segmentation[0, 1] = segmentation[1, 0] = True
        rows.append(pack(CLOUD_LAYOUT, xyz, segmentation, robot_state(robot)))
    return np.stack(rows)


@pytest.mark.parametrize("mode", ["state", "cloud"])
def test_everything_stands_where_it_does_in_the_world(mode):
    seen = scene(observations(mode), CLOUD_LAYOUT if mode == "cloud" else None)
    np.testing.assert_allclose(seen.robot, [[2.0, 1.0], [1.5, 1.0]], atol=1e-5)
    np.testing.assert_allclose(seen.heading, [[0.0, 1.0], [np.cos(3.0), np.sin(3.0)]], atol=1e-5)
    np.testing.assert_allclose(seen.fingertips, [TIPS, TIPS], atol=1e-5)
    if mode == "cloud":
        np.testing.assert_allclose(seen.points[:, 0], [[-1.0, 1.0, 0.4]] * 2, atol=2e-3)
        np.testing.assert_allclose(seen.body[:, 1], [[1.8, 1.0, 1.0]] * 2, atol=2e-3)
        assert np.isnan(seen.points[:, 1:]).all() and np.isnan(seen.body[:, 2:]).all()
    else:
        low, high = seen.points[0].min(axis=0), seen.points[0].max(axis=0)
        np.testing.assert_allclose([low, high], [[-1.2, 0.8, 0.05], [-0.8, 1.2, 0.9]], atol=1e-5)
        behind = seen.points[0][seen.points[0][:, 2] > 0.6]  # the back rest, behind the seat that faces y
        np.testing.assert_allclose(behind[:, 1], 0.8, atol=1e-5)
        np.testing.assert_allclose(seen.points[1], seen.points[0], atol=1e-5)


@pytest.mark.parametrize("mode", ["state", "cloud"])
def test_pictures_of_one_size_with_robot_chair_and_target(mode):
    layout = CLOUD_LAYOUT if mode == "cloud" else None
    style = push_chair_film(["task chair"], layout)
    assert style.title(0) == "0: task chair"
    pictures = list(style.frames(0, observations(mode), [0, 1]))
    assert len(pictures) == 2 and pictures[0].shape == pictures[1].shape and pictures[0].dtype == np.uint8
    assert not np.array_equal(*pictures)
    legend = pictures[0][-24:]
    for colour in (ROBOT, CHAIR, TARGET):
        assert np.any(np.all(legend == colour, axis=-1))
    # 100 pixels a metre, the target in the middle of the view from above: the chair's seat is 1 m to its left, above it
    picture = pictures[0][20:-24].astype(int)
    middle = 7 + 250, 250  # the robot at x = 2 makes it reach 2.5 m to each side
    column, row = middle[0] - 100, middle[1] - 100
    near = picture[row - 25 : row + 25, column - 25 : column + 25]
    assert np.any(near[..., 0] - near[..., 2] > 60)  # vermilion there
    assert not np.any(picture[row - 25 : row + 25, column + 125 : column + 175, 0] - 60 > near[..., 2].max())


def test_an_episode_far_away_is_shown_smaller_not_cut_off():
    far = scene(observations("state", poses=((6.0, 1.0, 0.0),)), None)
    (picture,) = push_chair_frames(far, [0])
    (usual,) = push_chair_frames(scene(observations("state"), None), [0])
    assert picture.shape[0] > usual.shape[0]
