"""The conv study: a population of IMPALA networks, acting and learning, under each way to compute its convolutions.

    python -m benchmarks.population_conv --json benchmarks/results/population_conv-<hardware>.json [--torch PYTHON]

P members share one total batch of 64 × 64 × 3 images. A row is the forward pass or a gradient step in samples per
second over all members, taken inside a `lax.scan`, as every training loop does: XLA compiles convolutions otherwise
there. `conv`, `library`, `packed`, `patches` and `taps` are `gsljax.networks.conv`'s formulations under `vmap`, `map`
is `lax.map` over members with `conv`, `parts` the same with the gradients of some images at a time, as
`gsljax.algorithms.gradients` takes them (on a CPU; elsewhere it is the same as `map`), `loop` calls the compiled
program of a single net once per member; of one member, `library` is there outside of a scan, too. `of the single net`
compares with one member that has the whole batch, computed by `conv`; compile seconds, tracing included, apart.
`--torch` names the Python of an environment that has PyTorch, whose gradient steps then take their turn.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp

from benchmarks.peer import Peer
from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.algorithms.gradients import gradient_of_mean
from gsljax.networks import ImpalaActorCritic
from gsljax.networks.conv import Compute
from gsljax.population import over_members
from gsljax.types import ActionSpec

FORMULATIONS = tuple(compute for compute in get_args(Compute) if compute != "auto")
WAYS = (*FORMULATIONS, "map", "parts", "loop")
ALONE = (*FORMULATIONS, "parts")
"""The ways in which a single network differs."""
NUM_ACTIONS = 15
STEPS = 2


def loss(network: ImpalaActorCritic, params: Any, images: jax.Array) -> jax.Array:
    """Touches every head: the log-probability of the first action, and the value."""
    policy, value = network.apply(params, images)  # pyright: ignore[reportGeneralTypeIssues]
    return jnp.mean(policy.log_prob(jnp.zeros(len(images), jnp.int32)) + jnp.square(value))  # pyright: ignore


def act(network: ImpalaActorCritic, params: Any, images: jax.Array) -> jax.Array:
    """The forward passes of `[STEPS, B, 64, 64, 3]` images, one after another."""
    return jax.lax.scan(lambda total, batch: (total + loss(network, params, batch), None), jnp.zeros(()), images)[0]


def descend(network: ImpalaActorCritic, params: Any, images: jax.Array, in_parts: bool = False) -> Any:
    """A gradient step on `[B, 64, 64, 3]` images."""
    if in_parts:
        gradient, _ = gradient_of_mean(lambda params, images: (loss(network, params, images), {}), params, images)
    else:
        gradient = jax.grad(partial(loss, network))(params, images)
    return jax.tree.map(lambda p, g: p - 1e-4 * g, params, gradient)


def learn(network: ImpalaActorCritic, params: Any, images: jax.Array, in_parts: bool = False) -> Any:
    """A gradient step on each minibatch of `[STEPS, B, 64, 64, 3]` images."""
    return jax.lax.scan(lambda params, batch: (descend(network, params, batch, in_parts), None), params, images)[0]


def network_and_data(way: str, members: int, batch: int, dtype: Any) -> tuple[ImpalaActorCritic, Any, jax.Array]:
    """A network, the members' parameters, and images `[P, STEPS, B, 64, 64, 3]`."""
    compute: Compute = way if way in FORMULATIONS else "conv"  # pyright: ignore[reportAssignmentType]
    network = ImpalaActorCritic(ActionSpec(num_actions=NUM_ACTIONS), compute=compute, dtype=dtype)
    shape = (members, STEPS, batch // members, 64, 64, 3)
    images = jax.random.randint(jax.random.key(1), shape, 0, 256).astype(jnp.uint8)
    keys = jax.random.split(jax.random.key(0), members)
    return network, jax.jit(jax.vmap(lambda key: network.init(key, images[0, 0, :1])))(keys), images


def programs(way: str, members: int, batch: int, dtype: Any, compile_seconds: dict[str, float]) -> dict[str, Any]:
    """Acting and learning of a population, compiled; their names say what they are."""
    network, params, images = network_and_data(way, members, batch, dtype)
    made = {}
    kinds = {"learning": partial(learn, network, in_parts=way == "parts")}
    if way != "parts":
        kinds["acting"] = partial(act, network)
    for kind, one in kinds.items():
        name = f"{kind} {way} P={members}"
        started = time.perf_counter()
        if way == "loop":
            compiled = jax.jit(one).lower(*jax.tree.map(lambda x: x[0], (params, images))).compile()
            parts = [jax.tree.map(lambda x, i=i: x[i], (params, images)) for i in range(members)]
            made[name] = lambda compiled=compiled, parts=parts: [compiled(*part) for part in parts]
        else:
            strategy = "map" if way in ("map", "parts") else "vmap"
            compiled = jax.jit(over_members(one, strategy)).lower(params, images).compile()
            made[name] = partial(compiled, params, images)
        compile_seconds[name] = time.perf_counter() - started
    return made


def outside_a_scan(batch: int, dtype: Any, compile_seconds: dict[str, float]) -> dict[str, Any]:
    """A single net's gradient steps with the gradients that `jax.grad` makes of a convolution, not in a scan."""
    network, params, images = network_and_data("library", 1, batch, dtype)
    params, images = jax.tree.map(lambda x: x[0], (params, images))

    def unrolled(params, images):
        for step in range(STEPS):
            params = descend(network, params, images[step])
        return params

    name = "learning library outside of a scan P=1"
    started = time.perf_counter()
    made = {name: partial(jax.jit(unrolled).lower(params, images).compile(), params, images)}
    compile_seconds[name] = time.perf_counter() - started
    return made


def main() -> None:
    """Measure and report."""
    parser = arguments("IMPALA populations under each way to compute their convolutions.")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=128, help="images of all members together in each step")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--torch", type=Path, help="Python of an environment that has PyTorch")
    given = parser.parse_args()
    rows: list[Row] = []
    for dtype in given.dtypes:
        single: dict[str, float] = {}
        for members in sorted({1, *given.members}):
            compile_seconds: dict[str, Any] = {}
            todo: dict[str, Any] = {}
            for way in given.ways if members > 1 else [way for way in given.ways if way in ALONE]:
                todo |= programs(way, members, given.batch, jnp.dtype(dtype), compile_seconds)
            if members == 1 and "library" in given.ways:
                todo |= outside_a_scan(given.batch, jnp.dtype(dtype), compile_seconds)
            if members == 1 and dtype == "float32" and given.torch:
                settings = {"num_actions": NUM_ACTIONS, "batch": given.batch, "steps": STEPS}
                peer = Peer(given.torch, "torch_impala.py", settings)
                todo["learning pytorch P=1"], compile_seconds["learning pytorch P=1"] = peer.run, ""
            for name, seconds in interleaved_medians(todo, given.repeats).items():
                rate = STEPS * given.batch / seconds
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
