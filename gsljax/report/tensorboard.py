"""The TensorBoard files beside `metrics.jsonl`."""

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from gsljax.errors import UserError
from gsljax.files import reason


class TensorBoardLog:
    """Writes epochs to `RUN_DIR/tensorboard`, one curve per `stage/name`, with the run's samples as step.

    tensorboardX's own writer is not used: it writes from a thread, and waits for ever when that dies of a full disk.

    Args:
      run_dir: the run directory.
      resumed_at: samples the run had spent at the checkpoint it resumes from; TensorBoard then hides what an earlier
        process wrote after them. None for a new run.
    """

    def __init__(self, run_dir: Path, resumed_at: int | None = None) -> None:
        """Prepare; a new event file appears with the first epoch."""
        # Whole seconds alone, as in other event files, would let a quick resume overwrite the file.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{time.time_ns()}"
        self._path, self._resumed_at = Path(run_dir) / "tensorboard" / name, resumed_at
        self._file: BinaryIO | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one epoch; null and text leave no point.

        Args:
          record: the epoch's line of `metrics.jsonl`.

        Raises:
          UserError: if it cannot be written, for instance because the disk is full.
        """
        tags = ((f"{record['stage']}/{name}", value) for name, value in _scalars(record))
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in tags])
        try:
            if self._file is None:
                self._file = self._open()
            _append(self._file, Event(wall_time=time.time(), step=record["samples"], summary=summary))
        except OSError as error:
            raise UserError(f"The file {self._path} cannot be written ({reason(error)}).") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(exist_ok=True)
        file = self._path.open("wb", buffering=0)  # a killed process leaves what it wrote
        _append(file, Event(wall_time=time.time(), file_version="brain.Event:2"))
        if self._resumed_at is not None:
            start = SessionLog(status=SessionLog.START)
            _append(file, Event(step=self._resumed_at + 1, session_log=start))  # it hides its own step too
        return file


def _append(file: BinaryIO, event: Any) -> None:
    """Append an event in the TFRecord format: length, its checksum, content, its checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    file.write(length + next(checksums) + content + next(checksums))


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
