"""A run directory is read back as it was written, whatever a killed process left, and nothing else is taken for one."""

from pathlib import Path

import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.report.runs import Run, differing_settings, load_run
from tests.report.run_directories import epochs, gsl_records, gsl_summary, write_run


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = load_run(write_run(tmp_path / "run", gsl_records(), gsl_summary(), method="gsl-bc", seed=3))
    assert (run.preset, run.method, run.seed, run.metric) == ("maze", "gsl-bc", 3, "success")
    assert list(run.records) == gsl_records()
    assert run.summary == gsl_summary()


def test_stages_span_the_samples_spent_in_them(tmp_path):
    run = load_run(write_run(tmp_path / "run", gsl_records()))
    assert run.summary is None
    assert run.stage_spans == {
        "generalist": (0, 400),
        "specialists": (400, 1000),
        "demonstrations": (1000, 1400),
        "imitation": (1400, 2000),
    }


def test_curves_leave_out_epochs_without_an_episode(tmp_path):
    run = load_run(write_run(tmp_path / "run", gsl_records()))
    samples, values = run.curve("imitation", "success")
    np.testing.assert_array_equal(samples, [1600, 2000])
    np.testing.assert_array_equal(values, [0.4, 0.8])
    assert run.curve("baseline", "success")[0].shape == (0,)


def test_member_curves_are_one_per_member(tmp_path):
    run = load_run(write_run(tmp_path / "run", gsl_records()))
    curves = run.member_curves("specialists", "success")
    np.testing.assert_array_equal([values for _, values in curves], [[0.4, 0.8], [0.5, 0.9], [0.6, 1.0]])
    np.testing.assert_array_equal(curves[2][0], [700, 1000])
    assert run.member_curves("generalist", "success") == []


def test_without_success_the_metric_is_the_return(tmp_path):
    records = [record | {"success": None} for record in epochs("baseline", 0, 10, [0.1, 0.2])]
    assert load_run(write_run(tmp_path / "run", records)).metric == "return"


def test_where_h_watches_the_return_the_figures_show_it(tmp_path):
    path = write_run(tmp_path / "run", gsl_records(), config={"plateau": {"metric": "return"}})
    assert load_run(path).metric == "return"


def test_settings_that_differ_between_runs_are_named():
    def run(**settings) -> Run:
        return Run(Path(), "maze", settings["method"], settings["seed"], {"config": settings}, (), None)

    one = run(method="gsl", seed=0, total_samples=1, rollout_steps=8, plateau={"head": 0.5, "window": 3})
    other = run(method="ppo", seed=1, total_samples=2, rollout_steps=8, plateau={"head": 0.8, "window": 3})
    newer = run(method="gsl", seed=2, total_samples=1, rollout_steps=16, plateau={"head": 0.5}, added=True)
    assert differing_settings([]) == differing_settings([one]) == differing_settings([one, one]) == []
    assert differing_settings([one, other]) == ["plateau.head"]
    assert differing_settings([newer, other, one]) == ["rollout_steps", "plateau.head"]
    baseline = run(method="ppo", seed=2, total_samples=3, rollout_steps=16, plateau={"head": 0.2})
    assert differing_settings([other, baseline]) == ["rollout_steps"]  # of H a baseline makes no use


@pytest.mark.parametrize("left", [1, 17, 60])
def test_a_last_line_cut_by_a_kill_is_ignored(tmp_path, left):
    path = write_run(tmp_path / "run", gsl_records())
    lines = (path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (path / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:left])
    assert list(load_run(path).records) == gsl_records()[:-1]


def test_a_last_line_that_only_lacks_its_newline_counts(tmp_path):
    path = write_run(tmp_path / "run", gsl_records())
    (path / "metrics.jsonl").write_bytes((path / "metrics.jsonl").read_bytes().rstrip(b"\n"))
    assert list(load_run(path).records) == gsl_records()


@pytest.mark.parametrize("line", [b'{"stage": "gene{"stage": "generalist"}', b"[1]", b'{"stage": "x"}', b"\xff\xfe"])
def test_an_unreadable_line_is_named(tmp_path, line):
    path = write_run(tmp_path / "run", gsl_records())
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(
        UserError, match=rf"^Line {len(gsl_records()) + 1} of .*metrics\.jsonl cannot be read: [^.]*\.$"
    ):
        load_run(path)


@pytest.mark.parametrize("missing", ["config.json", "metrics.jsonl"])
def test_a_folder_without_a_run_is_refused(tmp_path, missing):
    path = write_run(tmp_path / "run", gsl_records())
    (path / missing).unlink()
    with pytest.raises(UserError, match=f"is no run directory: it has no {missing}"):
        load_run(path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no run directory"):
        load_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config.json", "{", "cannot be read: it is not JSON"),
        ("config.json", "[]", "holds no JSON object"),
        ("config.json", '{"preset": "maze", "seed": 0}', "has no 'method'"),
        ("summary.json", '{"final": ', "cannot be read: it is not JSON"),
    ],
)
def test_other_broken_files_are_named(tmp_path, name, content, sentence):
    path = write_run(tmp_path / "run", gsl_records(), gsl_summary())
    (path / name).write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_run(path)
    assert name in str(caught.value)
