"""The comparison on Procgen: every setting is one that can begin, PPO's total, and the table with held-out levels."""

import dataclasses
import importlib.util
import json

import pytest

from benchmarks import comparison
from benchmarks.comparison import collect, command, table
from benchmarks.procgen_learning import PROCGEN, flags_of
from gsljax.errors import UserError
from gsljax.presets import PRESETS

CONFIG = {"baseline": {"lanes": 16}, "rollout_steps": 128}


def finished(path, seed, total, score, held_out=None, stages=()):
    path.mkdir(parents=True)
    final = {"normalized": score, "return": 1.0, "deterministic": {"normalized": score + 0.01}, "per_variation": {}}
    summary = {"preset": "procgen-starpilot", "method": path.name.split("-")[0], "seed": seed, "stages": list(stages)}
    summary |= {"total_samples": total, "final": final}
    header = {name: summary[name] for name in ("preset", "method", "seed")}
    header["config"] = CONFIG | {"seed": seed, "total_samples": total}
    (path / "config.json").write_text(json.dumps(header))
    (path / "summary.json").write_text(json.dumps(summary))
    lines = [{"stage": "baseline", "epoch": 0, "samples": total, "return": 1.0, "time": {}}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if held_out is not None:
        (path / "test.json").write_text(json.dumps({"split": "test", "normalized": held_out}))


@pytest.mark.skipif(importlib.util.find_spec("envpool") is None, reason="EnvPool is not installed")
@pytest.mark.parametrize("setting", PROCGEN.settings)
@pytest.mark.parametrize("method", PROCGEN.methods)
def test_every_setting_can_begin(setting, method, tmp_path, begun):
    """The very flags, as the command line reads them; what they begin is not run."""
    finished(tmp_path / setting / "gsl-0", 0, 50_000, 0.0)
    preset, config = begun(command(PROCGEN, tmp_path, setting, method, 1 if method == "gsl" else 0))
    assert preset is PRESETS[PROCGEN.settings[setting].preset]
    assert config.method == method and config.env.num_levels < 1024
    kept = {"discount", "gae_lambda", "entropy_coefficient", "clip", "learning_rate"}  # the paper's, not scaled down
    for stage in ("baseline", "generalist", "specialist", "phase_two"):
        ours, theirs = (dataclasses.asdict(getattr(one, stage).ppo) for one in (config, preset.config))
        if stage == "phase_two" and setting.endswith("-small"):
            theirs["entropy_coefficient"] = 0.01  # the other stages'
        assert {name: ours[name] for name in kept} == {name: theirs[name] for name in kept}


def test_ppo_gets_gsls_total_and_an_epoch(tmp_path):
    with pytest.raises(
        UserError, match=r"^The baseline with seed 3 needs the total samples of .*gsl-3, which is not finished\.$"
    ):
        flags_of(tmp_path, "procgen-tiny", "ppo", 3)
    finished(tmp_path / "procgen-tiny" / "gsl-3", 3, 15_000, 0.0)
    assert flags_of(tmp_path, "procgen-tiny", "ppo", 3) == ["--total-samples", str(15_000 + 16 * 128)]
    assert flags_of(tmp_path, "procgen-tiny", "gsl", 3) == []


def test_the_table_compares_on_training_and_on_held_out_levels():
    def row(seed, score, held_out):
        final = {"normalized": score, "deterministic": {"normalized": score}}
        return {"seed": seed, "total_samples": 100, "final": final, "test": {"normalized": held_out}}

    rows = {"gsl": [row(0, 0.5, 0.3), row(1, 0.7, 0.1)], "ppo": [row(0, 0.25, 0.2), row(1, 0.75, 0.0)]}
    head, _, _, ppo = table(rows, "normalized").splitlines()
    assert "| normalised score, actions sampled |" in head and "| held out: normalised score, actions sampled |" in head
    cells = [cell.strip() for cell in ppo.strip("|").split("|")]
    assert cells[3] == "0.500 ± 0.354 (0.250 – 0.750)" and cells[5:7] == ["1 of 2", "+0.100"]
    assert cells[7] == "0.100 ± 0.141 (0.000 – 0.200)" and cells[8:] == ["2 of 2", "+0.100"]
    del rows["ppo"][0]["test"]
    assert "held out" not in table(rows, "normalized")


def test_large_returns_are_shown_without_decimals():
    def row(seed, value):
        return {"seed": seed, "total_samples": 100, "final": {"return": value, "deterministic": {"return": value}}}

    rows = {"gsl": [row(0, -1000.0), row(1, -2000.0)], "sac": [row(0, -3000.25), row(1, -3001.25)]}
    sac = table(rows, "return").splitlines()[-1]
    assert "| -3001 ± 0.707 (-3001 – -3000) |" in sac and sac.endswith("| 2 of 2 | +1501 |")


def test_summaries_are_collected_with_their_held_out_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "stages_table", lambda summaries, metric: "")
    evaluated = [{"name": "evaluation", "normalized": 0.1}]
    finished(tmp_path / "runs" / "procgen-tiny" / "gsl-0", 0, 100, 0.5, 0.25, evaluated)
    finished(tmp_path / "runs" / "procgen-tiny" / "ppo-0", 0, 100, 0.4, 0.125)
    assert collect(PROCGEN, tmp_path / "runs", "procgen-tiny", ["gsl", "ppo"], [0], tmp_path / "results")
    folder = tmp_path / "results" / "procgen-tiny"
    assert json.loads((folder / "ppo" / "seed0" / "test.json").read_text()) == {"split": "test", "normalized": 0.125}
    assert (folder / "figure.png").stat().st_size > 1000
    text = (folder / "README.md").read_text()
    assert "| 0.125 (0.125 – 0.125) | 1 of 1 | +0.125 |" in text and "docs/procgen.md" in text
    assert not collect(PROCGEN, tmp_path / "runs", "procgen-tiny", ["gsl", "ppo"], [0, 1], tmp_path / "results")
    assert collect(PROCGEN, tmp_path / "no runs", "procgen-tiny", ["gsl", "ppo"], [0], tmp_path / "results")
    assert (folder / "README.md").read_text() == text
    finished(tmp_path / "later" / "procgen-tiny" / "gsl-1", 1, 200, 0.5, None, evaluated)
    assert not collect(PROCGEN, tmp_path / "later", "procgen-tiny", ["gsl"], [1], tmp_path / "results")
    assert "not kept" in capsys.readouterr().err
    (folder / "ppo" / "seed0" / "metrics.jsonl").unlink()
    before = (folder / "figure.png").read_bytes()
    assert collect(PROCGEN, tmp_path / "runs", "procgen-tiny", ["gsl"], [0], tmp_path / "results")
    assert (folder / "figure.png").read_bytes() == before
    assert "figure.png stays as it is: no curves are kept in" in capsys.readouterr().err
