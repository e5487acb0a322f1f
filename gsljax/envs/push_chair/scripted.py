"""A scripted policy that pushes every chair to the target: it knows more than observations tell."""

from typing import Any

import numpy as np

from gsljax.envs.push_chair.frames import wrapped

BASE_SPEED, TURNING = 0.5, np.pi
"""What a full action stands for, in m/s and about rad/s."""


def pushing_action(task: Any) -> np.ndarray:
    """Drive around the chair to the side that faces away from the target, then push; `[22]`, the arms hold still."""
    robot, chair = task.robot_reading().frame, task.chair_reading().position[:2]
    to_robot = robot.position - chair
    distance, gap = np.linalg.norm(chair), np.linalg.norm(to_robot)
    outwards, away = chair / distance, to_robot / gap
    around = np.array([-away[1], away[0]])
    angle = np.arctan2(outwards[0] * to_robot[1] - outwards[1] * to_robot[0], outwards @ to_robot)
    if distance < 0.08:  # let the chair rest
        velocity = 0.3 * away
    elif abs(angle) > 0.5:  # circle around it, a metre away
        velocity = -np.sign(angle) * 0.5 * around + np.clip(2 * (1.05 - gap), -0.5, 0.5) * away
    elif abs(angle) > 0.15:
        velocity = -np.sign(angle) * 0.4 * around - 0.15 * away
    else:  # push, the slower the nearer
        velocity = -np.clip(distance, 0.12, 0.5) * away - 1.5 * angle * around
    action = np.zeros(22, np.float32)
    action[:2] = robot.vectors(np.array([*velocity, 0.0]))[:2] / BASE_SPEED
    action[2] = 2 * wrapped(np.arctan2(-away[1], -away[0]) - robot.yaw) / TURNING
    return np.clip(action, -1, 1)
