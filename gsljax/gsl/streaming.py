"""Demonstrations that stay on the host: the minibatches of one epoch at a time cross to the device."""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.gsl.demonstrations import Demonstrations, rows_of_draw
from gsljax.types import DemonstrationBatch

DEVICE_BYTES = 2**30
"""The most bytes of pairs that are put on the device as a whole."""


def is_large(demonstrations: Demonstrations) -> bool:
    """Whether the pairs should stay on the host."""
    return demonstrations.observation.nbytes + demonstrations.action.nbytes > DEVICE_BYTES


class Stream:
    """An endless shuffled pass over pairs on the host, the very one of `gsljax.gsl.demonstrations.draw`.

    What is drawn depends on keys and positions alone, so that it resumes as well. While a draw is in use, a thread
    gathers the one that will follow it.
    """

    def __init__(self, demonstrations: Demonstrations, num_minibatches: int, minibatch_size: int):
        """Pairs, and how many minibatches of which size each draw has."""
        self._observation, self._action = demonstrations.observation, demonstrations.action
        self._drawn_at_once = num_minibatches * minibatch_size
        rows = partial(rows_of_draw, demonstrations.num_pairs)
        rows = partial(rows, num_minibatches=num_minibatches, minibatch_size=minibatch_size)
        self._rows = jax.jit(jax.vmap(lambda key, position: rows(key, position)))
        self._keys: jax.Array | None = None
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[np.ndarray, Future[DemonstrationBatch]] | None = None

    def draw(self, keys: jax.Array, positions: jax.Array) -> DemonstrationBatch:
        """The next minibatches of every member.

        Args:
          keys: `[P]`, fixed for a member's whole pass, and the same in every call.
          positions: `[P]` int32, pairs that it has drawn so far.

        Returns:
          Pairs `[P, num_minibatches, minibatch_size, ...]`, NumPy arrays.
        """
        if self._keys is None:  # a copy: training donates its own
            data = jnp.asarray(np.array(jax.random.key_data(keys)))
            self._keys = jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))
        at = np.array(positions)
        if self._next is not None and np.array_equal(self._next[0], at):
            batch = self._next[1].result()
        else:
            batch = self._gather(at)
        following = at + np.int32(self._drawn_at_once)
        self._next = following, self._thread.submit(self._gather, following)
        return batch

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _gather(self, positions: np.ndarray) -> DemonstrationBatch:
        rows = np.asarray(self._rows(self._keys, positions))
        return DemonstrationBatch(np.take(self._observation, rows, axis=0), np.take(self._action, rows, axis=0))
