"""What every benchmark shares: medians of repeated timings, a table, and the JSON file that is committed."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from gsljax import provenance

Row = dict[str, Any]
"""`{"name", "value", "unit", ...}`."""


def arguments(description: str) -> argparse.ArgumentParser:
    """The flags that every benchmark has: `--json FILE` and `--repeats N`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the rows with hardware, versions and commit to this file")
    parser.add_argument("--repeats", type=int, default=5, help="timings per row, of which the median counts")
    return parser


def interleaved_medians(programs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each program, warmed up, taken in turns so that a busy machine disturbs all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(repeats):
        for name, program in programs.items():
            started = time.perf_counter()
            jax.block_until_ready(program())
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(rows: list[Row], path: Path | None) -> None:
    """Print the rows' plain values as a table and write all of them with where they come from."""
    columns = list(
        dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, dict | list))
    )
    table = Table(*columns)
    for row in rows:
        table.add_row(*(_written(row.get(name, "")) for name in columns))
    Console(width=140).print(table)
    write(rows, path)


def write(rows: list[Row], path: Path | None) -> None:
    """Write the rows with where they come from; a long measurement does so after every row."""
    if path is not None:
        origin = {
            "hardware": provenance.hardware(),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(origin | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
