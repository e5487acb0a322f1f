"""What is committed of finished runs: small run directories without parameters, which `gsljax plot` can draw."""

import json
import typing
from pathlib import Path
from typing import Any

from gsljax.errors import UserError
from gsljax.gsl.config import AlgorithmName
from gsljax.report.runs import OF_GSL_ALONE, Run, load_run
from gsljax.run_directory import read_header, read_json, write_json

_CURVES = ("stage", "epoch", "samples", "return", "success", "normalized", "entropy", "members")
"""What is kept of every epoch; of the members the same."""


def keep(run_dir: Path, target: Path) -> None:
    """Copy what figures and tables need of a finished run: settings, summary, curves, held-out evaluation.

    The run that it started from is named without the path of this machine.

    Args:
      run_dir: the directory of a run that is finished.
      target: where it goes; what is there is replaced.

    Raises:
      UserError: if a run of another seed beside `target` has other settings, as far as both have the same ones, or none
        that are kept; or if a file cannot be read or written.
    """
    header = read_header(run_dir)
    for other in _by_seed(target.parent):
        if other != target and not _are_alike(header, other):
            raise UserError(f"{run_dir} has other settings than {other}: keep it elsewhere, with --results.")
    target.mkdir(parents=True, exist_ok=True)
    (target / "test.json").unlink(missing_ok=True)
    if header.get("start_from"):
        header["start_from"]["run"] = Path(header["start_from"]["run"]).name
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


def kept_runs(folder: Path, methods: tuple[str, ...]) -> tuple[list[Run], list[Path]]:
    """Load the runs kept in `folder` for a figure; and where those are whose curves were not kept."""
    paths = [path for method in methods for path in _by_seed(folder / method)]
    without = [path for path in paths if not (path / "metrics.jsonl").exists()]
    return [load_run(path) for path in paths if path not in without], without


def _by_seed(folder: Path) -> list[Path]:
    found = (path for path in folder.glob("seed*") if (path / "summary.json").exists())
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed")))


def _are_alike(header: dict[str, Any], other: Path) -> bool:
    """Whether a run has the settings of the one kept in `other`, but for its seed and, of a baseline, GSL's own."""
    if not (other / "config.json").exists():
        return False
    settings = [dict(one["config"]) for one in (header, read_header(other))]
    for one in settings:
        del one["seed"]
        for name in ("total_samples", *OF_GSL_ALONE) if header["method"] in typing.get_args(AlgorithmName) else ():
            one.pop(name, None)
    return _agree(*settings)


def _agree(one: Any, other: Any) -> bool:
    """Whether two settings are the same, as far as both are there: later versions have more of them."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agree(one[name], other[name]) for name in one.keys() & other.keys())
    return one == other


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
