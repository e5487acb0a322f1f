"""The TensorBoard files beside `metrics.jsonl`."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class TensorBoardLog:
    """Writes epochs to `RUN_DIR/tensorboard`, one curve per `stage/name`, with the run's samples as step.

    Args:
      run_dir: the run directory.
      resumed_at: samples the run had spent at the checkpoint it resumes from; TensorBoard then hides what an earlier
        process wrote after them. None for a new run.
    """

    def __init__(self, run_dir: Path, resumed_at: int | None = None) -> None:
        """Prepare; a new event file appears with the first epoch."""
        self._folder, self._resumed_at = Path(run_dir) / "tensorboard", resumed_at
        self._writer: SummaryWriter | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one epoch; null and text leave no point.

        Args:
          record: the epoch's line of `metrics.jsonl`.
        """
        self._writer = self._writer or self._open()
        for name, value in _scalars(record):
            self._writer.add_scalar(f"{record['stage']}/{name}", value, record["samples"])

    def close(self) -> None:
        """Write out what is pending and close the file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> SummaryWriter:
        return SummaryWriter(
            logdir=str(self._folder),
            purge_step=None if self._resumed_at is None else self._resumed_at + 1,  # it hides its own step too
            flush_secs=10,
            filename_suffix=f".{time.time_ns()}",  # the name alone has whole seconds: a quick resume would overwrite
        )


def _scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a record: `kl`, `time_compile`, `members_return_3`."""
    for name, value in record.items():
        if not prefix and name in ("stage", "samples"):
            continue
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}_")
        elif isinstance(value, list | tuple):
            yield from _scalars({str(place): entry for place, entry in enumerate(value)}, f"{prefix}{name}_")
        elif isinstance(value, int | float):
            yield prefix + name, float(value)
