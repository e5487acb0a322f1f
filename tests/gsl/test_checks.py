"""A configuration that does not fit its environment, its budgets or its preset is refused before anything starts."""

import dataclasses

import pytest

from gsljax.algorithms import AuxiliaryConfig, SACConfig
from gsljax.errors import UserError
from gsljax.gsl.checks import check_against, check_unused, most_valid_steps
from gsljax.gsl.config import resolve
from gsljax.gsl.network_config import ImageNetworkConfig
from gsljax.presets import MAZE
from gsljax.types import ActionSpec
from tests.gsl.tiny import CONFIG, HORIZON, PRESET, changed

SPEC = PRESET.make_environment(CONFIG).spec


def assert_one_sentence(error: pytest.ExceptionInfo[UserError]) -> None:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and ". " not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_low_performing": 10}, "^num_low_performing is 10, but the environment has 5 variations"),
        (
            {"generalist_share": 0.03},
            r"^generalist_share is 0\.03 of 3000 total_samples, .* stage 90 samples, but .* 100\.$",
        ),
        (
            {"specialist_share": 0.03},
            r"^specialist_share is 0\.03 of 3000 total_samples, .* stage 90 samples, but .* 100\.$",
        ),
        (
            {"fine_tuning_share": 0.005},
            r"^fine_tuning_share is 0\.005 of 3000 total_samples, .* stage 15 samples, but .* 20",
        ),
        ({"specialists_per_subset": 7}, r"^specialist_share is 0\.2 .*, which leaves that stage 600 .* 700\.$"),
        (
            {"specialists_per_subset": 2, "trial_share": 0.05},
            r"^trial_share is 0\.05 of 3000 total_samples, .* stage 150 samples, but one epoch of it takes 200\.$",
        ),
        (
            {"specialists_per_subset": 2, "trial_share": 0.18},
            r"^specialist_share is 0\.2 of 3000 total_samples, .* stage (60|59) samples, but one epoch .* 100\.$",
        ),
        (
            {"demonstrations__min_normalized": 0.2},
            r"^demonstrations\.min_normalized is 0\.2, but .* has no score range to normalise returns by; use",
        ),
        ({"phase_two__ppo__normalize_values": True}, "^normalize_values differs between generalist.ppo, "),
        ({"specialist__ppo__normalize_rewards": True}, "^normalize_rewards differs between generalist.ppo, specialist"),
        (
            {
                **{f"{stage}__ppo__normalize_rewards": True for stage in ("generalist", "specialist", "phase_two")},
                "specialist__ppo__reward_scope": "variation",
            },
            "^reward_scope differs between generalist.ppo, specialist.ppo and phase_two.ppo, but must be the same",
        ),
        ({"method": "ppo", "total_samples": 99}, "^total_samples is 99, which leaves the baseline 99 sam.* 100"),
        (
            {"demonstrations__specialist_episodes": 4},
            r"^demonstrations\.specialist_episodes is 4, but .* \(5\), equally",
        ),
        ({"demonstrations__specialist_episodes": 135}, "^total_samples is 3000, which leaves phase II 50 samples"),
        (
            {"low_episodes": 50},
            "^total_samples is 3000, which leaves phase II 0 samples, but one epoch of it takes 100, after 270 "
            r"episodes of up to 10 steps for evaluation and demonstrations; \d+ would do, or fewer episodes\.$",
        ),
        ({"baseline__ppo__minibatch_size": 111, "method": "ppo"}, r"^baseline\.ppo\.minibatch_size is 111, but .* 110"),
        ({"generalist__ppo__minibatch_size": 111}, r"^generalist\.ppo\.minibatch_size is 111, but .* only 110"),
        ({"specialist__ppo__minibatch_size": 23}, r"^specialist\.ppo\.minibatch_size is 23, but .* only 22"),
        (
            {"specialist__initial_std": 1.5},
            r"^specialist\.initial_std is 1\.5, but must lie between network\.min_std and",
        ),
        ({"phase_two__ppo__normalize_observations": True}, "^normalize_observations differs between generalist.ppo"),
        ({"phase_two__ppo__minibatch_size": 111}, r"^phase_two\.ppo\.minibatch_size is 111, but .* only 110"),
        (
            {"algorithm": "ppg", "specialist__auxiliary__auxiliary_minibatch": 5},
            r"^specialist cannot be trained: PPG's auxiliary_minibatch is 5, but 2 rollouts of 2 lanes are only 4\.$",
        ),
        (
            {"algorithm": "ppg", "specialist__initial_std": 1.5},
            r"^specialist\.initial_std is 1\.5, but must lie between",
        ),
        ({"algorithm": "sac", "generalist__anneal": True}, r"^generalist\.anneal is set, but SAC's learning rate"),
        ({"algorithm": "sac", "specialist__initial_std": 0.5}, r"^specialist\.initial_std is set, but SAC's std"),
        ({"algorithm": "sac", "phase_two__sac__normalize_observations": True}, "^normalize_observations differs .*sac"),
        (
            {"algorithm": "sac", "phase_two__sac__reward_offset": 1.0},
            "^reward_offset differs between generalist.sac, sp",
        ),
        (
            {"algorithm": "sac", "generalist__sac": SACConfig(replay_capacity=109, minibatch_size=10)},
            r"^generalist\.sac\.replay_capacity is 109, but one rollout holds 110 samples\.$",
        ),
        (
            {"algorithm": "sac", "method": "gsl-classic"},
            "^phase_two cannot be trained: The imitation method is 'dapg-classic', but SAC has no advantage for it; ",
        ),
        (
            {"network": ImageNetworkConfig()},
            "^generalist cannot be trained: PPO's network ImpalaActorCritic cannot",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as error:
        check_against(resolve(changed(**changes)), SPEC)
    if "ImpalaActorCritic" not in str(error.value):  # Flax's own words follow
        assert_one_sentence(error)


def test_a_std_to_start_with_needs_a_policy_that_has_one():
    spec = SPEC._replace(action=ActionSpec(num_actions=3))
    with pytest.raises(UserError, match=r"^specialist\.initial_std is set, but the policy has no std to start with\.$"):
        check_against(changed(specialist__initial_std=0.5), spec)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"algorithm": "ppo", "generalist__sac__tau": 0.1}, "generalist.sac"),
        ({"algorithm": "ppo", "phase_two__auxiliary__clone_weight": 2.0}, "phase_two.auxiliary"),
        ({"algorithm": "ppg", "specialist__sac__tau": 0.1}, "specialist.sac"),
        ({"algorithm": "sac", "baseline__ppo__clip": 0.1}, "baseline.ppo"),
        ({"algorithm": "sac", "generalist__auxiliary__clone_weight": 2.0}, "generalist.auxiliary"),
    ],
)
def test_settings_of_another_algorithm_are_refused(changes, name):
    with pytest.raises(UserError, match=rf"^{name} was changed, but the algorithm is '{changes['algorithm']}', which"):
        check_unused(changed(**changes), CONFIG)


def test_settings_of_the_algorithm_may_be_changed():
    check_unused(changed(generalist__ppo__clip=0.1), CONFIG)
    auxiliary = AuxiliaryConfig(policy_phases=1)
    check_unused(changed(algorithm="ppg", generalist__ppo__clip=0.1, generalist__auxiliary=auxiliary), CONFIG)
    check_unused(changed(algorithm="sac", generalist__sac__tau=0.1), CONFIG)


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
        {"specialists_per_subset": 6},
        {"specialists_per_subset": 3, "trial_share": 0.11},
        {"low_threshold": 0.5, "demonstrations__generalist_episodes": 4},
        {"specialist__ppo__reward_scope": "variation"},  # of rewards that nobody normalises
        {"specialist__initial_std": 0.1, "phase_two__initial_std": 1.0},
        {"method": "ppo", "specialist__initial_std": 1.5},
    ],
)
def test_sizes_that_just_fit_are_taken(changes):
    check_against(changed(**changes), SPEC)


def test_a_total_that_would_do_does():
    with pytest.raises(UserError) as refusal:
        check_against(changed(low_episodes=50), SPEC)
    would_do = int(str(refusal.value).split("; ")[1].split()[0])
    assert would_do > 3000
    check_against(changed(low_episodes=50, total_samples=would_do), SPEC)
    with pytest.raises(UserError, match="leaves phase II"):
        check_against(changed(low_episodes=50, total_samples=would_do - 10), SPEC)


def test_there_is_a_name_for_each_variation_or_for_none():
    check_against(CONFIG, SPEC._replace(variation_names=("a", "b", "c", "d", "e")))
    with pytest.raises(
        UserError, match=r"^BrushMaze has 2 variation_names, but must have none or one for each of its 5"
    ):
        check_against(CONFIG, SPEC._replace(variation_names=("a", "b")))


def test_success_must_be_reported_to_be_watched():
    config = changed(plateau__metric="success")
    check_against(config, SPEC)
    with pytest.raises(UserError, match=r"^plateau\.metric is 'success', but BrushMaze reports none; use 'return'\.$"):
        check_against(config, SPEC._replace(has_success=False))


@pytest.mark.parametrize("config", [CONFIG, MAZE.config, *MAZE.other_configs], ids=lambda config: config.algorithm)
@pytest.mark.parametrize("is_baseline", [False, True])
def test_the_presets_fit_their_environments(config, is_baseline):
    config = dataclasses.replace(config, method=config.algorithm) if is_baseline else config
    check_against(resolve(config), MAZE.make_environment(config).spec)


@pytest.mark.parametrize("steps", range(1, 40))
def test_the_most_valid_steps_are_reached_and_never_passed(steps):
    # A lane's life, all episodes as long as they can be: `HORIZON` valid steps, a reset, and so on.
    valid = [step % (HORIZON + 1) != HORIZON for step in range(200)]
    counts = [sum(valid[begin : begin + steps]) for begin in range(200 - steps)]
    assert max(counts) == most_valid_steps(steps, HORIZON)
