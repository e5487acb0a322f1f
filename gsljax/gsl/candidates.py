"""The parameters after each of a stage's last epochs, of which one may turn out to be the plateau's."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsljax import checkpoint
from gsljax.gsl.plateau import nearest_checkpoint


class Candidates:
    """Parameters of every epoch from which a plateau may still be found; on disk as of the last `save`.

    H looks ahead: that epoch t begins a plateau is known only a while after it, and the generalist that goes on is the
    one of t. These are small beside a checkpoint of the whole training, and there is one for every epoch.
    """

    def __init__(self, path: Path, reach: int, resumed_at: int):
        """Take up what is on disk.

        Args:
          path: a directory, which need not exist.
          reach: how many epochs before the newest one a plateau may still be found.
          resumed_at: epochs that are done; later candidates are of a training that was cut off.
        """
        self._path, self._reach = path, reach
        self._unsaved: dict[int, Any] = {}
        checkpoint.prune(path, keep={epochs for epochs in checkpoint.epochs(path) if epochs <= resumed_at})

    def add(self, epochs: int, params: Any) -> None:
        """Keep the parameters after so many epochs."""
        self._unsaved[epochs] = jax.tree.map(np.array, params)  # copies: training donates its own
        for old in [one for one in self._unsaved if one < epochs - self._reach]:
            del self._unsaved[old]

    def save(self) -> None:
        """Write what is new, and delete what no plateau can be found at any more.

        Raises:
          UserError: if it cannot be written.
        """
        newest = max(self._unsaved, default=0)
        for epochs, params in self._unsaved.items():
            checkpoint.save(self._path / str(epochs), params, {})
        self._unsaved = {}
        checkpoint.prune(self._path, {one for one in checkpoint.epochs(self._path) if one >= newest - self._reach})

    def nearest(self, epoch: int, template: Any) -> tuple[int, Any]:
        """The number of epochs closest to `epoch` after which there are parameters, and these, shaped as `template`."""
        self.save()
        chosen = nearest_checkpoint(epoch, checkpoint.epochs(self._path))
        return chosen, checkpoint.restore(self._path / str(chosen), template)[0]
