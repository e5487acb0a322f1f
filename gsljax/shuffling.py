"""Random orders without sorting, and the minibatches they make.

`jax.random.permutation` sorts twice, which on a CPU is a large part of a small network's PPO update.
"""

import math

import jax
import jax.numpy as jnp

NUM_ROUNDS = 8


def random_order(key: jax.Array, size: int) -> jax.Array:
    """The numbers below `size` in a random order, int32 `[size]`.

    A Feistel network over the cells of a nearly square grid: each round moves every row along by a hash of its number,
    then every column. What lands on one of the grid's few spare cells goes round again. Unlike a sort, it cannot reach
    all orders of large sizes; minibatches do not tell the difference.

    Args:
      key: the random key.
      size: at least 1, static.
    """
    columns = math.isqrt(size - 1) + 1
    rows = -(-size // columns)
    round_keys = jax.random.bits(key, (NUM_ROUNDS, 2))

    def moved(cell):
        row, column = cell // columns, cell % columns
        for row_key, column_key in round_keys:
            row = (row + _hash(column ^ row_key)) % rows
            column = (column + _hash(row ^ column_key)) % columns
        return row * columns + column

    order = moved(jnp.arange(size, dtype=jnp.uint32))
    order = jax.lax.while_loop(lambda x: jnp.any(x >= size), lambda x: jnp.where(x >= size, moved(x), x), order)
    return order.astype(jnp.int32)


def shuffled_minibatches(key: jax.Array, num_rows: int, num_epochs: int, minibatch_size: int) -> jax.Array:
    """Row numbers `[minibatches of all passes, minibatch_size]`; each pass leaves out a remainder of its own."""
    used = num_rows // minibatch_size * minibatch_size
    passes = jax.vmap(lambda k: random_order(k, num_rows)[:used])(jax.random.split(key, num_epochs))
    return passes.reshape(-1, minibatch_size)


def _hash(x: jax.Array) -> jax.Array:
    """A bijection of uint32 that lets every bit of its argument change every bit of its result (murmur3's finaliser).

    Shifted to 24 bits, so that a sum with a row or column number does not overflow.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return (x ^ (x >> 16)) >> 8
