"""How far filming has come, on standard error: a bar on a terminal, now and then a line in a log."""

from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 10.0


class FilmProgress:
    """A context manager that shows how many of `total` films are written; nothing if `quiet`."""

    def __init__(self, total: int, quiet: bool = False, console: Console | None = None):
        """Prepare the display; standard error's unless another console is given."""
        self._console = console or Console(stderr=True)
        columns = SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("films", total=total)
        self._total = total
        self._writes_lines = not quiet and not self._console.is_terminal
        self._last_line = monotonic()

    def __enter__(self) -> Self:
        """Start the display."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._bar.stop()

    def show(self, activity: str, done: int) -> None:
        """Say what is being done, and how many films are written."""
        self._bar.update(self._task, description=activity, completed=done, refresh=True)
        if self._writes_lines and monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = monotonic()
            self._console.print(f"films: {done} of {self._total} written, {activity}", soft_wrap=True)
