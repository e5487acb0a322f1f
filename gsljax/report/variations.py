"""How well a run does on each variation, at the plateau and at the end (GSL Fig. 10)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gsljax.errors import UserError
from gsljax.report import canvas
from gsljax.report.runs import Metric, Run
from gsljax.report.text import as_number

_MAX_BARS = 50
_MAX_WRITTEN = 15
"""The most places for bars whose values are written above them: in more they would overlap."""
_MAX_LABELS = 24
_GENERALIST, _SPECIALISTS = "generalist before its specialists", "specialists, each on its own"
_COLOURS = {_GENERALIST: canvas.BLUE, _SPECIALISTS: canvas.ORANGE, "final": canvas.GREEN}


def per_variation_figure(run: Run) -> Figure:
    """Draw the final evaluation of every variation, beside the generalist's at the plateau where the run has it.

    Up to 50 variations are bars by id, with names where they have some; more are one curve per evaluation, each sorted
    from worst to best. What the specialists reached on their variations, in all episodes that they demonstrated, are
    further bars, or points above the place of these variations on the generalist's curve.

    Args:
      run: a finished run.

    Raises:
      UserError: if the run has no final evaluation per variation.
    """
    summary = run.summary or {}
    final = (summary.get("final") or {}).get("per_variation")
    if not final:
        raise UserError(f"{run.path} has no evaluation per variation: its summary.json is missing or has none.")
    stages = {stage["name"]: stage for stage in summary.get("stages", ())}
    plateau = stages.get("evaluation", {}).get("per_variation")
    specialists = stages.get("demonstrations", {}).get("specialists")
    metric = run.metric
    evaluations = {_GENERALIST: plateau, _SPECIALISTS: specialists, "final": final}
    curves = {name: _values(values, metric) for name, values in evaluations.items() if values}
    figure = canvas.new_figure(6.4, 3.2)
    axes = figure.add_subplot()
    canvas.style_axes(axes)
    if len(final) <= _MAX_BARS:
        _draw_bars(
            axes, curves, metric, {int(variation): row["name"] for variation, row in final.items() if "name" in row}
        )
    else:
        _draw_sorted(axes, curves, metric)
    canvas.label_value_axis(axes, metric)
    axes.set_title(f"{run.preset}, {run.method}, seed {run.seed}", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def _draw_bars(axes: Axes, curves: Mapping[str, Mapping[int, float]], metric: Metric, names: Mapping[int, str]) -> None:
    """Draw bars by variation id, the evaluations side by side; a small mark shows where a bar is 0."""
    width = 0.8 / len(curves)
    for place, (name, values) in enumerate(curves.items()):
        shift = (place - (len(curves) - 1) / 2) * width
        ids = np.array(list(values))
        bars = axes.bar(
            ids + shift, list(values.values()), width * 0.94, color=_COLOURS[name], label=_label(name, values, metric)
        )
        if len(curves) * max(map(len, curves.values())) <= _MAX_WRITTEN:
            written = [canvas.write_value(value, metric) for value in values.values()]
            axes.bar_label(bars, written, fontsize=6.5, padding=1)
    if min(min(values.values()) for values in curves.values()) < 0:  # room for the numbers below the bars
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.06 * (high - low), high)
    axes.axhline(0, color="0.3", linewidth=0.8)
    if names:
        size = 7 if len(names) <= _MAX_LABELS else 5
        axes.set_xticks(
            list(names), list(names.values()), rotation=40, ha="right", rotation_mode="anchor", fontsize=size
        )
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("variation", fontsize=9)


def _draw_sorted(axes: Axes, curves: Mapping[str, Mapping[int, float]], metric: Metric) -> None:
    """Draw each evaluation sorted from its worst variation to its best."""
    for name, values in curves.items():
        if name == _SPECIALISTS and _GENERALIST in curves:
            _draw_above(axes, curves[_GENERALIST], values, _label(name, values, metric))
            continue
        array = np.array(list(values.values()))
        array = np.sort(array[~np.isnan(array)])
        places = np.arange(1, len(array) + 1)
        axes.step(
            places,
            array,
            where="mid",
            color=_COLOURS[name],
            linewidth=1.6,
            label=_label(name, values, metric),
            gid=name,
        )
    axes.set_xlim(1, max(map(len, curves.values())))
    axes.set_xlabel("variations, each evaluation sorted from its worst to its best", fontsize=9)


def _draw_above(axes: Axes, generalist: Mapping[int, float], specialists: Mapping[int, float], label: str) -> None:
    """Draw what specialists reached at the places that their variations have on the generalist's sorted curve."""
    known = {variation: value for variation, value in generalist.items() if not np.isnan(value)}
    place = {variation: index + 1 for index, variation in enumerate(sorted(known, key=lambda one: known[one]))}
    shown = [variation for variation in specialists if variation in place]
    axes.scatter(
        [place[variation] for variation in shown],
        [specialists[variation] for variation in shown],
        s=6,
        color=_COLOURS[_SPECIALISTS],
        linewidths=0,
        label=label,
        gid=_SPECIALISTS,
        zorder=3,
    )


def _label(name: str, values: Mapping[int, float], metric: Metric) -> str:
    """Name an evaluation with its mean over variations."""
    known = [value for value in values.values() if not np.isnan(value)]
    return f"{name} (mean over {len(known)}: {canvas.write_value(np.mean(known).item(), metric)})" if known else name


def _values(per_variation: Mapping[str, Mapping[str, Any]], metric: Metric) -> dict[int, float]:
    """Return the metric by variation id, in the order of the ids; NaN where no episode ended."""
    return {int(name): as_number(per_variation[name].get(metric)) for name in sorted(per_variation, key=int)}
