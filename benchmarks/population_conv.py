"""The conv study: a population of IMPALA networks, forward and backward, under each way to compute its convolutions.

    python -m benchmarks.population_conv --json benchmarks/results/population_conv-<hardware>.json

P members share one total batch of 64 × 64 × 3 images. A row is the forward pass or the gradient of a loss in samples
per second over all members: `conv`, `patches` and `taps` are `gsljax.networks.conv`'s formulations under `vmap`,
`map` is `lax.map` over members with the ordinary convolution, `loop` calls the compiled single net once per member.
`of the single net` compares with one member that has the whole batch, computed by `conv`; compile seconds apart.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.networks import ImpalaActorCritic
from gsljax.networks.conv import Compute
from gsljax.population import over_members
from gsljax.types import ActionSpec

WAYS = ("conv", "patches", "taps", "map", "loop")
NUM_ACTIONS = 15


def loss(network: ImpalaActorCritic, params: Any, images: jax.Array) -> jax.Array:
    """Touches every head: the log-probability of the first action, and the value."""
    policy, value = network.apply(params, images)  # pyright: ignore[reportGeneralTypeIssues]
    return jnp.mean(policy.log_prob(jnp.zeros(len(images), jnp.int32)) + jnp.square(value))  # pyright: ignore


def programs(way: str, members: int, batch: int, dtype: Any, compile_seconds: dict[str, float]) -> dict[str, Any]:
    """Forward and gradient of a population, compiled; their names say what they are."""
    compute: Compute = way if way in ("conv", "patches", "taps") else "conv"  # pyright: ignore[reportAssignmentType]
    network = ImpalaActorCritic(ActionSpec(num_actions=NUM_ACTIONS), compute=compute, dtype=dtype)
    images = jax.random.randint(jax.random.key(1), (members, batch // members, 64, 64, 3), 0, 256).astype(jnp.uint8)
    params = jax.jit(jax.vmap(lambda key: network.init(key, images[0, :1])))(
        jax.random.split(jax.random.key(0), members)
    )
    made = {}
    for kind, one in (("forward", partial(loss, network)), ("gradient", jax.grad(partial(loss, network)))):
        name = f"{kind} {way} P={members}"
        started = time.perf_counter()
        if way == "loop":
            compiled = jax.jit(one).lower(*jax.tree.map(lambda x: x[0], (params, images))).compile()
            parts = [jax.tree.map(lambda x, i=i: x[i], (params, images)) for i in range(members)]
            made[name] = lambda compiled=compiled, parts=parts: [compiled(*part) for part in parts]
        else:
            strategy = "map" if way == "map" else "vmap"
            compiled = jax.jit(over_members(one, strategy)).lower(params, images).compile()
            made[name] = partial(compiled, params, images)
        compile_seconds[name] = time.perf_counter() - started
    return made


def main() -> None:
    """Measure and report."""
    parser = arguments("IMPALA populations under each way to compute their convolutions.")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=256, help="images of all members together")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    given = parser.parse_args()
    rows: list[Row] = []
    for dtype in given.dtypes:
        single: dict[str, float] = {}
        for members in sorted({1, *given.members}):
            compile_seconds: dict[str, float] = {}
            todo: dict[str, Any] = {}
            for way in given.ways if members > 1 else [way for way in given.ways if way not in ("map", "loop")]:
                todo |= programs(way, members, given.batch, jnp.dtype(dtype), compile_seconds)
            for name, seconds in interleaved_medians(todo, given.repeats).items():
                rate = given.batch / seconds
                if members == 1 and " conv " in name:
                    single[name.split()[0]] = rate
                row: Row = {"name": f"{name} {dtype}", "value": rate, "unit": "samples/s", "batch": given.batch}
                if name.split()[0] in single:
                    row["of the single net"] = rate / single[name.split()[0]]
                rows.append(row | {"compile seconds": compile_seconds[name]})
                print(rows[-1], flush=True)
    report(rows, given.json)


if __name__ == "__main__":
    main()
