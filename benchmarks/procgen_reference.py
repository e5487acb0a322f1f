"""PPO's learning curve on Procgen's easy levels 0 to 199 beside the three that openai/train-procgen published.

    python -m benchmarks.procgen_reference --runs benchmarks/results/procgen-early-plateau/*/ppo/seed* \
        --out benchmarks/results/procgen-reference.png --json benchmarks/results/procgen-reference-ours.json

The reference is PPO2 with the same network, lanes and samples per update, 3 runs a game
(`train_procgen/results/easy-200-run*/progress-GAME-train.csv`; MIT licence), of which
`benchmarks/results/procgen-reference.json` keeps means over 100,000 samples. `--reference CLONE` reads a clone of the
repository and writes that file anew.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from benchmarks.reporting import Row, report
from gsljax.report import canvas
from gsljax.report.runs import load_run

REFERENCE = Path(__file__).parent / "results" / "procgen-reference.json"
GAMES = ("starpilot", "fruitbot", "bigfish")
BIN = 100_000
MOST_SAMPLES = 10_000_000

Curve = dict[int, float]
"""Mean training return by the middle of a bin of samples."""


def binned(points: Iterable[tuple[float, float | None]]) -> Curve:
    """Means of the returns at these numbers of samples over every 100,000; None where no episode ended."""
    found: dict[int, list[float]] = defaultdict(list)
    for samples, value in points:
        if value is not None and samples < MOST_SAMPLES:
            found[int(samples) // BIN * BIN + BIN // 2].append(value)
    return {middle: mean(values) for middle, values in sorted(found.items())}


def published(clone: Path) -> dict[str, list[Curve]]:
    """Read the reference's curves, game by game."""
    curves: dict[str, list[Curve]] = {}
    for game in GAMES:
        for path in sorted((clone / "train_procgen" / "results").glob(f"easy-200-run*/progress-{game}-train.csv")):
            with path.open(encoding="utf-8") as file:
                rows = [(float(row["misc/total_timesteps"]), float(row["eprewmean"])) for row in csv.DictReader(file)]
            curves.setdefault(game, []).append(binned(rows))
    return curves


def rows_of(game: str, reference: list[Curve], ours: list[Curve]) -> list[Row]:
    """Of every half million samples that all curves have: each one's mean return over the two bins around it."""
    rows: list[Row] = []
    for samples in range(500_000, max(map(max, ours)) + 1, 500_000):
        around = samples - BIN // 2, samples + BIN // 2
        if all(at in curve for curve in (*reference, *ours) for at in around):
            of_reference, of_ours = (
                [mean(curve[at] for at in around) for curve in curves] for curves in (reference, ours)
            )
            row: Row = {"name": f"{game}, {samples:,} samples", "lowest": min(of_reference)}
            rows.append(row | {"highest": max(of_reference)} | {f"run {k}": value for k, value in enumerate(of_ours)})
    return rows


def figure_of(reference: dict[str, list[Curve]], ours: dict[str, list[Curve]]) -> Figure:
    """A panel for each game that we have a run of."""
    figure = canvas.new_figure(3.6 * len(ours), 3.2)
    for axes, (game, curves) in zip(figure.subplots(1, len(ours), squeeze=False)[0], ours.items(), strict=True):
        canvas.style_axes(axes)
        last = max(max(curve) for curve in curves)
        for kind, colour, width, shown in (
            ("train-procgen (PPO2)", canvas.GREY, 1.0, reference[game]),
            ("gsljax, PPO", canvas.VERMILION, 1.6, curves),
        ):
            for number, curve in enumerate(shown):
                points = [(samples / 1e6, value) for samples, value in curve.items() if samples <= last]
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, label="" if number else kind)
        axes.set_title(f"{game}, easy levels 0 to 199", fontsize=9)
        axes.set_xlabel("environment samples (millions)", fontsize=8)
        axes.set_ylabel("training return", fontsize=8)
        axes.legend(fontsize=7, frameon=False, loc="upper left")
    return figure


def main() -> None:
    """Read, tell and draw."""
    parser = argparse.ArgumentParser(description="PPO on Procgen beside train-procgen's published curves.")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="PPO's run directories, or kept ones")
    parser.add_argument("--reference", type=Path, help="a clone of openai/train-procgen, to read its curves anew")
    parser.add_argument("--json", type=Path, help="write the table to this file, with hardware, versions and commit")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    given = parser.parse_args()
    if given.reference:
        curves = published(given.reference)
        text = json.dumps({game: [list(map(list, curve.items())) for curve in runs] for game, runs in curves.items()})
        REFERENCE.write_text(text + "\n", encoding="utf-8")
    kept = json.loads(REFERENCE.read_text(encoding="utf-8"))
    reference = {game: [{int(at): value for at, value in curve} for curve in runs] for game, runs in kept.items()}
    ours: dict[str, list[Curve]] = {}
    for run in map(load_run, given.runs):
        game = run.preset.removeprefix("procgen-")
        if game not in reference:
            sys.exit(f"{run.path} is a run on {game}, but reference curves are kept of {', '.join(reference)} alone.")
        curve = binned((record["samples"], record.get("return")) for record in run.records)
        ours.setdefault(game, []).append(curve)
    report([row for game, curves in ours.items() for row in rows_of(game, reference[game], curves)], given.json)
    canvas.save(figure_of(reference, ours), given.out)


if __name__ == "__main__":
    main()
