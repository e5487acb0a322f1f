"""What the comparisons of methods by whole runs share: making the runs, and collecting what is committed of them."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from benchmarks.kept_runs import keep, kept_runs, kept_summaries
from gsljax.errors import UserError
from gsljax.files import write_atomically
from gsljax.gsl.checks import most_valid_steps
from gsljax.report.canvas import save
from gsljax.report.curves import comparison_figure
from gsljax.run_directory import read_header, read_json

RESULTS = Path(__file__).parent / "results"
USES_OF_DEMONSTRATIONS = ("gsl", "gsl-no-demonstrations", "gsl-bc", "gsl-classic")
"""The methods that differ in phase II alone: all but the leading one start from its demonstrations, seed by seed."""

_NAMES = {"normalized": "normalised score"}

Summaries = dict[str, list[dict[str, Any]]]
"""By method the content of its runs' `summary.json`."""


class Setting(NamedTuple):
    """What all runs of a comparison have in common.

    Attributes:
      preset: its name.
      flags: that change it.
      methods: that it is run with; all of the comparison's if there are none.
    """

    preset: str
    flags: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


def _no_flags(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    del runs, setting, method, seed
    return []


def _no_text(setting: str, rows: Summaries) -> str:
    del setting, rows
    return ""


class Comparison(NamedTuple):
    """Which runs there are to be, and what their README says.

    Attributes:
      module: the script's name, as in `python -m benchmarks.NAME`.
      description: of the script, one sentence.
      settings: by name, which is also the folder's under `results/`.
      phases: the methods in groups, each of which begins when all runs of the one before it are there.
      seeds: how many seeds there are, unless others are given.
      note: what the README says beneath the table.
      lead: the method that the others are compared with, and whose runs come first.
      metric: what is compared, a key of an evaluation: success, normalized or return.
      rarely: settings that are run only where they are named, for trying the script.
      test_episodes: per held-out variation, on which every finished run is evaluated too; 0 for none.
      flags_of: further flags of one run, which may depend on those before it: the runs' folder, setting, method, seed.
      more: further sections of the README.
    """

    module: str
    description: str
    settings: dict[str, Setting]
    phases: tuple[tuple[str, ...], ...]
    seeds: int
    note: str
    lead: str = "gsl"
    metric: str = "success"
    rarely: tuple[str, ...] = ()
    test_episodes: int = 0
    flags_of: Callable[[Path, str, str, int], list[str]] = _no_flags
    more: Callable[[str, Summaries], str] = _no_text

    @property
    def methods(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(method for phase in self.phases for method in phase)


def methods_of(comparison: Comparison, setting: str) -> tuple[str, ...]:
    """What a setting is run with, in the comparison's order."""
    return comparison.settings[setting].methods or comparison.methods


def run_directory(runs: Path, setting: str, method: str, seed: int) -> Path:
    """Where a run is kept."""
    return runs / setting / f"{method}-{seed}"


def total_of(runs: Path, setting: str, method: str, seed: int) -> tuple[int, dict[str, Any]]:
    """The total samples of a finished run, which the baseline is to have too, and its settings.

    Raises:
      UserError: if it is not finished.
    """
    path = run_directory(runs, setting, method, seed)
    if not (path / "summary.json").exists():
        raise UserError(f"The baseline with seed {seed} needs the total samples of {path}, which is not finished.")
    return read_json(path / "summary.json")["total_samples"], read_header(path)["config"]


def whole_epochs(total: int, config: dict[str, Any]) -> int:
    """The least number of samples, not below `total`, that is whole epochs of the baseline.

    For environments of which every epoch takes the same number: no episode ends before its horizon.
    """
    epoch = config["baseline"]["lanes"] * most_valid_steps(config["rollout_steps"], config["env"]["horizon"])
    return -(-total // epoch) * epoch


def command(comparison: Comparison, runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """The `gsljax` call for one run: train, or resume what is there."""
    path = run_directory(runs, setting, method, seed)
    gsljax = [sys.executable, "-m", "gsljax.cli"]
    if (path / "config.json").exists():
        return [*gsljax, "resume", str(path)]
    preset, flags, _ = comparison.settings[setting]
    call = [*gsljax, "train", preset, "--method", method, "--seed", str(seed), "--run-dir", str(path)]
    if method in USES_OF_DEMONSTRATIONS and method != comparison.lead:
        call += ["--start-from", str(run_directory(runs, setting, comparison.lead, seed))]
    return [*call, *flags, *comparison.flags_of(runs, setting, method, seed)]


def run(
    comparison: Comparison, runs: Path, setting: str, method: str, seed: int, max_minutes: float | None = None
) -> None:
    """Make one run complete, or as far as it comes in `max_minutes`; its output goes to a log beside it."""
    path = run_directory(runs, setting, method, seed)
    if (path / "summary.json").exists():
        _test(comparison, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        call = command(comparison, runs, setting, method, seed)
    except UserError as error:
        print(f"{setting} {method} seed {seed}: not begun: {error}", flush=True)
        return
    if max_minutes is not None:
        call += ["--max-minutes", str(max_minutes)]
    with path.with_suffix(".log").open("a", encoding="utf-8") as log:
        ended = subprocess.run(call, stdout=log, stderr=log, check=False)
    outcome = "done" if (path / "summary.json").exists() else "goes on when this is called again"
    print(f"{setting} {method} seed {seed}: {f'failed, see {log.name}' if ended.returncode else outcome}", flush=True)
    if (path / "summary.json").exists():
        _test(comparison, path)


def _test(comparison: Comparison, path: Path) -> None:
    """Evaluate a finished run on the held-out variations, once."""
    found = path / "test.json"
    if not comparison.test_episodes or found.exists():
        return
    call = [sys.executable, "-m", "gsljax.cli", "evaluate", str(path), "--split", "test", "--json"]
    call += ["--episodes", str(comparison.test_episodes)]
    with path.with_suffix(".log").open("a", encoding="utf-8") as log:
        done = subprocess.run(call, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        print(f"{path}: the evaluation on held-out variations failed, see {log.name}", flush=True)
        return
    write_atomically(found, lambda file: file.write(done.stdout))


def collect(
    comparison: Comparison, runs: Path, setting: str, methods: list[str], seeds: list[int], results: Path = RESULTS
) -> bool:
    """Keep the finished runs of one setting, and make tables and figure of all that are kept there, earlier ones too.

    The figure stays as it is if the curves of one of them were not kept.

    Returns:
      Whether all of the runs asked for are kept by now.
    """
    folder = results / setting
    problems: list[str] = []
    for method in methods:
        for seed in seeds:
            path, target = run_directory(runs, setting, method, seed), folder / method / f"seed{seed}"
            try:
                if (path / "summary.json").exists():
                    keep(path, target)
                elif not (target / "summary.json").exists():
                    problems.append(f"missing: {setting} {method} seed {seed}")
            except UserError as error:
                problems.append(f"not kept: {error}")
    for problem in problems:
        print(problem, file=sys.stderr)
    rows = kept_summaries(folder, comparison.methods)
    if not rows:
        return False
    shown, without_curves = kept_runs(folder, comparison.methods)
    if without_curves:
        print(f"{folder / 'figure.png'} stays as it is: no curves are kept in {without_curves[0]}", file=sys.stderr)
    else:
        save(comparison_figure(shown), folder / "figure.png")
    (folder / "README.md").write_text(_readme(comparison, setting, rows), encoding="utf-8")
    print((folder / "README.md").read_text(encoding="utf-8"))
    return not problems


def _readme(comparison: Comparison, setting: str, rows: Summaries) -> str:
    """The command, the figure and the tables, in Markdown."""
    all_seeds = sorted({summary["seed"] for summaries in rows.values() for summary in summaries})
    made_by = f"python -m benchmarks.{comparison.module} --runs DIR --settings {setting} --methods {' '.join(rows)} "
    made_by += f"--seeds {' '.join(map(str, all_seeds))}"
    text = f"# {setting}\n\n`{made_by}`\n\n![learning curves](figure.png)\n\n"
    text += f"{table(rows, comparison.metric, comparison.lead)}\n{comparison.note}"
    text += comparison.more(setting, rows)
    if comparison.lead in rows:
        shown = stages_table(rows[comparison.lead], comparison.metric)
        text += f"\n## On the way there (method {comparison.lead})\n\n{shown}"
    return text


def table(rows: Summaries, metric: str = "success", lead: str = "gsl") -> str:
    """The final metric per method over the seeds, and how far the leading one is ahead seed by seed, in Markdown.

    With evaluations on held-out variations in all of the runs there are columns for these.
    """
    shown = _NAMES.get(metric, metric)
    is_tested = all("test" in summary for summaries in rows.values() for summary in summaries)
    columns = ["method", "seeds", "total samples", f"{shown}, actions sampled", f"{shown}, deterministic"]
    ahead = f"{'GSL' if lead == 'gsl' else lead} ahead in"
    columns += [ahead, "by"]
    if is_tested:
        columns += [f"held out: {shown}, actions sampled", ahead, "by"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for method, summaries in rows.items():
        modal = [summary["final"]["deterministic"][metric] for summary in summaries]
        totals = {summary["total_samples"] for summary in summaries}
        total = f"{min(totals):,}" if len(totals) == 1 else f"{min(totals):,} – {max(totals):,}"
        sampled, *compared = _compared(rows, method, "final", metric, lead)
        cells = [method, _seeds(summaries), total, sampled, _spread(modal), *compared]
        if is_tested:
            cells += _compared(rows, method, "test", metric, lead)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _compared(rows: Summaries, method: str, evaluation: str, metric: str, lead: str) -> tuple[str, str, str]:
    """A method's metric in one evaluation, with sampled actions; in how many seeds the lead is ahead, and by what."""
    reference = {summary["seed"]: summary[evaluation][metric] for summary in rows.get(lead, [])}
    values = {summary["seed"]: summary[evaluation][metric] for summary in rows[method]}
    leads = [reference[seed] - value for seed, value in values.items() if seed in reference]
    spread = _spread(list(values.values()))
    if method == lead or not leads:
        return spread, "–", "–"
    return spread, f"{sum(lead > 0 for lead in leads)} of {len(leads)}", _shown(mean(leads), "+")


def stages_table(summaries: list[dict[str, Any]], metric: str = "success") -> str:
    """What the stages before phase II came to in the leading method's runs, in Markdown."""
    shown = _NAMES.get(metric, metric)
    columns = ["seed", "H fired after (samples)", "generalist taken at", f"its {shown}", f"specialists' {shown}"]
    lines = ["| " + " | ".join([*columns, "kept episodes"]) + " |", "|---" * (len(columns) + 1) + "|"]
    for summary in summaries:
        stage = {record["name"]: record for record in summary["stages"]}
        plateau, played = stage["generalist"]["plateau"], stage.get("demonstrations")
        fired = f"{stage['generalist']['samples']:,}" if plateau["fired"] else "not at all"
        cells = [str(summary["seed"]), fired, f"{plateau['samples']:,}", _shown(stage["evaluation"][metric])]
        if played is None:  # the generalist was good enough
            cells += ["–", "–"]
        else:
            cells += [_shown(played[metric]), f"{played['kept_episodes']} of {played['episodes']}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{shown.capitalize()} of the generalist: in the evaluation that finds E_low; of the specialists: in all they "
        "played, and what the generalist played of the demonstrations.",
    ]
    return "\n".join(lines) + "\n"


def _seeds(summaries: list[dict[str, Any]]) -> str:
    return f"{len(summaries)}: " + " ".join(str(seed) for seed in sorted(summary["seed"] for summary in summaries))


def _spread(values: list[float]) -> str:
    spread = f" ± {_shown(stdev(values))}" if len(values) > 1 else ""
    return f"{_shown(mean(values))}{spread} ({_shown(min(values))} – {_shown(max(values))})"


def _shown(value: float, sign: str = "") -> str:
    """With three decimals, but none where it has three digits before them."""
    return f"{value:{sign}.{3 if abs(value) < 100 else 0}f}"


def main(comparison: Comparison) -> None:
    """Run what is missing, then collect."""
    parser = argparse.ArgumentParser(description=comparison.description)
    parser.add_argument("--runs", type=Path, required=True, help="where the run directories are kept")
    settings = comparison.settings
    usual = [name for name in settings if name not in comparison.rarely]
    parser.add_argument("--settings", nargs="+", choices=settings, default=usual)
    parser.add_argument("--methods", nargs="+", choices=comparison.methods, default=list(comparison.methods))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(comparison.seeds)))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where summaries, figures and tables go")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--max-minutes", type=float, help="of each run; what is not finished goes on in the next call")
    parser.add_argument("--collect-only", action="store_true", help="run nothing, only gather what is finished")
    given = parser.parse_args()
    for phase in () if given.collect_only else comparison.phases:
        with ThreadPoolExecutor(given.processes) as pool:
            jobs = [
                pool.submit(run, comparison, given.runs, setting, method, seed, given.max_minutes)
                for setting in given.settings
                for seed in given.seeds
                for method in phase
                if method in given.methods and method in methods_of(comparison, setting)
            ]
            for job in jobs:
                job.result()
    complete = []
    for setting in given.settings:
        methods = [method for method in methods_of(comparison, setting) if method in given.methods]
        complete.append(collect(comparison, given.runs, setting, methods, given.seeds, given.results))
    sys.exit(not all(complete))
