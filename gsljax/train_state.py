"""What an algorithm carries from update to update, and how members are cloned, picked and kept."""

from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Tree = TypeVar("Tree")


class TrainState(NamedTuple):
    """Everything one member carries from update to update.

    Attributes:
      params: the networks' variables: what a clone inherits and a best checkpoint keeps, the statistics that they are
        in the units of included.
      optimizer_state: the optax state for them.
      hyperparameters: traced hyperparameters, a NamedTuple of scalars of the algorithm's own (they may differ between
        members).
      key: typed random key for the updates (of `actors` only a placeholder).
      num_updates: int32, number of `update` calls so far.
      num_samples: int32, number of valid steps in their rollouts.
      memory: what else the algorithm keeps, by name: replay, a discriminator, discounted returns.
    """

    params: Any
    optimizer_state: Any
    hyperparameters: Any
    key: jax.Array
    num_updates: jax.Array
    num_samples: jax.Array
    memory: Any = ()


def actors(params: Any, count: int, heritage: Any = ()) -> TrainState:
    """`count` members that only act, or are cloned: parameters `[count, ...]`, and nothing else that training needs.

    `heritage`, leaves `[count, ...]`, is what of their memory a clone inherits (`gsljax.algorithms.Algorithm`).
    """
    none = jnp.zeros(count, jnp.int32)
    return TrainState(params, (), (), key=none, num_updates=none, num_samples=none, memory=heritage)


def clone(member: Tree, count: int) -> Tree:
    """`count` copies of one member on a new leading member axis."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), member)


def take(members: Tree, index: int | np.ndarray | jax.Array) -> Tree:
    """Member number `index` of a population, without the member axis; for several numbers a population of those."""
    return jax.tree.map(lambda x: x[index], members)


def where_members(chosen: np.ndarray | jax.Array, one: Tree, other: Tree) -> Tree:
    """Of each member that is chosen (`[P]`, bool) the tree `one`, of the others `other`; leaves `[P, ...]`."""
    return jax.vmap(lambda choose, a, b: jax.tree.map(partial(jnp.where, choose), a, b))(
        jnp.asarray(chosen), one, other
    )


def keep_best(best: Tree, best_score: jax.Array, candidate: Tree, score: jax.Array) -> tuple[Tree, jax.Array]:
    """Whichever of `best` and `candidate` has the higher score; ties and NaN keep `best`.

    Args:
      best, candidate: one member's trees of the same structure.
      best_score, score: scalars.

    Returns:
      The better tree and its score.
    """
    better = score > best_score
    chosen = jax.tree.map(lambda old, new: jnp.where(better, new, old), best, candidate)
    return chosen, jnp.where(better, score, best_score)
