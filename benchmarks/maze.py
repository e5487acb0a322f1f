"""Training throughput on the maze: populations beside the same members run one after another.

    python -m benchmarks.maze --json benchmarks/results/maze-<hardware>.json

A row is one training epoch (a rollout of one episode per lane and PPO's update) of P members with N lanes each, in
environment steps per second over all members, compile time apart. `population` is one program, `one by one`
runs the compiled program of a single member P times. `of one member` compares with one member that has all P · N lanes,
at equal total batch and gradient steps; below 1 the population costs more per sample. `of matmul rate` compares the
dense layers' arithmetic (6 operations per weight and sample of an update, 2 per step of a rollout) with what plain
matrix products of the same shape reach in the same run: near 1 the arithmetic is the limit, far below it everything
else.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.algorithms import Algorithm, PPOConfig, make_ppo
from gsljax.envs import GymnaxLanes
from gsljax.gsl.training import Carry, begin, make_train
from gsljax.networks import ActorCritic
from gsljax.presets.maze import CONFIG, make_environment
from gsljax.rollout import collect
from gsljax.train_state import take

MINIBATCHES = 8
EPOCHS = 4


def program(environment: GymnaxLanes, hidden: tuple[int, ...], members: int, lanes: int, strategy: Any = "auto"):
    """One epoch of a population, compiled, with its starting carry and the seconds that compiling took."""
    steps = environment.spec.horizon + 1
    ppo = PPOConfig(num_epochs=EPOCHS, minibatch_size=steps * lanes // MINIBATCHES)
    algorithm = make_ppo(ActorCritic(environment.spec.action, hidden), environment.spec, ppo)
    carry = population(environment, algorithm, members, lanes)
    train = make_train(environment, algorithm, steps, 1, strategy)
    started = time.perf_counter()
    compiled = jax.jit(train).lower(carry, None, jnp.int32(1)).compile()
    return lambda carry=carry: compiled(carry, None, jnp.int32(1)), carry, time.perf_counter() - started, algorithm


def population(environment: GymnaxLanes, algorithm: Algorithm, members: int, lanes: int) -> Carry:
    """Members with keys and parameters of their own, all on every goal."""
    goals = jnp.arange(environment.spec.num_variations, dtype=jnp.int32)

    def member(key: jax.Array) -> Carry:
        init_key, lanes_key = jax.random.split(key)
        return begin(environment, algorithm.init(init_key), goals, lanes, lanes_key)

    return jax.vmap(member)(jax.random.split(jax.random.key(0), members))


def matmul_rate(hidden: int, members: int, batch: int, repeats: int) -> float:
    """Floating-point operations per second of batched products of a hidden layer's shape, the limit for the update."""
    left, right = jnp.ones((members, batch, hidden)), jnp.ones((members, hidden, hidden))
    count = max(1, 2**31 // (2 * members * batch * hidden**2))

    @jax.jit
    def products(left, right):
        return jax.lax.fori_loop(0, count, lambda _, x: jnp.matmul(x, right) / hidden, left)

    seconds = interleaved_medians({"products": lambda: products(left, right)}, repeats)["products"]
    return 2 * count * members * batch * hidden**2 / seconds


def weights(carry: Carry) -> int:
    """Number of weights in one member's dense layers."""
    kernels = [x for x in jax.tree.leaves(carry.state.params) if x.ndim == 3]
    return sum(kernel[0].size for kernel in kernels)


def rows_of(
    environment: GymnaxLanes, hidden: tuple[int, ...], members: int, lanes: int, strategies: list[Any], repeats: int
) -> list[Row]:
    """The population, its members one by one, one big member, and a rollout alone, timed in turns.

    `strategies` are further ways to run the population.
    """
    batched, carry, batched_compile, algorithm = program(environment, hidden, members, lanes)
    single, _, single_compile, _ = program(environment, hidden, 1, lanes)
    big, _, big_compile, _ = program(environment, hidden, 1, members * lanes)
    each = [jax.tree.map(lambda x: x[None], take(carry, index)) for index in range(members)]
    steps = environment.spec.horizon + 1

    def acting(carry: Carry):
        return collect(environment, algorithm.act, carry.state, carry.lanes, carry.key, steps)[1].reward

    rollouts = jax.jit(jax.vmap(acting))
    compiles = {"population": batched_compile, "one by one": single_compile, "one member, all lanes": big_compile}
    others = {}
    if members > 1:
        for strategy in strategies:
            name = f"population, {strategy}"
            others[name], _, compiles[name], _ = program(environment, hidden, members, lanes, strategy)
    seconds = interleaved_medians(
        {
            **others,
            "population": batched,
            "one by one": lambda: [single(one) for one in each],
            "one member, all lanes": big,
            "population, rollout alone": lambda: rollouts(carry),
        },
        repeats,
    )
    samples = members * lanes * environment.spec.horizon
    peak = matmul_rate(hidden[0], members, steps * lanes // MINIBATCHES, repeats)
    rollout_operations = 2 * weights(carry) * samples
    update_operations = 6 * weights(carry) * samples * EPOCHS
    name = f"{'x'.join(map(str, hidden))}, {members} members x {lanes} lanes"
    return [
        {
            "name": f"{name}: {kind}",
            "value": samples / elapsed,
            "unit": "steps/s",
            "of one by one": seconds["one by one"] / elapsed,
            "of one member": seconds["one member, all lanes"] / elapsed,
            "of matmul rate": (rollout_operations + update_operations * (kind in compiles)) / elapsed / peak,
            "compile seconds": compiles.get(kind, ""),
        }
        for kind, elapsed in seconds.items()
    ]


def main() -> None:
    """Time every size and report."""
    parser = arguments("Training throughput of populations on the maze.")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5, 16, 64])
    parser.add_argument("--lanes", type=int, nargs="+", default=[14, 40], help="lanes of each member")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256], help="units of both hidden layers")
    parser.add_argument("--strategies", nargs="*", default=[], help="also run populations so: vmap, map, or a number")
    given = parser.parse_args()
    strategies = [int(each) if each.isdigit() else each for each in given.strategies]
    environment = make_environment(CONFIG)
    rows: list[Row] = []
    for hidden in given.hidden:
        for lanes in given.lanes:
            for members in given.members:
                rows += rows_of(environment, (hidden, hidden), members, lanes, strategies, given.repeats)
                print(f"{hidden} units, {members} members, {lanes} lanes: measured", flush=True)
    report(rows, given.json)


if __name__ == "__main__":
    main()
