"""A run beside pools that is killed in each of its stages goes on, and counts every sample once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gsljax.gsl import demonstrations as demonstration_sets
from tests.gsl.test_run_in_pools import CONFIG, PRESET, STEPS, check_accounting, lines_of

MOMENTS = {
    "epoch generalist": "generalist",
    "receive evaluation": "evaluation",
    "epoch specialists": "specialists",
    "receive demonstrations": "demonstrations",
    "file": "demonstrations",
    "epoch imitation": "imitation",
}
"""With the stage that is then under way."""


def go_on(path: Path, moment: str, cache: dict[str, str]) -> int:
    call = [sys.executable, "-m", "tests.gsl.killed_run", str(path), moment]
    return subprocess.run(call, cwd=Path(__file__).parents[2], env=cache, check=False).returncode


@pytest.mark.slow
def test_kill_9_in_every_stage(compilation_cache, tmp_path):
    path = tmp_path / "run"
    for moment, stage in MOMENTS.items():
        assert go_on(path, moment, compilation_cache) == -signal.SIGKILL, moment
        records = json.loads((path / "stages.json").read_text())["stages"] if (path / "stages.json").exists() else []
        order = ["generalist", "evaluation", "specialists", "demonstrations", "imitation"]
        assert [record["name"] for record in records] == order[: order.index(stage)]
        if moment == "file":  # some are written, not all, and they are not believed
            assert len(list((path / "demonstrations").iterdir())) >= 2
    assert go_on(path, "never", compilation_cache) == 0
    summary = json.loads((path / "summary.json").read_text())
    check_accounting(path, summary)
    samples = {record["name"]: record["samples"] for record in summary["stages"]}
    # Whole episodes have known lengths, v + 2 for the first one in a lane: 2 in lanes of their own for each of the four
    # variations, then 4 of each specialist's variation, 0 and 1, and 2 of the generalist's, 2 and 3.
    assert samples["evaluation"] == 2 * (2 + 3 + 4 + 5)
    assert samples["demonstrations"] == 4 * (2 + 3) + 2 * (4 + 5)
    before = 0
    for line in lines_of(path):  # no epoch counts more than its lanes' steps, or those of a piece that was lost
        members, lanes = (2, CONFIG.specialist.lanes) if line["stage"] == "specialists" else (1, 8)
        if line["stage"] in ("generalist", "specialists", "imitation"):
            assert members * lanes * STEPS / 2 < line["samples"] - before < members * lanes * STEPS
        before = line["samples"]
    spec = PRESET.make_environment(CONFIG).spec
    kept = demonstration_sets.load(path / "demonstrations" / "demonstrations.npz", spec)
    assert kept.num_pairs == samples["demonstrations"] and kept.num_episodes == 12
    assert not list((path / "demonstrations").glob("*.partial"))
