"""What is committed of finished runs: small run directories without parameters, which `gsljax figures` can draw."""

import json
from pathlib import Path
from typing import Any

from gsljax.errors import UserError
from gsljax.report.runs import Run, load_run
from gsljax.run_directory import read_header, read_json, write_json

_CURVES = ("stage", "epoch", "samples", "return", "success", "normalized", "members")
"""What is kept of every epoch; of the members the same."""
_OF_ONE_RUN = ("seed", "total_samples", "method")
"""Settings in which runs that are compared may differ."""


def keep(run_dir: Path, target: Path) -> None:
    """Copy what figures and tables need of a finished run: settings, summary, curves, held-out evaluation.

    The run that it started from is named without the path of this machine.

    Args:
      run_dir: the directory of a run that is finished.
      target: where it goes; what is there is replaced.

    Raises:
      UserError: if a run beside `target` was made with other settings, or a file cannot be read or written.
    """
    header = read_header(run_dir)
    for other in sorted(target.parent.glob("seed*/config.json")):
        if other.parent != target and _settings(read_header(other.parent)) != _settings(header):
            raise UserError(f"{run_dir} has other settings than {other.parent}: keep it elsewhere, with --results.")
    target.mkdir(parents=True, exist_ok=True)
    if header.get("start_from"):
        header["start_from"] = Path(header["start_from"]).name
    write_json(target / "config.json", header)
    write_json(target / "summary.json", read_json(run_dir / "summary.json"))
    if (run_dir / "test.json").exists():
        write_json(target / "test.json", read_json(run_dir / "test.json"))
    lines = [json.dumps(_rounded(_curves(record))) for record in load_run(run_dir).records]
    (target / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def kept_summaries(folder: Path, methods: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """Read by method the summaries kept in `folder`, seed by seed, with the held-out evaluation under `test`.

    Args:
      folder: a comparison's, `METHOD/seedN/` in it.
      methods: in which order.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for method in methods:
        for path in _by_seed(folder / method):
            summary = read_json(path / "summary.json")
            if (path / "test.json").exists():
                summary["test"] = read_json(path / "test.json")
            rows.setdefault(method, []).append(summary)
    return rows


def kept_runs(folder: Path, methods: tuple[str, ...]) -> list[Run]:
    """Load the runs kept in `folder` for a figure; no run at all if the curves of one were not kept."""
    paths = [path for method in methods for path in _by_seed(folder / method)]
    if any(not (path / "metrics.jsonl").exists() for path in paths):
        return []
    return [load_run(path) for path in paths]


def _by_seed(folder: Path) -> list[Path]:
    found = (path for path in folder.glob("seed*") if (path / "summary.json").exists())
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed")))


def _settings(header: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in header["config"].items() if name not in _OF_ONE_RUN}


def _curves(record: Any) -> dict[str, Any]:
    kept = {name: record[name] for name in _CURVES if record.get(name) is not None}
    if "members" in kept:
        kept["members"] = {name: kept["members"][name] for name in _CURVES if name in kept["members"]}
    return kept


def _rounded(value: Any) -> Any:
    """The same with four digits of every fraction."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return value
