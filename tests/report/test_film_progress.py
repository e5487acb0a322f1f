"""How far filming has come: a bar on a terminal, lines now and then in a log, nothing if quiet."""

import io

import pytest
from rich.console import Console

from gsljax.report import film_progress
from gsljax.report.film_progress import FilmProgress


@pytest.fixture
def shown(monkeypatch):
    """What is shown of two films that take 4 seconds of playing and 4 of writing each."""
    times = iter(range(0, 1000, 4))

    def run(on_terminal, quiet=False):
        monkeypatch.setattr(film_progress, "monotonic", lambda: next(times))
        output = io.StringIO()
        console = Console(file=output, force_terminal=on_terminal, width=100)
        with FilmProgress(2, quiet, console) as progress:
            for done in (0, 1):
                progress.show("playing", done)
                progress.show(f"writing variation {done}", done)
        return output.getvalue()

    return run


def test_a_log_gets_a_line_now_and_then(shown):
    assert shown(on_terminal=False) == "films: 1 of 2 written, playing\n"


def test_a_terminal_gets_a_bar(shown):
    output = shown(on_terminal=True)
    assert "writing variation 1" in output and "1/2" in output


@pytest.mark.parametrize("on_terminal", [True, False])
def test_nothing_is_shown_if_quiet(shown, on_terminal):
    assert shown(on_terminal, quiet=True) == ""
