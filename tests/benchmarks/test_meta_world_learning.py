"""The comparison on Meta-World: PPO's total samples, and the table of tasks."""

import importlib.util
import json
import math

import pytest

from benchmarks.comparison import command, whole_epochs
from benchmarks.meta_world_learning import META_WORLD, TASKS, flags_of, tasks_section
from gsljax.envs.meta_world import MT10
from gsljax.errors import UserError
from gsljax.presets import PRESETS

CONFIG = {"baseline": {"lanes": 40}, "rollout_steps": 201, "env": {"horizon": 200}}


@pytest.mark.parametrize(("total", "expected"), [(8000, 8000), (8001, 16000), (5_996_400, 6_000_000)])
def test_the_baseline_gets_the_fewest_whole_epochs_that_are_no_less_than_gsl(total, expected):
    """40 lanes of 200 valid steps, and the reset that is none, are 8,000 samples."""
    assert whole_epochs(total, CONFIG) == expected


def finished(path, summary):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"preset": "meta-world-mt10", "config": CONFIG}))
    (path / "summary.json").write_text(json.dumps(summary))


def test_calls_of_ppo_and_of_the_controls_follow_gsls_run(tmp_path):
    with pytest.raises(
        UserError, match=r"^The baseline with seed 3 needs the total samples of .*gsl-classic-3, which is not"
    ):
        flags_of(tmp_path, "meta-world-mt10", "ppo", 3)
    finished(tmp_path / "meta-world-mt10" / "gsl-classic-3", {"total_samples": 15_000})
    calls = {method: command(META_WORLD, tmp_path, "meta-world-mt10", method, 3) for method in ("ppo", "gsl")}
    assert calls["ppo"][3:] == [
        "train", "meta-world-mt10", "--method", "ppo", "--seed", "3",
        "--run-dir", str(tmp_path / "meta-world-mt10" / "ppo-3"), "--total-samples", "16000",
    ]  # fmt: skip
    assert calls["gsl"][-2:] == ["--start-from", str(tmp_path / "meta-world-mt10" / "gsl-classic-3")]
    resumed = command(META_WORLD, tmp_path, "meta-world-mt10", "gsl-classic", 3)
    assert resumed[3:] == ["resume", str(tmp_path / "meta-world-mt10" / "gsl-classic-3")]


@pytest.mark.skipif(importlib.util.find_spec("envpool") is None, reason="EnvPool is not installed")
@pytest.mark.parametrize("setting", META_WORLD.settings)
def test_every_setting_can_begin(setting, tmp_path, begun):
    """The very flags, as the command line reads them; what they begin is not run."""
    preset, config = begun(command(META_WORLD, tmp_path, setting, "gsl-classic", 0))
    assert preset is PRESETS[META_WORLD.settings[setting].preset] and config.method == "gsl-classic"
    assert config.env.benchmark == setting.split("-")[2] and len(TASKS[setting]) == int(config.env.benchmark[2:])
    assert config.generalist.ppo == preset.config.generalist.ppo
    epoch = config.generalist.lanes * config.env.horizon
    epochs = int(config.generalist_share * config.total_samples) // epoch
    first = math.ceil(config.plateau.head * epochs)
    assert first + config.plateau.reach < epochs  # else H could not fire before the budget is spent
    shares = config.generalist_share + config.specialist_share
    played = config.demonstrations.specialist_episodes + config.demonstrations.generalist_episodes
    played += config.low_episodes * len(TASKS[setting])
    assert (1 - shares) * config.total_samples - played * config.env.horizon >= 20 * epoch  # for phase II


def test_the_table_of_tasks():
    def on_tasks(success):
        return {"per_variation": {str(v): {"return": 0.0, "success": success if v == 1 else 1.0} for v in range(10)}}

    def of_gsl(success, specialists, kept):
        stages = [{"name": "evaluation", **on_tasks(0.1)}]
        if specialists:
            stages.append({"name": "specialists", "members": [{"variations": [v]} for v in specialists]})
            stages.append({"name": "demonstrations", "kept_per_variation": kept})
        return {"stages": stages, "final": on_tasks(success)}

    rows = {
        "gsl-classic": [of_gsl(0.8, [1, 1, 2, 2], {"1": 9, "2": 10}), of_gsl(0.6, [], {})],
        "ppo": [{"stages": [], "final": on_tasks(0.25)}],
    }
    lines = tasks_section("meta-world-mt10", rows).splitlines()
    assert (
        "| task | generalist at its plateau | seeds with a specialist | demonstrations kept | gsl-classic | ppo |"
        in lines
    )
    assert f"| {MT10[0]} | 1.00 | 0 | 0.0 | 1.00 | 1.00 |" in lines
    assert f"| {MT10[1]} | 0.10 | 1 | 4.5 | 0.70 | 0.25 |" in lines
