"""The comparison on PushChair: every setting is one that can begin, SAC's total, and the table of successes."""

import importlib.util
import json

import pytest

from benchmarks.comparison import command, methods_of
from benchmarks.push_chair_learning import PUSH_CHAIR, flags_of, success_section
from gsljax.presets import PRESETS
from tests.maniskill import PACKAGES


@pytest.mark.skipif(not all(map(importlib.util.find_spec, PACKAGES)), reason="ManiSkill or PyTorch is not installed")
@pytest.mark.parametrize(
    ("setting", "method"), [("push-chair-state", "gsl"), ("push-chair-one", "sac"), ("push-chair-tiny", "gsl")]
)
def test_every_setting_can_begin(setting, method, tmp_path, begun):
    """The very flags, as the command line reads them; what they begin is not run."""
    preset, config = begun(command(PUSH_CHAIR, tmp_path, setting, method, 0))
    assert preset is PRESETS["push-chair" if setting == "push-chair-tiny" else "push-chair-state"]
    assert config.method == method and config.algorithm == "sac"
    assert len(config.env.chairs) == (1 if setting == "push-chair-one" else 0)
    assert method in methods_of(PUSH_CHAIR, setting)


def test_sac_gets_gsls_total_in_whole_epochs(tmp_path):
    """8 lanes of 200 valid steps, and the reset that is none, are 1,600 samples."""
    path = tmp_path / "push-chair-state" / "gsl-1"
    path.mkdir(parents=True)
    config = {"baseline": {"lanes": 8}, "rollout_steps": 201, "env": {"horizon": 200}}
    (path / "config.json").write_text(json.dumps({"preset": "push-chair-state", "config": config}))
    (path / "summary.json").write_text(json.dumps({"total_samples": 8_100}))
    assert flags_of(tmp_path, "push-chair-state", "sac", 1) == ["--total-samples", "9600"]
    assert flags_of(tmp_path, "push-chair-state", "gsl", 1) == flags_of(tmp_path, "push-chair-one", "sac", 1) == []


def test_successes_are_in_a_table():
    final = {"success": 0.25, "deterministic": {"success": 0.5}}
    lines = success_section("push-chair-state", {"sac": [{"seed": 4, "final": final}]}).splitlines()
    assert "| sac | 4 | 0.250 | 0.500 |" in lines
