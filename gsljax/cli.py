"""The command line: `gsljax presets | train | resume | evaluate | plot`."""

import contextlib
import functools
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import jax
import tyro
from rich.console import Console
from rich.table import Table

from gsljax import api, presets
from gsljax.errors import TimeIsUp, UserError
from gsljax.filming import CONTACT_SHEET, Filming
from gsljax.gsl.config import AlgorithmName
from gsljax.report.canvas import save as save_figure
from gsljax.report.curves import comparison_figure
from gsljax.report.film import FilmFormat
from gsljax.report.runs import Run, differing_settings, load_run
from gsljax.report.summary import evaluation_tables

USAGE = """\
usage: gsljax COMMAND ...

  gsljax presets                            what can be run
  gsljax train PRESET [--method M] [--algorithm A] [--seed N] [--run-dir DIR] [--max-minutes M]
                      [--help for every setting]
  gsljax resume RUN_DIR [--max-minutes M]   continue a run that was interrupted
  gsljax evaluate RUN_DIR [--split train] [--policy generalist] [--episodes N] [--json]
                         [--video DIR] [--video-variations ID ...] [--video-format gif|mp4]
  gsljax plot RUN_DIR [RUN_DIR ...] --out FIGURE.png
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; what the user got wrong is one sentence on standard error and exit status 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], None]] = {
        "presets": _presets, "train": _train, "resume": _resume, "evaluate": _evaluate, "plot": _plot,
    }  # fmt: skip
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    try:
        if arguments[0] not in commands:
            raise UserError(f"There is no command {arguments[0]!r}; there are: {', '.join(commands)}.")
        _use_compilation_cache()
        commands[arguments[0]](arguments[1:])
    except UserError as error:
        print(f"gsljax: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"gsljax: {error.filename or 'A file'} cannot be used ({error.strerror}).", file=sys.stderr)
        sys.exit(2)
    except TimeIsUp as stop:
        print(f"gsljax: {stop}.")
    except KeyboardInterrupt as interruption:
        print(f"\ngsljax: {str(interruption) or 'interrupted'}.", file=sys.stderr)
        sys.exit(130)


def _use_compilation_cache() -> None:
    """Let XLA keep compiled programs between processes, so that a second run starts at once."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:  # the user has chosen one
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gsljax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _presets(arguments: list[str]) -> None:
    def command() -> None:
        """List what can be run."""

    _parse(command, arguments, "gsljax presets")
    table = Table("preset", "what it is", "total samples", "expected time")
    for preset in presets.PRESETS.values():
        table.add_row(preset.name, preset.description, f"{preset.config.total_samples:,}", preset.expected_time)
    Console().print(table)


def _train(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"`gsljax train` needs a preset; there are: {', '.join(sorted(presets.PRESETS))}.")
    preset = presets.get(arguments[0])
    defaults = preset.config_for(_algorithm_in(arguments) or preset.config.algorithm)
    config_class: Any = type(defaults)

    def command(
        config: Annotated[config_class, tyro.conf.arg(name="")] = defaults,  # pyright: ignore[reportInvalidTypeForm]
        run_dir: Path | None = None,
        start_from: Path | None = None,
        max_minutes: float | None = None,
    ) -> dict[str, Any]:
        """Train a preset from the start.

        Args:
          config: the settings.
          run_dir: where to keep the run: a directory that does not exist or is empty (by default a new one in runs/).
          start_from: a run with the same settings whose stages before phase II are taken over instead of run again.
          max_minutes: stop with everything saved when these minutes are over; `gsljax resume` goes on.
        """
        return api.train(preset, config, run_dir, start_from, max_minutes=max_minutes)

    _parse(command, arguments[1:], f"gsljax train {preset.name}")


def _algorithm_in(arguments: list[str]) -> str | None:
    """The algorithm that the flags name, also as a baseline: the defaults of all the others depend on it."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    given = dict(itertools.pairwise(words))
    method = given.get("--method")
    return given.get("--algorithm") or (method if method in get_args(AlgorithmName) else None)


def _resume(arguments: list[str]) -> None:
    def command(run_dir: tyro.conf.Positional[Path], max_minutes: float | None = None) -> dict[str, Any]:
        """Continue a run that was interrupted.

        Args:
          run_dir: the run directory.
          max_minutes: stop with everything saved when these minutes are over.
        """
        return api.resume(run_dir, max_minutes=max_minutes)

    _parse(command, arguments, "gsljax resume")


def _evaluate(arguments: list[str]) -> None:
    def command(
        run_dir: tyro.conf.Positional[Path],
        split: str = "train",
        episodes: int = 40,
        seed: int = 0,
        policy: api.PolicyOfRun = "final",
        json: bool = False,
        video: Path | None = None,
        video_variations: tuple[int, ...] = (),
        video_format: FilmFormat = "gif",
    ) -> tuple[dict[str, Any], bool]:
        """Evaluate a finished run's policy on every variation.

        Args:
          run_dir: the run directory.
          split: which set of variations.
          episodes: episodes per variation.
          seed: seed of the evaluation.
          policy: the final one, or the generalist at its plateau.
          json: print JSON instead of a table.
          video: film an episode of some variations into this directory, which does not exist or is empty.
          video_variations: ids of those to film (by default all, or 12 evenly spread over the ids).
          video_format: GIF, or MP4 where FFmpeg is installed.
        """
        if video is None and (video_variations or video_format != "gif"):
            raise UserError("The flags --video-variations and --video-format need --video with a directory.")
        filming = None if video is None else Filming(video, video_variations, video_format)
        return api.evaluate(run_dir, split, episodes, seed, policy, filming=filming), json

    results, as_json = _parse(command, arguments, "gsljax evaluate")
    if as_json:
        print(json.dumps(results))
        return
    for table in evaluation_tables(results):
        Console().print(table)
    if "video" in results:
        print(f"video: {results['video']['directory']} ({len(results['video']['episodes'])} films, {CONTACT_SHEET})")


def _plot(arguments: list[str]) -> None:
    def command(run_dirs: tyro.conf.Positional[tuple[Path, ...]], out: Path) -> None:
        """Draw the learning curves of runs: mean and band over the seeds of each method.

        Args:
          run_dirs: run directories.
          out: the picture to write; its suffix says the format.
        """
        if not run_dirs:
            raise UserError("`gsljax plot` needs at least one run directory.")
        runs = [load_run(path) for path in run_dirs]
        save_figure(comparison_figure(runs), out)
        for run in runs:
            if run.summary is None:
                print(f"{run.path} is not finished: its curve ends where it is now")
        for preset, algorithm in sorted({_kind(run) for run in runs}):
            if differing := differing_settings(run for run in runs if _kind(run) == (preset, algorithm)):
                print(f"the runs of {preset} (algorithm {algorithm}) differ in their settings: {', '.join(differing)}")
        print(f"figure: {out}")

    _parse(command, arguments, "gsljax plot")


def _kind(run: Run) -> tuple[str, str]:
    """Preset and algorithm, by which the settings' defaults go."""
    return run.preset, str(run.config.get("algorithm", "ppo"))


def _parse(command: Callable[..., Any], arguments: list[str], program: str) -> Any:
    """Call `command` with tyro's reading of the arguments; its boxed complaint becomes one sentence."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            call = tyro.cli(_deferred(command), args=arguments, prog=program)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_first_paragraph(complaint.getvalue())} (See `{program} --help`.)") from None
    return call()


def _deferred(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with the same arguments, that returns the call instead of making it."""

    @functools.wraps(command)
    def bind(*arguments: Any, **named: Any) -> Callable[[], Any]:
        return functools.partial(command, *arguments, **named)

    return bind


def _first_paragraph(box: str) -> str:
    """The text of the first part of a box that tyro drew, in whatever characters, on one line."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯ ")
        is_rule = set(text) <= {"─", "-"}
        if is_rule and lines:
            break
        lines += [] if is_rule else [text]
    return re.sub(r"^Error parsing config[\w.]*: ", "", " ".join(lines))


if __name__ == "__main__":
    main()
