"""What PushChair's lanes cost: steps per second in worker processes, how long these take to start, and their memory.

    python -m benchmarks.push_chair --json benchmarks/results/push_chair-<hardware>.json

Rows are environment steps per second over all lanes, medians of timings after a warm-up, with actions drawn before:
`raw`, one environment in this process without workers; and 1 and 2 workers with the same number of lanes each, through
`gsljax.envs.Pools`, in both modes. `start` is from opening to the first observations of all lanes; the memory is the
mean resident one of a worker, of which the shared libraries' is counted in every worker. With `--returns N` the
last rows are what a robot returns that does nothing, over an episode with each chair, and one that moves at random,
over N with each, in the mode of `--returns-mode`; and how many numbers of their observations and returns were not
finite.
"""

import argparse
import os
import statistics
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.reporting import Row, arguments, report
from gsljax.cloud_layout import unpack
from gsljax.envs import LivePools
from gsljax.envs.protocol import Choose
from gsljax.envs.push_chair import CHAIRS, push_chair
from gsljax.envs.push_chair.lane import Mode, make_lane
from gsljax.envs.push_chair.observation import CLOUD_LAYOUT, NUM_ACTIONS
from gsljax.episodes import play_episodes

MODES: tuple[Mode, ...] = ("state", "cloud")


def drawn_actions(steps: int, lanes: int) -> np.ndarray:
    """In [-1, 1], `[steps, 1, lanes, 22]`."""
    return np.random.default_rng(0).uniform(-1, 1, (steps, 1, lanes, 22)).astype(np.float32)


def raw_rate(mode: Mode, frequency: int, steps: int, repeats: int) -> float:
    """Steps per second of one chair in this process."""
    lane, actions = make_lane(0, (0,), mode, frequency, horizon=10**9), drawn_actions(steps, 1)[:, 0, 0]
    seconds = []
    for repeat in range(repeats + 1):
        lane.reset(repeat)
        started = time.perf_counter()
        for action in actions:
            lane.step(action)
        seconds.append(time.perf_counter() - started)
    return steps / statistics.median(seconds[1:])


def step_all(live: LivePools, actions: np.ndarray) -> None:
    """Step every half with its actions `[steps, 1, lanes, 22]`, one while the other is received from."""
    halves = range(len(live.halves))
    for half in halves:
        live.send(half, actions[0][:, live.halves[half]])
    for index in range(len(actions)):
        for half in halves:
            live.receive(half)
            if index + 1 < len(actions):
                live.send(half, actions[index + 1][:, live.halves[half]])


def worker_mebibytes() -> float:
    """Mean resident memory of this process's workers."""
    command = ["ps", "-ww", "-o", "rss=,args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return statistics.mean(int(line.split()[0]) / 1024 for line in listed if "lane_process" in line)


def rows_of(mode: Mode, frequency: int, workers: int, lanes: int, steps: int, repeats: int) -> list[Row]:
    """One number of workers with `lanes` lanes for each of them, on chairs in turn."""
    count = workers * lanes
    environment = push_chair(mode, frequency, num_workers=workers)
    choices = jnp.asarray(np.arange(count)[None, :, None] % len(CHAIRS), jnp.int32)
    assignment = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), 1), choices)
    actions = drawn_actions(steps, count)
    started = time.perf_counter()
    with environment.open(jax.device_get(assignment)) as live:
        starting = time.perf_counter() - started
        step_all(live, actions[:10])
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            step_all(live, actions)
            seconds.append(time.perf_counter() - started)
        memory = worker_mebibytes()
    name = f"{mode}, {frequency} Hz, {workers} workers x {lanes} lanes"
    return [
        {"name": name, "value": count * steps / statistics.median(seconds), "unit": "steps/s", "start": starting},
        {"name": f"{name}: a worker's memory", "value": memory, "unit": "MiB"},
    ]


def not_finite_in(mode: Mode, observation: np.ndarray) -> int:
    """How many numbers of observations are not finite; a cloud's are the points' and the state's."""
    if mode == "state":
        return int(np.count_nonzero(~np.isfinite(observation)))
    xyz, _, state = unpack(CLOUD_LAYOUT, observation)
    return sum(int(np.count_nonzero(~np.isfinite(part))) for part in (xyz, state))


def return_rows(mode: Mode, frequency: int, workers: int, episodes: int) -> list[Row]:
    """Mean return of whole episodes with each chair, by two policies that need no learning; and what was not finite."""
    random = np.random.default_rng(0)

    def stay(half: int, observation: np.ndarray, step: int) -> np.ndarray:
        return np.zeros((*observation.shape[:2], NUM_ACTIONS), np.float32)

    def move_at_random(half: int, observation: np.ndarray, step: int) -> np.ndarray:
        return random.uniform(-1, 1, (*observation.shape[:2], NUM_ACTIONS))

    policies: dict[str, tuple[Choose, int]] = {"no motion": (stay, 1), "random actions": (move_at_random, episodes)}
    environment, rows = push_chair(mode, frequency, num_workers=workers), []
    choices = jnp.arange(len(CHAIRS), dtype=jnp.int32)[None, :, None]
    assignment = jax.device_get(jax.vmap(environment.reset)(jax.random.split(jax.random.key(1), 1), choices))
    for name, (choose, per_chair) in policies.items():
        not_finite = 0

        def checked(half: int, observation: np.ndarray, step: int, choose: Choose = choose) -> np.ndarray:
            nonlocal not_finite
            not_finite += not_finite_in(mode, observation)
            return choose(half, observation, step)

        with environment.open(assignment) as live:
            returns = play_episodes(live, checked, per_chair).episode_return
        not_finite += int(np.count_nonzero(~np.isfinite(returns)))
        row: Row = {"name": f"{mode}, {name}: return of an episode", "value": float(returns.mean()), "unit": ""}
        row |= {"worst": float(returns.min()), "best": float(returns.max())}
        rows.append(row | {"episodes": returns.size, "numbers that are not finite": not_finite})
    return rows


def main() -> None:
    """Time both modes with 1 and 2 workers and report."""
    parser: argparse.ArgumentParser = arguments("Steps per second of PushChair.")
    parser.add_argument("--steps", type=int, default=200, help="steps of every lane in one timing")
    parser.add_argument("--lanes", type=int, default=4, help="lanes for each worker")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--physics-frequency", type=int, default=100)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES), help="none: only --returns")
    parser.add_argument("--returns", type=int, default=0, help="episodes at random with each chair")
    parser.add_argument("--returns-mode", choices=MODES, default="state", help="of these episodes")
    given = parser.parse_args()
    rows: list[Row] = []
    for mode in given.modes:
        frequency = given.physics_frequency
        raw = raw_rate(mode, frequency, given.steps, given.repeats)
        rows.append({"name": f"{mode}, {frequency} Hz: raw", "value": raw, "unit": "steps/s"})
        for workers in given.workers:
            rows += rows_of(mode, frequency, workers, given.lanes, given.steps, given.repeats)
        print(f"{mode}: measured", flush=True)
    if given.returns:
        rows += return_rows(given.returns_mode, given.physics_frequency, max(given.workers), given.returns)
    report(rows, given.json)


if __name__ == "__main__":
    main()
