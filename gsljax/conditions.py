"""Conditions of a member that stay useful when a population runs in one program."""

import jax
import jax.numpy as jnp


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
