"""What a run directory holds, read back for the figures."""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsljax.errors import UserError
from gsljax.report.text import as_number

Metric = Literal["return", "success"]


@dataclass(frozen=True)
class Run:
    """A run directory's content.

    Attributes:
      path: the run directory.
      preset: which benchmark it ran.
      method: how: `ppo`, `gsl`, ...; with another algorithm than PPO `gsl, ppg`, ...
      seed: its seed.
      config: the content of `config.json`.
      records: the lines of `metrics.jsonl` in order.
      summary: the content of `summary.json`, None while the run is not finished.
    """

    path: Path
    preset: str
    method: str
    seed: int
    config: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any] | None

    @property
    def metric(self) -> Metric:
        """What the figures show: what H watches, which is success only where the environment has it."""
        if self.config.get("config", {}).get("plateau", {}).get("metric") == "return":
            return "return"
        has_success = any(not math.isnan(as_number(record.get("success"))) for record in self.records)
        return "success" if has_success else "return"

    @property
    def stage_spans(self) -> dict[str, tuple[int, int]]:
        """Samples of the run before and after each stage, in the order of the stages."""
        spans: dict[str, tuple[int, int]] = {}
        before = 0
        for record in self.records:
            first = spans.get(record["stage"], (before, before))[0]
            spans[record["stage"]] = (first, record["samples"])
            before = record["samples"]
        return spans

    def curve(self, stage: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a stage's samples `[epochs]` and values `[epochs]`, without epochs that have no value.

        Args:
          stage: the stage's name.
          metric: the key in the records.
        """
        return _known((r["samples"], as_number(r.get(metric))) for r in self.records if r["stage"] == stage)

    def member_curves(self, stage: str, metric: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return `curve` of every member of a population; an empty list where the stage trains one agent.

        Args:
          stage: the stage's name.
          metric: the key in the records' `members`.
        """
        curves: dict[int, list[tuple[float, float]]] = {}
        for record in self.records:
            if record["stage"] == stage:
                for member, value in enumerate((record.get("members") or {}).get(metric) or ()):
                    curves.setdefault(member, []).append((record["samples"], as_number(value)))
        return [_known(points) for _, points in sorted(curves.items())]


def load_run(run_dir: str | Path) -> Run:
    """Read a run directory; a last line that a killed process left unfinished is ignored.

    Args:
      run_dir: the directory that `train` made.

    Raises:
      UserError: if it is no run directory, or a file in it cannot be read.
    """
    path = Path(run_dir)
    for name in ("config.json", "metrics.jsonl"):
        if not (path / name).is_file():
            raise UserError(f"{path} is no run directory: it has no {name}.")
    config = _read_object(path / "config.json")
    if missing := [name for name in ("preset", "method", "seed") if name not in config]:
        raise UserError(f"{path / 'config.json'} has no {missing[0]!r}; it is not a run's configuration.")
    summary = path / "summary.json"
    return Run(
        path=path,
        preset=str(config["preset"]),
        method=_method(config),
        seed=config["seed"],
        config=config,
        records=_read_records(path / "metrics.jsonl"),
        summary=_read_object(summary) if summary.is_file() else None,
    )


_BASELINES = ("ppo", "ppg", "sac")
OF_GSL_ALONE = (
    "generalist", "generalist_share", "plateau", "good_enough", "low_episodes", "num_low_performing",
    "low_threshold", "num_specialists", "specialists_per_subset", "fresh_specialists", "fresh_noise_steps",
    "trial_share", "inherit_replay", "best_window", "mastery", "explore_up_to", "fine_tuning_share", "specialist",
    "specialist_share", "demonstrations", "phase_two", "imitation",
)  # fmt: skip
"""Settings that a baseline does not use."""
_NOT_COMPARED = ("method", "imitation.method", "algorithm", "seed", "total_samples")
"""Settings that a figure of several runs shows, or averages over."""


def differing_settings(runs: Iterable[Run]) -> list[str]:
    """The names of the settings (`plateau.head`) that are not the same in all of these runs of a preset.

    Method (and what follows from it), algorithm, seed and total may differ, settings that only some of the runs'
    versions have, and those that none of the runs uses.
    """
    runs = list(runs)
    configs = [flat_settings(run.config.get("config", {})) for run in runs]
    if not configs:
        return []
    common = set(configs[0]).intersection(*configs[1:]).difference(_NOT_COMPARED)
    if all(run.method in _BASELINES for run in runs):
        common = {name for name in common if name.split(".")[0] not in OF_GSL_ALONE}
    return [name for name in configs[0] if name in common and any(one[name] != configs[0][name] for one in configs)]


def flat_settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name, in their order."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _method(header: Mapping[str, Any]) -> str:
    """The method, with the algorithm where neither the method nor being the usual one says it."""
    method, algorithm = str(header["method"]), header.get("algorithm", "ppo")
    return method if algorithm in ("ppo", method) else f"{method}, {algorithm}"


def _known(points: Iterable[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Split (samples, value) pairs into two arrays, without the pairs that have no value."""
    array = np.array([point for point in points if not math.isnan(point[1])], float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _read_bytes(path: Path) -> bytes:
    """Read a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _read_object(path: Path) -> Mapping[str, Any]:
    """Read a file that holds one JSON object."""
    try:
        content = json.loads(_read_bytes(path))
    except ValueError as error:  # also what undecodable bytes raise
        raise UserError(f"{path} cannot be read: it is not JSON.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it holds no JSON object.")
    return content


def _read_records(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Read one JSON object per line."""
    *lines, last = _read_bytes(path).split(b"\n")
    records = [_parse_record(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if last.strip():
        with contextlib.suppress(UserError):  # no newline after it: the process was killed while it wrote this line
            records.append(_parse_record(last, path, len(lines) + 1))
    return tuple(records)


def _parse_record(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    """Read one line of `metrics.jsonl`."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"Line {number} of {path} cannot be read: it is not JSON.") from error
    if not (
        isinstance(record, dict) and isinstance(record.get("stage"), str) and isinstance(record.get("samples"), int)
    ):
        raise UserError(f'Line {number} of {path} cannot be read: it is no record with "stage" and "samples".')
    return record
