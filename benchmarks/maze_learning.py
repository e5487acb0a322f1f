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
    "maze-one-interval": [
        *("--env.intervals-per-goal", "1"),
        *("--env.context-scale", "1"),
        *("--good-enough", "None"),  # or GSL would stop at its plateau, with fewer samples than PPO
    ],
}


NOTE = """Success of the final policy, all goals alike: mean ± standard deviation over seeds (range).
The setting, and what else was tried: [docs/maze.md](../../../docs/maze.md).
"""


def command(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """The `gsljax` call for one run: train, or resume what is there."""
    path = runs / setting / f"{method}-{seed}"
    gsljax = [sys.executable, "-m", "gsljax.cli"]
    if (path / "config.json").exists():
        return [*gsljax, "resume", str(path)]
    call = [*gsljax, "train", "maze", "--method", method, "--seed", str(seed), "--run-dir", str(path)]
    if method in FROM_GSL:
        call += ["--start-from", str(runs / setting / f"gsl-{seed}")]
    return call + SETTINGS[setting]


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


def collect(runs: Path, setting: str, methods: list[str], seeds: list[int]) -> bool:
    """Copy the summaries of one setting and write its figure and table; whether all were there."""
    paths = {(method, seed): runs / setting / f"{method}-{seed}" for method in methods for seed in seeds}
    finished = {which: path for which, path in paths.items() if (path / "summary.json").exists()}
    for method, seed in sorted(paths.keys() - finished.keys()):
        print(f"missing: {setting} {method} seed {seed}", file=sys.stderr)
    if not finished:
        return False
    folder = RESULTS / setting
    rows: dict[str, list[dict]] = {}
    for (method, seed), path in finished.items():
        target = folder / method / f"seed{seed}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / "summary.json", target)
        rows.setdefault(method, []).append(json.loads(target.read_text(encoding="utf-8")))
    save(comparison_figure([load_run(path) for path in finished.values()]), folder / "figure.png")
    made_by = f"python -m benchmarks.maze_learning --runs DIR --settings {setting} --methods {' '.join(methods)} "
    made_by += f"--seeds {' '.join(map(str, seeds))}"
    text = f"# {setting}\n\n`{made_by}`\n\n![learning curves](figure.png)\n\n{table(rows)}\n{NOTE}"
    if "gsl" in rows:
        text += f"\n## On the way there (method gsl)\n\n{stages_table(rows['gsl'])}"
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return len(finished) == len(paths)


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
        cells = [method, _seeds(summaries), total, _spread(sampled), _spread(modal), *compared]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def stages_table(summaries: list[dict]) -> str:
    """What the stages before phase II came to in runs of method gsl, in Markdown."""
    lines = [
        "| seed | H fired after (samples) | generalist taken at | its success | specialists' success | kept episodes |",
        "|---|---|---|---|---|---|",
    ]
    for summary in summaries:
        stage = {record["name"]: record for record in summary["stages"]}
        plateau, played = stage["generalist"]["plateau"], stage["demonstrations"]
        fired = f"{stage['generalist']['samples']:,}" if plateau["fired"] else "not at all"
        success = f"{stage['evaluation']['success']:.3f} | {played['success']:.3f}"
        cells = [str(summary["seed"]), fired, f"{plateau['samples']:,}", success]
        lines.append("| " + " | ".join([*cells, f"{played['kept_episodes']} of {played['episodes']}"]) + " |")
    lines += [
        "",
        "Success of the generalist: in the evaluation that finds E_low; of the specialists: in all they played.",
    ]
    return "\n".join(lines) + "\n"


def _seeds(summaries: list[dict]) -> str:
    return f"{len(summaries)}: " + " ".join(str(seed) for seed in sorted(summary["seed"] for summary in summaries))


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
            wanted = [method for method in methods if method in given.methods]
            with ThreadPoolExecutor(given.processes) as pool:
                jobs = [
                    pool.submit(run, given.runs, setting, method, seed)
                    for setting in given.settings
                    for seed in given.seeds
                    for method in wanted
                ]
                for job in jobs:
                    job.result()
    complete = [collect(given.runs, setting, given.methods, given.seeds) for setting in given.settings]
    sys.exit(not all(complete))


if __name__ == "__main__":
    main()
