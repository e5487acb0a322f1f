"""Every setting is validated, by name; a configuration survives JSON; sizes that do not fit are refused."""

import dataclasses
import json

import pytest

from gsljax.errors import UserError
from gsljax.gsl.config import (
    GSLConfig,
    NetworkConfig,
    check_against,
    from_json,
    most_valid_steps,
    resolve,
)
from gsljax.presets import MAZE, MazeConfig
from tests.gsl.tiny import CONFIG, HORIZON, PRESET, changed

SPEC = PRESET.make_environment(CONFIG).spec


def assert_one_sentence(error: pytest.ExceptionInfo[UserError]) -> None:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and ". " not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({name: value}, rf"^{name} is {value}, but must be at least 1\.$")
            for name in (
                "total_samples", "rollout_steps", "epochs_per_call", "checkpoint_interval", "low_episodes",
                "num_low_performing", "num_specialists", "evaluation_episodes",
            )
            for value in (0, -3)
        ),
        ({"seed": -1}, r"^seed is -1, but must lie between 0 and 2\*\*32 - 1\.$"),
        ({"seed": 2**32}, "^seed is 4294967296, but must lie between"),
        ({"method": "sac"}, "^method is 'sac', but must be one of gsl, ppo, gsl-classic, gsl-bc,"),
        *(
            ({name: value}, rf"^{name} is {value}, but must lie between 0 and 1\.$")
            for name in ("generalist_share", "specialist_share")
            for value in (-0.1, 0, 1, 1.5, float("nan"))
        ),
        ({"fine_tuning_share": -0.1}, r"^fine_tuning_share is -0\.1, but"),
        ({"fine_tuning_share": 0.5}, r"^generalist_share, .* and fine_tuning_share add up to 1 or more, .*phase II\.$"),
        ({"num_specialists": 3}, r"^num_specialists is 3, but must divide num_low_performing \(5\), so that"),
        ({"num_low_performing": 4}, r"^num_specialists is 5, but must divide num_low_performing \(4\), so that"),
        ({"generalist__lanes": 0}, r"^The number of lanes is 0, but must be at least 1\.$"),
        ({"specialist__initial_std": 0.0}, r"^A stage's initial_std is 0\.0, but must be positive and finite\.$"),
        ({"demonstrations__label": "mean"}, r"^The demonstrations' label is 'mean', but must be 'played' or 'mode'\.$"),
        ({"network__hidden": ()}, r"hidden layers are \(\), but must be one or more positive widths\.$"),
        ({"network__hidden": (8, 0)}, r"hidden layers are \(8, 0\), but must be"),
        ({"network__min_std": 2.0}, r"min_std, initial_std and max_std are 2\.0, 0\.6 and 1\.0, but must be"),
        ({"network__min_std": 0.0}, "but must be positive and in ascending order"),
        ({"demonstrations__specialist_episodes": 0}, "^The number of specialist_episodes is 0, but must be at least 1"),
        ({"demonstrations__generalist_episodes": -1}, "^The number of generalist_episodes is -1, but must not be"),
        ({"plateau__window": 0}, "window is 0; it must be a whole number of at least 1"),
        ({"imitation__interval": 0}, "^The imitation's interval is 0, but must be at least 1"),
        ({"phase_two__ppo__minibatch_size": 0}, "minibatch_size is 0, but must be at least 1"),
        ({"phase_two__ppo__discount": 1.1}, r"discount is 1\.1, but must lie between 0 and 1"),
        ({"env__num_branches": 0}, "num_branches is 0, but must be at least 1"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        changed(**changes)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_low_performing": 10}, "^num_low_performing is 10, but the environment has 5 variations"),
        ({"generalist_share": 0.03}, r"^generalist_share is 0\.03, which leaves its stage 90 samples, but .* 100\.$"),
        ({"specialist_share": 0.03}, r"^specialist_share is 0\.03, which leaves its stage 90 samples, but .* 100\.$"),
        ({"fine_tuning_share": 0.005}, r"^fine_tuning_share is 0\.005, which leaves its stage 15 samples, but .* 20"),
        ({"method": "ppo", "total_samples": 99}, "^total_samples is 99, which leaves its stage 99 samples, but .* 100"),
        (
            {"demonstrations__specialist_episodes": 4},
            r"^demonstrations\.specialist_episodes is 4, but .* \(5\), equally",
        ),
        ({"demonstrations__specialist_episodes": 135}, "^total_samples is 3000, which leaves phase II 50 samples"),
        ({"low_episodes": 50}, "^total_samples is 3000, which leaves phase II 0 samples, but one epoch"),
        ({"baseline__ppo__minibatch_size": 111, "method": "ppo"}, r"^baseline\.ppo\.minibatch_size is 111, but .* 110"),
        ({"generalist__ppo__minibatch_size": 111}, r"^generalist\.ppo\.minibatch_size is 111, but .* only 110"),
        ({"specialist__ppo__minibatch_size": 23}, r"^specialist\.ppo\.minibatch_size is 23, but .* only 22"),
        (
            {"specialist__initial_std": 1.5},
            r"^specialist\.initial_std is 1\.5, but must lie between network\.min_std and",
        ),
        ({"phase_two__ppo__normalize_observations": True}, "^normalize_observations differs between generalist.ppo"),
        ({"phase_two__ppo__minibatch_size": 111}, r"^phase_two\.ppo\.minibatch_size is 111, but .* only 110"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        check_against(changed(**changes), SPEC)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"demonstrations__specialist_episodes": 130},  # leaves phase II one epoch
        {"method": "ppo", "total_samples": 100},
        {"method": "ppo", "generalist__ppo__minibatch_size": 1000},  # has no such stage
        {"baseline__lanes": 10**6},
        {"generalist_share": 0.034, "specialist_share": 0.034, "fine_tuning_share": 0.007},
        {"specialist__ppo__minibatch_size": 22},
        {"specialist__initial_std": 0.1, "phase_two__initial_std": 1.0},
        {"method": "ppo", "specialist__initial_std": 1.5},
    ],
)
def test_sizes_that_just_fit_are_taken(changes):
    check_against(changed(**changes), SPEC)


def test_success_must_be_reported_to_be_watched():
    config = changed(plateau__metric="success")
    check_against(config, SPEC)
    with pytest.raises(UserError, match=r"^plateau\.metric is 'success', but BrushMaze reports none; use 'return'\.$"):
        check_against(config, SPEC._replace(has_success=False))


def test_the_presets_fit_their_environments():
    check_against(MAZE.config, MAZE.make_environment(MAZE.config).spec)
    check_against(CONFIG, SPEC)


@pytest.mark.parametrize("steps", range(1, 40))
def test_the_most_valid_steps_are_reached_and_never_passed(steps):
    # A lane's life, all episodes as long as they can be: `HORIZON` valid steps, a reset, and so on.
    valid = [step % (HORIZON + 1) != HORIZON for step in range(200)]
    counts = [sum(valid[begin : begin + steps]) for begin in range(200 - steps)]
    assert max(counts) == most_valid_steps(steps, HORIZON)


@pytest.mark.parametrize(
    "config", [MAZE.config, CONFIG, changed(demonstrations__min_return=-3.5, imitation__dapg_weight=1)]
)
def test_a_configuration_survives_json(config):
    text = json.dumps(dataclasses.asdict(config))
    assert from_json(MazeConfig, json.loads(text)) == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("speed",), 3, r"^The configuration has the unknown field 'speed' of a MazeConfig\.$"),
        (("network", "depth"), 3, r"^The configuration has the unknown field 'depth' of a NetworkConfig\.$"),
        (("network",), 3, r"^The configuration has 3 where the fields of a NetworkConfig must be\.$"),
        (("seed",), "zero", r"^The field 'seed' of a MazeConfig is 'zero', but must be of type int\.$"),
        (("seed",), 1.5, r"^The field 'seed' of a MazeConfig is 1\.5, but must be of type int\.$"),
        (("seed",), True, r"^The field 'seed' of a MazeConfig is True, but must be of type int\.$"),
        (("seed",), None, r"^The field 'seed' of a MazeConfig is None, but must be of type int\.$"),
        (
            ("good_enough",),
            "1",
            r"^The field 'good_enough' of a MazeConfig is '1', but must be of type float \| None\.$",
        ),
        (("network", "squash_mean"), 1, r"^The field 'squash_mean' .* is 1, but must be of type bool\.$"),
        (("network", "hidden"), 8, r"^The field 'hidden' of a NetworkConfig is 8, but must be of type .*tuple.*\.$"),
        (("network", "hidden"), [8, "8"], r"^The field 'hidden' of a NetworkConfig is \[8, '8'\], but must be of type"),
        (("imitation", "method"), "gan", r"^The field 'method' .* is 'gan', but must be of type .*dapg"),
        (("imitation", "dapg_weight"), "much", r"^The field 'dapg_weight' .* is 'much', but must be of type float\.$"),
        (("seed",), -1, "^seed is -1, but must lie between"),
    ],
)
def test_a_damaged_configuration_is_refused(path, value, message):
    values = json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(UserError, match=message) as error:
        from_json(MazeConfig, values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(NetworkConfig)])
def test_a_missing_field_is_refused(name):
    values = dataclasses.asdict(NetworkConfig())
    del values[name]
    with pytest.raises(UserError, match=rf"^The configuration lacks the field '{name}' of a NetworkConfig\.$"):
        from_json(NetworkConfig, json.loads(json.dumps(values)))


@pytest.mark.parametrize("values", [None, [], "config", 7])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(UserError, match="where the fields of a GSLConfig must be"):
        from_json(GSLConfig, values)


@pytest.mark.parametrize(
    ("method", "imitation"),
    [
        ("gsl", "dapg"),
        ("gsl-scratch", "dapg"),
        ("gsl-classic", "dapg-classic"),
        ("gsl-bc", "bc"),
        ("gsl-no-demonstrations", "none"),
    ],
)
def test_a_method_says_how_demonstrations_are_used(method, imitation):
    config = changed(method=method, imitation__interval=7)
    assert resolve(config).imitation == dataclasses.replace(config.imitation, method=imitation)
    assert resolve(resolve(config)) == resolve(config)
