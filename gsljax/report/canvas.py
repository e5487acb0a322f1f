"""What the figures share: colours, axes, light smoothing, and saving."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gsljax.errors import UserError
from gsljax.report.runs import Metric
from gsljax.report.text import format_count, format_value

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#7F7F7F",
)
STAGE_COLOURS = {
    "generalist": BLUE,
    "fine_tuning": SKY,
    "trials": VERMILION,
    "specialists": ORANGE,
    "demonstrations": PURPLE,
    "imitation": GREEN,
    "baseline": BLACK,
}
STAGE_TITLES = {
    "generalist": "generalist",
    "fine_tuning": "fine-tuned generalist",
    "trials": "candidates",
    "specialists": "specialists",
    "demonstrations": "demonstrations",
    "imitation": "generalist, phase II",
    "baseline": "baseline",
}
_SUFFIXES = (".pdf", ".png", ".svg")
_DOTS_PER_INCH = 200


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure whose parts arrange themselves.

    Args:
      width: in inches.
      height: in inches.
    """
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")


def style_axes(axes: Axes) -> None:
    """Leave only the left and bottom spines, small type, and a faint horizontal grid.

    Args:
      axes: the axes to style.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def label_value_axis(axes: Axes, metric: Metric) -> None:
    """Name the y-axis; success goes from 0 to 1.

    Args:
      axes: the axes.
      metric: what it shows.
    """
    axes.set_ylabel("success rate" if metric == "success" else "return", fontsize=9)
    if metric == "success":
        axes.set_ylim(-0.02, 1.03)


def label_sample_axis(axes: Axes, samples: float) -> None:
    """Let the x-axis run from 0 to `samples`, written in k and M.

    Args:
      axes: the axes.
      samples: where it ends.
    """
    axes.set_xlabel("environment samples, all stages and members", fontsize=9)
    axes.set_xlim(0, samples)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))


def smooth(samples: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """Filter a curve with a Gaussian over samples, whose weights sum to 1 at the curve's ends too.

    Args:
      samples: `[points]`, about evenly spaced.
      values: `[points]`, no NaN.
      width: the Gaussian's standard deviation in samples; where that is less than half a step nothing is filtered.
    """
    sigma = smoothing_sigma(samples, width)
    if not sigma:
        return values
    radius = min(math.ceil(4 * sigma), len(values))
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    inside = slice(radius, radius + len(values))
    return np.convolve(values, kernel)[inside] / np.convolve(np.ones(len(values)), kernel)[inside]


def smoothing_sigma(samples: np.ndarray, width: float) -> float:
    """The standard deviation of `smooth`'s Gaussian in steps of the curve; 0 where nothing is filtered."""
    sigma = width / float(np.median(np.diff(samples))) if len(samples) > 1 else 0.0
    return sigma if sigma >= 0.5 else 0.0


def write_value(value: float, metric: Metric) -> str:
    """Write a success rate with two digits, a return as elsewhere.

    Args:
      value: the number, or NaN.
      metric: what it is.
    """
    return f"{value:.2f}" if metric == "success" and not math.isnan(value) else format_value(value)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure; the suffix picks the format, missing folders are made.

    Args:
      figure: the figure.
      path: a file that ends in .pdf, .png or .svg.

    Raises:
      UserError: if the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"Figure {path} has the suffix {path.suffix!r}; allowed are {', '.join(_SUFFIXES)}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise UserError(f"Figure {path} cannot be written: {error.strerror}.") from error
