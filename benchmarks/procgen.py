"""What an epoch of Procgen costs end to end: the generalist, and the whole population of specialists.

    python -m benchmarks.procgen --json FILE [--cases generalist specialists] [--dtypes float32 bfloat16]

Every row is one kind of epoch of `gsljax.gsl.training` with the settings of the preset `procgen-bigfish`: a rollout
from pools, then PPO's update. `value` is environment steps per second over all lanes of all members, resets included,
of the median epoch after the first one; compile time is in a column of its own. `env`, `act` and `update` are the
shares of that epoch; `update samples/s` counts the update alone, `collect steps/s` the rollout alone. `of the
generalist` compares with the generalist's first row of the same precision. `benchmarks.feed` has the pools without a
network.

A way is how convolutions are computed and how members run, as in `conv/vmap`: see `gsljax.networks.conv` and
`gsljax.population.over_members`. Rows are written as soon as they are measured. `--small` takes sizes for a CPU.
"""

import dataclasses
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.reporting import Row, arguments, report, write
from gsljax.envs.protocol import PooledEnvironment
from gsljax.gsl.agent import make_algorithm
from gsljax.gsl.config import TrainingConfig
from gsljax.gsl.network_config import ImageNetworkConfig
from gsljax.gsl.training import Carry, acting_strategy, begin, chosen_strategy, make_train_from_pools
from gsljax.networks.conv import Compute
from gsljax.presets import PRESETS

PRESET = PRESETS["procgen-bigfish"]
PARTS = ("env", "act", "update")


class Case(NamedTuple):
    """One kind of epoch: `variations` `[P, K]` of each member, its lanes and the steps of its rollout, its settings."""

    name: str
    variations: np.ndarray
    lanes: int
    steps: int
    training: TrainingConfig

    @property
    def lane_steps(self) -> int:
        """Steps of all lanes of all members in one epoch."""
        return len(self.variations) * self.lanes * self.steps


def cases(names: Sequence[str], small: bool) -> list[Case]:
    """The generalist with the paper's lanes and with more, and the specialists."""
    config = PRESET.config
    steps = 16 if small else config.rollout_steps
    every = np.arange(PRESET.make_environment(config).spec.num_variations)[None]
    made: list[Case] = []
    if "generalist" in names:
        for lanes in (4, 8) if small else (64, 256):
            made.append(_case(f"generalist, {lanes} x {steps}", every, lanes, steps, config.generalist))
    if "specialists" in names:
        count, width = (3, 4) if small else (config.num_specialists, config.variations_per_specialist)
        lanes = 4 if small else config.specialist.lanes
        own = np.random.default_rng(0).choice(every[0], (count, width), replace=False)  # in no order: a pool for each
        made.append(_case(f"{count} specialists, {lanes} x {steps}", own, lanes, steps, config.specialist))
    return made


def _case(name: str, variations: np.ndarray, lanes: int, steps: int, training: TrainingConfig) -> Case:
    """With the preset's number of minibatches, eight, however many lanes there are."""
    ppo = dataclasses.replace(training.ppo, minibatch_size=max(1, lanes * steps // 8))
    return Case(name, variations.astype(np.int32), lanes, steps, dataclasses.replace(training, lanes=lanes, ppo=ppo))


def first_carry(case: Case, algorithm: Any, environment: Any) -> Carry:
    """The population at its start."""

    def first(variations: jax.Array, key: jax.Array) -> Carry:
        member = algorithm.init(key, (case.steps, case.lanes))
        return begin(environment, member, variations, case.lanes, key)

    keys = jax.random.split(jax.random.key(0), len(case.variations))
    return jax.jit(jax.vmap(first))(jnp.asarray(case.variations), keys)


def measure(case: Case, network: ImageNetworkConfig, way: str, repeats: int) -> Row:
    """Train for `repeats` epochs beside the case's pools, after one that compiles."""
    environment = PRESET.make_environment(PRESET.config)
    assert isinstance(environment, PooledEnvironment)
    compute, strategy = way.split("/")
    network = dataclasses.replace(network, compute=compute)
    algorithm = make_algorithm(case.training.ppo, network, environment.spec)
    carry = first_carry(case, algorithm, environment)
    run_as: Any = int(strategy) if strategy.isdigit() else strategy
    train_epoch = make_train_from_pools(
        algorithm,
        environment.spec.num_variations,
        case.steps,
        chosen_strategy(run_as, carry.state),
        acting_strategy(run_as, carry.state),
    )
    with environment.open(jax.device_get(carry.lanes)) as live:
        carry, _, first = train_epoch(live, carry, None)
        seconds: list[float] = []
        splits: list[dict[str, float]] = []
        for _ in range(repeats):
            started = time.perf_counter()
            carry, _, split = train_epoch(live, carry, None)
            seconds.append(time.perf_counter() - started)
            splits.append(split)
    part = {name: median(split[name] for split in splits) for name in PARTS}
    row: Row = {"name": f"{case.name}: {network.dtype}, {way}", "value": case.lane_steps / median(seconds)}
    row["unit"] = "steps/s"
    row |= {name: part[name] / sum(part.values()) for name in PARTS}
    row["collect steps/s"] = case.lane_steps / (part["env"] + part["act"])
    row["update samples/s"] = case.lane_steps / part["update"]
    return row | {"compile seconds": first["compile"], "epochs": repeats}


def main() -> None:
    """Measure every case in every precision and way."""
    parser = arguments("Epochs of Procgen's generalist and specialists, end to end.")
    parser.add_argument(
        "--cases", nargs="+", default=["generalist", "specialists"], choices=["generalist", "specialists"]
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    computes = get_args(Compute)
    parser.add_argument("--generalist-compute", choices=computes, default="auto", help="of its convolutions")
    ways = [f"{compute}/{strategy}" for compute in computes for strategy in ("auto", "vmap", "map", "4", "16")]
    parser.add_argument("--ways", nargs="+", default=["auto/auto"], choices=ways, help="of the specialists")
    parser.add_argument("--small", action="store_true", help="sizes for trying it on a CPU")
    given = parser.parse_args()
    rows: list[Row] = []
    for dtype in given.dtypes:
        network = ImageNetworkConfig((8, 8), 32, dtype) if given.small else ImageNetworkConfig(dtype=dtype)
        generalist: float | None = None
        for case in cases(given.cases, given.small):
            is_population = len(case.variations) > 1
            for way in given.ways if is_population else [f"{given.generalist_compute}/auto"]:
                row = measure(case, network, way, given.repeats)
                if generalist is None and not is_population:
                    generalist = row["value"]
                if generalist is not None:
                    row["of the generalist"] = row["value"] / generalist
                rows.append(row)
                write(rows, given.json)
                print(f"{row['name']}: {row['value']:,.0f} steps/s", flush=True)
    report(rows, given.json)


if __name__ == "__main__":
    main()
