"""The examples, run as a user would run them, but smaller."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compilation_cache")]


def run_example(name, *arguments, monkeypatch, capsys):
    """What `python examples/NAME ARGUMENTS` prints, line by line."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_own_loop(monkeypatch, capsys):
    lines = run_example("own_loop.py", "12", monkeypatch=monkeypatch, capsys=capsys)
    found = [re.fullmatch(r"learning rate (\S+) +return +(\S+) at first, +(\S+) at last", line) for line in lines]
    rates, first, last = zip(*(map(float, match.groups()) for match in found if match), strict=True)
    assert rates == (1e-4, 1e-3, 3e-3, 1e-2)
    assert all(10 < value < 40 for value in first)  # a random policy's
    assert max(last) > 1.5 * max(first)


def test_own_environment(tmp_path, monkeypatch, capsys):
    arguments = "25000", str(tmp_path / "run")
    lines = run_example("own_environment.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["total_samples"] <= 25000
    names = ["generalist", "evaluation", "specialists", "demonstrations", "imitation"]
    assert [stage["name"] for stage in summary["stages"]] == names
    expected = [
        f"pole of {length} m: return {summary['final']['per_variation'][variation]['return']:.1f} of 100"
        for variation, length in zip("0123", ("0.1", "0.5", "2", "6"), strict=True)
    ]
    assert lines[-4:] == expected


def test_own_vector_environment(monkeypatch, capsys):
    source = (EXAMPLES / "own_vector_environment.py").read_text().splitlines()
    assert len(source) < 60
    lines = run_example("own_vector_environment.py", "10", monkeypatch=monkeypatch, capsys=capsys)
    found = [re.fullmatch(r"epoch +(\d+)  steps per fall +(\S+)  waited \S+ s for the environments", x) for x in lines]
    epochs, steps = zip(*((int(match[1]), float(match[2])) for match in found if match), strict=True)
    assert epochs == tuple(range(10))
    assert 10 < steps[0] < 40  # a random policy's
    assert max(steps) > 1.5 * steps[0]
