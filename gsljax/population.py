"""Running a one-member function for a whole population: the only place that knows the member axis."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.device import is_accelerator
from gsljax.errors import UserError

Strategy: TypeAlias = Literal["vmap", "map"] | int
"""How members run inside one program: `vmap`, all as one batch; `map`, one after another; a number, so many at once."""

CACHED_STATE_BYTES = 2**19
"""Parameters and moments of the members that run at once on a CPU, so that a core's cache holds them.

Chosen for a second-level cache of 2 MiB a core; `benchmarks/results/maze-2-cores-40-lanes.json` and
`population_conv-2-cores.json` have what it chooses beside `vmap` and `map`.
"""


def over_members(
    function: Callable[..., Any], strategy: Strategy = "vmap", devices: Sequence[Any] | None = None
) -> Callable[..., Any]:
    """`function` of one member, turned into one of a population: every argument and result gets a leading member axis.

    A population of one calls `function` itself, without a batch axis. None arguments are passed through.

    Args:
      function: written for one member.
      strategy: `vmap` runs all members as one batched program; `map` runs them one after another inside the program,
        with the memory of one; a number runs that many as one batch, and the batches one after another.
      devices: what to split the members over, evenly; None leaves them where their arguments are.

    Returns:
      The population's function. It raises `UserError` where the arguments' member axes disagree, or the members cannot
      be split evenly.
    """
    at_once = 1 if strategy == "map" else strategy
    if at_once != "vmap" and (isinstance(at_once, str) or at_once < 1):
        raise UserError(f"The population strategy is {strategy!r}, but must be 'vmap', 'map' or a positive number.")

    def population_function(*args):
        count = _num_members(args)
        if count == 1:
            result = function(*jax.tree.map(lambda x: x[0], args))
            return jax.tree.map(lambda x: x[None], result)
        if isinstance(at_once, str) or at_once >= count:
            return jax.vmap(function)(*args)
        return jax.lax.map(lambda one: function(*one), args, batch_size=None if at_once == 1 else at_once)

    if devices is None or len(devices) == 1:
        return population_function
    mesh = jax.sharding.Mesh(np.asarray(devices), ("members",))
    each = jax.sharding.PartitionSpec("members")
    sharded = jax.shard_map(population_function, mesh=mesh, in_specs=each, out_specs=each, check_vma=False)

    def sharded_function(*args):
        count = _num_members(args)
        if count % len(devices):
            raise UserError(f"{count} members cannot be split evenly over {len(devices)} devices.")
        return sharded(*args)

    return sharded_function


def fastest_strategy(state: Any) -> Strategy:
    """How to run the members that have these parameters and moments (a tree of arrays or shapes, with the member axis).

    A gradient step streams through all of them. On a CPU as many members run at once as keep theirs in a core's cache:
    a few small dense networks, wide ones and image networks one after another. Elsewhere all run at once, but for
    image networks, which learn faster one after another (`gsljax.networks.conv`), and in a compiled rollout act so.
    """
    leaves = jax.tree.leaves(state)
    if is_accelerator():
        convolves = any(x.ndim == 5 for x in leaves)  # kernels [P, 3, 3, C, F]
        return "map" if convolves else "vmap"
    return max(1, CACHED_STATE_BYTES * leaves[0].shape[0] // sum(x.size * x.dtype.itemsize for x in leaves))


def _num_members(args: Any) -> int:
    shapes = [jnp.shape(x) for x in jax.tree.leaves(args)]
    if not shapes or () in shapes:
        raise UserError(
            "A population's arguments need a leading member axis, but one of them is a scalar or all are None."
        )
    counts = {shape[0] for shape in shapes}
    if len(counts) != 1:
        raise UserError(f"The members' arguments disagree on how many members there are: {sorted(counts)}.")
    return counts.pop()
