"""What the user sees while a run goes on: a live display on a terminal, plain lines in a log file."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gsljax.report.summary import summary_tables
from gsljax.report.text import as_number, format_count, format_seconds, format_value

_REFRESHES_PER_SECOND = 4
_SECONDS_BETWEEN_LINES = 10.0
_LOG_WIDTH = 100


@dataclass
class _Stage:
    """The stage that runs now; samples are the stage's own, times are seconds of this process."""

    name: str
    description: str
    budget: int
    resumed_at: int
    begun: float
    samples: int
    run_samples_before: int | None
    last_advance: float
    program_seconds: float = 0.0
    compile_seconds: float = 0.0
    activity: str = "starting"
    record: Mapping[str, Any] = field(default_factory=dict)


class Progress:
    """Shows a run: the stage, its samples, samples/s, return and success, the time left, and the final table.

    On a terminal it is a live display that redraws four times a second from a thread of its own, also while the program
    computes or compiles. Elsewhere it is plain lines without control characters: one where a stage begins or ends, one
    per message, and otherwise at most one every 10 seconds.

    Args:
      total_samples: samples of the whole run, for its time left; None leaves that out.
      stages: names of the run's stages in order, for "stage 2 of 5"; empty leaves that out.
      spent: samples of the run already spent when this process takes over (a resumed run).
      console: where to show it; by default standard output.
    """

    def __init__(
        self,
        *,
        total_samples: int | None = None,
        stages: Sequence[str] = (),
        spent: int = 0,
        console: Console | None = None,
    ) -> None:
        """Prepare the display; it appears on entering the context."""
        if console is None:
            on_terminal = sys.stdout.isatty()  # rich would also take FORCE_COLOR for a terminal
            console = Console(
                force_terminal=on_terminal, force_jupyter=False, width=None if on_terminal else _LOG_WIDTH
            )
        self._console = console
        self._is_live = console.is_terminal and not console.is_dumb_terminal
        self._spinner = Spinner("line")
        self._total_samples = total_samples
        self._stages = tuple(stages)
        self._samples, self._resumed = spent, spent > 0
        self._stage: _Stage | None = None
        self._last_records: dict[str, Mapping[str, Any]] = {}
        self._begun = monotonic()
        self._last_line = -math.inf
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Start the display and the clock."""
        self._begun = monotonic()
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the live display off the terminal; what was printed stays."""
        self._stage = None
        if self._is_live:
            self._live.stop()

    def begin_stage(self, name: str, description: str, budget: int, done: int) -> None:
        """Show that a stage begins.

        Args:
          name: the stage's name in `metrics.jsonl`.
          description: what it does, in a few words.
          budget: samples this stage may spend, of all its members together; 0 if it spends none.
          done: how many of these an earlier process has spent (a resumed run), else 0.
        """
        now = monotonic()
        before = self._samples - done
        self._stage = _Stage(
            name=name,
            description=description,
            budget=budget,
            resumed_at=done,
            begun=now,
            samples=done,
            run_samples_before=before if before >= 0 else None,
            last_advance=now,
        )
        parts = [f"{self._title(name)} begins"]
        if description:
            parts[0] += f": {description}"
        if budget:
            parts.append(f"{format_count(budget)} samples" + (f", {format_count(done)} done" if done else ""))
        self._print(", ".join(parts))
        self._last_line = now

    def advance(self, stage: str, record: Mapping[str, Any]) -> None:
        """Take in one epoch.

        Args:
          stage: the stage's name.
          record: the epoch's line of `metrics.jsonl`.
        """
        now = monotonic()
        self._last_records[stage] = record
        self._samples = int(record["samples"])
        current = self._stage
        if current is None or current.name != stage:
            return
        if current.run_samples_before is None:  # resumed without `spent`: count from the first record on
            current.run_samples_before = self._samples - current.resumed_at
        current.samples = self._samples - current.run_samples_before
        times = record.get("time") or {}
        current.program_seconds += sum(seconds or 0.0 for name, seconds in times.items() if name != "compile")
        current.compile_seconds += times.get("compile") or 0.0
        current.record, current.last_advance, current.activity = record, now, ""
        if not self._is_live and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._print(f"{self._title(stage)}: " + ", ".join(self._facts(current) + self._times(current)))
            self._last_line = now

    def message(self, text: str) -> None:
        """Print one line above the display; "compiling ..." is also shown in it until the next epoch arrives.

        Args:
          text: the line.
        """
        if self._stage is not None and text.startswith("compiling"):
            self._stage.activity = text
        self._print(text)

    def finish_stage(self, name: str, record: Mapping[str, Any]) -> None:
        """Show that a stage is over.

        Args:
          name: the stage's name.
          record: its entry in `summary.json`: `samples`, `wall_seconds`, and `return` and `success` if there are any;
            what it lacks is taken from the epochs seen.
        """
        stage = self._stage if self._stage is not None and self._stage.name == name else None
        known: dict[str, Any] = {key: self._last_records.get(name, {}).get(key) for key in ("return", "success")}
        if stage is not None:
            known |= {"samples": stage.samples, "wall_seconds": monotonic() - stage.begun}
            self._stage = None
        known |= {key: value for key, value in record.items() if value is not None}
        parts = []
        if known.get("samples"):
            parts.append(f"{format_count(known['samples'])} samples")
        if known.get("wall_seconds") is not None:
            parts.append(f"in {format_seconds(known['wall_seconds'])}")
        if stage is not None and stage.compile_seconds >= 0.5:
            parts.append(f"of which compiling {format_seconds(stage.compile_seconds)}")
        parts += [f"{key} {format_value(known[key])}" for key in ("return", "success") if known.get(key) is not None]
        self._print(f"{self._title(name)} ends: " + ", ".join(parts) if parts else f"{self._title(name)} ends")
        self._last_line = monotonic()
        if self._is_live:
            self._live.refresh()

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Print the final tables: what each stage cost and reached, and the final evaluation.

        Args:
          summary: the content of `summary.json`.
        """
        border = box.SIMPLE_HEAD if self._is_live else box.MARKDOWN
        for table in summary_tables(summary, self._last_records, border):
            self._console.print(table)

    def _title(self, name: str) -> str:
        """Say which stage it is, such as `stage 2 of 5 specialists`."""
        place = f" {self._stages.index(name) + 1} of {len(self._stages)}" if name in self._stages else ""
        return f"stage{place} {name}"

    def _rate(self, stage: _Stage) -> float:
        """Return the stage's samples per second without compilation, NaN before its first epoch."""
        new = stage.samples - stage.resumed_at
        seconds = stage.program_seconds or (stage.last_advance - stage.begun - stage.compile_seconds)
        return new / seconds if new > 0 and seconds > 0 else math.nan

    def _facts(self, stage: _Stage) -> list[str]:
        """Say what the stage has spent and reached."""
        facts = []
        if stage.budget:
            share = f" ({min(1.0, stage.samples / stage.budget):.0%})" if not self._is_live else ""
            facts.append(f"{format_count(stage.samples)} of {format_count(stage.budget)} samples{share}")
        elif stage.samples:
            facts.append(f"{format_count(stage.samples)} samples")
        rate = self._rate(stage)
        if not math.isnan(rate):
            facts.append(f"{format_count(rate)} samples/s")
        members = stage.record.get("members") or {}
        shown = [key for key in ("return", "success") if stage.record.get(key) is not None]
        facts += [f"{key} {format_value(stage.record[key])}" for key in shown]
        numbers = [as_number(number) for number in members.get(shown[-1]) or ()] if shown else []
        numbers = [number for number in numbers if not math.isnan(number)]
        if len(numbers) > 1:  # of the population's members
            facts[-1] += f" ({format_value(min(numbers))} to {format_value(max(numbers))})"
        return facts

    def _times(self, stage: _Stage) -> list[str]:
        """Say how long the run has taken and how long the stage and the run will take."""
        now = monotonic()
        times = [f"{format_seconds(now - self._begun)} {'since resuming' if self._resumed else 'elapsed'}"]
        rate = self._rate(stage)
        if math.isnan(rate):
            return times
        since = now - stage.last_advance
        if stage.budget:
            times.append(f"stage {format_seconds((stage.budget - stage.samples) / rate - since)} left")
        if self._total_samples is not None:
            times.append(f"run {format_seconds((self._total_samples - self._samples) / rate - since)} left")
        return times

    def _render(self) -> RenderableType:
        """Draw the live display; called from its thread."""
        stage = self._stage
        if stage is None:
            return Text("")
        top = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, None, 1, None):
            top.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(total=max(stage.budget, 1), completed=stage.samples, complete_style="cyan")
        share = f"{min(1.0, stage.samples / stage.budget):4.0%}" if stage.budget else ""
        top.add_row(self._spinner, Text(self._plain(self._title(stage.name)), style="bold"), bar, share)
        waited = format_seconds(monotonic() - stage.last_advance)
        activity = [self._plain(f"{stage.activity} for {waited}")] if stage.activity else []
        lines = [Text("  " + ", ".join(part)) for part in (self._facts(stage), activity + self._times(stage)) if part]
        return Group(top, *lines)

    def _plain(self, text: str) -> str:
        """Keep what any terminal and any log file can show on one line."""
        text = "".join(character if character.isprintable() else " " for character in text)
        return text.encode(self._console.encoding, "replace").decode(self._console.encoding)

    def _print(self, text: str) -> None:
        """Print one line, above the display where there is one."""
        self._console.print(Text(self._plain(text)), soft_wrap=True)


class Silent:
    """Shows nothing: the reporter of a quiet run."""

    def begin_stage(self, name: str, description: str, budget: int, done: int) -> None:
        """Show nothing."""

    def advance(self, stage: str, record: Mapping[str, Any]) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def finish_stage(self, name: str, record: Mapping[str, Any]) -> None:
        """Show nothing."""

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Show nothing."""
