"""The dense reward and the success of the original PushChair, as functions of a few numbers.

Both follow ManiSkill 1's task (Mu et al. 2021): reach the chair, keep it upright, push it to the target, let it rest.
"""

from typing import NamedTuple

import numpy as np

AT_TARGET = 0.15
"""Metres between the chair and the target within which it has arrived."""
CLOSE = 0.1
"""Metres between fingers and chair within which the robot has reached it."""
SLOW, SLOWLY_TURNING = 0.1, 0.2
"""Speeds below which the chair rests, in m/s and rad/s."""
UPRIGHT, FALLING = 0.05 * np.pi, 0.2 * np.pi
"""Tilt below which the chair may succeed, and from which on the reward takes it for fallen, in rad."""
SCALE = 2.0
"""What the sum of all terms is multiplied by."""


class Situation(NamedTuple):
    """What the reward looks at, in metres, seconds and radians.

    Attributes:
      reach: mean over the four fingertips of the distance to the nearest point of the chair.
      position: `[2]`, of the chair on the floor; the target is the origin.
      velocity: `[3]`, of the chair's support.
      angular_speed: of the chair's support.
      tilt: angle between the chair's support and the vertical.
    """

    reach: float
    position: np.ndarray
    velocity: np.ndarray
    angular_speed: float
    tilt: float

    @property
    def distance(self) -> float:
        """Of the chair from the target."""
        return float(np.linalg.norm(self.position))

    @property
    def speed(self) -> float:
        """Of the chair."""
        return float(np.linalg.norm(self.velocity))


def is_success(now: Situation) -> bool:
    """Whether the chair stands upright at the target, and rests."""
    is_resting = now.speed < SLOW and now.angular_speed < SLOWLY_TURNING
    return bool(now.distance < AT_TARGET and now.tilt < UPRIGHT and is_resting)


def reward_terms(now: Situation, action: np.ndarray) -> dict[str, float]:
    """The terms of the reward, whose sum times `SCALE` it is.

    Args:
      now: after the step.
      action: of the step, in [-1, 1].
    """
    terms = {
        "reach": -now.reach,
        "reach_log": -float(np.clip(np.log(now.reach + 1e-5), -10.0, 0.0)),
        "tilt": -0.2 * now.tilt,
        "action": -1e-6 * float(np.linalg.norm(action)),
        "stage": -10.0,
    }
    if now.tilt >= FALLING:
        return terms | {"stage": -15.0}
    if now.reach >= CLOSE:
        return terms
    terms["stage"] += 2.0
    if now.distance > AT_TARGET:
        return terms | {"approach": _approach(now), "distance": -2.0 * now.distance}
    terms["stage"] += 2.0
    if now.speed <= SLOW and now.angular_speed <= SLOWLY_TURNING:
        terms["stage"] += 2.0
    return terms | {"rest": 2.0 * float(np.exp(-10.0 * now.speed))}


def dense_reward(now: Situation, action: np.ndarray) -> float:
    """The reward of a step, see `reward_terms`."""
    return SCALE * sum(reward_terms(now, action).values())


def _approach(now: Situation) -> float:
    """2 · max(−1, 1 − exp(v cos φ)), φ being the angle between the chair's way over the floor and the way outwards."""
    over_floor = now.velocity[:2]
    outwards = float(over_floor @ now.position) / (float(np.linalg.norm(over_floor)) * now.distance + 1e-9)
    return 2.0 * max(-1.0, 1.0 - float(np.exp(outwards * now.speed)))
