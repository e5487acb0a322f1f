"""The tables a finished run ends with."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.box import Box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gsljax.report.text import as_number, format_count, format_value

_MAX_ROWS = 20


def summary_tables(
    summary: Mapping[str, Any], last_records: Mapping[str, Mapping[str, Any]], border: Box
) -> list[RenderableType]:
    """Lay out `summary.json` as tables: the stages, the final evaluation, and the variations.

    Args:
      summary: the content of `summary.json`.
      last_records: each stage's last line of `metrics.jsonl`, for stages whose entry has no `return` or `success`.
      border: how the tables are drawn.
    """
    tables: list[RenderableType] = [_stage_table(summary, last_records, border)]
    plateau = summary.get("plateau") or {}
    if plateau.get("samples") is not None:
        what = f"H fired at epoch {plateau['epoch']}" if plateau.get("fired") else "H did not fire"
        tables.append(
            Text(f"plateau: {what}; the generalist was taken after {format_count(plateau['samples'])} samples\n")
        )
    final = summary.get("final") or {}
    evaluations = [
        ("final, actions sampled", final),
        ("final, deterministic", final.get("deterministic")),
        ("test variations", summary.get("test")),
    ]
    evaluations = [(title, values) for title, values in evaluations if values]
    if evaluations:
        tables.append(_evaluation_table("evaluation", evaluations, border))
    per_variation = final.get("per_variation") or {}
    if per_variation:
        tables.append(_variation_table(per_variation, border))
    return tables


def evaluation_tables(results: Mapping[str, Any]) -> list[RenderableType]:
    """Lay out what `gsljax.api.evaluate` returns: what was evaluated, its means, and the variations.

    Args:
      results: with `policy`, `split`, `episodes`, `return`, `per_variation` and `deterministic`, see there.
    """
    rows = [("actions sampled", results), ("deterministic", results["deterministic"])]
    episodes = "1 episode" if results["episodes"] == 1 else f"{results['episodes']} episodes"
    return [
        Text(f"{results['policy']} policy, {results['split']} variations, {episodes} of each\n"),
        _evaluation_table("evaluation", rows, box.SIMPLE_HEAD),
        _variation_table(results["per_variation"], box.SIMPLE_HEAD),
    ]


def _stage_table(
    summary: Mapping[str, Any], last_records: Mapping[str, Mapping[str, Any]], border: Box
) -> RenderableType:
    """Lay out what each stage cost and reached; samples/s leave compilation out where the entry says its time."""
    stages: Sequence[Mapping[str, Any]] = summary.get("stages") or ()
    has_compile = any((stage.get("time") or {}).get("compile") is not None for stage in stages)
    has_success = any(
        source.get("success") is not None for stage in stages for source in (stage, last_records.get(stage["name"], {}))
    )
    numbers = ["samples", "seconds", *(["compiling"] if has_compile else []), "samples/s", "return"]
    numbers += ["success"] if has_success else []
    table = _table("stage", numbers, border)
    for stage in stages:
        times = stage.get("time") or {}
        samples, wall = stage.get("samples") or 0, as_number(stage.get("wall_seconds"))
        working = sum(as_number(seconds) for name, seconds in times.items() if name != "compile")
        busy = working if working > 0 else wall
        reached = last_records.get(stage["name"], {}) | {k: v for k, v in stage.items() if v is not None}
        cells = [format_count(samples), _seconds(wall)]
        cells += [_seconds(as_number(times.get("compile")))] if has_compile else []
        cells.append(format_count(samples / busy) if samples and busy > 0 else "-")
        cells.append(format_value(reached.get("return")))
        cells += [format_value(reached.get("success"))] if has_success else []
        table.add_row(stage["name"], *cells)
    table.add_section()
    total = [format_count(summary.get("total_samples") or 0), _seconds(as_number(summary.get("wall_seconds")))]
    table.add_row("all", *total, *[""] * (len(numbers) - 2))
    return table


def _evaluation_table(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]], border: Box) -> RenderableType:
    """Lay out one row per evaluation, with a column per number that any of them has."""
    columns = [name for name in ("return", "success", "normalized") if any(v.get(name) is not None for _, v in rows)]
    table = _table(title, columns, border)
    for name, values in rows:
        table.add_row(name, *(format_value(values.get(column)) for column in columns))
    return table


def _variation_table(per_variation: Mapping[str, Mapping[str, Any]], border: Box) -> RenderableType:
    """Lay out every variation where they fit on a screen, else the worst, the median and the best."""
    by_id = sorted(per_variation.items(), key=lambda item: int(item[0]))
    ordered = [(values.get("name", variation), values) for variation, values in by_id]
    if len(ordered) <= _MAX_ROWS:
        return _evaluation_table("variation", ordered, border)
    metric = "success" if any(values.get("success") is not None for _, values in ordered) else "return"
    known = [item for item in ordered if not math.isnan(as_number(item[1].get(metric)))]
    if not known:
        return Text(f"{len(ordered)} variations, none with an episode that ended")
    known.sort(key=lambda item: as_number(item[1][metric]))
    places = {"worst": 0, "median": (len(known) - 1) // 2, "best": len(known) - 1}
    rows = [(f"{name} (variation {known[place][0]})", known[place][1]) for name, place in places.items()]
    return _evaluation_table(f"of {len(ordered)} variations by {metric}", rows, border)


def _table(title: str, columns: Sequence[str], border: Box) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    table = Table(box=border, pad_edge=False)
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _seconds(value: float) -> str:
    """Write seconds of work, "-" where unknown."""
    return "-" if math.isnan(value) else f"{value:.1f}"
