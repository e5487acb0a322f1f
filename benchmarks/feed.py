"""What the host-side feed costs beside the environments themselves.

    python -m benchmarks.feed --json benchmarks/results/feed-<hardware>.json

Rows are environment steps per second over all lanes, medians of timings taken in turns, after a warm-up. `raw` is the
plain loop over EnvPool's public `send` and `recv`, all pools sent to before one is received from; `feed` steps the same
number of lanes through `gsljax.envs.Pools`, which joins and masks everything, with a free policy (actions drawn
beforehand); `collect, free policy` is `make_collect_from_pools` with random actions, so with every observation moved to
the device and recorded there; `collect` has the real network. `of raw` compares with the raw loop. `env`, `act` and
`transfer` are shares of the time: waiting for pools, the policy with its transfers, and a measured copy of all
observations to the device, which is part of `act`.

`--soak STEPS` instead steps 300 one-level pools that often and reports memory and threads.
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.algorithms.base import ActorOutput
from gsljax.envs import LivePools, Pools
from gsljax.envs.meta_world import MT10, meta_world
from gsljax.envs.pools import threads_per_pool
from gsljax.envs.procgen import procgen
from gsljax.gsl.training import acting_strategy
from gsljax.networks import ActorCritic, ImpalaActorCritic
from gsljax.rollout import make_collect_from_pools


class Case(NamedTuple):
    """A population of pools: its environment, and `members` of `lanes` lanes each with `choices` `[members, K]`."""

    name: str
    environment: Pools
    choices: np.ndarray
    lanes: int

    @property
    def all_lanes(self) -> int:
        """Lanes of all members."""
        return len(self.choices) * self.lanes


def cases(names: Sequence[str], num_pools: int) -> list[Case]:
    """The sizes to be measured."""
    members = num_pools // 4
    levels = np.arange(4 * members).reshape(members, 4)

    def bigfish(lanes: int) -> Case:
        return Case(f"bigfish, {lanes} lanes", procgen("bigfish"), np.arange(1024)[None], lanes)

    def mt10(lanes: int) -> Case:
        return Case(f"MT-10, 10 x {lanes} lanes", meta_world(MT10), np.arange(10)[None], 10 * lanes)

    def one_level(lanes: int) -> Case:
        environment = procgen("bigfish", range(4 * members))
        return Case(f"bigfish, {4 * members} one-level pools x {lanes} lanes", environment, levels, 4 * lanes)

    made: dict[str, Callable[[], Case]] = {
        "procgen-64": lambda: bigfish(64),
        "procgen-512": lambda: bigfish(512),
        "mt10-1": lambda: mt10(1),
        "mt10-8": lambda: mt10(8),
        "pools-2": lambda: one_level(2),
        "pools-8": lambda: one_level(8),
    }
    return [made[name]() for name in names]


def opened(case: Case) -> LivePools:
    """The case's pools."""
    keys = jax.random.split(jax.random.key(0), len(case.choices))
    rows = jnp.asarray(np.repeat(case.choices[:, None], case.lanes, axis=1), jnp.int32)
    return case.environment.open(jax.vmap(case.environment.reset)(keys, rows))


def random_actions(case: Case, count: int) -> np.ndarray:
    """`[count, P, N, ...]`."""
    random, action = np.random.default_rng(0), case.environment.spec.action
    shape = count, len(case.choices), case.lanes
    if action.num_actions is not None:
        return random.integers(0, action.num_actions, shape, dtype=np.int32)
    return random.uniform(-1, 1, (*shape, action.dimension or 0)).astype(np.float32)


def raw_pools(case: Case) -> list[Any]:
    """EnvPool's own pools for the case: one, or one per variation, with threads as the feed would choose them."""
    adapters = []
    if case.environment.can_draw(tuple(case.choices[0].tolist())) and len(case.choices) == 1:
        adapters.append(case.environment.open_pool(tuple(case.choices[0].tolist()), list(range(case.lanes)), cores()))
    else:
        for variation in case.choices.ravel().tolist():
            lanes = case.all_lanes // case.choices.size
            threads = threads_per_pool(case.choices.size)
            adapters.append(case.environment.open_pool((variation,), list(range(lanes)), threads))
    return [adapter._pool for adapter in adapters]


def step_raw(pools: list[Any], actions: np.ndarray) -> None:
    """Step EnvPool's own pools with actions `[T, pools, lanes, ...]`: all are sent to before one is received from."""
    for of_pools in actions:
        for pool, action in zip(pools, of_pools, strict=True):
            pool.send(action)
        for pool in pools:
            pool.recv()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def free_policy(case: Case) -> Callable[..., ActorOutput]:
    """Random actions, without a network."""
    action = case.environment.spec.action

    def act(state, observation, key, deterministic=False):
        lanes = observation.shape[0]
        if action.num_actions is not None:
            chosen = jax.random.randint(key, (lanes,), 0, action.num_actions)
        else:
            chosen = jax.random.uniform(key, (lanes, action.dimension or 0), minval=-1)
        return ActorOutput(chosen, jnp.zeros(lanes), jnp.zeros(lanes))

    return act


def rows_of(case: Case, steps: int, network_steps: int, repeats: int) -> list[Row]:
    """Raw loop, feed, and collecting with both policies, timed in turns."""
    spec, members = case.environment.spec, len(case.choices)
    played = random_actions(case, steps)
    raw, live = raw_pools(case), opened(case)
    for pool in raw:
        pool.reset()
    lanes_each = case.all_lanes // len(raw)
    raw_type = np.int32 if spec.action.is_discrete else np.float64
    raw_played = played.reshape(steps, len(raw), lanes_each, *played.shape[3:]).astype(raw_type)

    def raw_loop() -> None:
        step_raw(raw, raw_played)

    def feed_loop() -> None:
        halves = range(len(live.halves))
        for half in halves:
            live.send(half, played[0][:, live.halves[half]])
        for index in range(steps):
            for half in halves:
                live.receive(half)
                if index + 1 < steps:
                    live.send(half, played[index + 1][:, live.halves[half]])

    keys = jax.random.split(jax.random.key(1), members)
    image = len(spec.observation_shape) == 3
    network = ImpalaActorCritic(spec.action) if image else ActorCritic(spec.action, hidden=(256, 256))
    algorithm = make_ppo(network, spec, PPOConfig())
    states = jax.vmap(algorithm.init)(keys)
    free = make_collect_from_pools(free_policy(case))
    real = make_collect_from_pools(algorithm.act, acting_strategy("auto", states))
    split: dict[str, list[Any]] = {"collect, free policy": [], "collect": []}

    def collect_free() -> None:
        split["collect, free policy"].append(free(live, states, keys, steps)[1])

    def collect_real() -> None:
        split["collect"].append(real(live, states, keys, network_steps)[1])

    programs = {"raw": raw_loop, "feed": feed_loop, "collect, free policy": collect_free, "collect": collect_real}
    seconds = interleaved_medians(programs, repeats)
    counts = {name: network_steps if name == "collect" else steps for name in programs}
    one = np.array(live.observation(0))
    copying = interleaved_medians({"copy": lambda: jax.device_put(one, may_alias=False)}, 20)["copy"]
    live.close()
    rate = {name: case.all_lanes * counts[name] / seconds[name] for name in programs}
    rows: list[Row] = []
    for name in programs:
        row: Row = {"name": f"{case.name}: {name}", "value": rate[name], "unit": "steps/s"}
        row["of raw"] = rate[name] / rate["raw"]
        if name in split:
            env, act = (float(np.median([getattr(each, part) for each in split[name][1:]])) for part in ("env", "act"))
            row |= {"env": env / (env + act), "act": act / (env + act)}
            row["transfer"] = copying * len(live.halves) * counts[name] / (env + act)
        rows.append(row)
    return rows


def metaworld_row(steps: int, repeats: int) -> Row:
    """The Python package's vector environment of one task, in one process, beside 8 lanes of the feed."""
    importlib.import_module("metaworld")  # which registers its environments
    env: Any = gymnasium.make_vec("Meta-World/MT1", env_name="reach-v3", num_envs=1, vectorization_mode="sync")
    env.reset(seed=0)
    action = np.zeros((1, 4), np.float32)
    case = Case("reach-v3", meta_world(("reach-v3",)), np.zeros((1, 1), int), 8)
    live = opened(case)
    actions = np.zeros((1, 4, 4), np.float32)

    def python_loop() -> None:
        for _ in range(steps):
            env.step(action)

    def feed_loop() -> None:
        for _ in range(steps):
            for half in (0, 1):
                live.send(half, actions)
            for half in (0, 1):
                live.receive(half)

    seconds = interleaved_medians({"python": python_loop, "feed": feed_loop}, repeats)
    env.close()
    live.close()
    python, feed = steps / seconds["python"], 8 * steps / seconds["feed"]
    return {
        "name": "reach-v3, 8 lanes: feed beside the Python package (one process)", "value": feed, "unit": "steps/s",
        "python steps/s": python, "of python": feed / python,
    }  # fmt: skip


def soak(num_pools: int, steps: int) -> list[Row]:
    """Memory and threads while 300 pools of 2 lanes step."""
    (case,) = cases(["pools-2"], num_pools)
    before = tasks()
    live = opened(case)
    played = random_actions(case, 64)
    rows: list[Row] = []

    def note(name: str) -> None:
        rows.append({"name": name, "value": resident_mebibytes(), "unit": "MiB", "threads": tasks()})

    started = time.perf_counter()
    rounds = max(1, steps // case.all_lanes)
    for index in range(rounds):
        for half in (0, 1):
            live.send(half, played[index % 64][:, live.halves[half]])
        for half in (0, 1):
            live.receive(half)
        if index in (rounds // 10, rounds // 2, rounds - 1):
            note(f"after {(index + 1) * case.all_lanes:,} steps")
    rate = rounds * case.all_lanes / (time.perf_counter() - started)
    live.close()
    note(f"closed ({before} threads before it was opened; {rate:,.0f} steps/s)")
    return rows


def resident_mebibytes() -> float:
    """Memory of this process that is in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def tasks() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))


def main() -> None:
    """Time every case and report."""
    everything = ["procgen-64", "procgen-512", "mt10-1", "mt10-8", "pools-2", "pools-8"]
    parser: argparse.ArgumentParser = arguments("Cost of the host-side feed.")
    parser.add_argument("--cases", nargs="*", default=everything, choices=everything)
    parser.add_argument("--samples", type=int, default=20_000, help="steps of all lanes in one timing")
    parser.add_argument("--network-samples", type=int, default=2_000, help="the same where the real network acts")
    parser.add_argument("--pools", type=int, default=300, help="how many the one-level cases and the soak have")
    parser.add_argument("--python-steps", type=int, default=0, help="also step the metaworld package this often")
    parser.add_argument("--soak", type=int, help="only step the one-level pools this often")
    given = parser.parse_args()
    if given.soak is not None:
        report(soak(given.pools, given.soak), given.json)
        return
    rows: list[Row] = []
    for case in cases(given.cases, given.pools):
        steps, network_steps = (max(2, count // case.all_lanes) for count in (given.samples, given.network_samples))
        rows += rows_of(case, steps, network_steps, given.repeats)
        print(f"{case.name}: measured", flush=True)
    if given.python_steps:
        rows.append(metaworld_row(given.python_steps, given.repeats))
    report(rows, given.json)


if __name__ == "__main__":
    main()
