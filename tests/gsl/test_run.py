"""A whole run does what Algorithm 1 says, counts every sample once, and never takes more than its total."""

import itertools
import json
from typing import get_args

import jax
import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl import population_training
from gsljax.gsl.config import AlgorithmName, Method
from gsljax.gsl.demonstrations import GENERALIST
from gsljax.gsl.specialists import train_specialists
from gsljax.run_directory import RunDirectory
from gsljax.train_state import take
from tests.gsl import tiny
from tests.gsl.tiny import CONFIG, FINE_TUNED, HORIZON, LANES, SPECIALIST_LANES, VARIATIONS, changed, experiment, watch

pytestmark = [
    pytest.mark.usefixtures("compilation_cache"),
    pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache"),  # another worker is writing it
]

FEW = changed(num_low_performing=2, num_specialists=2, demonstrations__generalist_episodes=7)
MODES = changed(specialist__initial_std=0.9, demonstrations__label="mode")
TRIALS = changed(
    specialists_per_subset=2, fresh_specialists=1, trial_share=0.14, explore_up_to=10.0, specialist__initial_std=0.9
)
CONFIGS = {
    "ppo": changed(method="ppo"),
    "gsl": CONFIG,
    "gsl-bc": changed(method="gsl-bc"),
    "gsl-classic": changed(method="gsl-classic"),
    "gsl-no-demonstrations": changed(method="gsl-no-demonstrations"),
    "gsl-scratch": changed(method="gsl-scratch"),
    "gsl-gail": changed(method="gsl-gail"),
    "ppg": changed(method="ppg", algorithm="ppg"),
    "gsl, ppg": changed(algorithm="ppg"),
    "sac": changed(method="sac", algorithm="sac"),
    "gsl, sac": changed(algorithm="sac"),
    "gsl, fine-tuned": FINE_TUNED,
    "gsl, two specialists": FEW,
    "gsl, modes": MODES,
    "gsl, trials": TRIALS,
    "ppo, normalised": changed(method="ppo", baseline__ppo__normalize_observations=True),
    "gsl, normalised": changed(
        specialist__initial_std=0.9,
        **{f"{stage}__ppo__normalize_observations": True for stage in ("generalist", "specialist", "phase_two")},
    ),
}


@pytest.fixture(scope="module")
def runs(compilation_cache, tmp_path_factory):
    """Runs by name, each made when it is first asked for."""
    made = {}

    def run(name):
        if name not in made:
            made[name] = watch(tmp_path_factory.mktemp("runs") / "run", CONFIGS[name])
        return made[name]

    return run


def metrics_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def samples_of_stages(config):
    """What every stage takes, counted by hand; the plateau of `CONFIG` is known after 6 epochs of the generalist."""
    total = config.total_samples
    if config.is_baseline:
        return {"baseline": total // (LANES * HORIZON) * LANES * HORIZON}
    members = config.num_specialists
    samples = {"generalist": 6 * LANES * HORIZON, "evaluation": config.low_episodes * VARIATIONS * HORIZON}
    if config.fine_tuning_share:
        epoch = SPECIALIST_LANES * HORIZON
        samples["fine_tuning"] = int(config.fine_tuning_share * total) // epoch * epoch
    epoch, share = members * SPECIALIST_LANES * HORIZON, config.specialist_share - config.trial_share
    if config.trial_share:
        of_trials = config.specialists_per_subset * epoch
        samples["trials"] = int(config.trial_share * total) // of_trials * of_trials
    samples["specialists"] = round(share * total) // epoch * epoch
    played = config.demonstrations.specialist_episodes // members * members
    if config.num_low_performing < VARIATIONS:
        played += config.demonstrations.generalist_episodes
    samples["demonstrations"] = played * HORIZON
    epoch = LANES * HORIZON
    samples["imitation"] = (total - sum(samples.values())) // epoch * epoch
    return samples


def assert_same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def differ(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return any((np.asarray(one) != np.asarray(two)).any() for one, two in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_sample_is_counted_once(runs, name):
    config, run = CONFIGS[name], runs(name)
    expected = samples_of_stages(config)
    assert {stage["name"]: stage["samples"] for stage in run.summary["stages"]} == expected
    lines = metrics_of(run.path)
    assert run.summary["total_samples"] == sum(expected.values()) == lines[-1]["samples"]
    assert config.total_samples - LANES * HORIZON < run.summary["total_samples"] <= config.total_samples
    spent = 0
    for stage in run.summary["stages"]:
        of_stage = [line for line in lines if line["stage"] == stage["name"]]
        epochs = stage.get("epochs", 1)
        assert [line["epoch"] for line in of_stage] == list(range(epochs))
        each = stage["samples"] // epochs
        assert [line["samples"] for line in of_stage] == [spent + each * (epoch + 1) for epoch in range(epochs)]
        spent += stage["samples"]
    assert [line["stage"] for line in lines] == [  # in the order of the stages, nothing in between
        stage["name"] for stage in run.summary["stages"] for _ in range(stage.get("epochs", 1))
    ]
    assert_summary_is_sound(run, config)


def assert_summary_is_sound(run, config):
    assert run.summary == json.loads((run.path / "summary.json").read_text())
    assert (run.summary["preset"], run.summary["method"], run.summary["seed"]) == ("tiny", config.method, 0)
    final = run.summary["final"]
    assert set(final["per_variation"]) == {"0", "1", "2", "3", "4"}
    for results in (final, final["deterministic"]):
        for metric in ("return", "success"):
            mean = np.mean([row[metric] for row in results["per_variation"].values()])
            assert results[metric] == pytest.approx(mean, abs=1e-5)
    assert run.summary["wall_seconds"] == pytest.approx(sum(stage["wall_seconds"] for stage in run.summary["stages"]))


@pytest.mark.slow
def test_the_baseline_spends_what_gsl_spends(runs):
    assert runs("ppo").summary["total_samples"] == runs("gsl").summary["total_samples"] == CONFIG.total_samples


@pytest.mark.slow
def test_rollouts_shorter_than_an_episode_stay_within_the_total(tmp_path):
    # Of 7 steps 6 or 7 are valid: the stages must count the dearer epoch before they begin it.
    config = changed(method="ppo", rollout_steps=7, total_samples=1000, baseline__ppo__minibatch_size=35)
    run = watch(tmp_path / "run", config)
    samples = np.diff([0, *(line["samples"] for line in metrics_of(run.path))])
    assert set(samples.tolist()) == {60, 70}
    assert 1000 - 70 < samples.sum() == run.summary["total_samples"] <= 1000


@pytest.mark.slow
def test_the_generalist_at_its_plateau_goes_on(runs):
    run = runs("gsl")
    (record, *_) = run.summary["stages"]
    assert record["epochs"] == 6  # H(2) = 1 is known after epochs 0 .. 5
    plateau = {"fired": True, "epoch": 2, "taken_at": 2, "samples": 2 * LANES * HORIZON}
    assert record["plateau"] == run.summary["plateau"] == plateau
    at_plateau = take(run.acted["generalist"][2], 0)
    assert differ(at_plateau, take(run.acted["generalist"][5], 0))
    assert run.outcome.generalist is not None
    assert_same(run.outcome.generalist.params, at_plateau)
    assert_same(take(run.stages["imitation"].members().params, 0), at_plateau)
    for specialist in range(5):
        assert_same(take(run.stages["specialists"].members().params, specialist), at_plateau)
    assert not (run.path / "checkpoints").exists() and not (run.path / "candidates").exists()


@pytest.mark.slow
def test_of_several_epochs_in_one_call_the_end_nearest_to_the_plateau_goes_on(tmp_path):
    run = watch(tmp_path / "run", changed(epochs_per_call=3, checkpoint_interval=3))
    (record, *_) = run.summary["stages"]
    assert record["plateau"] == {"fired": True, "epoch": 2, "taken_at": 3, "samples": 300}
    assert_same(take(run.stages["imitation"].members().params, 0), take(run.acted["generalist"][1], 0))


@pytest.mark.slow
def test_how_often_checkpoints_are_kept_changes_nothing(runs, tmp_path):
    run = watch(tmp_path / "run", changed(checkpoint_interval=50))
    assert run.summary["plateau"] == runs("gsl").summary["plateau"]
    assert_same(run.outcome.policy.params, runs("gsl").outcome.policy.params)


@pytest.mark.slow
def test_without_a_plateau_the_last_generalist_goes_on(tmp_path):
    run = watch(tmp_path / "run", changed(plateau__window=50))
    (record, *_) = run.summary["stages"]
    assert record["epochs"] == 9 and record["samples"] == 900
    assert record["plateau"] == {"fired": False, "epoch": 9, "taken_at": 9, "samples": 900}
    assert_same(take(run.stages["imitation"].members().params, 0), take(run.results["generalist"].params, 0))
    assert run.summary["total_samples"] == CONFIG.total_samples


@pytest.mark.slow
def test_a_generalist_that_is_good_enough_is_the_result(tmp_path):
    run = watch(tmp_path / "run", changed(good_enough=-1000.0))
    assert [stage["name"] for stage in run.summary["stages"]] == ["generalist", "evaluation"]
    assert run.summary["total_samples"] == 700 and not (run.path / "demonstrations").exists()
    assert run.outcome.generalist is not None and run.outcome.specialists is None
    assert_same(run.outcome.policy.params, run.outcome.generalist.params)


@pytest.mark.slow
def test_each_specialist_is_its_best_epoch(runs):
    run = runs("gsl")
    lines = [line for line in metrics_of(run.path) if line["stage"] == "specialists"]
    returns = np.array([line["members"]["return"] for line in lines])  # [epochs, specialists]
    best = returns.argmax(axis=0)
    assert (best < len(lines) - 1).any()  # the last epoch's are not all the best ones
    assert run.outcome.specialists is not None
    for specialist, epoch in enumerate(best):
        acted = take(run.acted["specialists"][epoch], specialist)
        assert_same(take(run.outcome.specialists.params, specialist), acted)
    np.testing.assert_allclose(run.carries["specialists"].best_score, returns.max(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_clones_inherit_the_generalists_transitions_of_their_variations(runs):
    run, config = runs("gsl, sac"), CONFIGS["gsl, sac"]
    parent = jax.tree.map(lambda x: np.asarray(x[0, 0]), run.carries["generalist"].state.memory["replay"].experience)
    assert run.outcome.subsets is not None
    for stage, subsets in (("specialists", run.outcome.subsets), ("imitation", np.arange(VARIATIONS)[None])):
        state = run.carries[stage].state
        (record,) = (record for record in run.summary["stages"] if record["name"] == stage)
        for member, subset in enumerate(subsets):
            mine = parent.valid & np.isin(parent.variation, subset)
            inherited = min(mine.sum(), config.specialist.sac.replay_capacity)
            assert state.num_samples[member] - record["samples"] // len(subsets) == inherited > 0
            held = jax.tree.map(lambda x: np.asarray(x[member, 0]), state.memory["replay"].experience)  # noqa: B023
            assert set(held.variation[held.valid].tolist()) <= set(subset.tolist())
            if stage == "specialists":  # whose replay holds all of it, and what they played
                assert np.isin(parent.reward[mine], held.reward).all()


@pytest.mark.slow
def test_demonstrations_are_the_best_specialists_own(runs):
    run = runs("gsl")
    kept = demonstration_sets.load(run.path / "demonstrations" / "demonstrations.npz", _spec())
    assert (kept.num_episodes, kept.num_pairs) == (20, 200)
    np.testing.assert_array_equal(kept.source, np.repeat(np.arange(5), 4))
    np.testing.assert_array_equal(kept.variation, kept.source)  # one goal each, in order
    assert run.outcome.subsets is not None
    np.testing.assert_array_equal(run.outcome.subsets, np.arange(5)[:, None])


@pytest.mark.slow
def test_a_specialist_may_explore_anew_and_demonstrate_its_mode(runs):
    run, played = runs("gsl, modes"), runs("gsl")
    assert run.outcome.generalist is not None and run.outcome.specialists is not None
    started = take(run.stages["specialists"].members().params, 0)
    np.testing.assert_allclose(started["params"]["policy_head"]["log_std"], np.log(0.9), rtol=1e-6)
    started["params"]["policy_head"]["log_std"] = run.outcome.generalist.params["params"]["policy_head"]["log_std"]
    assert_same(started, run.outcome.generalist.params)  # nothing else is different
    path = run.path / "demonstrations" / "demonstrations.npz"
    kept = demonstration_sets.load(path, _spec())
    source = kept.source[kept.episode]
    for index in range(5):
        observation = kept.observation[source == index]
        specialist = take(run.outcome.specialists, index)
        mode = run.stages["specialists"].algorithm.act(specialist, observation, jax.random.key(0), True).action
        np.testing.assert_allclose(kept.action[source == index], np.clip(mode, -1, 1), rtol=1e-4, atol=1e-5)
    other = demonstration_sets.load(played.path / "demonstrations" / "demonstrations.npz", _spec())
    assert np.abs(kept.action).std() < np.abs(other.action).std()  # those that were played are noisy


@pytest.mark.slow
def test_specialists_may_explore_anew_only_where_the_generalist_fails(runs, tmp_path, monkeypatch):
    generalist = runs("gsl").outcome.generalist
    config = changed(specialist__initial_std=0.9, explore_up_to=-2.0, specialists_per_subset=2)
    given = []

    def train_population(experiment, stage):
        given.append(stage.members().params)
        raise KeyboardInterrupt

    monkeypatch.setattr(population_training, "train_population", train_population)
    scores = np.array([-4.0, -2.0, -1.0, -2.0, 0.0])  # means of the subsets: -3, -1.5, and just the limit
    subsets = np.array([[0, 1], [2, 3], [1, 3]])
    begun = experiment(tmp_path / "run", config)
    with pytest.raises(KeyboardInterrupt):
        train_specialists(begun, generalist, subsets, scores)
    begun.directory.close()
    for member, explores in enumerate([True, True, False, False, True, True]):
        params = take(given[0], member)
        std = params["params"]["policy_head"].pop("log_std")
        kept = dict(generalist.params["params"]["policy_head"])
        np.testing.assert_allclose(std, np.log(0.9) if explores else kept["log_std"], rtol=1e-6)
        assert_same(params["params"]["policy_head"], {name: kept[name] for name in kept if name != "log_std"})


@pytest.mark.slow
def test_after_the_trials_the_best_on_each_subset_goes_on(runs):
    """A clone that explores anew and a fresh one are tried on each; the better one is trained on as it was."""
    run = runs("gsl, trials")
    generalist, trials = run.outcome.generalist, run.stages["trials"]
    assert generalist is not None and run.outcome.specialists is not None
    members = trials.members().params
    afresh = trials.algorithm.init(jax.random.key(0), (HORIZON + 1, SPECIALIST_LANES)).params
    biases = np.asarray(generalist.params["params"]["policy_trunk"]["Dense_0"]["bias"])
    assert biases.any() and not np.asarray(afresh["params"]["policy_trunk"]["Dense_0"]["bias"]).any()
    weights = []
    for member, variation in enumerate(np.repeat(np.arange(VARIATIONS), 2)):
        params = take(members, member)["params"]
        assert trials.variations[member].tolist() == [variation]
        is_fresh = member % 2 == 1
        np.testing.assert_array_equal(params["policy_trunk"]["Dense_0"]["bias"], 0 * biases if is_fresh else biases)
        np.testing.assert_allclose(params["policy_head"]["log_std"], np.log(0.9), rtol=1e-6)
        weights.append(np.asarray(params["policy_trunk"]["Dense_0"]["kernel"]))
    assert differ(weights[1], weights[3])  # every fresh one has weights of its own
    epochs = [line for line in metrics_of(run.path) if line["stage"] == "trials"]
    assert len(epochs) == 2  # of which the last is the last quarter
    best = epochs[-1]["members"]["return"]
    chosen = 2 * np.arange(VARIATIONS) + np.reshape(best, (VARIATIONS, 2)).argmax(axis=1)
    assert_same(run.stages["specialists"].members().params, take(run.results["trials"].params, chosen))
    assert run.stages["specialists"].variations.tolist() == [[variation] for variation in range(VARIATIONS)]
    assert [member["candidate"] for member in _record(run, "specialists")["members"]] == chosen.tolist()
    assert all("candidate" not in member for member in _record(run, "trials")["members"])
    assert_same(run.outcome.specialists.params, run.results["specialists"].params)
    kept = demonstration_sets.load(run.path / "demonstrations" / "demonstrations.npz", _spec())
    assert sorted(zip(kept.source.tolist(), kept.variation.tolist(), strict=True)) == sorted(
        (variation, variation) for variation in range(VARIATIONS) for _ in range(4)
    )


@pytest.mark.slow
def test_with_fewer_specialists_the_generalist_demonstrates_the_rest(runs):
    run = runs("gsl, two specialists")
    scores = {int(variation): row["return"] for variation, row in _record(run, "evaluation")["per_variation"].items()}
    worst = sorted(sorted(scores, key=lambda variation: scores[variation])[:2])
    assert run.outcome.subsets is not None
    np.testing.assert_array_equal(run.outcome.subsets, np.array(worst)[:, None])
    kept = demonstration_sets.load(run.path / "demonstrations" / "demonstrations.npz", _spec())
    by_source = {source: kept.variation[kept.source == source] for source in (0, 1, GENERALIST)}
    assert by_source[0].tolist() == [worst[0]] * 10 and by_source[1].tolist() == [worst[1]] * 10
    rest = sorted(set(range(5)) - set(worst))
    assert by_source[GENERALIST].tolist() == [*rest, *rest, rest[0]]  # 7 episodes in turn


@pytest.mark.slow
def test_phase_two_starts_from_the_generalist_not_from_the_fine_tuned_one(runs):
    run = runs("gsl, fine-tuned")
    assert run.outcome.generalist is not None
    generalist = run.outcome.generalist.params
    fine_tuned = take(run.results["fine_tuning"].params, 0)
    assert differ(generalist, fine_tuned)
    assert_same(take(run.stages["fine_tuning"].members().params, 0), generalist)
    for specialist in range(5):
        assert_same(take(run.stages["specialists"].members().params, specialist), fine_tuned)
    assert_same(take(run.stages["imitation"].members().params, 0), generalist)


@pytest.mark.slow
def test_observation_statistics_go_with_the_parameters(runs):
    """`FINE_TUNED` normalises: each stage goes on from the statistics of the one it was cloned from."""
    run = runs("gsl, fine-tuned")

    def count(params):
        return np.asarray(params["statistics"]["observation"].count)

    seen = {stage: count(run.acted[stage][0]) for stage in ("generalist", "fine_tuning", "specialists", "imitation")}
    generalist = run.outcome.generalist
    assert generalist is not None and seen["generalist"] == 0
    assert seen["fine_tuning"] == seen["imitation"] == count(generalist.params) > 0
    assert (seen["specialists"] > count(generalist.params)).all()  # what the fine-tuned one saw as well
    spent = next(stage["samples"] for stage in run.summary["stages"] if stage["name"] == "imitation")
    assert count(run.outcome.policy.params) == count(generalist.params) + spent


@pytest.mark.slow
def test_specialists_from_scratch_are_new_and_different(runs):
    run, members = runs("gsl-scratch"), runs("gsl-scratch").stages["specialists"].members()
    assert run.outcome.generalist is not None
    for one, two in itertools.combinations(range(5), 2):
        assert differ(take(members.params, one), take(members.params, two))
    assert_same(take(run.stages["imitation"].members().params, 0), run.outcome.generalist.params)


@pytest.mark.slow
def test_members_have_keys_of_their_own(runs):
    run = runs("gsl")
    members = [run.stages[stage].members() for stage in ("generalist", "specialists", "imitation")]
    keys = [jax.random.key_data(of_stage.key) for of_stage in members]
    keys += [jax.random.key_data(run.carries["specialists"].key)]
    keys += [jax.random.key_data(run.carries["specialists"].demonstration_key)]
    rows = np.concatenate([np.asarray(key).reshape(-1, 2) for key in keys])
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 17


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gsl-bc", "gsl-classic", "gsl-gail", "gsl-no-demonstrations"])
def test_methods_of_phase_two_share_everything_before_it(runs, method):
    gsl, other = runs("gsl"), runs(method)

    def before(run):
        untimed = [{k: v for k, v in line.items() if k != "time"} for line in metrics_of(run.path)]
        return [line for line in untimed if line["stage"] != "imitation"]

    assert before(gsl) == before(other)
    files = [run.path / "demonstrations" / "demonstrations.npz" for run in (gsl, other)]
    assert files[0].read_bytes() == files[1].read_bytes()
    for stage in ("generalist", "specialists"):
        assert_same(gsl.results[stage].params, other.results[stage].params)
    assert_same(gsl.stages["imitation"].members().params, other.stages["imitation"].members().params)
    assert differ(gsl.outcome.policy.params, other.outcome.policy.params)
    assert (other.stages["imitation"].demonstrations is None) == (method == "gsl-no-demonstrations")


@pytest.mark.slow
def test_a_filter_that_nothing_passes_can_be_loosened(runs, tmp_path):
    config = changed(demonstrations__min_return=1000.0)
    message = (
        r"^None of the 20 .* passed .*min_return = 1000\.0, min_normalized = None and require_success = False .*\.$"
    )
    for _ in range(2):  # to resume does not help
        with pytest.raises(UserError, match=message):
            watch(tmp_path / "run", config)
    directory = RunDirectory.reopen(tmp_path / "run")
    assert [stage["name"] for stage in directory.stages] == ["generalist", "evaluation", "specialists"]
    directory.close()
    run = watch(tmp_path / "run", CONFIG)  # what `resume` reads from a config.json without the filter
    assert_same(run.outcome.policy.params, runs("gsl").outcome.policy.params)
    assert run.summary["total_samples"] == runs("gsl").summary["total_samples"]


@pytest.mark.slow
def test_another_seed_is_another_run(runs, tmp_path):
    run = watch(tmp_path / "run", changed(seed=1))
    for stage in ("generalist", "specialists", "imitation"):
        assert differ(run.acted[stage][0], runs("gsl").acted[stage][0])
    assert run.summary["final"] != runs("gsl").summary["final"]


@pytest.mark.slow
def test_several_epochs_per_call_give_the_same_run(runs, tmp_path):
    run = watch(tmp_path / "run", changed(method="ppo", epochs_per_call=2, checkpoint_interval=3))
    lines, others = ([line.pop("time") and line for line in metrics_of(r.path)] for r in (run, runs("ppo")))
    assert len(run.acted["baseline"]) == 20  # calls, for 30 epochs: none passes a checkpoint
    assert [line["samples"] for line in lines] == [line["samples"] for line in others]
    np.testing.assert_allclose(*([line["return"] for line in of_run] for of_run in (lines, others)), rtol=1e-4)


def _spec():
    return tiny.PRESET.make_environment(CONFIG).spec


def _record(run, name):
    return next(stage for stage in run.summary["stages"] if stage["name"] == name)


def test_every_method_and_algorithm_of_the_command_line_is_run_here():
    assert {config.method for config in CONFIGS.values()} == set(get_args(Method))
    assert {config.algorithm for config in CONFIGS.values()} == set(get_args(AlgorithmName))
