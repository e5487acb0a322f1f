"""The parameters after a stage's last epochs, of which one may turn out to be the plateau's."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsljax import checkpoint
from gsljax.gsl.plateau import nearest_epoch

MOST = 100
"""Candidates that are kept; where a plateau may be found further back than that, they are spread over those epochs."""


class Candidates:
    """Parameters of the epochs at which a plateau may still be found; on disk as of the last `save`.

    H looks ahead: that epoch t begins a plateau is known only a while after it, and the generalist that goes on is the
    one of t. Parameters are small beside a checkpoint of the whole training, and can be kept far more often.
    """

    def __init__(self, path: Path, reach: int, resumed_at: int):
        """Take up what is on disk.

        Args:
          path: a directory, which need not exist.
          reach: how many epochs before the newest one a plateau may still be found.
          resumed_at: epochs that are done; later candidates are of a training that was cut off.
        """
        self._path, self._reach, self._stride = path, reach, max(1, reach // MOST)
        self._newest = resumed_at
        self._unsaved: dict[int, Any] = {}
        checkpoint.prune(path, keep={epochs for epochs in checkpoint.epochs(path) if epochs <= resumed_at})

    def add(self, epochs: int, params: Any) -> None:
        """Take up the parameters after so many epochs, if these are far enough from the last ones."""
        is_due = epochs // self._stride > self._newest // self._stride
        self._newest = epochs
        if is_due:
            self._unsaved[epochs] = jax.tree.map(np.array, params)  # copies: training donates its own
        for old in [one for one in self._unsaved if self._is_out_of_reach(one)]:
            del self._unsaved[old]

    def save(self) -> None:
        """Write what is new.

        Raises:
          UserError: if it cannot be written.
        """
        for epochs, params in self._unsaved.items():
            checkpoint.save(self._path / str(epochs), params, {})
        self._unsaved = {}

    def prune(self) -> None:
        """Delete those at which no plateau can be found any more; training must not be resumed from before this."""
        kept = {one for one in checkpoint.epochs(self._path) if not self._is_out_of_reach(one)}
        checkpoint.prune(self._path, kept)

    def nearest(self, epoch: int, template: Any) -> tuple[int, Any]:
        """The number of epochs closest to `epoch` after which there are parameters, and these, shaped as `template`."""
        chosen = nearest_epoch(epoch, [*checkpoint.epochs(self._path), *self._unsaved])
        if chosen in self._unsaved:
            return chosen, jax.tree.map(jnp.asarray, self._unsaved[chosen])
        return chosen, checkpoint.restore(self._path / str(chosen), template)[0]

    def _is_out_of_reach(self, epochs: int) -> bool:
        return epochs < self._newest - self._reach - self._stride
