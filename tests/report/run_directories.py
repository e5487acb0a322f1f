"""Run directories with known numbers, in the format that `train` leaves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def epochs(
    stage: str, before: int, per_epoch: int, success: Sequence[float | None], members: Sequence[Sequence[float]] = ()
) -> Iterator[dict[str, Any]]:
    """Yield a stage's lines of `metrics.jsonl`; the return is 10 times the success, minus 10."""
    for epoch, value in enumerate(success):
        record: dict[str, Any] = {"stage": stage, "epoch": epoch, "samples": before + (epoch + 1) * per_epoch}
        record |= {"return": None if value is None else 10 * value - 10, "success": value}
        if members:
            record["members"] = {"return": [10 * v - 10 for v in members[epoch]], "success": list(members[epoch])}
        yield record | {"policy_loss": 0.5, "time": {"program": 0.2, "compile": 0.0}}


def gsl_records() -> list[dict[str, Any]]:
    """A whole GSL run of 2,000 samples: 4 generalist epochs, 2 of three specialists, demonstrations, 3 of phase II."""
    return [
        *epochs("generalist", 0, 100, [0.0, 0.2, 0.25, 0.2]),
        *epochs("specialists", 400, 300, [0.5, 0.9], [[0.4, 0.5, 0.6], [0.8, 0.9, 1.0]]),
        {"stage": "demonstrations", "epoch": 0, "samples": 1400, "return": -0.1, "success": 0.99},
        *epochs("imitation", 1400, 200, [0.4, None, 0.8]),
    ]


def gsl_summary(**changed: Any) -> dict[str, Any]:
    """The summary that belongs to `gsl_records`."""
    success = {"0": 0.7, "1": 0.8, "2": 0.9}
    summary = {
        "preset": "maze",
        "method": "gsl",
        "seed": 0,
        "total_samples": 2000,
        "wall_seconds": 8.0,
        "stages": [
            {"name": "generalist", "samples": 400, "wall_seconds": 2.0, "time": {"program": 0.8, "compile": 1.2}},
            {
                "name": "evaluation",
                "samples": 0,
                "wall_seconds": 0.5,
                "per_variation": {"0": {"success": 0.0}, "1": {"success": 0.6}, "2": {"success": 0.0}},
            },
            {"name": "specialists", "samples": 600, "wall_seconds": 3.0},
            {"name": "demonstrations", "samples": 400, "wall_seconds": 0.5},
            {"name": "imitation", "samples": 600, "wall_seconds": 2.0, "return": -2.0, "success": 0.8},
        ],
        "plateau": {"epoch": 1, "samples": 200, "fired": True},
        "final": {
            "return": -2.0,
            "success": 0.8,
            "deterministic": {"return": -1.5, "success": 0.85},
            "per_variation": {name: {"return": 10 * v - 10, "success": v} for name, v in success.items()},
        },
    }
    return summary | changed


def write_run(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any] | None = None,
    *,
    preset: str = "maze",
    method: str = "gsl",
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run directory and return it."""
    path.mkdir(parents=True)
    identity = {"preset": preset, "method": method, "seed": seed, "config": dict(config or {})}
    (path / "config.json").write_text(json.dumps(identity))
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if summary is not None:
        (path / "summary.json").write_text(json.dumps(summary))
    return path
