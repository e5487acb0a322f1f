"""Training, resuming and evaluating runs from Python: what the command line calls."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
from rich.console import Console

from gsljax import checkpoint, presets, provenance
from gsljax.algorithms import ActorOutput
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.errors import Interrupted, TimeIsUp, UserError
from gsljax.filming import Filming, film, style_of
from gsljax.gsl.checks import check_against, check_lanes, check_unused
from gsljax.gsl.config import GSLConfig, resolve
from gsljax.gsl.config_json import from_json
from gsljax.gsl.experiment import ADOPTABLE, Experiment, Reporter
from gsljax.gsl.playing_stages import evaluate_variations
from gsljax.gsl.run import Outcome, evaluation_message, run
from gsljax.presets import Preset
from gsljax.report.canvas import save as save_figure
from gsljax.report.curves import learning_curve_figure
from gsljax.report.progress import Progress, Silent
from gsljax.report.runs import flat_settings, load_run
from gsljax.report.tensorboard import TensorBoardLog
from gsljax.report.variations import per_variation_figure
from gsljax.run_directory import RunDirectory, read_header, read_stages
from gsljax.train_state import TrainState

PolicyOfRun = Literal["final", "generalist"]
"""The final policy of a run, or the generalist at its plateau."""


class LoadedPolicy(NamedTuple):
    """What a finished run has learnt.

    Attributes:
      act: as `gsljax.algorithms.Algorithm.act`: state, observations `[B, ...]`, a key, and whether to be deterministic.
      state: what `act` needs.
    """

    act: Callable[..., ActorOutput]
    state: TrainState


def train(
    preset: str | Preset,
    config: GSLConfig | None = None,
    run_dir: Path | str | None = None,
    start_from: Path | str | None = None,
    quiet: bool = False,
    max_minutes: float | None = None,
) -> dict[str, Any]:
    """Run a preset from the start.

    Args:
      preset: its name, or a `Preset` of your own.
      config: the configuration; the preset's own by default.
      run_dir: a directory that does not exist or is empty; by default a new one under `runs/`.
      start_from: another run of the same preset, seed and settings, whose stages up to the demonstrations are taken
        over instead of being run: for comparing methods of phase II from the very same demonstrations.
      quiet: show no progress.
      max_minutes: stop after the epoch in which these minutes pass, for `resume` to go on, on another machine too;
        evaluations and the demonstrations are not cut.

    Returns:
      The content of `summary.json`.

    Raises:
      UserError: for anything given that cannot be used; nothing is changed then.
      TimeIsUp: if the minutes are over before the run is finished; everything is saved.
    """
    deadline = _deadline(max_minutes)
    preset = presets.get(preset) if isinstance(preset, str) else preset
    config = resolve(config or preset.config)
    check_unused(config, preset.config_for(config.algorithm))
    environment = _environment(preset, config)
    check_against(config, environment.spec)
    check_lanes(config, environment)
    path = Path(run_dir) if run_dir else _new_run_dir(preset, config)
    if start_from is not None:
        _check_same_beginning(config, Path(start_from), preset)
    header = {
        "preset": preset.name,
        "method": config.method,
        "algorithm": config.algorithm,
        "seed": config.seed,
        "config": dataclasses.asdict(config),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
        "commit": provenance.commit(),
        "start_from": None
        if start_from is None
        else {"run": str(start_from), "commit": read_header(Path(start_from)).get("commit")},
    }
    source = None if start_from is None else Path(start_from)
    with contextlib.closing(RunDirectory.create(path, header, source, ADOPTABLE)) as directory:
        return _execute(preset, config, directory, False, quiet, deadline)


def resume(
    run_dir: Path | str, preset: Preset | None = None, quiet: bool = False, max_minutes: float | None = None
) -> dict[str, Any]:
    """Continue a run that was interrupted, from its newest checkpoint; a finished one only gets its figures again.

    Args:
      run_dir: the run directory.
      preset: needed if the run's preset is not one of gsljax's own.
      quiet: show no progress.
      max_minutes: as in `train`.

    Returns:
      The content of `summary.json`.

    Raises:
      UserError: if there is no run, it is damaged, or in use.
      TimeIsUp: if the minutes are over before the run is finished; everything is saved.
    """
    deadline = _deadline(max_minutes)
    with contextlib.closing(RunDirectory.reopen(Path(run_dir))) as directory:
        preset, config = _preset_and_config(directory.path, directory.header, preset, goes_on=True)
        return _execute(preset, config, directory, True, quiet, deadline)


def evaluate(
    run_dir: Path | str,
    split: str = "train",
    episodes: int = 40,
    seed: int = 0,
    policy: PolicyOfRun = "final",
    preset: Preset | None = None,
    filming: Filming | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a finished run's policy on every variation, stochastic and deterministic.

    Args:
      run_dir: the run directory.
      split: `train` or `test`, the preset's training or held-out variations.
      episodes: per variation.
      seed: of the evaluation; another one plays other episodes.
      policy: the final one, or the generalist at its plateau.
      preset: needed if the run's preset is not one of gsljax's own.
      filming: what to film besides, if anything: an episode of each of some variations, none of those that are counted.
      quiet: do not say what is going on.

    Returns:
      `{"policy", "split", "episodes", "return", "success", "per_variation", "deterministic"}`, with
      `"video": {"directory", "episodes": {id: {"file", "steps", "return", "success"}}}` if it was filmed.

    Raises:
      UserError: if there is no finished run, the preset has no such split, the run no such policy, or it cannot be
        filmed.
    """
    if episodes < 1:
        raise UserError(f"The number of episodes is {episodes}, but must be at least 1.")
    if not 0 <= seed < 2**32:
        raise UserError(f"The seed is {seed}, but must lie between 0 and 2**32 - 1.")
    preset, experiment, state = _finished(run_dir, policy, preset)
    config = experiment.config
    makers = {
        "train": preset.make_evaluation_environment or preset.make_environment,
        "test": preset.make_test_environment,
    }
    allowed = [name for name, maker in makers.items() if maker is not None]
    if split not in allowed:
        raise UserError(f"The split is {split!r}, but {preset.name} has only: {', '.join(allowed)}.")
    make_environment = makers[split]
    assert make_environment is not None
    environment = make_environment(config)
    if filming is not None:
        style = style_of(preset, config, environment.spec)
        filming.prepare(environment.spec)  # refused before any work
    if not quiet:
        text = evaluation_message(episodes, environment.spec.num_variations)
        Console(stderr=True, highlight=False).print(f"evaluation: {text}", soft_wrap=True)
    key = jax.random.fold_in(jax.random.key(seed), 2**31 + 1)  # none that a run draws from
    sampled, _ = evaluate_variations(experiment, environment, state, episodes, key)
    modal, _ = evaluate_variations(experiment, environment, state, episodes, key, deterministic=True)
    results = {"policy": policy, "split": split, "episodes": episodes} | sampled | {"deterministic": modal}
    if filming is not None:
        header = f"{preset.name}, {config.method}, seed {config.seed}: {policy} policy, {split} variations"
        film_key = jax.random.fold_in(jax.random.key(seed), 2**31 + 2)
        shown = film(filming, style, environment, experiment.acting.act, state, film_key, header, quiet)
        results["video"] = {"directory": str(filming.directory), "episodes": shown}
    return results


def load_policy(run_dir: Path | str, policy: PolicyOfRun = "final", preset: Preset | None = None) -> LoadedPolicy:
    """A finished run's policy, to act with in a script of your own.

    Args:
      run_dir: the run directory.
      policy: the final one, or the generalist at its plateau.
      preset: needed if the run's preset is not one of gsljax's own.

    Raises:
      UserError: if there is no finished run, or it has no such policy.
    """
    _, experiment, state = _finished(run_dir, policy, preset)
    return LoadedPolicy(experiment.acting.act, state)


def _finished(run_dir: Path | str, policy: PolicyOfRun, preset: Preset | None) -> tuple[Preset, Experiment, TrainState]:
    """A finished run's preset, experiment and policy."""
    if policy not in get_args(PolicyOfRun):
        raise UserError(f"The policy is {policy!r}, but must be one of: {', '.join(get_args(PolicyOfRun))}.")
    directory = RunDirectory.read(Path(run_dir))
    preset, config = _preset_and_config(directory.path, directory.header, preset)
    experiment = _experiment(preset, config, directory, Silent())
    outcome, _ = run(experiment, preset.name)
    state = {"final": outcome.policy, "generalist": outcome.generalist}[policy]
    if state is None:
        raise UserError(f"The run {run_dir} has no generalist at a plateau, as its method is {config.method}.")
    return preset, experiment, state


class _AlsoTensorBoard:
    """The progress display, with every epoch written to TensorBoard too."""

    def __init__(self, progress: Progress | Silent, tensorboard: TensorBoardLog):
        self._progress, self._tensorboard = progress, tensorboard
        self.begin_stage, self.message, self.finish_stage = (
            progress.begin_stage,
            progress.message,
            progress.finish_stage,
        )

    def advance(self, stage: str, record: dict[str, Any]) -> None:
        self._progress.advance(stage, record)
        self._tensorboard.write(record)


def _deadline(max_minutes: float | None) -> float:
    if max_minutes is None:
        return math.inf
    if not 0 < max_minutes < math.inf:
        raise UserError(f"max_minutes is {max_minutes}, but must be positive and finite.")
    return time.monotonic() + 60 * max_minutes


def _execute(
    preset: Preset, config: GSLConfig, directory: RunDirectory, resumed: bool, quiet: bool, deadline: float
) -> dict[str, Any]:
    spent = directory.samples + _samples_under_way(config, directory)
    tensorboard = TensorBoardLog(directory.path, resumed_at=spent if resumed else None)
    shown = Progress(total_samples=config.total_samples, stages=_stage_names(config), spent=spent)
    with contextlib.closing(tensorboard), contextlib.nullcontext(Silent()) if quiet else shown as progress:
        if not resumed:
            progress.message(f"run directory: {directory.path}")
        experiment = _experiment(preset, config, directory, _AlsoTensorBoard(progress, tensorboard), deadline)
        try:
            outcome, summary = run(experiment, preset.name)
            figures = _draw(preset, experiment, outcome)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted; `gsljax resume {directory.path}` continues it from its newest checkpoint"
            ) from None
        except TimeIsUp:
            raise TimeIsUp(f"the time is up; `gsljax resume {directory.path}` continues the run") from None
        progress.summary(summary)
        for path in figures:
            progress.message(f"figure: {path}")
    return summary


def _environment(preset: Preset, config: GSLConfig) -> JaxEnvironment | PooledEnvironment:
    """What the run trains on; what it is evaluated on is made as well, so that what that lacks is known before."""
    for make in (preset.make_evaluation_environment, preset.make_test_environment):
        if make is not None:
            make(config)
    return preset.make_environment(config)


def _draw(preset: Preset, experiment: Experiment, outcome: Outcome) -> list[Path]:
    folder = experiment.directory.path / "figures"
    finished = load_run(experiment.directory.path)
    figures = {
        "learning_curve.png": learning_curve_figure(finished),
        "per_variation.png": per_variation_figure(finished),
    }
    if preset.draw_behaviour:
        figures |= preset.draw_behaviour(experiment, outcome)
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in figures]


def _experiment(
    preset: Preset, config: GSLConfig, directory: RunDirectory, reporter: Reporter, deadline: float = math.inf
) -> Experiment:
    environment = preset.make_environment(config)
    make_evaluated = preset.make_evaluation_environment
    evaluated = environment if make_evaluated is None else make_evaluated(config)
    return Experiment(config, environment, evaluated, directory, reporter, deadline)


def _preset_and_config(
    path: Path, header: dict[str, Any], preset: Preset | None, goes_on: bool = False
) -> tuple[Preset, GSLConfig]:
    """Those of a run; one that goes on must say itself what it is to go on with, a finished one may be older."""
    try:
        if preset is None and header["preset"] not in presets.PRESETS:
            raise UserError(
                f"its preset {header['preset']!r} is not one of gsljax's own, so that it needs `gsljax.api.resume` or "
                "`gsljax.api.evaluate` with that preset."
            )
        preset = preset or presets.get(header["preset"])
        config = from_json(type(preset.config), header["config"], is_whole=goes_on)
    except UserError as error:
        raise UserError(f"The file {path / 'config.json'} cannot be used: {error}{_begun_elsewhere(header)}") from error
    spec = preset.make_environment(config).spec
    try:
        check_against(config, spec)
    except UserError as error:
        raise UserError(f"The file {path / 'config.json'} cannot be used: {error}") from error
    return preset, config


def _begun_elsewhere(header: dict[str, Any]) -> str:
    """Which version of gsljax a run was begun with, if that is not this one."""
    commit = header.get("commit")
    return f" The run was begun with gsljax at commit {commit}." if commit and commit != provenance.commit() else ""


def _samples_under_way(config: GSLConfig, directory: RunDirectory) -> int:
    """Samples of the stage that a resumed run goes on with, up to its newest checkpoint."""
    stage = next((name for name in _stage_names(config) if directory.stage(name) is None), None)
    latest = None if stage is None else directory.latest_checkpoint(stage)
    if stage is None or latest is None:
        return 0
    return checkpoint.read_record(directory.checkpoints(stage) / str(latest))["samples"]


def _stage_names(config: GSLConfig) -> tuple[str, ...]:
    if config.is_baseline:
        return ("baseline",)
    fine_tuning = ("fine_tuning",) if config.fine_tuning_share else ()
    trials = ("trials",) if config.trial_share else ()
    return ("generalist", "evaluation", *fine_tuning, *trials, "specialists", "demonstrations", "imitation")


def _new_run_dir(preset: Preset, config: GSLConfig) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{preset.name}-{config.method}-seed{config.seed}-{stamp}"


def _check_same_beginning(config: GSLConfig, source: Path, preset: Preset) -> None:
    header = read_header(source)
    theirs, ours = {"preset": header["preset"]}, {"preset": preset.name}
    if theirs == ours:
        theirs |= _beginning(_preset_and_config(source, header, preset)[1], preset)
        ours |= _beginning(config, preset)
    for name, value in ours.items():
        if theirs[name] != value:
            raise UserError(
                f"The run {source} cannot be started from: its {name} is {theirs[name]!r}, but here it is {value!r}."
            )
    if ADOPTABLE[-1] not in [record["name"] for record in read_stages(source)]:
        raise UserError(f"The run {source} cannot be started from: its stage {ADOPTABLE[-1]!r} is not complete.")


def _beginning(config: GSLConfig, preset: Preset) -> dict[str, Any]:
    """The settings by dotted name that the results of the stages before phase II depend on."""
    settings = dataclasses.asdict(config)
    for only_later in ("phase_two", "imitation", "baseline", "evaluation_episodes", "checkpoint_interval"):
        del settings[only_later]
    if not config.is_baseline and config.method != "gsl-scratch":
        settings["method"] = "gsl"
    return {name: value for name, value in flat_settings(settings).items() if name not in preset.evaluation_settings}
