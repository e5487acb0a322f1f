"""Learning curves: one run in the manner of GSL Fig. 2, and many runs beside each other."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gsljax.errors import UserError
from gsljax.report import canvas
from gsljax.report.runs import Metric, Run, differing_settings
from gsljax.report.text import as_number, format_count

Band = Literal["standard error", "min to max"]

_TRAINING_STAGES = ("generalist", "fine_tuning", "trials", "specialists", "imitation", "baseline")
_METHOD_COLOURS = {
    "ppo": canvas.BLACK,
    "ppg": canvas.GREY,
    "sac": canvas.BLACK,
    "gsl": canvas.BLUE,
    "gsl, ppg": canvas.SKY,
    "gsl, sac": canvas.BLUE,
    "gsl-gail": canvas.SKY,
    "gsl-classic": canvas.ORANGE,
    "gsl-bc": canvas.PURPLE,
    "gsl-no-demonstrations": canvas.VERMILION,
    "gsl-scratch": canvas.GREEN,
}
_GRID_POINTS = 401


def learning_curve_figure(run: Run) -> Figure:
    """Draw one run: generalist, plateau and look-ahead, specialists, phase II, over all samples spent (GSL Fig. 2).

    Args:
      run: a finished run, or one that goes on.

    Raises:
      UserError: if no epoch is finished yet.
    """
    _require_epochs(run)
    metric, total = run.metric, _total_samples(run)
    figure = canvas.new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    canvas.style_axes(axes)
    handles: list[Artist] = []
    for stage in run.stage_spans:
        if stage in _TRAINING_STAGES:
            handles += _draw_stage(axes, run, stage, metric)
    if _is_smoothed(run):
        handles.append(Line2D([], [], color=canvas.GREY, linestyle="", marker=".", label="epochs (lines are smoothed)"))
    handles += _shade_stages(axes, [run]) + _mark_plateau(axes, run) + _mark_final(axes, run, metric)
    canvas.label_value_axis(axes, metric)
    canvas.label_sample_axis(axes, total)
    axes.set_title(f"{run.preset}, {run.method}, seed {run.seed}", fontsize=9, pad=14)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


def comparison_figure(runs: Sequence[Run], band: Band = "standard error") -> Figure:
    """Draw methods beside each other: the mean over runs and a band, and the final evaluations at the right.

    Runs of a method end a stage at different samples: each stage's curve is stretched to lie between the medians of
    its boundaries over the method's runs, then put on a grid of samples and averaged where more than half of the runs
    have one. Presets get one row each.

    Args:
      runs: runs of any presets, methods and seeds; one that is given twice counts once.
      band: what is drawn around the mean.

    Raises:
      UserError: if there is no run, or one of them has no finished epoch.
    """
    if not runs:
        raise UserError("There is no run to compare.")
    unique = list({run.path.resolve(): run for run in runs}.values())
    for run in unique:
        _require_epochs(run)
    presets = sorted({run.preset for run in unique})
    figure = canvas.new_figure(7.0, 3.8 * len(presets))
    rows = figure.subfigures(len(presets), 1, squeeze=False)[:, 0]
    for preset, row in zip(presets, rows, strict=True):
        groups: dict[str, list[Run]] = {}
        for run in unique:
            if run.preset == preset:
                groups.setdefault(run.method, []).append(run)
        order = sorted(groups, key=lambda method: (method.startswith("gsl"), method == "gsl", method))  # gsl on top
        _draw_preset(row, preset, {method: groups[method] for method in order}, band)
    return figure


def colours_of(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method: its usual one, or one that no other of these has, while there are any left."""
    colours: dict[str, str] = {}
    usual_first = sorted(methods, key=lambda method: method not in _METHOD_COLOURS)
    for method in usual_first:
        usual = _METHOD_COLOURS.get(method, canvas.GREY)
        free = [colour for colour in (usual, *canvas.PALETTE) if colour not in colours.values()]
        colours[method] = (free or [usual])[0]
    return {method: colours[method] for method in methods}


def _draw_stage(axes: Axes, run: Run, stage: str, metric: Metric) -> list[Artist]:
    """Draw a stage of one run: epochs as faint dots, or members as thin lines, and their mean smoothed."""
    colour, title, width = canvas.STAGE_COLOURS[stage], canvas.STAGE_TITLES[stage], _smoothing(run)
    samples, values = run.curve(stage, metric)
    members = run.member_curves(stage, metric)
    for member, (at, reached) in enumerate(members):
        reached = canvas.smooth(at, reached, width)
        axes.plot(at, reached, color=colour, linewidth=0.6, alpha=0.5, gid=f"{stage}:member {member}")
    if members:
        title += f" (mean; thin: each of {len(members)})"
    else:
        axes.plot(samples, values, ".", color=colour, markersize=2, alpha=0.35, gid=f"{stage}:raw")
    smoothed = canvas.smooth(samples, values, width)
    return [*axes.plot(samples, smoothed, color=colour, linewidth=1.8, label=title, gid=f"{stage}:smoothed")]


def _draw_preset(figure: SubFigure, preset: str, groups: Mapping[str, Sequence[Run]], band: Band) -> None:
    """Draw one preset's methods: curves at the left, final evaluations at the right."""
    everything = [run for runs in groups.values() for run in runs]
    colours = colours_of(list(groups))
    metric: Metric = "success" if all(run.metric == "success" for run in everything) else "return"
    total = max(_total_samples(run) for run in everything)
    axes, final_axes = figure.subplots(1, 2, sharey=True, width_ratios=(8, 1))
    canvas.style_axes(axes)
    handles: list[Artist] = []
    grid = np.linspace(0, total, _GRID_POINTS)
    curves = {
        (method, stage): _aggregate(runs, stage, metric, grid, band)
        for method, runs in groups.items()
        for stage in _TRAINING_STAGES
    }
    for place, ((method, stage), (mean, low, high)) in enumerate(curves.items()):
        later = list(curves.items())[place + 1 :]
        if any(name[1] == stage and np.array_equal(mean, other[0], equal_nan=True) for name, other in later):
            continue  # methods that share their first stages: draw these once
        style, width = ("--", 1.1) if stage in ("trials", "specialists") else ("-", 1.8)
        colour = colours[method]
        axes.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(grid, mean, style, color=colour, linewidth=width, gid=f"{method}:{stage}")
    for method, runs in groups.items():
        colour = colours[method]
        handles.append(Line2D([], [], color=colour, linewidth=1.8, label=f"{method} ({_count(runs)})"))
    if any("specialists" in run.stage_spans for run in everything):
        handles.append(
            Line2D([], [], color=canvas.GREY, linestyle="--", linewidth=1.1, label="specialists (those that train)")
        )
    if any(len(runs) > 1 for runs in groups.values()):
        label = "mean ± standard error over runs" if band == "standard error" else "mean, min to max over runs"
        if any(len(run.stage_spans) > 1 for run in everything):
            label += ",\nevery stage at its median samples"
        handles.append(Patch(color=canvas.GREY, alpha=0.25, linewidth=0, label=label))
    staged = [method for method in ("gsl", *groups) if any(len(run.stage_spans) > 1 for run in groups.get(method, ()))]
    handles += _shade_stages(axes, groups[staged[0]] if staged else [], in_grey=True)  # colours stand for methods here
    canvas.label_value_axis(axes, metric)
    canvas.label_sample_axis(axes, total)
    axes.set_title(preset, fontsize=9, pad=14)
    _draw_finals(final_axes, groups, metric, band, colours)
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)


def _aggregate(
    runs: Sequence[Run], stage: str, metric: Metric, grid: np.ndarray, band: Band
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, low and high `[grid]` of a stage over runs, NaN where half of the runs or fewer have a value."""
    curves = np.full((len(runs), len(grid)), np.nan)
    shared = _median_span(runs, stage)
    for place, run in enumerate(runs):
        samples, values = run.curve(stage, metric)
        if len(values):
            smoothed = canvas.smooth(samples, values, _smoothing(run))
            at = _aligned(samples, run, stage, shared)
            curves[place] = np.interp(grid, at, smoothed, left=np.nan, right=np.nan)
    known = ~np.isnan(curves)
    mean, low, high = np.full((3, len(grid)), np.nan)
    for point in np.flatnonzero(known.sum(0) > len(runs) / 2):
        mean[point], low[point], high[point] = _spread(curves[known[:, point], point], band)
    return mean, low, high


def _median_span(runs: Sequence[Run], stage: str) -> tuple[float, float]:
    """Return the medians of a stage's boundaries, over the runs that have left it or, if none has, all that have it."""
    having = [run for run in runs if stage in run.stage_spans]
    spans = [run.stage_spans[stage] for run in [run for run in having if _is_over(run, stage)] or having]
    first, last = (statistics.median(ends) for ends in zip(*spans, strict=True)) if spans else (0.0, 0.0)
    return first, last


def _aligned(samples: np.ndarray, run: Run, stage: str, shared: tuple[float, float]) -> np.ndarray:
    """Move a stage's samples so that it begins at `shared[0]` and, if it is over and not all of the run, ends there."""
    first, last = run.stage_spans[stage]
    is_all = len(run.stage_spans) == 1
    stretch = (shared[1] - shared[0]) / (last - first) if _is_over(run, stage) and not is_all else 1.0
    return shared[0] + (samples - first) * stretch


def _is_over(run: Run, stage: str) -> bool:
    """Say whether a run has left a stage that it has."""
    return run.summary is not None or stage != list(run.stage_spans)[-1]


def _spread(values: np.ndarray, band: Band) -> tuple[float, float, float]:
    """Return the mean of values `[runs]` and the ends of the band around it; one run has no band."""
    mean = float(values.mean())
    if band == "min to max":
        return mean, float(values.min()), float(values.max())
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return mean, mean - error, mean + error


def _draw_finals(
    axes: Axes, groups: Mapping[str, Sequence[Run]], metric: Metric, band: Band, colours: Mapping[str, str]
) -> None:
    """Draw each method's final evaluations: a faint dot per run, the mean with its band, and the mean in digits."""
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, labelleft=False, bottom=False, labelbottom=False)
    if any(not math.isnan(_final(run, metric)) for runs in groups.values() for run in runs):
        axes.set_title("final evaluation", fontsize=8, pad=14)
    axes.set_xlim(-0.7, len(groups) - 0.5)
    means: dict[str, float] = {}
    for place, (method, runs) in enumerate(groups.items()):
        values = np.array([_final(run, metric) for run in runs])
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        colour = colours[method]
        means[method], low, high = _spread(values, band)
        at = np.full(len(values), place - 0.35)
        axes.plot(at, values, ".", color=colour, markersize=3, alpha=0.4, clip_on=False, gid=f"{method}:runs")
        axes.vlines(place, low, high, color=colour, linewidth=1.2)
        axes.plot([place], [means[method]], "o", color=colour, markersize=4, clip_on=False, gid=f"{method}:final")
    order = sorted(means, key=means.__getitem__)
    for method, height in zip(order, _keep_apart([means[method] for method in order], *axes.get_ylim()), strict=True):
        axes.annotate(
            f"{method} {canvas.write_value(means[method], metric)}",
            (1.05, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7,
            color=colours[method],
        )


def _keep_apart(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels, given from the lowest to the highest, just so far that none covers another or leaves the axes."""
    gap = 0.055 * (high - low)
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else low))
    ceiling = high
    for place in reversed(range(len(placed))):
        placed[place] = min(placed[place], ceiling)
        ceiling = placed[place] - gap
    return placed


def _shade_stages(axes: Axes, runs: Sequence[Run], in_grey: bool = False) -> list[Artist]:
    """Tint and name the stages between the medians of their boundaries; return entries for those too narrow to name."""
    stages = [stage for stage in canvas.STAGE_COLOURS if any(stage in run.stage_spans for run in runs)]
    if len(stages) < 2:
        return []
    total = max(_total_samples(run) for run in runs)
    unnamed: list[Artist] = []
    for place, stage in enumerate(stages):
        first, last = _median_span(runs, stage)
        colour, title = canvas.GREY if in_grey else canvas.STAGE_COLOURS[stage], canvas.STAGE_TITLES[stage]
        if last <= first:
            continue
        tint = 0.03 + 0.09 * (place % 2) if in_grey else 0.07
        axes.axvspan(first, last, color=colour, alpha=tint, linewidth=0, gid=f"{stage}:span")
        if last - first < 0.013 * len(title) * total:
            if in_grey:
                title = f"{title} ({format_count(first)} to {format_count(last)})"
            if in_grey or stage not in _TRAINING_STAGES:  # otherwise its line has the entry
                unnamed.append(Patch(color=colour, alpha=0.2, linewidth=0, label=title))
            continue
        axes.annotate(
            title,
            ((first + last) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=7,
            color=colour,
        )
    return unnamed


def _mark_plateau(axes: Axes, run: Run) -> list[Artist]:
    """Draw where the generalist is taken and what it spent looking ahead; return the legend's entries."""
    plateau = (run.summary or {}).get("plateau") or {}
    at = plateau.get("samples")
    if at is None:
        return []
    where = "where H = 1" if plateau.get("fired") else "H did not fire"
    label = f"generalist taken ({where})"
    line = axes.axvline(at, color="0.25", linestyle=":", linewidth=1.2, label=label, gid="plateau")
    end = run.stage_spans.get("generalist", (0, 0))[1]
    if end <= at:
        return [line]
    ahead = axes.axvspan(at, end, color="0.25", alpha=0.12, linewidth=0, label="look-ahead", gid="look-ahead")
    return [line, ahead]


def _mark_final(axes: Axes, run: Run, metric: Metric) -> list[Artist]:
    """Draw the final evaluation at the right edge; return the legend's entry."""
    value = _final(run, metric)
    if np.isnan(value):
        return []
    label = f"final evaluation: {canvas.write_value(value, metric)}"
    marker = {"color": canvas.BLACK, "markersize": 5, "clip_on": False, "zorder": 5}
    return [*axes.plot([_total_samples(run)], [value], "D", label=label, gid="final", **marker)]


def _final(run: Run, metric: Metric) -> float:
    """Return the final evaluation, NaN where there is none yet."""
    return as_number(((run.summary or {}).get("final") or {}).get(metric))


def _smoothing(run: Run) -> float:
    """Return how many samples wide curves are smoothed for the eye: 1 % of the run, in every stage and method."""
    return 0.01 * _total_samples(run)


def _is_smoothed(run: Run) -> bool:
    """Say whether any stage's line differs from its epochs."""
    stages = [stage for stage in run.stage_spans if stage in _TRAINING_STAGES]
    return any(canvas.smoothing_sigma(run.curve(stage, run.metric)[0], _smoothing(run)) > 0 for stage in stages)


def _total_samples(run: Run) -> int:
    """Return the samples a run has spent so far."""
    return max(run.records[-1]["samples"], (run.summary or {}).get("total_samples") or 0)


def _count(runs: Sequence[Run]) -> str:
    """Say how many runs a curve stands for, and whether they are one experiment."""
    noun = "seed" if len({run.seed for run in runs}) == len(runs) else "run"
    return f"n = {len(runs)} {noun}{'s' * (len(runs) > 1)}{', settings differ' * bool(differing_settings(runs))}"


def _require_epochs(run: Run) -> None:
    """Refuse a run without a finished epoch."""
    if not run.records or not _total_samples(run):
        raise UserError(f"{run.path} has nothing to draw yet: no epoch is finished.")
