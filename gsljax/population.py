"""Running a one-member function for a whole population: the only place that knows the member axis."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from gsljax.errors import UserError

Strategy = Literal["vmap", "map"]


def over_members(function: Callable[..., Any], strategy: Strategy = "vmap") -> Callable[..., Any]:
    """`function` of one member, turned into one of a population: every argument and result gets a leading member axis.

    A population of one calls `function` itself, without a batch axis. None arguments are passed through.

    Args:
      function: written for one member.
      strategy: `vmap` runs all members as one batched program, best for dense networks; `map` runs them one after
        another inside the program, with the memory of one.

    Returns:
      The population's function. It raises `UserError` where the arguments' member axes disagree.
    """
    if strategy not in ("vmap", "map"):
        raise UserError(f"The population strategy is {strategy!r}, but must be 'vmap' or 'map'.")

    def population_function(*args):
        count = _num_members(args)
        if count == 1:
            result = function(*jax.tree.map(lambda x: x[0], args))
            return jax.tree.map(lambda x: x[None], result)
        if strategy == "vmap":
            return jax.vmap(function)(*args)
        return jax.lax.map(lambda one: function(*one), args)

    return population_function


@jax.custom_batching.custom_vmap
def any_member(condition: jax.Array) -> jax.Array:
    """Whether a scalar condition holds for any member of the population that is run by `vmap`; itself for one alone.

    Not batched, it lets a `lax.cond` skip work that no member needs, where a batched condition would become a `select`
    that does the work for all of them, always. Mask the work's result with the condition itself.
    """
    return condition


@any_member.def_vmap
def _any_member(axis_size, in_batched, condition):
    del axis_size
    return any_member(jnp.any(condition, axis=0) if in_batched[0] else condition), False


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
