"""The command line: bad input is one sentence, exit status 2 and nothing changed; everything else works."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gsljax import cli
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl.demonstrations import Demonstrations
from gsljax.presets import MAZE
from gsljax.report import film
from gsljax.run_directory import RunDirectory
from tests.conftest import files_of
from tests.gsl import tiny

pytestmark = pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")


def flat(values: dict, prefix: str = "") -> dict:
    leaves = {}
    for name, value in values.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def flags(config) -> list[str]:
    """What turns the maze's configuration into `config` on the command line."""
    ours, preset = flat(dataclasses.asdict(config)), flat(dataclasses.asdict(MAZE.config))
    words: list[str] = []
    for name, value in ours.items():
        option = name.replace("_", "-")
        if value == preset[name]:
            continue
        if isinstance(value, bool):
            *outer, last = option.split(".")
            words.append("--" + ".".join([*outer, last if value else f"no-{last}"]))
        else:
            words += [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


STAGES = ("baseline", "generalist", "specialist", "phase_two")
OF_OTHER_ALGORITHMS = {
    f"{stage}__{part}": getattr(getattr(MAZE.config, stage), part) for stage in STAGES for part in ("auxiliary", "sac")
}
CONFIG = tiny.changed(**OF_OTHER_ALGORITHMS)  # settings that PPO does not use may not be given
TINY = flags(CONFIG)


@pytest.fixture
def gsljax(capsys, monkeypatch, tmp_path):
    """Runs a command in this process and an empty working directory; returns its status, its output and its errors."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(cli, "_use_compilation_cache", lambda: None)  # the tests' own is in use

    def run(*arguments: object) -> tuple[int, str, str]:
        status = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            assert isinstance(stop.code, int | None)
            status = stop.code or 0
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


@pytest.fixture
def refused(gsljax, tmp_path):
    """Runs a command that must be refused, with one sentence and no trace."""

    def run(message: str, *arguments: object) -> None:
        before = files_of(tmp_path)
        status, output, errors = gsljax(*arguments)
        assert (status, output) == (2, "")
        assert re.fullmatch(r"gsljax: [^\n]+[.)]\n", errors), errors
        assert re.search(message, errors), errors
        assert not re.search(r"Errno|Traceback|<class|config\.\w+: |[─│]|--{5}", errors), errors
        assert files_of(tmp_path) == before

    return run


@pytest.fixture
def world(tmp_path, gsljax):
    """Things in the working directory that are no runs."""
    work = tmp_path / "work"
    (work / "file").write_text("a file")
    (work / "empty").mkdir()
    (work / "thesis").mkdir()
    (work / "thesis" / "thesis.tex").write_text("five years")
    for name, text in (("broken", "{"), ("chess", '{"preset": "chess", "config": {}}'), ("list", "[]")):
        (work / name).mkdir()
        (work / name / "config.json").write_text(text)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fly", "There is no command 'fly'; there are: presets, train, resume, evaluate, plot"),
        ("train", "`gsljax train` needs a preset; there are: maze"),
        ("train --seed 3", "`gsljax train` needs a preset"),
        ("train chess", "There is no preset 'chess'; there are: maze"),
        ("train maze extra", "Unrecognized options: extra"),
        ("train maze --sed 3", "Unrecognized options: --sed"),
        ("train maze --network.depth 3", r"Unrecognized options: --network\.depth"),
        ("train maze --seed", "Missing value for argument '--seed'"),
        ("train maze --seed three", "--seed: .*'three'"),
        ("train maze --seed 1.5", r"--seed: .*'1\.5'"),
        ("train maze --seed -1", "seed is -1, but must lie between 0 and"),
        ("train maze --method trpo", "'trpo'.*'--method'.*'gsl', 'gsl-classic'"),
        ("train maze --network.activation sin", r"'sin'.*--network\.activation.*'relu', 'tanh'"),
        ("train maze --network.hidden 8 x", r"--network\.hidden: .*'x'"),
        ("train maze --network.hidden", r"hidden layers are \(\), but must be one or more positive widths"),
        ("train maze --network.squash-mean yes", "Unrecognized options: yes"),
        ("train maze --demonstrations.min-return low", r"--demonstrations\.min-return: .*'low'"),
        ("train maze --total-samples -5", "total_samples is -5, but must be at least 1"),
        (
            "train maze --total-samples 100",
            r"generalist_share is .* of \d+ total_samples, which leaves that stage \d+ samples, but",
        ),
        ("train maze --method ppo --total-samples 100", "total_samples is 100, which leaves the baseline 100 samples"),
        ("train maze --max-minutes 0", "max_minutes is 0.0, but must be positive and finite"),
        ("resume somewhere --max-minutes nan", "max_minutes is nan, but must be positive and finite"),
        ("train maze --low-episodes 5000", "total_samples is .*, which leaves phase II 0 samples"),
        ("train maze --generalist-share 1.5", "generalist_share is 1.5, but must lie between 0 and 1"),
        ("train maze --generalist-share nan", "generalist_share is nan, but must lie between 0 and 1"),
        ("train maze --num-specialists 3", r"num_specialists is 3, but must divide num_low_performing \(5\)"),
        ("train maze --num-low-performing 10", "num_low_performing is 10, but the environment has 5 variations"),
        ("train maze --plateau.window 0", "window is 0; it must be a whole number of at least 1"),
        ("train maze --plateau.metric reward", r"'reward'.*'--plateau\.metric'.*'return', 'success'"),
        ("train maze --env.num-branches 0", "num_branches is 0, but must be at least 1"),
        (
            "train maze --generalist.ppo.minibatch-size 9999",
            r"generalist\.ppo\.minibatch_size is 9999, but .* only",
        ),
        (
            "train maze --specialist.ppo.minibatch-size 9999",
            r"specialist\.ppo\.minibatch_size is 9999, but .* only",
        ),
        ("train maze --phase-two.ppo.minibatch-size 9999", r"phase_two\.ppo\.minibatch_size is 9999, but .* only"),
        ("train maze --run-dir", "Missing value for argument '--run-dir'"),
        ("train maze --run-dir thesis", "directory thesis is not empty; give one that does not exist or is empty"),
        ("train maze --run-dir file", "directory file is a file; give a directory that does not exist"),
        ("train maze --run-dir file/run", r"directory file/run cannot be written \(Not a directory\)"),
        ("train maze --run-dir broken", "broken already holds a run; continue it with `gsljax resume broken`"),
        ("train maze --start-from nowhere", "directory nowhere holds no run"),
        ("train maze --start-from broken", r"file broken/config\.json cannot be read \(Expecting"),
        ("train maze --start-from chess", "cannot be started from: its preset is 'chess', but here it is 'maze'"),
        ("resume", "Missing"),
        ("resume nowhere", r"directory nowhere holds no run: it has no config\.json"),
        ("resume empty", r"directory empty holds no run: it has no config\.json"),
        ("resume file", r"directory file holds no run: it has no config\.json"),
        ("resume broken", r"file broken/config\.json cannot be read \(Expecting"),
        ("resume list", r"file list/config\.json is damaged: it holds no JSON object"),
        ("resume one two", "Unrecognized options: two"),
        ("evaluate", "Missing"),
        ("evaluate nowhere", "directory nowhere holds no run"),
        ("evaluate empty --episodes 0", "number of episodes is 0, but must be at least 1"),
        ("evaluate empty --episodes x", "--episodes: .*'x'"),
        ("evaluate empty --seed -1", "seed is -1, but must lie between"),
        ("evaluate empty --video file", "video directory file is a file; give a directory that does not exist or"),
        ("evaluate empty --video thesis", "video directory thesis is not empty; give one that does not exist or is"),
        ("evaluate empty --video new --video-format avi", r"'avi'.*--video-format.*'gif', 'mp4'"),
        ("evaluate empty --video new --video-variations x", "--video-variations: .*'x'"),
        ("evaluate empty --video-variations 3", "--video-variations and --video-format need --video with a directory"),
        ("evaluate empty --video new", r"directory empty holds no run: it has no config\.json"),
        ("plot --out figure.png", "`gsljax plot` needs at least one run directory"),
        ("plot nowhere", "Missing"),
        ("plot nowhere --out figure.png", r"nowhere is no run directory: it has no config\.json"),
        ("plot broken --out figure.png", r"broken is no run directory: it has no metrics\.jsonl"),
        ("presets maze", "Unrecognized options: maze"),
    ],
)
def test_bad_input_is_one_sentence(refused, command, message):
    refused(message, *command.split())


@pytest.mark.parametrize("rule, edge", [("─", "│"), ("-", " ")])
def test_the_sentence_is_found_in_whatever_box_tyro_draws(rule, edge):
    box = [f"{edge} Title {edge}", f"{edge} {rule * 9} {edge}" if rule == "-" else "", f"{edge} Wrong: --a {edge}"]
    box += [f"{edge}   is 3   {edge}", f"{edge} {rule * 9} {edge}", f"{edge} Perhaps you meant: {edge}"]
    assert cli._first_paragraph("\n".join(box)) == "Wrong: --a is 3"
    assert cli._first_paragraph(f"t\n{edge} Error parsing config.env: The x is 3. {edge}\n") == "The x is 3."


def test_without_a_command_the_usage_is_shown(gsljax):
    for arguments in ([], ["-h"], ["--help"]):
        status, output, errors = gsljax(*arguments)
        assert (status, errors) == (0, "")
        assert all(f"gsljax {command} " in output for command in ("presets", "train", "resume", "evaluate", "plot"))


def test_the_presets_are_listed(gsljax):
    status, output, _ = gsljax("presets")
    assert status == 0 and "maze" in output and f"{MAZE.config.total_samples:,}" in output


def test_every_setting_is_a_flag_with_help(gsljax):
    status, output, _ = gsljax("train", "maze", "--help")
    words = " ".join(re.sub(r"[│╭╮╰╯─|+]", " ", output).split())
    assert status == 0
    for name in flat(dataclasses.asdict(MAZE.config)):
        flag = "--" + name.replace("_", "-")
        shown = re.search(re.escape(flag) + r"(?:,| |$)(.{0,400})", words)
        assert shown, flag
        description = re.match(r"(.*?)\((?:default|required)", shown.group(1))
        assert description and len(re.findall("[a-zγλε]+", description.group(1))) >= 1, (flag, shown.group(1))
    for argument in ("--run-dir", "--start-from"):
        assert argument in words


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot", "presets"])
def test_every_command_has_help(gsljax, command):
    status, output, errors = gsljax(command, "--help")
    assert (status, errors) == (0, "") and f"gsljax {command}" in output


@pytest.fixture(scope="module")
def command(compilation_cache):
    """Starts `gsljax` as the user does."""

    def start(*arguments: object, first: str = "pass") -> subprocess.Popen:
        program = f"import resource, signal\n{first}\nfrom gsljax.cli import main\nmain()"
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=Path(__file__).parents[1], env=compilation_cache,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def test_an_interruption_of_other_commands_is_said(gsljax, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.api, "evaluate", interrupt)
    assert gsljax("evaluate", "somewhere") == (130, "", "\ngsljax: interrupted.\n")


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory):
    """A run that was interrupted with Ctrl-C, went on until its time was up, and was resumed."""
    path = tmp_path_factory.mktemp("runs") / "gsl"
    heed_it = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where the tests' shell ignores it
    with command("train", "maze", *TINY, "--run-dir", path, first=heed_it) as process:
        for line in process.stdout:
            if line.startswith("compiling specialists"):
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors == f"\ngsljax: interrupted; `gsljax resume {path}` continues it from its newest checkpoint.\n"
    assert not (path / "summary.json").exists()
    with command("resume", path, "--max-minutes", "0.001") as process:
        output, errors = process.communicate()
    assert process.returncode == 0 and errors == "", errors
    assert output.endswith(f"gsljax: the time is up; `gsljax resume {path}` continues the run.\n")
    assert "specialists begins" in output and not (path / "summary.json").exists()
    with command("resume", path) as process:
        output, errors = process.communicate()
    assert process.returncode == 0 and errors == "", errors
    assert "generalist begins" not in output and "specialists begins" in output
    return path


@pytest.fixture
def copy(finished, tmp_path):
    """The finished run, to be spoilt."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.slow
def test_a_run_leaves_what_it_promises(finished):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*")}
    assert names >= {
        "config.json", "metrics.jsonl", "summary.json", "stages.json", "demonstrations/demonstrations.npz",
        "figures/learning_curve.png", "figures/per_variation.png", "figures/trajectories.png", "tensorboard",
    }  # fmt: skip
    header = json.loads((finished / "config.json").read_text())
    assert (header["preset"], header["method"], header["seed"]) == ("maze", "gsl", 0)
    assert set(header) == {
        "preset", "method", "algorithm", "seed", "config", "versions", "hardware", "commit", "start_from",
    }  # fmt: skip
    assert flat(header["config"]) == flat(json.loads(json.dumps(dataclasses.asdict(CONFIG))))
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary) == {
        "preset", "method", "algorithm", "seed", "total_samples", "wall_seconds", "stages", "plateau", "final",
    }  # fmt: skip
    assert summary["total_samples"] == tiny.CONFIG.total_samples
    assert not list(finished.rglob("*.partial")) and not list(finished.rglob("*tmp*"))


@pytest.mark.slow
def test_a_finished_run_is_only_drawn_again(copy, gsljax):
    before = files_of(copy)
    shutil.rmtree(copy / "figures")
    status, _, errors = gsljax("resume", copy)
    assert (status, errors) == (0, "")
    after = files_of(copy)
    assert set(before) == set(after)
    for name in before:
        assert name.startswith("figures/") or before[name] == after[name], name


@pytest.mark.slow
def test_evaluate(copy, gsljax):
    before = files_of(copy)
    status, output, errors = gsljax("evaluate", copy, "--episodes", 3, "--json")
    message = "evaluation: 3 episodes of each of 5 variations with sampled actions, and as many with modes\n"
    assert (status, errors) == (0, message)
    found = json.loads(output)
    assert (found["split"], found["episodes"]) == ("train", 3)
    assert found["policy"] == "final"
    assert set(found) == {"policy", "split", "episodes", "return", "success", "per_variation", "deterministic"}
    for results in (found, found["deterministic"]):
        assert set(results["per_variation"]) == {"0", "1", "2", "3", "4"}
        mean = np.mean([row["return"] for row in results["per_variation"].values()])
        assert results["return"] == pytest.approx(mean, abs=1e-5)
    assert json.loads(gsljax("evaluate", copy, "--episodes", 3, "--json")[1]) == found
    assert json.loads(gsljax("evaluate", copy, "--episodes", 3, "--json", "--seed", 1)[1]) != found
    generalist = json.loads(gsljax("evaluate", copy, "--episodes", 3, "--policy", "generalist", "--json")[1])
    assert generalist["policy"] == "generalist" and generalist["return"] != found["return"]
    status, output, _ = gsljax("evaluate", copy, "--episodes", 3)
    assert status == 0 and "deterministic" in output and f"{found['return']:.3g}" in output
    assert output.startswith("final policy, train variations, 3 episodes of each\n")
    assert files_of(copy) == before


@pytest.mark.slow
def test_plot(finished, gsljax):
    for name, begins in (("figure.png", b"\x89PNG"), ("new/figure.svg", b"<?xml"), ("figure.pdf", b"%PDF")):
        status, output, errors = gsljax("plot", finished, finished, "--out", name)
        assert (status, output, errors) == (0, f"figure: {name}\n", "") and Path(name).read_bytes().startswith(begins)


@pytest.mark.slow
def test_the_baseline_is_a_method(finished, gsljax):
    status, output, errors = gsljax("train", "maze", *TINY, "--method", "ppo", "--run-dir", "ppo")
    assert (status, errors) == (0, "") and "stage 1 of 1 baseline" in output
    summary = json.loads(Path("ppo/summary.json").read_text())
    assert summary["method"] == "ppo" and [stage["name"] for stage in summary["stages"]] == ["baseline"]
    assert summary["total_samples"] == json.loads((finished / "summary.json").read_text())["total_samples"]
    assert gsljax("plot", finished, "ppo", "--out", "both.png") == (0, "figure: both.png\n", "")
    header = json.loads(Path("ppo/config.json").read_text())
    header["config"]["rollout_steps"] += 1
    Path("ppo/config.json").write_text(json.dumps(header))
    told = "the runs of maze (algorithm ppo) differ in their settings: rollout_steps\nfigure: both.png\n"
    assert gsljax("plot", finished, "ppo", "--out", "both.png") == (0, told, "")


@pytest.mark.slow
def test_phase_two_can_start_from_another_run(finished, gsljax):
    before = files_of(finished)
    later = ["--checkpoint-interval", "7"]  # which no result depends on
    again = [*TINY, *later, "--method", "gsl-no-demonstrations", "--start-from", finished, "--run-dir", "other"]
    status, output, errors = gsljax("train", "maze", *again)
    assert (status, errors) == (0, "")
    assert "generalist begins" not in output and "imitation begins" in output
    ours, theirs = (json.loads((path / "summary.json").read_text()) for path in (Path("other"), finished))
    assert ours["method"] == "gsl-no-demonstrations" and ours["stages"][:-1] == theirs["stages"][:-1]
    assert json.loads(Path("other/config.json").read_text())["start_from"]["run"] == str(finished)
    assert ours["total_samples"] == theirs["total_samples"] and ours["final"] != theirs["final"]
    assert files_of(finished) == before
    assert gsljax("evaluate", "other", "--episodes", 1)[0] == 0  # has all it needs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seed", "1"], "its seed is 0, but here it is 1"),
        (["--method", "ppo"], "its method is 'gsl', but here it is 'ppo'"),
        (["--method", "gsl-scratch"], "its method is 'gsl', but here it is 'gsl-scratch'"),
        (["--total-samples", "4000"], "its total_samples is 3000, but here it is 4000"),
        (["--network.hidden", "16"], r"its network\.hidden is \(8,\), but here it is \(16,\)"),
        (["--specialist.lanes", "4"], r"its specialist\.lanes is 2, but here it is 4"),
        (["--demonstrations.specialist-episodes", "10"], r"demonstrations\.specialist_episodes is 20, but .* 10"),
    ],
)
def test_phase_two_cannot_start_from_a_run_that_differs_before_it(finished, refused, changes, message):
    refused(f"gsl cannot be started from: .*{message}", "train", "maze", *TINY, *changes, "--start-from", finished)


@pytest.mark.slow
def test_phase_two_cannot_start_from_a_run_without_demonstrations(copy, refused):
    unfinish(copy, 3)
    refused("its stage 'demonstrations' is not complete", "train", "maze", *TINY, "--start-from", copy)


def unfinish(path: Path, stages: int) -> None:
    """Take back what came after the first few stages."""
    records = json.loads((path / "stages.json").read_text())["stages"][:stages]
    (path / "stages.json").write_text(json.dumps({"stages": records}))
    (path / "summary.json").unlink()


@pytest.mark.slow
def test_a_run_is_not_trained_over(copy, refused):
    refused("already holds a run; continue it with `gsljax resume ", "train", "maze", *TINY, "--run-dir", copy)


@pytest.mark.slow
def test_a_run_in_use_is_left_alone(copy, refused):
    directory = RunDirectory.reopen(copy)
    refused("is in use by another process", "resume", copy)
    directory.close()


@pytest.mark.slow
def test_an_unknown_split_is_refused(copy, refused):
    refused("split is 'test', but maze has only: train", "evaluate", copy, "--split", "test")


@pytest.mark.slow
def test_a_run_is_filmed(copy, gsljax):
    before = files_of(copy)
    status, output, errors = gsljax("evaluate", copy, "--episodes", 1, "--video", "films", "--policy", "generalist")
    assert status == 0 and "video: films (5 films, contact_sheet.png)" in output
    assert all(line.startswith(("evaluation: ", "films: ")) for line in errors.splitlines())
    assert {path.name for path in Path("films").iterdir()} == {
        "contact_sheet.png", *(f"variation_{v}.gif" for v in range(5)),
    }  # fmt: skip
    status, output, _ = gsljax(
        "evaluate", copy, "--episodes", 1, "--json", "--video", "two", "--video-variations", 0, 3
    )
    video = json.loads(output)["video"]
    assert status == 0 and list(video["episodes"]) == ["0", "3"]
    assert all(Path("two", row["file"]).is_file() for row in video["episodes"].values())
    assert files_of(copy) == before


@pytest.mark.slow
def test_what_cannot_be_filmed_is_refused(copy, refused, monkeypatch):
    refused(r"show variation 7, but .* are 0 \.\. 4", "evaluate", copy, "--video", "new", "--video-variations", 7)
    monkeypatch.setattr(film, "_ffmpeg", lambda: None)
    refused("mp4 needs FFmpeg, which is not installed", "evaluate", copy, "--video", "new", "--video-format", "mp4")


@pytest.mark.slow
def test_an_unfinished_run_is_not_evaluated(copy, refused):
    unfinish(copy, 4)
    refused("is not finished; continue it with `gsljax resume ", "evaluate", copy)


@pytest.mark.slow
def test_a_figure_of_another_format_is_refused(finished, refused):
    refused(r"suffix '\.gif'; allowed are", "plot", finished, "--out", "figure.gif")
    refused("cannot be written", "plot", finished, "--out", finished / "config.json" / "figure.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "message"),
    [
        ("config.json", r"(?s)(.{500}).*", r"\1", r"config\.json cannot be read \("),
        ("config.json", "num_low_performing", "worst", r"config\.json cannot be used: .*unknown field 'worst'"),
        ("config.json", '"maze"', '"mace"', r"config\.json cannot be used: its preset 'mace' is not one of"),
        ("config.json", r'"lanes": \d+', '"lanes": "x"', r"config\.json cannot be used: .*'lanes' .* is 'x', but"),
        ("config.json", '"num_specialists": 5', '"num_specialists": 3', r"cannot be used: num_specialists is 3, but"),
        ("config.json", r'"hidden": \[\s*8', '"hidden": [16', r"The checkpoint .*results/generalist cannot be used \("),
        ("stages.json", r"(?s)(.{500}).*", r"\1", r"stages\.json cannot be read \("),
        ("stages.json", "(?s).+", "{}", r"stages\.json is damaged"),
        ("stages.json", "(?s).+", '{"stages": []}', r"is damaged: summary\.json and stages\.json do not agree"),
        ("summary.json", r"(?s)(.{100}).*", r"\1", r"summary\.json cannot be read \("),
    ],
)
def test_damaged_files_are_named(copy, refused, name, pattern, replacement, message):
    text = (copy / name).read_text()
    damaged = re.sub(pattern, replacement, text)
    assert damaged != text
    (copy / name).write_text(damaged)
    for command in ("evaluate", "resume"):
        refused(message, command, copy)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in tests/test_checkpoint.py
def test_damaged_checkpoints_and_demonstrations_are_named(copy, refused):
    kept = copy / "results" / "imitation"
    kept.rename(copy / "elsewhere")
    refused(r"checkpoint .*results/imitation cannot be read", "evaluate", copy)
    (copy / "elsewhere").rename(kept)
    for file in (kept / "arrays").rglob("*"):
        if file.parent.name == "d":
            file.write_bytes(file.read_bytes()[:10])
    refused(r"checkpoint .*results/imitation cannot be read", "evaluate", copy)

    file = copy / "demonstrations" / "demonstrations.npz"
    with np.load(file) as archive:
        fields = {name: archive[name] for name in archive.files}
    demonstration_sets.save(Demonstrations(**fields | {"action": fields["action"][:, :1]}), file)
    refused(r"demonstrations file .* action of .*\(200, 1\).*\(200, 2\)", "evaluate", copy)
    file.write_bytes(file.read_bytes()[:1000])
    refused("demonstrations file .* cannot be read", "evaluate", copy)
    file.unlink()
    refused("demonstrations file .* cannot be read", "evaluate", copy)


@pytest.mark.slow
def test_resuming_with_damaged_demonstrations_changes_nothing_that_counts(copy, gsljax):
    unfinish(copy, 4)
    shutil.rmtree(copy / "results" / "imitation")
    (copy / "demonstrations" / "demonstrations.npz").write_bytes(b"PK")
    before = files_of(copy)
    status, _, errors = gsljax("resume", copy)
    assert status == 2 and re.fullmatch(r"gsljax: The demonstrations file .* cannot be read [^\n]*\n", errors), errors
    assert files_of(copy) == before


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_costs_nothing(command, compilation_cache, finished, tmp_path):
    """No file may grow beyond 20 kB, which a checkpoint or a figure does; then there is room again."""
    small_disk = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
    with command("train", "maze", *TINY, "--run-dir", tmp_path / "run", first=small_disk) as process:
        _, errors = process.communicate()
    assert process.returncode == 2
    assert re.fullmatch(r"gsljax: (The \w+|Figure) [^\n]* cannot be written[^\n]*\n", errors), errors
    with command("resume", tmp_path / "run") as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    ours, theirs = (json.loads((path / "summary.json").read_text()) for path in (tmp_path / "run", finished))
    assert ours["final"] == theirs["final"] and ours["total_samples"] == theirs["total_samples"]
