"""A run that is killed, at whatever moment and however often, ends bitwise like one that is left alone."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np
import pytest

from gsljax import checkpoint
from gsljax.errors import TimeIsUp, UserError
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.run_directory import RunDirectory
from tests.gsl.tiny import EVERY_STAGE, Loud, Watched, watch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("compilation_cache"),
    pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache"),  # another worker is writing it
]

STAGES = ("generalist", "evaluation", "fine_tuning", "trials", "specialists", "demonstrations", "imitation")


@pytest.fixture(scope="module")
def uninterrupted(compilation_cache, tmp_path_factory):
    return watch(tmp_path_factory.mktemp("uninterrupted") / "run", EVERY_STAGE)


def without(content, *names):
    if isinstance(content, dict):
        return {name: without(value, *names) for name, value in content.items() if name not in names}
    return [without(entry, *names) for entry in content] if isinstance(content, list) else content


def assert_same_run(run: Watched, expected: Watched):
    """Everything but the clock: results of all stages from their checkpoints, records, metrics, demonstrations."""

    def contents(path: Path, *names: str):
        clock = ("wall_seconds", "time", "metrics_bytes")  # the clock's digits are bytes too
        return [without(json.loads(line), *clock) for name in names for line in _documents(path / name)]

    names = ("summary.json", "stages.json", "metrics.jsonl", "config.json")
    assert contents(run.path, *names) == contents(expected.path, *names)
    trained = ["generalist", "fine_tuning", "trials", "specialists", "imitation"]
    assert list(run.results) == list(expected.results) == trained
    for stage, members in run.results.items():
        assert_bitwise_equal(members, expected.results[stage])
    for path in (run.path, expected.path):  # nothing is left of what was needed only under way
        assert {entry.name for entry in (path / "results").iterdir()} == set(run.results)
        assert not (path / "checkpoints").exists() and not (path / "candidates").exists()
    files = [path / "demonstrations" / "demonstrations.npz" for path in (run.path, expected.path)]
    assert files[0].read_bytes() == files[1].read_bytes()


def _documents(path: Path) -> Iterable[str]:
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def assert_bitwise_equal(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, two = jax.random.key_data(one), jax.random.key_data(two)
        one, two = np.asarray(one), np.asarray(two)
        assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def test_kill_9_in_every_stage(uninterrupted, compilation_cache, tmp_path):
    """One run, killed in each of its stages and once after the last, always by SIGKILL at a random moment."""
    path, random = tmp_path / "run", np.random.default_rng(0)
    under_way = []
    moments = ["epoch generalist", "begin evaluation", "epoch fine_tuning", "epoch trials", "epoch specialists"]
    for moment in (*moments, "begin demonstrations", "epoch imitation", "finish imitation"):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.gsl.tiny", str(path)],
            cwd=Path(__file__).parents[2], env=compilation_cache, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        with process:
            seen = []
            for line in process.stdout:
                seen.append(line.strip())
                # An earlier kill may have come so late that its resumption is past this moment: then at once.
                if seen[-1] == moment or _place(seen[-1]) > _place(moment):
                    break
            time.sleep(random.uniform(0, 0.4))
            os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL and seen, seen
        complete = [record["name"] for record in _records(path)]
        under_way += [stage for stage in STAGES if stage not in complete][:1]
    assert len(set(under_way)) >= 3, under_way  # that many different stages were really cut off
    assert_same_run(watch(path, EVERY_STAGE), uninterrupted)


def test_in_the_shortest_pieces_it_is_the_same_run(uninterrupted, tmp_path):
    """The time is up whenever one looks: every piece is an epoch, the evaluation, or the demonstrations."""
    pieces = sum(record.get("epochs", 1) for record in uninterrupted.summary["stages"])
    for _ in range(pieces):
        with pytest.raises(TimeIsUp):
            watch(tmp_path / "run", EVERY_STAGE, deadline=-math.inf)
    assert_same_run(watch(tmp_path / "run", EVERY_STAGE, deadline=-math.inf), uninterrupted)


def _place(line: str) -> int:
    event, stage = line.split()
    return 3 * STAGES.index(stage) + ("begin", "epoch", "finish").index(event)


def _records(path: Path) -> list[dict]:
    return json.loads((path / "stages.json").read_text())["stages"] if (path / "stages.json").exists() else []


class Killed(KeyboardInterrupt):
    """Says at which moment."""


class Killer(Loud):
    """Kills a run before, in the middle of, or after something it writes or reports, when `when` says so."""

    def __init__(self, when: Callable[[str], bool]):
        self._when = when

    def __call__(self, moment: str) -> None:
        if self._when(moment):
            raise Killed(moment)

    def around(self, name: str, function: Callable, tear: Callable) -> Callable:
        """`function` with moments before and after it; killed in the middle of it, `tear` is what it did."""

        def with_moments(*arguments, **named):
            what = f"{name} {arguments[1]['name']}" if name == "finish_stage" else name
            if isinstance(arguments[0], Path) and arguments[0].parent.name == "results":
                what = f"{name} result {arguments[0].name}"
            self(f"before {what}")
            try:
                self(f"during {what}")
            except Killed:
                tear(*arguments, **named)
                raise
            function(*arguments, **named)
            self(f"after {what}")

        return with_moments

    def begin_stage(self, name, description, budget, done):
        self(f"begin {name}")

    def message(self, text):
        self(text)

    def advance(self, stage, record):
        self(f"epoch {stage}")

    def finish_stage(self, name, record):
        self(f"finish {name}")


@pytest.fixture
def kill(monkeypatch):
    """Lets a run be killed around everything that it writes; gives it `when` and returns its reporter."""

    def install(when: Callable[[str], bool]) -> Killer:
        killer = Killer(when)

        def half_a_line(directory, records):
            with (directory.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(records[0])[:-7])

        def half_a_file(path):
            path.parent.mkdir(exist_ok=True)
            path.with_name(path.name + ".partial").write_text('{"half')

        def half_a_checkpoint(path, tree, record):
            unfinished = path.with_name(path.name + ".orbax-checkpoint-tmp-7") / "arrays"
            unfinished.mkdir(parents=True)
            (unfinished / "manifest.ocdbt").write_bytes(b"half")

        def half_discarded(directory, stage):
            for file in [*directory.checkpoints(stage).rglob("*"), *directory.candidates(stage).rglob("*")][::2]:
                if file.is_file():
                    file.unlink()

        def half_a_deletion(directory, keep):
            for entry in directory.iterdir():
                if entry.name.isdigit() and int(entry.name) not in keep:
                    shutil.rmtree(entry / "arrays")
                    break

        for place, name, tear in (
            (RunDirectory, "append_metrics", half_a_line),
            (RunDirectory, "finish_stage", lambda directory, record: half_a_file(directory.path / "stages.json")),
            (RunDirectory, "finish", lambda directory, summary: half_a_file(directory.path / "summary.json")),
            (RunDirectory, "rewind_metrics", lambda *arguments: None),
            (RunDirectory, "discard_checkpoints", half_discarded),
            (checkpoint, "save", half_a_checkpoint),
            (checkpoint, "prune", half_a_deletion),
            (demonstration_sets, "save", lambda demonstrations, path: half_a_file(path)),
        ):
            monkeypatch.setattr(place, name, killer.around(name, getattr(place, name), tear))
        return killer

    return install


def run_to_the_end(path: Path, killer: Killer) -> tuple[Watched, list[str]]:
    moments = []
    while True:
        try:
            return watch(path, EVERY_STAGE, killer), moments
        except Killed as killed:
            moments.append(str(killed))
            assert len(moments) < 100, moments


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments(uninterrupted, kill, tmp_path, seed):
    random = np.random.default_rng(seed)
    left = int(random.integers(1, 50))

    def when(moment):
        nonlocal left
        left -= 1
        if left < 0:
            left = int(random.integers(1, 50))
        return left == 0

    run, moments = run_to_the_end(tmp_path / "run", kill(when))
    assert len(moments) > 5, moments
    assert_same_run(run, uninterrupted)


def test_killed_between_all_stages(uninterrupted, kill, tmp_path):
    """In the middle of every stage's result, before, in the middle of and after its record, and the run's own."""
    to_come = []
    for stage in STAGES:
        to_come += [] if stage in ("evaluation", "demonstrations") else [f"during save result {stage}"]
        to_come += [f"{place} finish_stage {stage}" for place in ("before", "during", "after")]
    to_come += ["before finish", "during finish"]

    def when(moment):
        if moment in to_come:
            to_come.remove(moment)
            return True
        return False

    expected = list(to_come)
    run, moments = run_to_the_end(tmp_path / "run", kill(when))
    assert moments == expected
    assert_same_run(run, uninterrupted)


def test_a_finished_run_is_not_changed_by_finishing_it_again(uninterrupted, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(uninterrupted.path, path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    again = watch(path, EVERY_STAGE)
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert again.summary == uninterrupted.summary
    assert again.acted == {stage: [] for stage in again.results}  # nothing was trained
    assert_bitwise_equal(again.outcome.policy.params, uninterrupted.outcome.policy.params)


def test_metrics_that_are_shorter_than_recorded_are_refused(uninterrupted, tmp_path):
    path = unfinished_copy(uninterrupted.path, tmp_path)
    os.truncate(path / "metrics.jsonl", 100)
    with pytest.raises(UserError, match=r"^The run directory .* is damaged: metrics.jsonl is shorter than .*\.$"):
        watch(path, EVERY_STAGE)
    assert (path / "metrics.jsonl").stat().st_size == 100


def test_a_missing_result_is_named(uninterrupted, tmp_path):
    path = unfinished_copy(uninterrupted.path, tmp_path)
    shutil.rmtree(path / "results" / "specialists")
    with pytest.raises(UserError, match=r"^The checkpoint .*results/specialists cannot be read \(.*\)\.$"):
        watch(path, EVERY_STAGE)


def test_demonstrations_of_another_environment_are_refused(uninterrupted, tmp_path):
    path = unfinished_copy(uninterrupted.path, tmp_path)
    file = path / "demonstrations" / "demonstrations.npz"
    with np.load(file) as archive:
        fields = {name: archive[name] for name in archive.files}
    demonstration_sets.save(Demonstrations(**fields | {"observation": fields["observation"][:, :3]}), file)
    with pytest.raises(UserError, match=r"^The demonstrations file .* observation .*\(200, 3\).*\(200, 5\).*\.$"):
        watch(path, EVERY_STAGE)


def unfinished_copy(source: Path, folder: Path) -> Path:
    """A copy of a run directory as it was before phase II."""
    path = folder / "run"
    shutil.copytree(source, path)
    (path / "summary.json").unlink()
    shutil.rmtree(path / "results" / "imitation")
    records = _records(path)[:-1]
    (path / "stages.json").write_text(json.dumps({"stages": records}))
    return path
