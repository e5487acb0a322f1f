"""The learning curves of `benchmarks.gymnax_learning`, drawn from its JSON files.

    python -m benchmarks.gymnax_figure benchmarks/results/gymnax-*.json --out benchmarks/results/gymnax.png

A panel per environment: the mean training return over the seeds against environment samples, a line per row.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gsljax.report import canvas

_COLOURS = (canvas.BLACK, canvas.BLUE, canvas.ORANGE, canvas.GREEN, canvas.VERMILION, canvas.SKY, canvas.PURPLE)


def figure_of(files: dict[str, list[dict[str, Any]]]) -> Figure:
    """A panel for each file's rows."""
    figure = canvas.new_figure(3.4 * len(files), 3.6)
    for axes, (environment, rows) in zip(figure.subplots(1, len(files), squeeze=False)[0], files.items(), strict=True):
        canvas.style_axes(axes)
        for index, row in enumerate(rows):
            returns = np.array(row["training returns"], float)
            samples = (np.arange(len(returns)) + 1) / len(returns) * row["samples"]
            name = row["name"].removeprefix(environment + " ").replace("an untrained policy's", "untrained")
            is_control = "untrained" in name
            style = ":" if is_control else "-"
            colour = canvas.GREY if is_control else _COLOURS[index % len(_COLOURS)]
            known = ~np.isnan(returns)  # no episode may have ended in a part of the run
            axes.plot(samples[known] / 1000, returns[known], style, color=colour, linewidth=1.3, label=name)
        axes.set_title(environment, fontsize=9)
        axes.set_xlabel("environment samples (thousands)", fontsize=8)
        axes.legend(fontsize=5.5, frameon=False, loc="lower right")
        axes.set_ylabel("training return, mean of the seeds", fontsize=8)
    return figure


def main() -> None:
    """Draw the files."""
    parser = argparse.ArgumentParser(description="Learning curves of benchmarks.gymnax_learning.")
    parser.add_argument("files", type=Path, nargs="+", help="what it wrote with --json")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    given = parser.parse_args()
    tables = [json.loads(path.read_text(encoding="utf-8"))["rows"] for path in given.files]
    canvas.save(figure_of({rows[0]["name"].split()[0]: rows for rows in tables}), given.out)


if __name__ == "__main__":
    main()
