"""What policies do on PushChair, beside their returns: how near the fingers come, and where the chair ends.

    python -m benchmarks.push_chair_behaviour RUN_DIR [RUN_DIR ...] --json benchmarks/results/push_chair-behaviour.json

The final policies of finished `push-chair-state` runs, with sampled actions, and the scripted policy that pushes with
the base, on the same starts, every chair on others. Rows hold means over `--episodes` episodes with each chair: return,
success at any step, the fingers' distance to the chair (median over steps), the share of steps in which the robot has
reached it (the reward's next stage), and the chair's distance from the target at the start and at the end, in metres.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.reporting import Row, arguments, report
from gsljax.api import load_policy
from gsljax.envs.push_chair import CHAIRS, HORIZON
from gsljax.envs.push_chair.lane import PushChairLane
from gsljax.envs.push_chair.reward import CLOSE
from gsljax.envs.push_chair.scripted import pushing_action

Choose = Callable[[PushChairLane, np.ndarray], np.ndarray]
"""A lane and its observation to an action `[22]`."""


def learnt(run_dir: Path) -> Choose:
    """The run's final policy."""
    policy = load_policy(run_dir)
    act, keys = jax.jit(policy.act), iter(jax.random.split(jax.random.key(0), 10**6))

    def choose(lane: PushChairLane, observation: np.ndarray) -> np.ndarray:
        del lane
        return np.asarray(act(policy.state, observation[None], next(keys)).action[0])

    return choose


def scripted(lane: PushChairLane, observation: np.ndarray) -> np.ndarray:
    """The scripted policy's action."""
    del observation
    return pushing_action(lane.task)


def episode(lane: PushChairLane, seed: int, choose: Choose) -> dict[str, float]:
    """What happened in one."""
    observation = lane.reset(seed)
    start, reaches, total, succeeded = lane.task.situation().distance, [], 0.0, False
    for _ in range(HORIZON):
        step = lane.step(choose(lane, observation))
        observation, total, succeeded = step.observation, total + step.reward, succeeded or step.success
        reaches.append(lane.task.situation().reach)
    return {
        "value": total,
        "success": float(succeeded),
        "reach": float(np.median(reaches)),
        "reached": float(np.mean(np.array(reaches) < CLOSE)),
        "distance at the start": start,
        "distance at the end": lane.task.situation().distance,
    }


def behaviour(name: str, lanes: list[PushChairLane], choose: Choose, episodes: int) -> Row:
    """The means over all chairs."""
    starts = [(lane, chair * episodes + number) for chair, lane in enumerate(lanes) for number in range(episodes)]
    found: list[dict[str, Any]] = [episode(lane, seed, choose) for lane, seed in starts]
    means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    return {"name": name, "unit": "return of an episode", "episodes": len(found), **means}


def main() -> None:
    """Play and report."""
    parser = arguments("What policies do on PushChair.")
    parser.add_argument("runs", type=Path, nargs="*", help="finished runs of push-chair-state")
    parser.add_argument("--episodes", type=int, default=2, help="with each chair")
    given = parser.parse_args()
    lanes = [PushChairLane(chair, "state", physics_frequency=100, horizon=HORIZON) for chair in range(len(CHAIRS))]
    policies = {"scripted": scripted} | {run.name: learnt(run) for run in given.runs}
    report([behaviour(name, lanes, choose, given.episodes) for name, choose in policies.items()], given.json)


if __name__ == "__main__":
    main()
