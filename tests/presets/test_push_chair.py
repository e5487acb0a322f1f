"""PushChair's presets: settings that fit, a replay of a known size, and whole runs at a tiny budget."""

import dataclasses
import importlib.util
import json

import jax
import numpy as np
import pytest

import gsljax.api
from gsljax.algorithms import GAILConfig
from gsljax.envs.push_chair import CHAIRS, spec_of
from gsljax.errors import UserError
from gsljax.gsl.agent import make_algorithm, settings_of
from gsljax.gsl.checks import check_against
from gsljax.gsl.config import resolve
from gsljax.gsl.demonstrations import load
from gsljax.gsl.network_config import PointCloudNetworkConfig
from gsljax.presets import PRESETS
from gsljax.presets.push_chair import CLOUD_CONFIG, STATE_CONFIG, PushChairSceneConfig
from tests.gsl.tiny import changed
from tests.maniskill import PACKAGES

with_maniskill = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES),
    reason="ManiSkill or PyTorch is not installed (pip install 'gsljax[maniskill]')",
)
CONFIGS = {"cloud": CLOUD_CONFIG, "state": STATE_CONFIG}


@pytest.mark.parametrize("mode", CONFIGS)
def test_the_settings_fit_the_environment_and_each_other(mode):
    check_against(resolve(CONFIGS[mode]), spec_of(mode))


@pytest.mark.parametrize("mode", CONFIGS)
def test_how_often_agents_and_discriminator_learn(mode):
    config = CONFIGS[mode]
    for stage in ("baseline", "generalist", "specialist", "phase_two"):
        training = getattr(config, stage)
        often = 16 if mode == "state" else 4
        assert training.sac.num_gradient_steps == training.lanes * config.env.horizon * often // 64
    steps = config.phase_two.sac.num_gradient_steps
    assert resolve(config).imitation.method == "gail" and config.imitation.gail.num_updates / steps == 5 / 100


@pytest.mark.parametrize(("mode", "gigabytes"), [("cloud", 7.05), ("state", 0.2)])
def test_the_replay_takes_the_memory_that_the_docs_say(mode, gigabytes):
    config, spec = CONFIGS[mode], spec_of(mode)
    algorithm = make_algorithm(settings_of("sac", config.generalist), config.network, spec)
    replay = jax.eval_shape(algorithm.init, jax.random.key(0)).memory["replay"]
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(replay))
    assert size == pytest.approx(gigabytes * 1e9, rel=0.02)
    specialists = config.num_specialists * config.specialist.sac.replay_capacity
    assert specialists <= config.generalist.sac.replay_capacity  # all of them together take no more


def test_chairs_are_named():
    config = dataclasses.replace(STATE_CONFIG, env=PushChairSceneConfig(chairs=("stool", "drafting chair")))
    style = PRESETS["push-chair-state"].film_style
    assert style is not None and style(config) is not None
    with pytest.raises(UserError, match=r"^env\.chairs names 'sofa', but PushChair's chairs are: task chair, "):
        PushChairSceneConfig(chairs=("sofa",))


def test_point_clouds_need_sac_and_a_cloud():
    network = PointCloudNetworkConfig()
    with pytest.raises(UserError, match="must be, as the networks of point clouds are SAC's"):
        make_algorithm(settings_of("ppo", CLOUD_CONFIG.generalist), network, spec_of("cloud"))
    with pytest.raises(UserError, match="PushChair has none to observe"):
        make_algorithm(settings_of("sac", CLOUD_CONFIG.generalist), network, spec_of("state"))
    with pytest.raises(UserError, match="width is 7, but must be even"):
        PointCloudNetworkConfig(width=7)
    with pytest.raises(UserError, match=r"env\.physics_frequency is 30, but must be a multiple of 20"):
        PushChairSceneConfig(physics_frequency=30)


HORIZON, LANES = 10, 8


def tiny(config):
    """At most 640 samples of the generalist, 80 of its evaluation, 480 of the specialists, 160 of demonstrations."""
    sac = {"num_gradient_steps": 2, "minibatch_size": 8, "replay_capacity": 500, "warmup_samples": 40}
    changes = {
        f"{stage}__sac": dataclasses.replace(getattr(config, stage).sac, **sac)
        for stage in ("baseline", "generalist", "specialist", "phase_two")
    }
    config = changed(config, **changes)
    return changed(
        config,
        total_samples=1600,
        rollout_steps=HORIZON + 1,
        checkpoint_interval=2,
        specialist__lanes=1,
        plateau=dataclasses.replace(config.plateau, kernel_sigma=0.0, window=2, epsilon=1e6, head=0.2, tail=0.0),
        low_episodes=1,
        best_window=2,
        demonstrations__specialist_episodes=16,
        demonstrations__min_return=-1000.0,
        imitation__gail=GAILConfig(num_updates=2, minibatch_size=8, hidden=(8,)),
        evaluation_episodes=1,
        env=PushChairSceneConfig(horizon=HORIZON, num_workers=2),
    )


@with_maniskill
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["push-chair-state", "push-chair"])
def test_a_whole_run_at_a_tiny_budget(preset, tmp_path):
    config = tiny(PRESETS[preset].config)
    if preset == "push-chair":
        small = PointCloudNetworkConfig(width=8, blocks=1, heads=2, head_size=4, feedforward=8, hidden=8)
        config = dataclasses.replace(config, network=small)
    summary = gsljax.api.train(preset, config, tmp_path / "run")
    names = [stage["name"] for stage in summary["stages"]]
    assert names == ["generalist", "evaluation", "specialists", "demonstrations", "imitation"]
    assert 1500 < summary["total_samples"] <= 1600
    assert sorted(summary["final"]["per_variation"], key=int) == [str(chair) for chair in range(len(CHAIRS))]
    assert -31 * HORIZON < summary["final"]["return"] < -10 * HORIZON
    mode = "cloud" if preset == "push-chair" else "state"
    kept = load(tmp_path / "run" / "demonstrations" / "demonstrations.npz", spec_of(mode, HORIZON))
    assert kept.num_episodes == 16 and kept.num_pairs == 16 * HORIZON
    np.testing.assert_array_equal(np.bincount(kept.variation), [2] * len(CHAIRS))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["discriminator_loss"] for line in lines if line["stage"] == "imitation"]
    assert losses and np.all(np.isfinite(losses))
