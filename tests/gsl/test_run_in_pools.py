"""A whole run beside pools on the host: what Algorithm 1 says, every valid step counted once, and resumable."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax import api, checkpoint
from gsljax.algorithms import AuxiliaryConfig, GAILConfig, ImitationConfig, PPOConfig, SACConfig, make_ppo
from gsljax.envs import Pools, PoolStep
from gsljax.envs.pools import OpenPools
from gsljax.errors import UserError
from gsljax.evaluation import evaluate_in_pools
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.gsl import mastery, population_training, streaming
from gsljax.gsl.config import DemonstrationConfig, GSLConfig, TrainingConfig
from gsljax.gsl.demonstrations import GENERALIST
from gsljax.gsl.network_config import NetworkConfig
from gsljax.gsl.plateau import PlateauCriterion
from gsljax.gsl.run import run
from gsljax.networks import ActorCritic
from gsljax.presets import Preset
from gsljax.rollout import make_collect_from_pools
from gsljax.train_state import clone, take
from gsljax.types import ActionSpec, EnvSpec
from tests.pool_environments import HORIZON, counting_pools

pytestmark = [
    pytest.mark.usefixtures("compilation_cache"),
    pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache"),  # another worker is writing it
]

STEPS = 12


def _training(lanes):
    return TrainingConfig(
        lanes=lanes,
        ppo=PPOConfig(num_epochs=1, minibatch_size=12),
        auxiliary=AuxiliaryConfig(policy_phases=2, auxiliary_epochs=1, auxiliary_minibatch=2),
        sac=SACConfig(num_gradient_steps=1, minibatch_size=8, replay_capacity=200, warmup_samples=20),
    )


CONFIG = GSLConfig(
    total_samples=2500,
    rollout_steps=STEPS,
    checkpoint_interval=2,
    epochs_per_call=2,
    network=NetworkConfig(hidden=(8,)),
    baseline=_training(8),
    generalist=_training(8),
    generalist_share=0.3,
    plateau=PlateauCriterion(metric="return", kernel_sigma=0.0, window=2, epsilon=1e9, head=0.2, tail=0.0),
    low_episodes=2,
    num_low_performing=2,
    num_specialists=2,
    specialist=_training(4),
    specialist_share=0.2,
    demonstrations=DemonstrationConfig(specialist_episodes=8, generalist_episodes=4, require_success=False),
    phase_two=_training(8),
    imitation=ImitationConfig(gail=GAILConfig(num_updates=1, minibatch_size=8, hidden=(8,))),
    evaluation_episodes=4,
)
NAMES = ("one", "two", "three", "four")
PRESET = Preset(
    "counting", "pools with known values", "seconds", CONFIG, lambda config: counting_pools(variation_names=NAMES)
)


def lines_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(compilation_cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("pools") / "run"
    return path, api.train(PRESET, CONFIG, path, quiet=True)


def check_accounting(path, summary):
    lines = lines_of(path)
    assert summary["total_samples"] == lines[-1]["samples"] == sum(stage["samples"] for stage in summary["stages"])
    assert summary["total_samples"] <= CONFIG.total_samples
    assert [line["samples"] for line in lines] == sorted({line["samples"] for line in lines})
    for stage in summary["stages"]:
        epochs = [line["epoch"] for line in lines if line["stage"] == stage["name"]]
        assert epochs == list(range(stage.get("epochs", 1)))


def test_every_stage_of_gsl_is_run(finished):
    path, summary = finished
    assert [stage["name"] for stage in summary["stages"]] == [
        "generalist", "evaluation", "specialists", "demonstrations", "imitation",
    ]  # fmt: skip
    check_accounting(path, summary)
    assert summary["plateau"]["fired"]
    trained = [line for line in lines_of(path) if line["stage"] in ("generalist", "specialists", "imitation")]
    for line in trained:
        assert set(line["time"]) == {"env", "act", "update", "compile"}
        assert all(seconds >= 0 for seconds in line["time"].values())
    # A rollout of 8 lanes that all ran without a reset would be 96 samples; these have some resets in them.
    first = trained[0]["samples"]
    assert 8 * STEPS / 2 < first < 8 * STEPS


def test_the_worst_variations_are_the_ones_with_the_smallest_returns(finished):
    path, summary = finished
    # The first episodes of variation v have v + 2 and v + 3 steps of v + 1 to v + 1.5 each: v = 0 and v = 1 are worst.
    demonstrations = demonstration_sets.load(path / "demonstrations" / "demonstrations.npz", counting_pools().spec)
    from_specialists = demonstrations.variation[demonstrations.source != GENERALIST]
    np.testing.assert_array_equal(np.unique(from_specialists, return_counts=True), [[0, 1], [4, 4]])
    from_generalist = demonstrations.variation[demonstrations.source == GENERALIST]
    np.testing.assert_array_equal(np.unique(from_generalist, return_counts=True), [[2, 3], [2, 2]])
    for specialist in (0, 1):  # one variation each
        assert len(set(demonstrations.variation[demonstrations.source == specialist])) == 1
    (record,) = [stage for stage in summary["stages"] if stage["name"] == "demonstrations"]
    for variation in (0, 1):  # no filter: all that they played are in the file
        played = (demonstrations.variation == variation) & (demonstrations.source != GENERALIST)
        found = record["specialists"][str(variation)]
        assert found["return"] == pytest.approx(demonstrations.episode_return[played].mean())
        assert found["success"] == pytest.approx(demonstrations.success[played].mean())
    assert set(record["specialists"]) == {"0", "1"}
    lengths = np.bincount(demonstrations.episode)
    assert np.all((lengths >= demonstrations.variation + 2) & (lengths <= HORIZON))
    per_variation = summary["final"]["per_variation"]
    assert [per_variation[str(v)]["return"] for v in range(4)] == sorted(
        per_variation[str(v)]["return"] for v in range(4)
    )


def test_demonstrations_in_several_files_streamed_from_the_host_change_nothing(finished, tmp_path, monkeypatch):
    """Bit for bit: the same run as with one file and all pairs on the device."""
    monkeypatch.setattr(demonstration_sets, "SHARD_BYTES", 100)
    monkeypatch.setattr(streaming, "DEVICE_BYTES", 0)
    streams = []

    class Watched(streaming.Stream):
        def __init__(self, *given):
            super().__init__(*given)
            streams.append(self)

    monkeypatch.setattr(population_training, "Stream", Watched)
    expected_path, expected = finished
    path = tmp_path / "run"
    summary = api.train(PRESET, CONFIG, path, quiet=True)
    files = list((path / "demonstrations").iterdir())
    assert len(files) > 2 and len(streams) == 1

    def untimed(records):
        return [{name: value for name, value in record.items() if "time" not in name} for record in records]

    assert untimed(lines_of(path)) == untimed(lines_of(expected_path))
    assert summary["final"] == expected["final"] and summary["total_samples"] == expected["total_samples"]
    spec = counting_pools().spec
    found, one = (
        demonstration_sets.load(folder / "demonstrations" / "demonstrations.npz", spec)
        for folder in (path, expected_path)
    )
    jax.tree.map(np.testing.assert_array_equal, found, one)


def test_a_finished_run_is_read_back_and_evaluated(finished):
    path, summary = finished
    assert api.resume(path, PRESET, quiet=True) == summary
    found = api.evaluate(path, episodes=2, policy="generalist", preset=PRESET)
    names = dict(zip("0123", NAMES, strict=True))
    assert {variation: row["name"] for variation, row in found["per_variation"].items()} == names
    assert {variation: row["name"] for variation, row in summary["final"]["per_variation"].items()} == names


def test_a_finished_run_s_policies_act_elsewhere(finished):
    path, _ = finished
    params = {}
    for name, stage in {"final": "imitation", "generalist": "generalist"}.items():
        policy = api.load_policy(path, name, PRESET)
        restored, _ = checkpoint.restore(
            path / "results" / stage, jax.tree.map(lambda x: np.asarray(x)[None], policy.state.params)
        )
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[0]), policy.state.params, restored)
        params[name] = policy.state.params
        spec = counting_pools().spec
        observation = np.zeros((3, *spec.observation_shape), spec.observation_dtype)
        modes = [
            jax.jit(policy.act, static_argnums=3)(policy.state, observation, jax.random.key(k), True) for k in (0, 1)
        ]
        assert modes[0].action.shape[0] == 3
        np.testing.assert_array_equal(modes[0].action, modes[1].action)  # the modes are no draws
    different = jax.tree.map(lambda x, y: bool(np.any(np.asarray(x) != np.asarray(y))), *params.values())
    assert any(jax.tree.leaves(different))
    with pytest.raises(UserError, match=r"^The policy is 'best', but must be one of: final, generalist"):
        api.load_policy(path, "best", PRESET)


@pytest.mark.parametrize("stage", ["generalist", "specialists", "imitation"])
def test_a_run_that_stops_in_a_stage_goes_on(stage, tmp_path, monkeypatch):
    save, saved = population_training._save, []

    def stop_after_a_checkpoint(experiment, of_stage, *state):
        save(experiment, of_stage, *state)
        saved.append(of_stage.name)
        if of_stage.name == stage:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(population_training, "_save", stop_after_a_checkpoint)
        with pytest.raises(KeyboardInterrupt):
            api.train(PRESET, CONFIG, tmp_path / "run", quiet=True)
    assert saved[-1] == stage
    check_accounting(tmp_path / "run", api.resume(tmp_path / "run", PRESET, quiet=True))


def test_a_specialist_that_has_mastered_its_variation_leaves_its_samples_to_the_other(tmp_path, monkeypatch):
    """Episodes grow until they have 9 steps: of variation 0 they then return 9 to 13.5, of variation 1 18 to 27.

    The run stops while one rests, and goes on.
    """
    save, rest, rested = population_training._save, OpenPools.rest, []

    def stop_late(experiment, of_stage, carry, *state):
        save(experiment, of_stage, carry, *state)
        if of_stage.name == "specialists" and np.asarray(carry.rests).any() and not rested[-1].any():
            raise AssertionError("a member rests, but its pools do not")
        if of_stage.name == "specialists" and np.asarray(carry.rests).any():
            raise KeyboardInterrupt

    def note(self, half, done):
        rested.append(done)
        rest(self, half, done)

    monkeypatch.setattr(mastery, "MASTERY_EPOCHS", 2)
    monkeypatch.setattr(OpenPools, "rest", note)
    config, path = dataclasses.replace(CONFIG, specialist_share=0.4, mastery=14.0), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(population_training, "_save", stop_late)
        with pytest.raises(KeyboardInterrupt):
            api.train(PRESET, config, path, quiet=True)
    rested.clear()
    summary = api.resume(path, PRESET, quiet=True)
    assert any((done == [[False] * 2, [True] * 2]).all() for done in rested if done.shape == (2, 2))  # from the start
    check_accounting(path, summary)
    (record,) = [stage for stage in summary["stages"] if stage["name"] == "specialists"]
    assert [(member["variations"], member["mastered"]) for member in record["members"]] == [([0], False), ([1], True)]
    lines = [line for line in lines_of(path) if line["stage"] == "specialists"]
    returns = np.array([line["members"]["return"] for line in lines], float)
    last = int(np.flatnonzero(~np.isnan(returns[:, 1]))[-1])
    assert 2 <= last < len(lines) - 4
    known = returns[~np.isnan(returns[:, 1]), 1]
    assert np.mean(known[-2:]) >= 14 > np.mean(known[:2])
    assert not np.isnan(returns[last + 1 :, 0]).all()
    samples = np.diff([line["samples"] for line in lines])
    assert samples[: last - 1].min() > 4 * STEPS >= samples[last + 1 :].max()  # from two members' lanes to one's
    assert 1000 - 4 * STEPS < record["samples"] <= 1000
    assert all(np.isfinite(line["policy_loss"]) for line in lines)


UP_TO_FOUR = dataclasses.replace(
    CONFIG, low_threshold=11.0, num_low_performing=4, num_specialists=4, specialists_per_subset=2
)


def test_specialists_are_trained_for_what_is_below_the_threshold_and_the_best_demonstrate(tmp_path, monkeypatch):
    """Episodes of variations 0 and 1 return at most 10, of the others at least 12: two subsets, twice each.

    The run stops while it trains them and goes on; another one starts from its demonstrations.
    """
    save, train = population_training._save, population_training.train_population
    path, kept = tmp_path / "run", {}

    def stop_after_a_checkpoint(experiment, of_stage, *state):
        save(experiment, of_stage, *state)
        if of_stage.name == "specialists":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(population_training, "_save", stop_after_a_checkpoint)
        with pytest.raises(KeyboardInterrupt):
            api.train(PRESET, UP_TO_FOUR, path, quiet=True)

    def train_population(experiment, stage):
        kept[stage.name] = train(experiment, stage)
        return kept[stage.name]

    def run_and_keep(experiment, preset):
        kept["outcome"], summary = run(experiment, preset)
        return kept["outcome"], summary

    monkeypatch.setattr(population_training, "train_population", train_population)
    monkeypatch.setattr(api, "run", run_and_keep)
    summary = api.resume(path, PRESET, quiet=True)
    check_accounting(path, summary)
    (record,) = [stage for stage in summary["stages"] if stage["name"] == "specialists"]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    returns = [line["members"]["return"] for line in lines if line["stage"] == "specialists"]
    scores = np.nanmax(np.array(returns, float), axis=0)
    assert [member["variations"] for member in record["members"]] == [[0], [0], [1], [1]]
    np.testing.assert_allclose([member["best_return"] for member in record["members"]], scores, rtol=1e-6)
    assert len(np.unique(scores)) == 4  # each member drew its own actions
    late = np.nanmean(np.array(returns[-max(1, len(returns) // 4) :], float), axis=0)
    best, outcome = [late[:2].argmax(), 2 + late[2:].argmax()], kept["outcome"]
    np.testing.assert_array_equal(outcome.subsets, [[0], [1]])
    assert_same(outcome.specialists.params, take(kept["specialists"].params, np.array(best)))
    played = demonstration_sets.load(path / "demonstrations" / "demonstrations.npz", counting_pools().spec)
    by_player = {(int(s), int(v)) for s, v in zip(played.source, played.variation, strict=True)}
    assert by_player == {(0, 0), (1, 1), (GENERALIST, 2), (GENERALIST, 3)}
    assert np.sum(played.source == 0) == np.sum(played.source == 1) == 4
    (record,) = [stage for stage in summary["stages"] if stage["name"] == "demonstrations"]
    assert record["kept_per_variation"] == {"0": 4, "1": 4, "2": 2, "3": 2}

    control = dataclasses.replace(UP_TO_FOUR, method="gsl-no-demonstrations")
    other = api.train(PRESET, control, tmp_path / "control", start_from=path, quiet=True)
    assert_same(kept["outcome"].specialists.params, outcome.specialists.params)
    assert other["total_samples"] == summary["total_samples"]
    assert other["stages"][:-1] == summary["stages"][:-1]


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_pools_are_reseeded_when_a_stage_goes_on():
    environment = counting_pools()
    assignment = jax.device_get(clone(environment.reset(jax.random.key(0), jnp.zeros((3, 1), jnp.int32)), 2))
    seeds = [population_training._reseeded(assignment, epochs).seed for epochs in (0, 1, 2)]
    np.testing.assert_array_equal(seeds[0], assignment.seed)
    assert len(np.unique(np.stack(seeds)[:, 0])) == 9
    np.testing.assert_array_equal(population_training._reseeded(assignment, 1).choices, assignment.choices)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "algorithm"), [("ppo", "ppo"), ("gsl-gail", "ppo"), ("gsl", "ppg"), ("gsl", "sac"), ("sac", "sac")]
)
def test_every_algorithm_trains_beside_pools(method, algorithm, tmp_path):
    config = dataclasses.replace(CONFIG, method=method, algorithm=algorithm)
    preset = PRESET._replace(other_configs=(dataclasses.replace(CONFIG, algorithm=algorithm),))
    check_accounting(tmp_path / "run", api.train(preset, config, tmp_path / "run", quiet=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generalist": _training(3)},
            "generalist.lanes is 3, but counting needs at least 4 for .* one for each",
        ),
        ({"phase_two": _training(3)}, "phase_two.lanes is 3, but counting needs at least 4 for"),
        (
            {"num_specialists": 1, "specialist": _training(1)},
            "specialist.lanes is 1, but counting needs at least 2 for",
        ),
        (
            {"num_low_performing": 4, "num_specialists": 2, "fine_tuning_share": 0.1, "specialist": _training(3)},
            "specialist.lanes is 3, but counting needs at least 4 for the variations of specialist and fine-tuning",
        ),
        ({"method": "ppo", "baseline": _training(3)}, "baseline.lanes is 3, but counting needs at least 4 for"),
    ],
)
def test_too_few_lanes_for_the_variations_are_refused_before_anything_starts(changes, message, tmp_path):
    small = {
        name: dataclasses.replace(training, ppo=dataclasses.replace(training.ppo, minibatch_size=4))
        for name, training in changes.items()
        if isinstance(training, TrainingConfig)
    }
    with pytest.raises(UserError, match=f"^{message}"):
        api.train(PRESET, dataclasses.replace(CONFIG, **(changes | small)), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_pool_that_draws_needs_one_lane():
    assert counting_pools().lanes_needed((0, 1, 2)) == 3
    assert counting_pools(can_draw=True).lanes_needed((0, 1, 2)) == 1


def test_demonstrations_that_all_fail_the_filter_are_said_to(tmp_path):
    demonstrations = dataclasses.replace(CONFIG.demonstrations, min_return=1e9)
    with pytest.raises(UserError, match=r"^None of the 12 demonstrated episodes passed .*min_return = 1000000000\.0"):
        api.train(PRESET, dataclasses.replace(CONFIG, demonstrations=demonstrations), tmp_path / "run", quiet=True)


def test_where_lanes_are_costly_evaluations_and_demonstrations_open_few(tmp_path, monkeypatch):
    """4 lanes instead of 8 in the first evaluation and for the specialists' demonstrations, and of 16 in the last."""
    opened = []

    def recorded(pools, assignment):
        opened.append(assignment.seed.size)
        return OpenPools(pools, assignment)

    monkeypatch.setattr(Pools, "open", recorded)
    environment = dataclasses.replace(counting_pools(), most_lanes=4)
    preset = Preset("costly", "few lanes", "seconds", CONFIG, lambda config: environment)
    summary = api.train(preset, CONFIG, tmp_path / "run", quiet=True)
    assert opened == [8, 4, 8, 4, 4, 8, 4, 4]  # training needs all of its own
    demonstrated = next(stage for stage in summary["stages"] if stage["name"] == "demonstrations")
    assert demonstrated["episodes"] == 12


def test_an_evaluation_plays_the_first_episodes_of_every_lane_however_many_are_open():
    environment = counting_pools(action=ActionSpec(num_actions=3))
    algorithm = make_ppo(ActorCritic(environment.spec.action, (8,)), environment.spec, PPOConfig(minibatch_size=12))
    state = algorithm.init(jax.random.key(0))
    for most_lanes in (1, 3, 4, 64):
        found = evaluate_in_pools(
            environment, algorithm.act, state, np.arange(4), 2, jax.random.key(1), True, most_lanes
        )
        # One lane a variation plays its episodes of v + 2 and of v + 3 steps, more lanes the former only.
        steps = [[v + 2, v + 2 if 8 <= most_lanes else min(v + 3, HORIZON)] for v in range(4)]
        assert found.samples == np.sum(steps)
        low, high = (np.mean(steps, axis=1) * (np.arange(4) + 1 + bonus) for bonus in (0.0, 0.5))
        assert np.all((low <= found.episode_return) & (found.episode_return <= high))


class EndingPool:
    """Every step ends an episode and is worth nothing; a reset says it was worth 1, as Meta-World's may."""

    def __init__(self, lanes):
        self.lanes, self.is_reset = lanes, True

    def reset(self):
        self.is_reset = True

    def send(self, action):
        del action

    def receive(self):
        of_reset, self.is_reset = self.is_reset, not self.is_reset
        ended = np.full(self.lanes, not of_reset)
        reward = np.full(self.lanes, float(of_reset))
        return PoolStep(np.ones((self.lanes, 1)), reward, ended, np.zeros(self.lanes, bool), None, None)

    def close(self):
        pass


@pytest.mark.parametrize(("is_masked", "expected"), [(True, 0.0), (False, 2 / 3)])
def test_only_the_mask_keeps_resets_out_of_what_is_learnt(is_masked, expected):
    """All steps are worth 0. Counted as steps, resets make V = (0 + 1 + V / 2) / 2, which is 2/3, with a discount 1/2.

    The observation is always the same: of the two targets, 0 of the last step and 1 + V / 2 of the reset after it, the
    value can only take the mean.
    """
    spec = EnvSpec("ending", 1, (1,), "float32", ActionSpec(num_actions=2), 1, has_success=False)
    environment = Pools(spec, lambda variations, seeds, num_threads: EndingPool(len(seeds)))
    ppo = PPOConfig(learning_rate=3e-2, discount=0.5, gae_lambda=0.0, num_epochs=4, minibatch_size=64)
    algorithm = make_ppo(ActorCritic(spec.action, (8,)), spec, ppo)
    states = clone(algorithm.init(jax.random.key(0)), 1)
    collect = make_collect_from_pools(algorithm.act)
    update = jax.jit(lambda states, rollout: jax.vmap(algorithm.update)(states, rollout)[0])
    assignment = clone(environment.reset(jax.random.key(1), jnp.zeros((4, 1), jnp.int32)), 1)
    with environment.open(jax.device_get(assignment)) as live:
        for index in range(60):
            rollout, _ = collect(live, states, jax.random.split(jax.random.key(index), 1), 32)
            assert not np.any(rollout.reward)
            if not is_masked:
                every = jnp.ones_like(rollout.valid)
                rollout = rollout._replace(valid=every, reward=jnp.where(rollout.valid, rollout.reward, 1.0))
            states = update(states, rollout)
    value = algorithm.act(jax.tree.map(lambda x: x[0], states), jnp.ones((1, 1)), jax.random.key(0)).value
    np.testing.assert_allclose(value, expected, atol=0.05)
