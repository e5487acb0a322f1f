"""The presets of Meta-World fit their environments and budgets, and use what tasks of their own scale need."""

import dataclasses

import pytest

from gsljax.gsl.checks import check_against, check_lanes, check_unused, most_valid_steps
from gsljax.gsl.config import resolve
from gsljax.presets.meta_world import META_WORLD

pytest.importorskip("envpool", reason="EnvPool is not installed (pip install 'gsljax[pools]')")


@pytest.mark.parametrize("preset", META_WORLD, ids=lambda preset: preset.name)
@pytest.mark.parametrize("method", ["gsl", "gsl-classic", "ppo"])
def test_they_fit(preset, method):
    config = resolve(dataclasses.replace(preset.config, method=method))
    environment = preset.make_environment(config)
    check_against(config, environment.spec)
    check_lanes(config, environment)
    check_unused(config, preset.config)
    assert most_valid_steps(config.rollout_steps, environment.spec.horizon) == environment.spec.horizon == 200
    assert environment.spec.num_variations == int(preset.name.removeprefix("meta-world-mt"))
    assert preset.make_evaluation_environment(config).spec.horizon == 500


@pytest.mark.parametrize(("how", "size"), [("raw", 49), ("difference", 49), ("none", 31)])
def test_the_previous_frame_is_the_users_choice(how, size):
    config = META_WORLD[0].config
    config = dataclasses.replace(config, env=dataclasses.replace(config.env, previous_frame=how))
    for make in (META_WORLD[0].make_environment, META_WORLD[0].make_evaluation_environment):
        assert make is not None and make(config).spec.observation_shape == (size,)
