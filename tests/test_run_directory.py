"""A run directory loses nothing to a kill, a full disk or a second process, and never takes anything else for a run."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from gsljax.errors import UserError
from gsljax.run_directory import RunDirectory, read_json, write_json
from tests.conftest import files_of

HEADER = {"preset": "maze", "method": "gsl", "seed": 0, "config": {"seed": 0}}


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", HEADER)
    yield directory
    directory.close()


def line(stage: str, epoch: int) -> dict:
    return {"stage": stage, "epoch": epoch, "samples": 100 * (epoch + 1), "return": -1.5}


def record(name: str, samples: int = 100) -> dict:
    return {"name": name, "samples": samples, "wall_seconds": 1.0}


def assert_refused(message: str, function, *arguments):
    """One sentence that names what is wrong; the directory stays as it was."""
    with pytest.raises(UserError, match=message) as caught:
        function(*arguments)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and "Errno" not in text and "None" not in text


def test_what_is_entered_is_read_back(directory):
    directory.append_metrics([line("generalist", 0), line("generalist", 1)])
    directory.finish_stage(record("generalist", 200))
    directory.append_metrics([line("specialists", 0)])
    directory.finish_stage(record("specialists", 300) | {"kept_pairs": 7})
    directory.close()
    again = RunDirectory.reopen(directory.path)
    assert again.header == HEADER
    assert [stage["name"] for stage in again.stages] == ["generalist", "specialists"]
    assert again.samples == 500
    specialists = again.stage("specialists")
    assert specialists is not None and specialists["kept_pairs"] == 7
    assert specialists["metrics_bytes"] == again.metrics_bytes == (again.path / "metrics.jsonl").stat().st_size
    assert again.stage("imitation") is None
    assert again.metrics("generalist") == [line("generalist", 0), line("generalist", 1)]
    assert again.metrics("imitation") == []
    assert not again.is_finished
    again.finish({"stages": again.stages})
    assert again.is_finished and again.summary == {"stages": again.stages}
    again.close()


def test_a_new_run_is_empty(directory):
    assert directory.stages == [] and directory.samples == 0 and directory.metrics_bytes == 0
    assert directory.metrics("generalist") == [] and directory.latest_checkpoint("generalist") is None
    directory.rewind_metrics()


@pytest.mark.parametrize("left", [1, 20, 10**6])
def test_metrics_are_cut_back_to_the_last_complete_stage(directory, left):
    directory.append_metrics([line("generalist", 0)])
    directory.finish_stage(record("generalist"))
    before = (directory.path / "metrics.jsonl").read_bytes()
    directory.append_metrics([line("specialists", 0), line("specialists", 1)])
    kept = min(len(before) + left, directory.metrics_bytes)
    os.truncate(directory.path / "metrics.jsonl", kept)  # the kill came in the middle of a line
    directory.rewind_metrics()
    assert (directory.path / "metrics.jsonl").read_bytes() == before


def test_metrics_are_cut_back_to_a_recorded_length(directory):
    directory.append_metrics([line("generalist", 0)])
    length = directory.metrics_bytes
    directory.append_metrics([line("generalist", 1)])
    directory.rewind_metrics(length)
    assert directory.metrics("generalist") == [line("generalist", 0)]
    assert_refused(r"is damaged: metrics\.jsonl is shorter", directory.rewind_metrics, length + 1)
    directory.rewind_metrics(0)
    assert directory.metrics_bytes == 0


@pytest.mark.parametrize("text", ['{"stage": "generalist"}\n{"stage": "gen', "[]\n", '{"epoch": 3}\n', "\xff\n", "7\n"])
def test_damaged_metrics_are_named(directory, text):
    (directory.path / "metrics.jsonl").write_text(text, encoding="latin-1")
    assert_refused(r"^The file .*metrics\.jsonl cannot be read \(", directory.metrics, "generalist")


def test_a_second_process_is_locked_out(directory):
    assert_refused(r"is in use by another process\.$", RunDirectory.reopen, directory.path)
    program = "from pathlib import Path; from gsljax.run_directory import RunDirectory; RunDirectory.reopen(Path({!r}))"
    other = subprocess.run(
        [sys.executable, "-c", program.format(str(directory.path))], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1 and "in use by another process" in other.stderr
    directory.close()
    RunDirectory.reopen(directory.path).close()


def test_a_killed_process_leaves_no_lock(tmp_path):
    program = f"""
        import os, signal
        from pathlib import Path
        from gsljax.run_directory import RunDirectory
        directory = RunDirectory.create(Path({str(tmp_path / "run")!r}), {HEADER!r})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -signal.SIGKILL
    RunDirectory.reopen(tmp_path / "run").close()


def test_a_refused_directory_is_not_left_locked(tmp_path):
    path = tmp_path / "run"
    RunDirectory.create(path, HEADER).close()
    (path / "stages.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read") as caught:
        RunDirectory.reopen(path)
    assert caught.value.__traceback__ is not None  # which keeps its frames
    (path / "stages.json").unlink()
    RunDirectory.reopen(path).close()


def test_nothing_that_exists_is_taken_over(tmp_path):
    held = tmp_path / "held"
    RunDirectory.create(held, HEADER).close()
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("five years")
    file = tmp_path / "file"
    file.write_text("a file")
    before = files_of(tmp_path)
    assert_refused(r"already holds a run; continue it with `gsljax resume ", RunDirectory.create, held, HEADER)
    assert_refused("is not empty; give one that does not exist or is empty", RunDirectory.create, other, HEADER)
    assert_refused("is a file; give a directory that does not", RunDirectory.create, file, HEADER)
    assert_refused(r"cannot be written \(Not a directory\)", RunDirectory.create, file / "run", HEADER)
    for path in (other, file, file / "run", tmp_path / "nowhere"):
        assert_refused(r"holds no run: it has no config\.json", RunDirectory.reopen, path)
    assert files_of(tmp_path) == before


def test_what_a_kill_before_the_first_file_left_is_vacant(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "lock").touch()
    (path / "config.json.partial").write_text('{"preset": "ma')
    assert_refused(r"holds no run: it has no config\.json", RunDirectory.reopen, path)
    RunDirectory.create(path, HEADER).close()
    assert read_json(path / "config.json") == HEADER


def test_a_run_that_began_in_the_meantime_is_not_overwritten(tmp_path, monkeypatch):
    path = tmp_path / "run"
    theirs = HEADER | {"seed": 7}

    def create_one_in_between(*arguments):
        monkeypatch.undo()
        RunDirectory.create(path, theirs).close()
        return _lock(*arguments)

    from gsljax import run_directory

    _lock = run_directory._lock
    monkeypatch.setattr(run_directory, "_lock", create_one_in_between)
    assert_refused("already holds a run", RunDirectory.create, path, HEADER)
    assert read_json(path / "config.json") == theirs


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert_refused(r"cannot be written \(Permission denied\)", RunDirectory.create, tmp_path / "run", HEADER)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config\.json cannot be read \(Expecting"),
        ("config.json", "", r"config\.json cannot be read \(Expecting"),
        ("config.json", "[]", r"config\.json is damaged: it holds no JSON object"),
        ("config.json", "{}", r"config\.json is damaged: it has no 'preset'"),
        ("config.json", '{"preset": ["maze"], "config": {}}', r"config\.json is damaged: it has no 'preset'"),
        ("config.json", '{"preset": "maze"}', r"config\.json is damaged: it has no 'config'"),
        ("config.json", "\xff", r"config\.json cannot be read \('utf-8' codec"),
        ("stages.json", '{"stages": [', r"stages\.json cannot be read \(Expecting"),
        ("stages.json", "[]", r"stages\.json is damaged: it holds no JSON object"),
        ("stages.json", "{}", r"stages\.json is damaged: it holds no records of stages"),
        ("stages.json", '{"stages": [{"name": "generalist"}]}', r"stages\.json is damaged: it holds no records"),
        ("stages.json", '{"stages": [7]}', r"stages\.json is damaged: it holds no records"),
        ("summary.json", "{", r"summary\.json cannot be read"),
        ("summary.json", '{"stages": []}', r"is damaged: summary\.json and stages\.json do not agree"),
    ],
)
def test_damaged_files_are_named_and_kept(directory, name, text, message):
    directory.finish_stage(record("generalist"))
    directory.finish({"stages": directory.stages})
    directory.close()
    (directory.path / name).write_text(text, encoding="latin-1")
    before = files_of(directory.path)
    assert_refused(message, RunDirectory.reopen, directory.path)
    assert files_of(directory.path) == before


def test_a_finished_run_that_lost_its_records_is_not_begun_again(directory):
    directory.finish_stage(record("generalist"))
    directory.finish({"stages": directory.stages})
    directory.close()
    (directory.path / "stages.json").unlink()
    assert_refused("is damaged: summary.json and stages.json do not agree", RunDirectory.reopen, directory.path)


@pytest.fixture
def small_disk():
    """No file can grow beyond 400 bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_nothing_that_was_written(directory, small_disk):
    directory.finish_stage(record("generalist"))
    directory.append_metrics([line("generalist", 0)])
    before = files_of(directory.path)
    many = [record(f"stage {number}") for number in range(20)]
    assert_refused(r"stages\.json cannot be written \(File too large\)", write_json, directory.path / "stages.json",
                   {"stages": many})  # fmt: skip
    assert files_of(directory.path) == before
    length = directory.metrics_bytes
    assert_refused(r"metrics\.jsonl cannot be written \(File too large\)", directory.append_metrics,
                   [line("specialists", epoch) for epoch in range(20)])  # fmt: skip
    directory.rewind_metrics(length)  # as resuming does
    assert files_of(directory.path) == before


def test_a_full_disk_at_the_start_leaves_a_vacant_directory(tmp_path, small_disk):
    header = HEADER | {"config": {f"field {number}": number for number in range(50)}}
    assert_refused(r"config\.json cannot be written \(File too large\)", RunDirectory.create, tmp_path / "run", header)
    RunDirectory.create(tmp_path / "run", HEADER).close()


@pytest.fixture
def source(tmp_path):
    """A run with two complete stages and the beginning of a third."""
    directory = RunDirectory.create(tmp_path / "source", HEADER)
    for name in ("generalist", "demonstrations"):
        directory.append_metrics([line(name, 0)])
        if name == "generalist":
            directory.result(name).mkdir(parents=True)
            (directory.result(name) / "arrays").write_bytes(name.encode())
        directory.finish_stage(record(name))
    directory.demonstrations.parent.mkdir()
    directory.demonstrations.write_bytes(b"npz")
    directory.append_metrics([line("imitation", 0)])
    (directory.checkpoints("imitation") / "2").mkdir(parents=True)
    directory.close()
    return directory.path


def test_stages_of_another_run_are_copied(source, tmp_path):
    before = files_of(source)
    directory = RunDirectory.create(tmp_path / "run", HEADER, source, ("generalist", "demonstrations"))
    assert [stage["name"] for stage in directory.stages] == ["generalist", "demonstrations"]
    assert directory.samples == 200 and directory.metrics_bytes == directory.stages[-1]["metrics_bytes"]
    assert directory.metrics("demonstrations") == [line("demonstrations", 0)] and not directory.metrics("imitation")
    assert (directory.result("generalist") / "arrays").read_bytes() == b"generalist"
    assert directory.latest_checkpoint("imitation") is None
    assert directory.demonstrations.read_bytes() == b"npz"
    directory.close()
    assert files_of(source) == before


def test_what_a_kill_left_of_saving_goes_and_what_is_whole_stays(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", HEADER)
    kept = directory.result("generalist"), directory.heritage("generalist"), directory.result("specialists")
    torn = [path.with_name(path.name + ".checkpoint-tmp-1") for path in kept]
    for path in (*kept, *torn):
        path.mkdir(parents=True)
    directory.discard_checkpoints("generalist")
    directory.close()
    assert all(path.is_dir() for path in kept)
    assert [path.is_dir() for path in torn] == [False, False, True]


def test_a_copy_that_fails_is_no_run(source, tmp_path):
    (source / "demonstrations" / "demonstrations.npz").unlink()
    (source / "demonstrations").rmdir()
    arguments = (tmp_path / "run", HEADER, source, ("generalist", "demonstrations"))
    assert_refused(r"^The stages of .*source cannot be copied to .*run \(", RunDirectory.create, *arguments)
    assert not (tmp_path / "run" / "config.json").exists()
    assert_refused(r"holds no run: it has no config\.json", RunDirectory.reopen, tmp_path / "run")
    (source / "demonstrations").mkdir()
    RunDirectory.create(*arguments).close()  # nothing of the first try is in the way


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1.5, "b": [None, "ω"]})
    write_json(path, {"a": 2, "b": [None, "ω"]})
    assert json.loads(path.read_text(encoding="utf-8")) == read_json(path) == {"a": 2, "b": [None, "ω"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
    assert_refused(r"^The file .*nowhere\.json cannot be read \(No such file", read_json, tmp_path / "nowhere.json")


def test_a_finished_run_is_read_whoever_else_has_it_and_only_then(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", HEADER)
    assert_refused(
        r"^The run .*run is not finished; continue it with `gsljax resume ", RunDirectory.read, directory.path
    )
    directory.finish({"stages": []})
    assert RunDirectory.read(directory.path).header == RunDirectory.read(directory.path).header == HEADER
    directory.close()
    (directory.path / "lock").unlink()
    RunDirectory.read(directory.path)
    assert not (directory.path / "lock").exists()  # nothing is written
