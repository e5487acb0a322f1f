"""What is kept of finished runs: enough for figures and tables, without this machine's paths, over several calls."""

import json

import pytest

from benchmarks.kept_runs import keep, kept_runs, kept_summaries
from gsljax.errors import UserError

EPOCH = {"stage": "specialists", "epoch": 3, "samples": 800, "return": 1.23456789, "success": 0.5, "kl": 0.1}
MEMBERS = {"success": [1 / 3, None], "return": [2.0, 3.0], "kl": [0.0, 0.0]}


def finished(path, seed, success=0.5, method="gsl", **settings):
    path.mkdir(parents=True)
    header = {
        "preset": "maze",
        "method": method,
        "seed": seed,
        "start_from": {"run": str(path.parent / "gsl-7"), "commit": "1"},
    }
    header |= {"config": {"seed": seed, "method": method, "total_samples": 800, "lanes": 4} | settings}
    (path / "config.json").write_text(json.dumps(header))
    (path / "metrics.jsonl").write_text(json.dumps(EPOCH | {"members": MEMBERS, "time": {"env": 1.0}}) + "\n")
    (path / "summary.json").write_text(json.dumps({"seed": seed, "final": {"success": success}}))
    return path


def test_curves_settings_and_summary_are_kept_and_nothing_else(tmp_path):
    keep(finished(tmp_path / "runs" / "gsl-1", 1), tmp_path / "gsl" / "seed1")
    (run,), without = kept_runs(tmp_path, ("gsl",))
    kept = {"stage": "specialists", "epoch": 3, "samples": 800, "return": 1.235, "success": 0.5}
    assert run.records == (kept | {"members": {"return": [2.0, 3.0], "success": [0.3333, None]}},)
    assert (
        run.seed == 1
        and run.config["config"]["lanes"] == 4
        and run.config["start_from"] == {"run": "gsl-7", "commit": "1"}
        and not without
    )
    files = {path.name for path in (tmp_path / "gsl" / "seed1").iterdir()}
    assert files == {"config.json", "metrics.jsonl", "summary.json"}


def test_runs_of_several_calls_are_read_together_seed_by_seed(tmp_path):
    for seed in (10, 2):
        keep(finished(tmp_path / "runs" / f"gsl-{seed}", seed, seed / 10), tmp_path / "gsl" / f"seed{seed}")
    (tmp_path / "gsl" / "seed2" / "test.json").write_text('{"success": 0.25}')
    rows = kept_summaries(tmp_path, ("ppo", "gsl"))
    assert list(rows) == ["gsl"] and [one["seed"] for one in rows["gsl"]] == [2, 10]
    assert rows["gsl"][0]["test"] == {"success": 0.25} and "test" not in rows["gsl"][1]
    (tmp_path / "gsl" / "seed2" / "metrics.jsonl").unlink()
    found, without = kept_runs(tmp_path, ("gsl",))
    assert [run.seed for run in found] == [10] and without == [tmp_path / "gsl" / "seed2"]


def test_a_run_is_kept_again_but_not_beside_one_with_other_settings(tmp_path):
    first = finished(tmp_path / "runs" / "gsl-1", 1)
    (first / "test.json").write_text("{}")
    keep(first, tmp_path / "gsl" / "seed1")
    for seed, changed in ((2, {"lanes": 8}), (3, {"total_samples": 900})):
        other = finished(tmp_path / "later" / f"gsl-{seed}", seed, **changed)
        with pytest.raises(UserError, match=r"has other settings than .*seed1: keep it elsewhere, with --results\.$"):
            keep(other, tmp_path / "gsl" / f"seed{seed}")
        assert not (tmp_path / "gsl" / f"seed{seed}").exists()
    keep(finished(tmp_path / "later" / "gsl-1", 1, lanes=8), tmp_path / "gsl" / "seed1")
    (run,), _ = kept_runs(tmp_path, ("gsl",))
    assert run.config["config"]["lanes"] == 8 and not (tmp_path / "gsl" / "seed1" / "test.json").exists()


def test_totals_of_baselines_may_differ_and_later_versions_may_have_more_settings(tmp_path):
    for seed, changed in ((1, {}), (2, {"total_samples": 900}), (3, {"added": True})):
        run = finished(tmp_path / "runs" / f"ppo-{seed}", seed, method="ppo", **changed)
        keep(run, tmp_path / "ppo" / f"seed{seed}")
    keep(finished(tmp_path / "runs" / "ppo-5", 5, method="ppo", best_window=3), tmp_path / "ppo" / "seed5")
    other = finished(tmp_path / "runs" / "ppo-6", 6, method="ppo", best_window=4, specialist={"lanes": 2})
    keep(other, tmp_path / "ppo" / "seed6")  # settings that a baseline does not use
    with pytest.raises(UserError, match=r"has other settings than"):
        keep(finished(tmp_path / "runs" / "ppo-7", 7, method="ppo", lanes=5), tmp_path / "ppo" / "seed7")
    assert len(kept_summaries(tmp_path, ("ppo",))["ppo"]) == 5
    (tmp_path / "ppo" / "seed2" / "config.json").unlink()
    with pytest.raises(UserError, match=r"has other settings than .*seed2"):  # or nobody knows which
        keep(finished(tmp_path / "runs" / "ppo-4", 4, method="ppo"), tmp_path / "ppo" / "seed4")
