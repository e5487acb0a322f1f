"""Point clouds by depth buffers on shapes whose visible parts are known."""

import numpy as np

from gsljax.envs.push_chair.cloud import CAMERA_HEIGHT, CAMERAS, GRID, Panorama, Surface, SurfaceCloud, rotations


def plate(size, height, count=4000, seed=0):
    """A horizontal square that faces upwards, its middle 1 m in front of the robot."""
    random = np.random.default_rng(seed)
    points = np.column_stack([random.uniform(-size / 2, size / 2, (count, 2)), np.zeros(count)])
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 0.0, height
    return points, np.tile([0.0, 0.0, 1.0], (count, 1)), pose


def test_what_lies_behind_something_is_not_seen_and_neither_is_what_looks_away():
    lower_points, normals, lower = plate(0.5, 0.3)
    upper_points, _, upper = plate(0.5, 1.0, seed=1)
    # From 2 m above the robot the upper plate, 1 m lower, hides what its shadow covers of the lower one: between
    # 0.75 * 1.7 = 1.275 and 2.125 m in front of the robot; the lower plate ends at 1.25 m.
    cloud = SurfaceCloud([Surface(lower_points, normals, 0), Surface(upper_points, normals, 1)])
    points, segment = cloud.visible(np.stack([lower, upper]))
    assert np.mean(segment == 0) > 0.3 and np.mean(segment == 1) > 0.3
    assert (segment == 1).sum() == 4000 and (segment == 0).sum() > 3900
    further = lower.copy()
    further[0, 3] = 1.7  # from 1.45 to 1.95 m: all of it in the shadow, whose sides are 0.425 m away
    points, segment = cloud.visible(np.stack([further, upper]))
    assert (segment == 1).sum() == 4000 and (segment == 0).sum() < 40
    np.testing.assert_allclose(points[segment == 1][:, 2], 1.0, atol=1e-6)
    upside_down = SurfaceCloud([Surface(lower_points, -normals, 0)])
    assert len(upside_down.visible(lower[None])[0]) == 0


def test_points_move_with_their_links():
    cloud = SurfaceCloud([Surface(np.array([[0.1, 0.0, 0.0]]), np.array([[1.0, 0.0, 0.0]]), 0)])
    pose = np.eye(4)
    pose[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    pose[:3, 3] = 1.0, 2.0, 3.0
    points, normals = cloud.placed(pose[None])
    np.testing.assert_allclose(points, [[1.0, 2.1, 3.0]], atol=1e-6)
    np.testing.assert_allclose(normals, [[0.0, 1.0, 0.0]], atol=1e-6)


def test_the_cameras_look_down_around_the_robot():
    forwards = rotations(CAMERAS)[:, :, 0]
    np.testing.assert_allclose(forwards[:, 2], -np.sqrt(0.5), atol=1e-6)  # 45° downwards
    around = np.rad2deg(np.arctan2(forwards[:, 1], forwards[:, 0]))
    np.testing.assert_allclose(np.sort(around), [-120.0, 0.0, 120.0], atol=1e-3)
    np.testing.assert_allclose(rotations(CAMERAS) @ rotations(CAMERAS).transpose(0, 2, 1), [np.eye(3)] * 3, atol=1e-6)


def test_a_ray_through_a_cells_middle_falls_into_that_cell():
    panorama, count = Panorama(), GRID[0] * GRID[1]
    rays = panorama.directions()
    assert rays.shape == (3 * count, 3) and CAMERA_HEIGHT == 2.0
    for camera, (rows, cells, depth) in enumerate(panorama.cells(3.0 * rays)):
        own = (rows >= camera * count) & (rows < (camera + 1) * count)
        np.testing.assert_array_equal(cells[own], np.arange(count))
        assert depth.min() > 1.0
