"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from gsljax.errors import UserError

PARTIAL = ".partial"
"""What a kill in the middle leaves ends in this."""


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a file beside `path`, and put it in its place when it is whole and on the disk.

    Raises:
      UserError: if it cannot be written, for instance because the disk is full; `path` is then as it was.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"The file {path} cannot be written ({reason(error)}).") from error
        raise


def reason(error: Exception) -> str:
    """What went wrong, without what the sentence around it says already."""
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
