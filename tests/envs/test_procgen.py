"""Procgen through the feed, beside raw EnvPool and the original package."""

import ctypes
import gc
import importlib.util
import sys

import numpy as np
import pytest

from gsljax.envs import procgen as module
from gsljax.envs.procgen import GAMES, TEST_LEVELS, TRAIN_LEVELS, load_qt, procgen
from gsljax.errors import UserError
from gsljax.types import ActionSpec
from tests.envpools import assignment, check_lanes, num_threads, play, play_raw

envpool = pytest.importorskip("envpool", reason="EnvPool is not installed (pip install 'gsljax[pools]')")


@pytest.fixture(scope="module", autouse=True)
def qt():
    try:
        load_qt()
    except UserError as error:
        pytest.skip(str(error))


def raw_pool(seeds, start, count, game="Bigfish"):
    return envpool.make(
        f"{game}Easy-v0", env_type="gymnasium", num_envs=len(seeds), num_threads=1, start_level=start, num_levels=count,
        seed=[int(seed) & 0x7FFFFFFF for seed in seeds], channel_first=False,
    )  # fmt: skip


def actions(steps, members, lanes):
    return np.random.default_rng(1).integers(0, 15, (steps, members, lanes), dtype=np.int32)


def test_lanes_that_draw_levels_equal_raw_envpool_bit_for_bit():
    given, played = assignment([list(range(5, 25))] * 6, members=2), actions(250, 2, 6)
    with procgen("bigfish", range(100, 200)).open(given) as live:
        first, steps = play(live, played)
    resets = 0
    for member in range(2):
        pool = raw_pool(given.seed[member], 105, 20)
        raw_first, raw = play_raw(pool, played[:, member])
        resets += check_lanes(first, steps, raw_first, raw, member, slice(0, 6))
        np.testing.assert_array_equal(steps.variation[:, member], raw["level_seed"] - 100)
    assert resets > 10
    assert set(np.unique(steps.variation)) <= set(range(5, 25)) and len(np.unique(steps.variation)) > 8


def test_lanes_with_a_level_each_equal_raw_envpool_bit_for_bit():
    levels = [700, 3, 9, 4]
    given, played = assignment([[0, 1, 2, 3]] * 8), actions(150, 1, 8)
    with procgen("bigfish", levels).open(given) as live:
        first, steps = play(live, played)
    for slot, level in enumerate(levels):
        lanes = slice(2 * slot, 2 * slot + 2)
        raw_first, raw = play_raw(raw_pool(given.seed[0, lanes], level, 1), played[:, 0, lanes])
        check_lanes(first, steps, raw_first, raw, 0, lanes)
        np.testing.assert_array_equal(steps.variation[:, 0, lanes], slot)
        np.testing.assert_array_equal(raw["level_seed"], level)
    assert np.sum(~steps.valid) > 8


def test_levels_in_any_order_are_drawn_as_the_variations_they_are():
    """Raw level seeds tell which."""
    levels = [12, 10, 13, 11]
    given, played = assignment([[0, 1, 2, 3]] * 4), actions(200, 1, 4)
    with procgen("bigfish", levels).open(given) as live:
        assert [len(half.pools) for half in live._halves] == [1, 1]
        _, steps = play(live, played)
    _, raw = play_raw(raw_pool(given.seed[0], 10, 4), played[:, 0])
    np.testing.assert_array_equal(np.array(levels)[steps.variation[:, 0]], raw["level_seed"])
    assert len(np.unique(steps.variation)) == 4


def test_close_ends_all_threads():
    gc.collect()
    before = num_threads()
    live = procgen("coinrun").open(assignment([[0, 3, 7, 9, 500]] * 10))
    assert num_threads() >= before + 6
    live.send(0, np.zeros((1, 5), np.int32))  # and does not wait to be received from
    live.close()
    gc.collect()
    assert num_threads() == before


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("distribution", ["easy", "hard"])
def test_every_game_opens_with_the_shapes_and_time_limit_of_its_spec(game, distribution):
    environment = procgen(game, [4], distribution)
    spec = environment.spec
    assert (spec.num_variations, spec.observation_shape, spec.observation_dtype) == (1, (64, 64, 3), "uint8")
    assert spec.action == ActionSpec(num_actions=15) and not spec.has_success
    with environment.open(assignment([[0]])) as live:
        assert live.observation(0).shape == (1, 1, 64, 64, 3) and live.observation(0).dtype == np.uint8
        assert live._halves[0].pools[0].pool._pool.config["max_episode_steps"] == spec.horizon
    assert spec.score_range is not None
    low, high = spec.score_range
    assert low < high
    assert spec.normalized(low) == 0 and spec.normalized(high) == 1


def test_the_papers_levels_and_scores():
    assert (TRAIN_LEVELS, TEST_LEVELS) == (range(1024), range(1024, 2024))
    assert procgen("bigfish").spec.num_variations == 1024
    paper = {
        "bigfish": (1, 40), "bossfight": (0.5, 13), "chaser": (0.5, 13), "dodgeball": (1.5, 19),
        "fruitbot": (-1.5, 32.4), "plunder": (4.5, 30), "starpilot": (2.5, 64),
    }  # fmt: skip
    assert {game: GAMES[game].easy for game in paper} == paper
    spec = procgen("bigfish").spec
    assert (spec.normalized(1.0), spec.normalized(20.5)) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pong",), "game is 'pong', but must be one of bigfish, bossfight"),
        (("bigfish", [0], "extreme"), "distribution is 'extreme', but must be 'easy' or 'hard'"),
        (("bigfish", [3, 1, 3]), "contain 3 more than once"),
        (("bigfish", [3, -1]), "contain -1, but a level must lie between 0 and 2147483646"),
        (("bigfish", [2**31 - 1]), "contain 2147483647"),
        (("bigfish", []), "must be a list or range of at least one level"),
        (("bigfish", [0.5]), "must be a list or range of at least one level"),
    ],
)
def test_errors_name_what_is_wrong(arguments, message):
    with pytest.raises(UserError, match=message):
        procgen(*arguments)


def test_a_missing_envpool_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"Procgen needs the package envpool, .* run `pip install 'gsljax\[pools\]'`"):
        procgen("bigfish")


class TestQt:
    @pytest.fixture(autouse=True)
    def without_the_system(self, monkeypatch):
        def load(name, mode):
            raise OSError(f"{name}: libGL.so.1: cannot open shared object file")

        monkeypatch.setattr(ctypes, "CDLL", load)
        for name in [name for name in sys.modules if name.endswith("procgen_envpool")]:
            monkeypatch.delitem(sys.modules, name)

    def test_a_missing_one(self, monkeypatch):
        monkeypatch.setattr(module, "_qt_of_the_wheel", lambda: None)
        with pytest.raises(UserError, match="run `pip install PyQt5-Qt5`, or install the system's"):
            load_qt()

    def test_one_that_lacks_something(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "_qt_of_the_wheel", lambda: tmp_path)
        with pytest.raises(UserError, match=r"libGL\.so\.1: cannot open .* apt install libgl1"):
            load_qt()


def test_levels_are_those_of_the_original_package():
    """The same level and actions give the same frames and rewards."""
    original = pytest.importorskip(
        "procgen.env",
        reason="the procgen package is not installed (procgen-mirror needs Python 3.11)",
        exc_type=ImportError,
    )
    played = actions(120, 1, 2)
    with procgen("bigfish", [7]).open(assignment([[0]] * 2)) as live:
        first, steps = play(live, played)
    env = original.ProcgenGym3Env(
        num=2, env_name="bigfish", num_levels=1, start_level=7, distribution_mode="easy", rand_seed=0
    )
    frames, rewards, starts = [env.observe()[1]["rgb"]], [], []
    for action in played:
        env.act(action[0])
        reward, observation, start = env.observe()
        frames.append(observation["rgb"])
        rewards.append(reward)
        starts.append(start)
    ended = np.cumsum(starts, axis=0) > 0  # after the first end EnvPool spends a step on the reset
    assert ended.sum() < ended.size - 40
    np.testing.assert_array_equal(first[0], frames[0])
    np.testing.assert_array_equal(steps.observation[:, 0][~ended], np.array(frames[1:])[~ended])
    np.testing.assert_array_equal(steps.reward[:, 0][~ended], np.array(rewards)[~ended])
