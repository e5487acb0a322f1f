"""What the user sees: a display that moves while the program works, and plain lines where there is no terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from gsljax.report import progress as progress_module
from gsljax.report.progress import Progress, Silent
from tests.report.run_directories import epochs, gsl_records, gsl_summary

STAGES = ("generalist", "specialists", "demonstrations", "imitation")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "monotonic", clock)
    return clock


def log_console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=100)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rendered(progress: Progress, width: int = 100) -> str:
    """Draw one frame of the live display as plain text."""
    console = Console(file=io.StringIO(), width=width)
    console.print(progress._render())
    return written(console)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})


def test_a_frame_shows_stage_samples_rate_return_success_and_time_left(clock):
    with Progress(total_samples=2000, stages=STAGES, console=terminal()) as progress:
        progress.begin_stage("generalist", "all 5 goals", budget=800, done=0)
        clock.now += 30
        for record in list(epochs("generalist", 0, 100, [0.0, 0.25])):
            progress.advance("generalist", record)
        frame = rendered(progress)
        # 200 samples in 2 · 0.2 s are 500 samples/s; 600 are left in the stage and 1,800 in the run.
        assert "stage 1 of 4 generalist" in frame
        assert "25%" in frame
        assert "200 of 800 samples, 500 samples/s, return -7.500, success 0.250" in frame
        assert "0:30 elapsed, stage 0:01 left, run 0:04 left" in frame
        clock.now += 2
        assert "0:32 elapsed, stage 0:00 left, run 0:02 left" in rendered(progress)


def test_the_bar_advances(clock):
    with Progress(stages=STAGES, console=terminal()) as progress:
        progress.begin_stage("imitation", "", budget=1000, done=0)
        filled = []
        for record in epochs("imitation", 0, 250, [0.1, 0.2, 0.3, 0.4]):
            progress.advance("imitation", record)
            bar = progress._render().renderables[0]  # pyright: ignore[reportAttributeAccessIssue]
            filled.append(next(iter(bar.columns[2].cells)).completed)
        assert filled == [250, 500, 750, 1000]


def test_specialists_show_their_spread(clock):
    with Progress(console=log_console()) as progress:
        progress.begin_stage("specialists", "", budget=600, done=0)
        for record in epochs("specialists", 0, 300, [0.5], [[0.4, 0.5, 0.6]]):
            progress.advance("specialists", record)
        assert "return -5.000, success 0.500 (0.400 to 0.600)" in rendered(progress)


def test_samples_of_a_stage_are_counted_from_its_begin(clock):
    console = log_console()
    with Progress(console=console) as progress:
        for stage, samples in (("generalist", 400), ("specialists", 600), ("demonstrations", 400), ("imitation", 600)):
            progress.begin_stage(stage, "", budget=samples, done=0)
            for record in gsl_records():
                if record["stage"] == stage:
                    progress.advance(stage, record)
            assert f"{samples} of {samples} samples" in rendered(progress)
            progress.finish_stage(stage, {})
    ends = [line for line in written(console).splitlines() if "ends" in line]
    assert ends == [
        "stage generalist ends: 400 samples, in 0:00, return -8.000, success 0.200",
        "stage specialists ends: 600 samples, in 0:00, return -1.000, success 0.900",
        "stage demonstrations ends: 400 samples, in 0:00, return -0.100, success 0.990",
        "stage imitation ends: 600 samples, in 0:00, return -2.000, success 0.800",
    ]


@pytest.mark.parametrize(("spent", "shown"), [(1600, 500), (0, 300)])
def test_a_resumed_stage_goes_on_where_it_was(clock, spent, shown):
    """With `spent` exactly; without it the first new epoch cannot be told from the old ones and is left out."""
    with Progress(total_samples=2000, spent=spent, console=log_console()) as progress:
        progress.begin_stage("imitation", "", budget=600, done=300)
        progress.advance("imitation", {"samples": 1800, "time": {"program": 2.0, "compile": 5.0}})
        frame = rendered(progress)
        assert f"{shown} of 600 samples" in frame
        assert ("100 samples/s" in frame) == (spent > 0)  # only this process's samples and seconds
        assert ("since resuming" in frame, "elapsed" in frame) == (spent > 0, spent == 0)


def test_the_display_says_for_how_long_it_compiles(clock):
    with Progress(console=terminal()) as progress:
        progress.begin_stage("generalist", "", budget=800, done=0)
        assert "starting for 0:00" in rendered(progress)
        progress.message("compiling the training program")
        clock.now += 7
        assert "compiling the training program for 0:07" in rendered(progress)
        progress.advance("generalist", next(epochs("generalist", 0, 100, [0.0])))
        assert "compiling" not in rendered(progress)


def test_the_display_moves_while_the_program_works():
    console = terminal()
    with Progress(console=console) as progress:
        progress.begin_stage("generalist", "", budget=800, done=0)
        progress.message("compiling the training program")
        end = time.monotonic() + 2.2
        while time.monotonic() < end:  # Python that does not let go by itself
            pass
        frames = re.findall(r"compiling the training program for (\d:\d\d)", written(console))
    assert len(frames) >= 4
    assert len(set(frames)) >= 3


def test_the_display_leaves_only_what_was_printed():
    console = terminal()
    with pytest.raises(KeyError), Progress(console=console) as progress:
        progress.begin_stage("generalist", "", budget=800, done=0)
        raise KeyError
    assert written(console).count("\x1b[?25l") == written(console).count("\x1b[?25h") == 1  # the cursor is back


def test_a_log_has_no_control_characters_and_few_lines(clock):
    console = log_console()
    with Progress(total_samples=100_000, stages=STAGES, console=console) as progress:
        progress.begin_stage("generalist", "all\x1b[31m goals\r\n", budget=100_000, done=0)
        for record in epochs("generalist", 0, 100, [0.5] * 1000):
            clock.now += 0.1
            progress.advance("generalist", record)
        progress.message("H fired at epoch 17")
        progress.finish_stage("generalist", {"name": "generalist", "samples": 100_000, "wall_seconds": 100.4})
        progress.summary(gsl_summary())
    lines = written(console).splitlines()
    assert all(character.isprintable() for line in lines for character in line)
    assert lines[0] == "stage 1 of 4 generalist begins: all [31m goals  , 100k samples"
    during = [line for line in lines if "elapsed" in line]
    assert 9 <= len(during) <= 10  # 100 s, at most one in 10 s
    assert during[0] == (
        "stage 1 of 4 generalist: 10.1k of 100k samples (10%), 500 samples/s, return -5.000, success 0.500, "
        "0:10 elapsed, stage 3:00 left, run 3:00 left"
    )
    end = lines.index("H fired at epoch 17") + 1
    assert lines[end] == "stage 1 of 4 generalist ends: 100k samples, in 1:40, return -5.000, success 0.500"


def test_standard_output_that_is_no_terminal_gets_plain_lines(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress() as progress:
        progress.begin_stage("generalist", "", budget=800, done=0)
        progress.summary(gsl_summary())
    out = capsys.readouterr().out
    assert out.startswith("stage generalist begins, 800 samples\n")
    assert "\x1b" not in out


def test_a_log_that_cannot_show_a_character_does_not_stop_the_run():
    console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), force_terminal=False)
    with Progress(console=console) as progress:
        progress.message("5 × 1")
        progress.summary(gsl_summary())
    console.file.seek(0)
    assert console.file.readline() == "5 ? 1\n"


def test_an_epoch_of_another_stage_is_not_counted_here(clock):
    with Progress(console=log_console()) as progress:
        progress.begin_stage("generalist", "", budget=800, done=0)
        progress.advance("evaluation", {"stage": "evaluation", "samples": 0, "success": 0.5})
        assert "success" not in rendered(progress)


def test_silent_shows_nothing(capsys):
    silent = Silent()
    silent.begin_stage("generalist", "", 1, 0)
    silent.advance("generalist", gsl_records()[0])
    silent.message("text")
    silent.finish_stage("generalist", {})
    silent.summary(gsl_summary())
    assert capsys.readouterr() == ("", "")
