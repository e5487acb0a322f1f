"""Every setting is validated, by name; a configuration survives JSON."""

import dataclasses
import json

import pytest

from gsljax.errors import UserError
from gsljax.gsl.config import GSLConfig, resolve
from gsljax.gsl.config_json import from_json
from gsljax.gsl.network_config import NetworkConfig
from gsljax.presets import MAZE, MazeConfig
from tests.gsl.tiny import CONFIG, changed


@pytest.mark.parametrize(
    ("method", "algorithm", "imitation"),
    [
        ("gsl", "ppo", "dapg"),
        ("gsl", "ppg", "dapg"),
        ("gsl", "sac", "gail"),
        ("gsl-classic", "ppg", "dapg-classic"),
        ("gsl-bc", "sac", "bc"),
        ("gsl-gail", "ppo", "gail"),
        ("gsl-no-demonstrations", "sac", "none"),
        ("gsl-scratch", "sac", "gail"),
    ],
)
def test_a_method_and_an_algorithm_say_how_demonstrations_are_used(method, algorithm, imitation):
    assert resolve(changed(method=method, algorithm=algorithm)).imitation.method == imitation


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
                "num_low_performing", "num_specialists", "specialists_per_subset", "fresh_noise_steps",
                "evaluation_episodes",
            )
            for value in (0, -3)
        ),
        ({"seed": -1}, r"^seed is -1, but must lie between 0 and 2\*\*32 - 1\.$"),
        ({"seed": 2**32}, "^seed is 4294967296, but must lie between"),
        ({"method": "dagger"}, "^method is 'dagger', but must be one of gsl, gsl-classic, gsl-bc, gsl-gail,"),
        ({"algorithm": "trpo"}, "^algorithm is 'trpo', but must be one of ppo, ppg, sac"),
        ({"method": "sac"}, "^method is 'sac', the baseline of that algorithm, but algorithm is 'ppo'; they must be"),
        ({"method": "ppo", "algorithm": "ppg"}, "^method is 'ppo', the baseline of .*, but algorithm is 'ppg'"),
        *(
            ({name: value}, rf"^{name} is {value}, but must lie between 0 and 1\.$")
            for name in ("generalist_share", "specialist_share")
            for value in (-0.1, 0, 1, 1.5, float("nan"))
        ),
        ({"fine_tuning_share": -0.1}, r"^fine_tuning_share is -0\.1, but"),
        ({"fine_tuning_share": 0.5}, r"^generalist_share, .* and fine_tuning_share add up to 1 or more, .*phase II\.$"),
        ({"low_threshold": float("nan")}, "^low_threshold is nan, but must be a finite number, or None[.]$"),
        ({"mastery": float("nan")}, "^mastery is nan, but must be a finite number, or None[.]$"),
        ({"explore_up_to": float("inf")}, "^explore_up_to is inf, but must be a finite number, or None[.]$"),
        ({"explore_up_to": 0.0}, r"^explore_up_to is set, but specialist\.initial_std is not, with which"),
        (
            {"explore_up_to": 0.0, "specialist__initial_std": 0.9, "fine_tuning_share": 0.1},
            r"^explore_up_to is set, but fine_tuning_share is not 0, and fine-tuning explores for all\.$",
        ),
        *(
            ({"fresh_specialists": value}, rf"^fresh_specialists is {value}, but must lie between 0 and .* \(1\), of")
            for value in (-1, 2)
        ),
        *(
            (
                {"specialists_per_subset": 2, "trial_share": value},
                rf"^trial_share is {value}, but must be at least 0 and below specialist_share \(0\.2\), of which",
            )
            for value in (-0.1, 0.2, float("nan"))
        ),
        ({"trial_share": 0.1}, r"^trial_share is 0\.1, but specialists_per_subset is 1, which leaves a trial nothing"),
        (
            {"mastery": 0.9, "specialist__anneal": True},
            r"^mastery is set and specialist\.anneal too, but those who get the others' samples would learn nothing",
        ),
        ({"fresh_noise_steps": 4}, "^fresh_noise_steps is 4, but fresh_specialists is 0: nobody would hold it[.]$"),
        ({"num_specialists": 3}, r"^num_specialists is 3, but must divide num_low_performing \(5\), so that"),
        ({"num_low_performing": 4}, r"^num_specialists is 5, but must divide num_low_performing \(4\), so that"),
        ({"generalist__lanes": 0}, r"^The number of lanes is 0, but must be at least 1\.$"),
        ({"specialist__initial_std": 0.0}, r"^A stage's initial_std is 0\.0, but must be positive and finite\.$"),
        (
            {"demonstrations__min_normalized": float("nan")},
            r"^The demonstrations' min_normalized is nan, but must be a finite number, or None\.$",
        ),
        ({"demonstrations__min_return": float("inf")}, "^The demonstrations' min_return is inf, but must be a finite"),
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


def test_what_a_later_version_has_beside_may_take_its_default():
    values = json.loads(json.dumps(dataclasses.asdict(CONFIG)))
    del values["imitation"]["gail"]["keep_scale"]
    with pytest.raises(UserError, match=r"^The configuration lacks the field 'keep_scale' of a GAILConfig\.$"):
        from_json(MazeConfig, values)
    assert from_json(MazeConfig, values, is_whole=False) == CONFIG
    width = values["plateau"].pop("window")
    with pytest.raises(UserError, match="lacks the field 'window' of a PlateauCriterion"):
        from_json(MazeConfig, values, is_whole=False)
    values["plateau"]["window"] = width
    values["total_sample"] = 1
    with pytest.raises(UserError, match="has the unknown field 'total_sample' of a MazeConfig"):
        from_json(MazeConfig, values, is_whole=False)


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
