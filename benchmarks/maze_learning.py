"""The paper's Fig. 2 on the maze: GSL against PPO and the controls, over seeds, at equal total samples.

    python -m benchmarks.maze_learning --runs runs/maze-learning            # everything: hours on 2 cores
    python -m benchmarks.maze_learning --runs DIR --methods gsl ppo --seeds 0 1 2 --processes 2

Runs that are finished are not run again and runs that were cut off are resumed, so the command can be repeated until
all are there. Controls of phase II start from the demonstrations of the GSL run with their seed. At the end the
summaries go to `benchmarks/results/<setting>/<method>/seed<k>.json`, with the figure and a table beside them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from gsljax.report.canvas import save
from gsljax.report.curves import comparison_figure
from gsljax.report.runs import load_run

RESULTS = Path(__file__).parent / "results"
FROM_GSL = ("gsl-no-demonstrations", "gsl-bc", "gsl-classic")
METHODS = ("gsl", "ppo", *FROM_GSL, "gsl-scratch")
SETTINGS = {
    "maze": [],  # the preset
    "maze-one-interval": ["--env.intervals-per-goal", "1", "--env.context-scale", "1"],
}
EXTRA = {
    "gsl-classic": ["--imitation.weight", "0.1", "--imitation.decay", "1.0"],
    "gsl-bc": ["--imitation.weight", "1"],
}


def command(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """The `gsljax` call for one run: train, or resume what is there."""
    path = runs / setting / f"{method}-{seed}"
    gsljax = [sys.executable, "-m", "gsljax.cli"]
    if (path / "config.json").exists():
        return [*gsljax, "resume", str(path)]
    call = [*gsljax, "train", "maze", "--method", method, "--seed", str(seed), "--run-dir", str(path)]
    if method in FROM_GSL:
        call += ["--start-from", str(runs / setting / f"gsl-{seed}")]
    return call + SETTINGS[setting] + EXTRA.get(method, [])


def run(runs: Path, setting: str, method: str, seed: int) -> None:
    """Make one run complete; its output goes to a log beside it."""
    path = runs / setting / f"{method}-{seed}"
    if (path / "summary.json").exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".log").open("a", encoding="utf-8") as log:
        done = subprocess.run(command(runs, setting, method, seed), stdout=log, stderr=log, check=False)
    print(
        f"{setting} {method} seed {seed}: {'done' if done.returncode == 0 else f'failed, see {log.name}'}", flush=True
    )


def collect(runs: Path, setting: str) -> None:
    """Copy the summaries of one setting, draw its figure, and write and print its table."""
    found = sorted((runs / setting).glob("*/summary.json"))
    if not found:
        return
    folder = RESULTS / setting
    shutil.rmtree(folder, ignore_errors=True)
    rows: dict[str, list[dict]] = {}
    for file in found:
        summary = json.loads(file.read_text(encoding="utf-8"))
        target = folder / summary["method"] / f"seed{summary['seed']}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        rows.setdefault(summary["method"], []).append(summary)
    shown = [file.parent for file in found if file.parent.name.split("-")[0] in ("gsl", "ppo")]
    save(comparison_figure([load_run(path) for path in shown]), folder / "figure.png")
    text = table({method: rows[method] for method in METHODS if method in rows})
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{setting}\n{text}")


def table(rows: dict[str, list[dict]]) -> str:
    """Final success per method over the seeds, and each method's lead of GSL seed by seed, in Markdown."""
    reference = {summary["seed"]: summary["final"]["success"] for summary in rows.get("gsl", [])}
    lines = [
        "| method | seeds | total samples | success, actions sampled | success, deterministic | GSL ahead in | by |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, summaries in rows.items():
        sampled = [summary["final"]["success"] for summary in summaries]
        modal = [summary["final"]["deterministic"]["success"] for summary in summaries]
        leads = [reference[s["seed"]] - s["final"]["success"] for s in summaries if s["seed"] in reference]
        compared = ("–", "–")
        if method != "gsl" and leads:
            compared = (f"{sum(lead > 0 for lead in leads)} of {len(leads)}", f"{mean(leads):+.3f}")
        totals = {summary["total_samples"] for summary in summaries}
        total = f"{min(totals):,}" if len(totals) == 1 else f"{min(totals):,} – {max(totals):,}"
        cells = [method, str(len(summaries)), total, _spread(sampled), _spread(modal), *compared]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread} ({min(values):.2f} – {max(values):.2f})"


def main() -> None:
    """Run what is missing, then collect."""
    parser = argparse.ArgumentParser(description="GSL against PPO and the controls on the maze, over seeds.")
    parser.add_argument("--runs", type=Path, required=True, help="where the run directories are kept")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--collect-only", action="store_true", help="run nothing, only gather what is finished")
    given = parser.parse_args()
    if not given.collect_only:
        for methods in (("gsl", "ppo", "gsl-scratch"), FROM_GSL):  # those that start from GSL's runs come after them
            with ThreadPoolExecutor(given.processes) as pool:
                for setting in given.settings:
                    for seed in given.seeds:
                        for method in methods:
                            if method in given.methods:
                                pool.submit(run, given.runs, setting, method, seed)
    for setting in given.settings:
        collect(given.runs, setting)


if __name__ == "__main__":
    main()
