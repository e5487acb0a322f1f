"""The initial distribution."""

import numpy as np

from gsljax.envs.push_chair.start import draw_start


def test_starts_lie_within_the_originals_distribution_and_fill_it():
    random = np.random.default_rng(0)
    starts = [draw_start(random, num_caster_joints=10) for _ in range(2000)]
    chair = np.array([start.chair_position for start in starts])
    robot = np.array([start.robot for start in starts])
    yaw = np.array([start.chair_yaw for start in starts])

    def between(values, low, high):
        """Uniform between these bounds, by its extremes and its mean."""
        spread = high - low
        assert low <= values.min() < low + 0.02 * spread and high - 0.02 * spread < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03 * spread

    def angle(difference):
        return (difference + np.pi) % (2 * np.pi) - np.pi

    between(np.linalg.norm(chair, axis=1), 0.8, 1.2)
    between(np.arctan2(chair[:, 1], chair[:, 0]), -np.pi, np.pi)
    # The seat faces the target up to 72°; the robot stands behind the seat up to 36°, and faces the chair up to 9°.
    between(angle(yaw - np.arctan2(-chair[:, 1], -chair[:, 0])), -0.4 * np.pi, 0.4 * np.pi)
    away = robot[:, :2] - chair
    between(np.linalg.norm(away, axis=1), 0.8, 1.2)
    behind = np.arctan2(away[:, 1], away[:, 0])
    between(angle(behind - yaw - np.pi), -0.2 * np.pi, 0.2 * np.pi)
    between(angle(robot[:, 2] - behind - np.pi), -0.05 * np.pi, 0.05 * np.pi)
    np.testing.assert_allclose(robot[:, 3:], np.tile(robot[0, 3:], (2000, 1)))
    assert robot[0, 3] == np.float32(0.9) and robot[0, 11:13].tolist() == robot[0, 20:22].tolist()
    casters = np.array([start.casters for start in starts])
    assert casters.shape == (2000, 10, 2)
    between(casters[..., 0], 0.0, 0.001)
    between(casters[..., 1], 0.0, 0.005)
    between(np.array([start.seat.friction for start in starts]), 0.05, 0.15)


def test_the_same_generator_draws_the_same_start():
    first, second = (draw_start(np.random.default_rng(7), 8) for _ in range(2))
    np.testing.assert_array_equal(first.robot, second.robot)
    assert first.casters == second.casters
