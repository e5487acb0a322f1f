"""How fast MT-10 trains, end to end: the preset's generalist, four specialists as one population, the Python package.

    python -m benchmarks.meta_world --json benchmarks/results/meta_world-<hardware>.json

Rows are environment steps per second over all lanes and members, medians of timings taken in turns, after a warm-up.
`raw` is the plain loop over EnvPool's own pools with actions drawn beforehand; `collect` is a rollout with the preset's
networks; `epoch` is all of training: collect, PPO's update as in the preset, bookkeeping. `env`, `act` and `update` are
shares of the epoch's time: waiting for the pools, the policy with its transfers (while the other half of the lanes
steps), the update. `of raw` compares with the raw loop of the same pools: what part of the time they alone would take.

The last row is the usual way: the tasks of the `metaworld` package, a process for each lane in Gymnasium's
`AsyncVectorEnv`, under the same PPO. `--python-lanes 0` leaves it out.
"""

import argparse
import importlib
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.feed import Case, opened, random_actions, raw_pools, step_raw
from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.envs import GymnasiumAdapter, Pools
from gsljax.envs.meta_world import MT10, meta_world
from gsljax.envs.protocol import LivePools
from gsljax.gsl.agent import make_algorithm
from gsljax.gsl.config import TrainingConfig
from gsljax.gsl.training import begin, make_train_from_pools
from gsljax.presets.meta_world import MT10_CONFIG, make_environment
from gsljax.rollout import make_collect_from_pools

SPECIALIST_TASKS = ("push-v3", "pick-place-v3", "drawer-open-v3", "peg-insert-side-v3")
"""Those at which the preset's generalist usually fails."""


class Training:
    """A population of the preset's PPO beside open pools, fresh from its initialisation."""

    def __init__(self, case: Case, live: LivePools, settings: TrainingConfig, steps: int):
        """Compile nothing yet; `steps` are of a rollout."""
        spec, members = case.environment.spec, len(case.choices)
        algorithm = make_algorithm(settings.ppo, MT10_CONFIG.network, spec)
        init = jax.vmap(partial(algorithm.init, rollout_shape=(steps, case.lanes)))
        keys = jax.random.split(jax.random.key(0), (2, members))
        first = jax.jit(jax.vmap(lambda *one: begin(case.environment, one[0], one[1], case.lanes, one[2])))
        self._carry = first(init(keys[0]), jnp.asarray(case.choices, jnp.int32), keys[1])
        self._live, self._steps = live, steps
        self._collect = make_collect_from_pools(algorithm.act, "vmap")
        self._train = make_train_from_pools(algorithm, spec.num_variations, steps, "vmap")
        self.times: list[dict[str, float]] = []

    def collect(self) -> None:
        """One rollout."""
        self._collect(self._live, self._carry.state, self._carry.key, self._steps)

    def epoch(self) -> None:
        """One rollout, learnt from; its time split goes to `times`."""
        self._carry, _, times = self._train(self._live, self._carry, None)
        self.times.append(times)

    def split(self) -> dict[str, float]:
        """Medians of the shares, of all epochs after the first, which compiled."""
        parts = {name: float(np.median([one[name] for one in self.times[1:]])) for name in ("env", "act", "update")}
        return {name: seconds / sum(parts.values()) for name, seconds in parts.items()}


def rows_of(case: Case, settings: TrainingConfig, steps: int, repeats: int) -> list[Row]:
    """Raw loop, collecting and whole epochs, timed in turns."""
    played = random_actions(case, steps)
    raw = raw_pools(case)
    for pool in raw:
        pool.reset()
    each = case.all_lanes // len(raw)
    by_pool = played.reshape(steps, len(raw), each, played.shape[-1]).astype(np.float64)

    with opened(case) as live:
        training = Training(case, live, settings, steps)
        programs = {"raw": partial(step_raw, raw, by_pool), "collect": training.collect, "epoch": training.epoch}
        seconds = interleaved_medians(programs, repeats)
    rate = {name: case.all_lanes * steps / one for name, one in seconds.items()}
    rows: list[Row] = [
        {"name": f"{case.name}: {name}", "value": rate[name], "unit": "steps/s", "of raw": rate[name] / rate["raw"]}
        for name in programs
    ]
    rows[-1] |= training.split()
    return rows


def python_row(lanes: int, steps: int, repeats: int) -> Row:
    """The package's ten tasks with `lanes` processes each, under the preset's PPO."""
    importlib.import_module("metaworld")  # which registers its environments

    def open_pool(variations: tuple[int, ...], seeds: list[int], num_threads: int) -> GymnasiumAdapter:
        del num_threads
        make: Any = partial(gymnasium.make, "Meta-World/MT1", env_name=MT10[variations[0]])
        return GymnasiumAdapter(gymnasium.vector.AsyncVectorEnv([make] * len(seeds)), seeds)

    spec = meta_world(MT10, task_id=False).spec
    case = Case(
        f"the metaworld package, 10 x {lanes} processes", Pools(spec, open_pool), np.arange(10)[None], 10 * lanes
    )
    with opened(case) as live:
        training = Training(case, live, MT10_CONFIG.generalist, steps)
        seconds = interleaved_medians({"epoch": training.epoch}, repeats)["epoch"]
    return {
        "name": f"{case.name}: epoch", "value": case.all_lanes * steps / seconds, "unit": "steps/s", **training.split()
    }  # fmt: skip


def main() -> None:
    """Time everything and report."""
    parser: argparse.ArgumentParser = arguments("How fast MT-10 trains, end to end.")
    parser.add_argument("--lanes", type=int, default=MT10_CONFIG.generalist.lanes, help="of the generalist")
    parser.add_argument("--steps", type=int, default=MT10_CONFIG.rollout_steps, help="of a rollout")
    parser.add_argument("--python-lanes", type=int, default=1, help="processes for each task of the metaworld package")
    given = parser.parse_args()
    environment = make_environment(MT10_CONFIG)
    tasks = np.array([[MT10.index(task)] for task in SPECIALIST_TASKS])
    lanes = MT10_CONFIG.specialist.lanes
    generalist = Case(f"MT-10, {given.lanes} lanes", environment, np.arange(10)[None], given.lanes)
    specialists = Case(f"{len(tasks)} specialists x {lanes} lanes", environment, tasks, lanes)
    rows = rows_of(generalist, MT10_CONFIG.generalist, given.steps, given.repeats)
    rows += rows_of(specialists, MT10_CONFIG.specialist, given.steps, given.repeats)
    if given.python_lanes:
        row = python_row(given.python_lanes, given.steps, given.repeats)
        rows.append(row | {"ours": rows[2]["value"] / row["value"]})
    report(rows, given.json)


if __name__ == "__main__":
    main()
