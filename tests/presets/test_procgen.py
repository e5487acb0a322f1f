"""The Procgen presets: the paper's settings, and what a smaller total makes of them."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from benchmarks.procgen_learning import TINY
from gsljax.cli import main
from gsljax.envs.procgen import GAMES
from gsljax.errors import UserError
from gsljax.gsl.agent import make_algorithm, settings_of
from gsljax.gsl.checks import check_against, check_lanes
from gsljax.gsl.config import resolve
from gsljax.presets import PRESETS
from gsljax.presets.procgen import PROCGEN
from gsljax.types import ActionSpec, EnvSpec

CONFIGS = [(preset, config) for preset in PROCGEN for config in (preset.config, *preset.other_configs)]
needs_procgen = pytest.mark.skipif(importlib.util.find_spec("envpool") is None, reason="EnvPool is not installed")
configs = pytest.mark.parametrize(
    ("preset", "config"), CONFIGS, ids=[f"{preset.name}-{config.algorithm}" for preset, config in CONFIGS]
)


def test_every_game_has_its_preset_with_ppo_and_ppg():
    assert {preset.name for preset in PROCGEN} == {f"procgen-{game}" for game in GAMES}
    assert all(PRESETS[preset.name] is preset for preset in PROCGEN)
    assert [config.algorithm for _, config in CONFIGS] == ["ppo", "ppg"] * 16


def test_shrunken_images_must_fit():
    config = PRESETS["procgen-bigfish"].config
    spec = EnvSpec("images", 4, (64, 64, 3), "uint8", ActionSpec(num_actions=15), 100, has_success=False)
    settings = settings_of("ppo", config.generalist)
    network = dataclasses.replace(config.network, shrink=2)
    make_algorithm(settings, network, spec)
    with pytest.raises(UserError, match=r"^The network's shrink is 3, but must divide the images' size, 64 x 64\.$"):
        make_algorithm(settings, dataclasses.replace(network, shrink=3), spec)
    with pytest.raises(UserError, match=r"^The network's shrink is 0, but must be at least 1\.$"):
        dataclasses.replace(network, shrink=0)


@configs
def test_specialists_share_the_low_levels(preset, config):
    """300 over 75 [T]; Plunder's are all 1024 [T], over as near to 75 as divides them."""
    all_levels = preset.name == "procgen-plunder"
    expected = (1024, 64, 16) if all_levels else (300, 75, 4)
    assert (config.num_low_performing, config.num_specialists, config.variations_per_specialist) == expected
    assert config.specialist.lanes < config.generalist.lanes  # [T]
    assert config.demonstrations.specialist_episodes == config.num_low_performing
    assert config.demonstrations.generalist_episodes == (0 if all_levels else 300)


@needs_procgen
@configs
@pytest.mark.parametrize("total", [100_000_000, 25_000_000])
def test_the_papers_total_and_a_quarter_of_it_fit(preset, config, total):
    config = resolve(dataclasses.replace(config, total_samples=total))
    environment = preset.make_environment(config)
    check_against(config, environment.spec)
    check_lanes(config, environment)


@needs_procgen
def test_a_total_that_whole_episodes_may_exceed_is_refused_in_one_sentence():
    preset = PRESETS["procgen-bigfish"]
    config = resolve(dataclasses.replace(preset.config, total_samples=10_000_000))
    message = (
        r"^total_samples is 10000000, .* 0 samples, .* takes 16384, after 1624 episodes of up to 6000 steps for .*\.$"
    )
    with pytest.raises(UserError, match=message):
        check_against(config, preset.make_environment(config).spec)


@configs
def test_the_plateau_asks_for_the_same_progress_per_sample_of_every_budget(preset, config):
    """The kernel of 400 epochs [T] and epsilon, 0.03 of the score range [T], are those of the whole total."""
    epoch = config.generalist.lanes * config.rollout_steps
    low, high = GAMES[preset.name.removeprefix("procgen-")].easy
    for total in (100_000_000, 10_000_000):
        epochs = int(config.generalist_share * total) // epoch
        plateau = config.plateau.for_budget(epochs)
        assert plateau.kernel_sigma == pytest.approx(400 * total / 1e8, rel=0.01)
        assert plateau.window == pytest.approx(400 * total / 1e8, rel=0.03)
        assert plateau.epsilon == pytest.approx(0.03 * (high - low) * total / 1e8, rel=0.01)
        assert plateau.window < epochs


@configs
def test_the_value_loss_weighs_as_in_the_code_that_the_authors_built_on(preset, config):
    """PPO2 has half of half the squared error, phasic-policy-gradient half of the whole."""
    expected = {"ppo": 0.5, "ppg": 1.0}[config.algorithm]
    stages = config.baseline, config.generalist, config.specialist, config.phase_two
    assert [stage.ppo.value_coefficient for stage in stages] == [expected] * 4


@needs_procgen
@pytest.mark.slow
def test_a_whole_run_over_ppg_on_a_games_levels(tmp_path):
    sizes = [flag for flag in TINY if "num-epochs" not in flag]
    for stage in ("generalist", "specialist", "phase-two"):
        sizes += [f"--{stage}.auxiliary.policy-phases=2", f"--{stage}.auxiliary.auxiliary-epochs=1"]
        sizes += [f"--{stage}.auxiliary.auxiliary-minibatch=4"]
    main(["train", "procgen-leaper", "--algorithm", "ppg", *sizes, "--run-dir", str(tmp_path / "run")])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    names = [stage["name"] for stage in summary["stages"]]
    assert names == ["generalist", "evaluation", "specialists", "demonstrations", "imitation"]
    assert 5700 < summary["total_samples"] <= 6000
    assert set(summary["final"]["per_variation"]) == {"0", "1"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["auxiliary_loss"] for line in lines if line["stage"] == "imitation"]
    assert np.all(np.isfinite(losses)) and np.count_nonzero(losses) == len(losses) // 2  # every second epoch
    assert (tmp_path / "run" / "figures" / "per_variation.png").exists()


def test_a_return_is_a_score_and_back():
    spec = EnvSpec("one", 1, (1,), "float32", None, 1, False, score_range=(-1.5, 32.4))
    assert spec.return_of(0.0) == -1.5 and spec.return_of(1.0) == pytest.approx(32.4)
    assert spec.normalized(spec.return_of(0.2)) == pytest.approx(0.2)
