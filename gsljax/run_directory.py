"""A run on disk: configuration, stage records, metrics, checkpoints; written so that a kill at any time loses nothing.

What has happened is told by `stages.json` (the records of the stages that are complete, replaced atomically) and by the
checkpoints of the stage under way. `metrics.jsonl` may run ahead of them when the process is killed; every record and
checkpoint says how long the file was, and resuming cuts it back to there.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsljax import checkpoint
from gsljax.errors import UserError
from gsljax.files import PARTIAL, reason, write_atomically


class RunDirectory:
    """An open run directory, locked against a second process until `close`.

    Attributes:
      path: the directory.
      header: what `config.json` holds.
      stages: the records of the stages that are complete, in order.
    """

    def __init__(self, path: Path, header: dict[str, Any], lock: Any):
        """For `create`, `reopen` and `read`, which has no lock."""
        self.path, self.header, self._lock = path, header, lock
        self.stages = read_stages(path)

    @classmethod
    def create(
        cls, path: Path, header: dict[str, Any], start_from: Path | None = None, adopted: Sequence[str] = ()
    ) -> "RunDirectory":
        """Start a run in a new or empty directory.

        Args:
          path: the directory.
          header: what `config.json` shall hold; it is written last, and a directory without it holds no run.
          start_from: the directory of a run with the same beginning, whose stages `adopted` are copied; None for none.
          adopted: names of stages; the last one is complete in `start_from`.

        Raises:
          UserError: if the directory holds a run or anything else, is in use, or cannot be written.
        """
        try:
            _check_vacant(path)
            path.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
            try:
                _check_vacant(path)  # again: a run may have come and gone before the lock was ours
                if start_from is not None:
                    _copy_stages(start_from, path, adopted)
                write_json(path / "config.json", header)
                return cls(path, header, lock)
            except BaseException:
                lock.close()
                raise
        except OSError as error:
            raise UserError(f"The run directory {path} cannot be written ({reason(error)}).") from error

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """Take up a run that was begun.

        Raises:
          UserError: if there is no run in it, it is damaged, or in use.
        """
        try:
            header, lock = read_header(path), _lock(path)
        except OSError as error:
            raise UserError(f"The run directory {path} cannot be written ({reason(error)}).") from error
        try:
            return cls._checked(path, header, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def read(cls, path: Path) -> "RunDirectory":
        """Look into a finished run, in which nothing is changed: others may do so as well, and it may be read-only.

        Raises:
          UserError: if there is no run in it, it is damaged, or not finished.
        """
        directory = cls._checked(path, read_header(path), None)
        if not directory.is_finished:
            raise UserError(f"The run {path} is not finished; continue it with `gsljax resume {path}`.")
        return directory

    @classmethod
    def _checked(cls, path: Path, header: dict[str, Any], lock: Any) -> "RunDirectory":
        directory = cls(path, header, lock)
        if directory.is_finished and json.dumps(directory.summary.get("stages")) != json.dumps(directory.stages):
            raise UserError(f"The run directory {path} is damaged: summary.json and stages.json do not agree.")
        return directory

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    @property
    def is_finished(self) -> bool:
        """Whether the run has its summary."""
        return (self.path / "summary.json").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds."""
        return read_json(self.path / "summary.json")

    @property
    def samples(self) -> int:
        """Samples of all complete stages."""
        return sum(stage["samples"] for stage in self.stages)

    def stage(self, name: str) -> dict[str, Any] | None:
        """The record of a complete stage, None if it is not complete."""
        return next((stage for stage in self.stages if stage["name"] == name), None)

    def finish_stage(self, record: dict[str, Any]) -> None:
        """Enter a stage as complete."""
        self.stages.append({**record, "metrics_bytes": self.metrics_bytes})
        write_json(self.path / "stages.json", {"stages": self.stages})

    def finish(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`: the run is complete."""
        write_json(self.path / "summary.json", summary)

    @property
    def metrics_bytes(self) -> int:
        """Length of `metrics.jsonl`."""
        file = self.path / "metrics.jsonl"
        return file.stat().st_size if file.exists() else 0

    def append_metrics(self, records: list[dict[str, Any]]) -> None:
        """Add lines to `metrics.jsonl`.

        Raises:
          UserError: if they cannot be written, for instance because the disk is full.
        """
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise UserError(f"The file {path} cannot be written ({reason(error)}).") from error

    def rewind_metrics(self, metrics_bytes: int | None = None) -> None:
        """Cut `metrics.jsonl` back to a recorded length, by default to the end of the last complete stage."""
        if metrics_bytes is None:
            metrics_bytes = int(self.stages[-1]["metrics_bytes"]) if self.stages else 0
        self._require_metrics(metrics_bytes)
        if self.metrics_bytes > metrics_bytes:
            os.truncate(self.path / "metrics.jsonl", metrics_bytes)

    def _require_metrics(self, metrics_bytes: int) -> None:
        if self.metrics_bytes < metrics_bytes:
            raise UserError(f"The run directory {self.path} is damaged: metrics.jsonl is shorter than its records say.")

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl` that belong to a stage; of a complete one, whatever a kill left after them."""
        record = self.stage(stage)
        if record is not None:
            self._require_metrics(record["metrics_bytes"])
        if not self.metrics_bytes:
            return []
        path = self.path / "metrics.jsonl"
        try:
            content = path.read_bytes()[: record["metrics_bytes"] if record else None]
            records = [json.loads(line) for line in content.decode("utf-8").splitlines()]
            return [record for record in records if record["stage"] == stage]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"The file {path} cannot be read ({reason(error)}).") from error

    def checkpoints(self, stage: str) -> Path:
        """Where the checkpoint of a stage under way is."""
        return self.path / "checkpoints" / stage

    def candidates(self, stage: str) -> Path:
        """Where the parameters are, of a stage under way, of which some may become its result."""
        return self.path / "candidates" / stage

    def result(self, stage: str) -> Path:
        """Where a complete stage's result is."""
        return self.path / "results" / stage

    def heritage(self, stage: str) -> Path:
        """Where the memory is that a complete stage's clones inherit, in this run and in those that start from it."""
        return self.path / "heritage" / stage

    def discard_checkpoints(self, stage: str) -> None:
        """Delete what a stage needed only while it was under way."""
        for kept in (self.result(stage), self.heritage(stage)):
            for torn in kept.parent.glob(f"{stage}.*"):  # what a kill left of saving it
                shutil.rmtree(torn, ignore_errors=True)
        for folder in (self.checkpoints(stage), self.candidates(stage)):
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.parent.rmdir()

    @property
    def demonstrations(self) -> Path:
        """Where the demonstrations are."""
        return self.path / "demonstrations" / "demonstrations.npz"

    def latest_checkpoint(self, stage: str) -> int | None:
        """The epoch of a stage's newest checkpoint, None if it has none."""
        found = checkpoint.epochs(self.checkpoints(stage))
        return found[-1] if found else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file atomically.

    Raises:
      UserError: if it cannot be written.
    """
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
      UserError: if it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The file {path} cannot be read ({reason(error)}).") from error
    if not isinstance(content, dict):
        raise UserError(f"The file {path} is damaged: it holds no JSON object.")
    return content


def read_header(path: Path) -> dict[str, Any]:
    """Read the `config.json` of the run directory `path`.

    Raises:
      UserError: if the directory holds no run, or the file is damaged.
    """
    if not (path / "config.json").exists():
        raise UserError(f"The directory {path} holds no run: it has no config.json.")
    header = read_json(path / "config.json")
    for name, kind in (("preset", str), ("config", dict)):
        if not isinstance(header.get(name), kind):
            raise UserError(f"The file {path / 'config.json'} is damaged: it has no {name!r}.")
    return header


def read_stages(path: Path) -> list[dict[str, Any]]:
    """Read the records of the stages that are complete in the run directory `path`.

    Raises:
      UserError: if the file is damaged.
    """
    if not (path / "stages.json").exists():
        return []
    records = read_json(path / "stages.json").get("stages")
    types = {"name": str, "samples": int, "metrics_bytes": int}
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and isinstance(record.get(name), kind)
        for record in records
        for name, kind in types.items()
    ):
        raise UserError(f"The file {path / 'stages.json'} is damaged: it holds no records of stages.")
    return records


def _check_vacant(path: Path) -> None:
    if (path / "config.json").exists():
        raise UserError(f"The run directory {path} already holds a run; continue it with `gsljax resume {path}`.")
    if path.exists() and not path.is_dir():
        raise UserError(f"The run directory {path} is a file; give a directory that does not exist or is empty.")
    if path.exists() and {entry.name for entry in path.iterdir()} - {"lock", "config.json" + PARTIAL}:
        raise UserError(f"The run directory {path} is not empty; give one that does not exist or is empty.")


def _copy_stages(source: Path, target: Path, names: Sequence[str]) -> None:
    adopted = [record for record in read_stages(source) if record["name"] in names]
    try:
        for record in adopted:
            for kept in (Path("results") / record["name"], Path("heritage") / record["name"]):
                if (source / kept).exists():
                    shutil.copytree(source / kept, target / kept)
        shutil.copytree(source / "demonstrations", target / "demonstrations")
        with (source / "metrics.jsonl").open("rb") as file:
            (target / "metrics.jsonl").write_bytes(file.read(adopted[-1]["metrics_bytes"]))
    except OSError as error:
        for name in ("results", "heritage", "demonstrations"):
            shutil.rmtree(target / name, ignore_errors=True)
        (target / "metrics.jsonl").unlink(missing_ok=True)
        raise UserError(f"The stages of {source} cannot be copied to {target} ({reason(error)}).") from error
    write_json(target / "stages.json", {"stages": adopted})


def _lock(path: Path) -> Any:
    file = (path / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise UserError(f"The run directory {path} is in use by another process.") from None
        raise
    return file
