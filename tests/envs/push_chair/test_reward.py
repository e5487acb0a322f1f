"""The reward's terms and the success against numbers worked by hand."""

import numpy as np
import pytest

from gsljax.envs.push_chair.reward import Situation, dense_reward, is_success, reward_terms

NOTHING = np.zeros(22)
RESTING = Situation(0.02, np.array([0.1, 0.0]), np.array([0.05, 0.0, 0.0]), 0.1, 0.0)
"""At the target, touched, and slow."""
PUSHED = Situation(0.05, np.array([0.6, 0.8]), np.array([-0.3, -0.4, 0.0]), 0.0, 0.0)
"""1 m from the target, touched, and moving straight towards it at 0.5 m/s."""


def test_far_from_the_chair():
    # -0.5 - ln(0.50001) - 0.2 * 0.1 - 10 = -0.5 + 0.6931272 - 0.02 - 10 = -9.8268728
    far = Situation(0.5, np.array([1.0, 0.0]), np.zeros(3), 0.0, 0.1)
    assert dense_reward(far, NOTHING) == pytest.approx(-19.6537456, abs=1e-6)
    assert set(reward_terms(far, NOTHING)) == {"reach", "reach_log", "tilt", "action", "stage"}


def test_pushing_towards_the_target():
    # -0.05 - ln(0.05001) - 8 + 2 (1 - exp(-0.5)) - 2 = -0.05 + 2.9955323 - 8 + 0.7869387 - 2 = -6.2675290
    assert dense_reward(PUSHED, NOTHING) == pytest.approx(-12.5350580, abs=1e-6)
    assert reward_terms(PUSHED, NOTHING)["approach"] == pytest.approx(0.7869387, abs=1e-6)


def test_pushing_away_costs_two_at_most():
    # 1 - exp(2) = -6.39 is cut to -1
    away = PUSHED._replace(velocity=np.array([1.2, 1.6, 0.0]))
    assert reward_terms(away, NOTHING)["approach"] == -2.0
    across = PUSHED._replace(velocity=np.array([0.8, -0.6, 0.0]))
    assert reward_terms(across, NOTHING)["approach"] == pytest.approx(0.0, abs=1e-9)
    still = PUSHED._replace(velocity=np.zeros(3))
    assert reward_terms(still, NOTHING)["approach"] == 0.0


def test_resting_at_the_target():
    # -0.02 - ln(0.02001) - 10 + 6 + 2 exp(-0.5) = -0.02 + 3.9115231 - 4 + 1.2130613 = 1.1045844
    assert dense_reward(RESTING, NOTHING) == pytest.approx(2.2091688, abs=1e-6)
    # turning faster than 0.2 rad/s it has not come to rest
    assert reward_terms(RESTING._replace(angular_speed=0.21), NOTHING)["stage"] == -6.0


def test_a_chair_that_falls():
    # -0.02 - ln(0.02001) - 0.2 * 0.7 - 15 = -11.2484769, wherever it is
    fallen = RESTING._replace(tilt=0.7)
    assert dense_reward(fallen, NOTHING) == pytest.approx(-22.4969538, abs=1e-6)
    assert reward_terms(RESTING._replace(tilt=0.6), NOTHING)["stage"] == -4.0


def test_the_bounds_of_the_logarithm_and_the_cost_of_actions():
    assert reward_terms(RESTING._replace(reach=2.0), NOTHING)["reach_log"] == 0.0
    assert reward_terms(RESTING._replace(reach=0.0), NOTHING)["reach_log"] == 10.0
    # the norm of 22 ones is 4.6904158
    assert reward_terms(RESTING, np.ones(22))["action"] == pytest.approx(-4.6904158e-6, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"position": np.array([0.1, 0.12])}, False),  # 0.156 m
        ({"tilt": 0.16}, False),  # 9.2°
        ({"velocity": np.array([0.0, 0.0, 0.11])}, False),
        ({"angular_speed": 0.2}, False),
        ({"reach": 1.0}, True),  # the robot may have let go
    ],
)
def test_success(change, expected):
    assert is_success(RESTING._replace(**change)) is expected
