"""Demonstrations: out of rollouts, through filters and files, and into minibatches."""

import io
import shutil
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.gsl import demonstrations as demonstrations_module
from gsljax.gsl.config import DemonstrationConfig
from gsljax.gsl.demonstrations import (
    GENERALIST,
    Demonstrations,
    concatenate,
    draw,
    from_rollout,
    gather,
    load,
    save,
    select,
    worth_keeping,
)
from gsljax.gsl.demonstrators import passes
from gsljax.types import ActionSpec, DemonstrationBatch, EnvSpec, Rollout

CONTINUOUS = EnvSpec("test", 3, (4,), "float32", ActionSpec(dimension=2, low=-0.5, high=1.0), 12, True)
DISCRETE = CONTINUOUS._replace(action=ActionSpec(num_actions=5), observation_shape=(3, 3), observation_dtype="uint8")
specs = pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])


def random_rollout(spec, steps=12, lanes=9, seed=0):
    """Lanes with fresh episodes that end after 1 to 15 steps, so some do not; each is followed by a reset and more."""
    rng = np.random.default_rng(seed)
    terminated, truncated = np.zeros((2, steps, lanes), bool)
    valid = np.ones((steps, lanes), bool)
    for lane in range(lanes):
        t = rng.integers(1, 16) - 1
        while t < steps:
            (terminated if rng.random() < 0.5 else truncated)[t, lane] = True
            valid[t + 1 : t + 2, lane] = False
            t += 1 + rng.integers(1, 16)
    if spec.action.is_discrete:
        action = rng.integers(0, 5, (steps, lanes)).astype(np.int32)
    else:
        action = rng.normal(size=(steps, lanes, 2)).astype(np.float32)
    observation = rng.integers(0, 256, (steps + 1, lanes, *spec.observation_shape)).astype(spec.observation_dtype)
    nothing = np.zeros((steps, lanes), np.float32)
    return Rollout(
        observation, action, nothing, terminated, truncated, valid, nothing, np.zeros((steps + 1, lanes), np.float32),
        variation=rng.integers(0, 3, (steps, lanes)).astype(np.int32),
        episode_return=rng.normal(size=(steps, lanes)).astype(np.float32),
        success=rng.random((steps, lanes)) < 0.5,
    )  # fmt: skip


def assert_same(found, expected):
    for name, a, b in zip(Demonstrations._fields, found, expected, strict=True):
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


# (a) Out of rollouts, and filtered.


@specs
def test_from_rollout_equals_a_plain_loop(spec):
    rollout = random_rollout(spec)
    pairs, episodes = [], []
    for lane in range(rollout.reward.shape[1]):
        ended = [t for t in range(12) if rollout.terminated[t, lane] or rollout.truncated[t, lane]]
        if not ended:
            continue
        for t in range(ended[0] + 1):
            action = rollout.action[t, lane]
            if not spec.action.is_discrete:
                action = [min(max(a, -0.5), 1.0) for a in action]
            pairs.append((rollout.observation[t, lane], action, len(episodes)))
        t = ended[0]
        episodes.append((rollout.variation[t, lane], rollout.episode_return[t, lane], rollout.success[t, lane]))
    assert 3 < len(episodes) < 9  # some lanes did not finish
    found = from_rollout(jax.tree.map(jnp.asarray, rollout), spec, source=3)
    observation, action, episode = zip(*pairs, strict=True)
    variation, episode_return, success = zip(*episodes, strict=True)
    assert_same(
        found,
        Demonstrations(
            np.array(observation),
            np.array(action, rollout.action.dtype),
            np.array(episode, np.int32),
            np.array(variation, np.int32),
            np.full(len(episodes), 3, np.int32),
            np.array(episode_return, np.float32),
            np.array(success),
        ),
    )
    assert (found.num_pairs, found.num_episodes) == (len(pairs), len(episodes))
    assert found.observation.dtype == spec.observation_dtype


def test_a_rollout_without_a_whole_episode_gives_none():
    rollout = random_rollout(CONTINUOUS)
    never = np.zeros_like(rollout.terminated)
    found = from_rollout(rollout._replace(terminated=never, truncated=never), CONTINUOUS, 0)
    assert (found.num_pairs, found.num_episodes) == (0, 0)
    assert found.observation.shape == (0, 4) and found.action.shape == (0, 2)


@pytest.fixture
def demonstrations():
    """Five episodes of 1 to 3 pairs; a pair's observation and action tell its episode and its place."""
    lengths = [2, 1, 3, 1, 2]
    episode = np.repeat(np.arange(5), lengths).astype(np.int32)
    place = np.concatenate([np.arange(n) for n in lengths])
    return Demonstrations(
        observation=np.stack([episode, place, 0 * place, 0 * place], axis=1).astype(np.float32),
        action=np.stack([episode / 10, place / 10], axis=1).astype(np.float32),
        episode=episode,
        variation=np.array([0, 1, 2, 0, 1], np.int32),
        source=np.array([0, 0, 1, 1, GENERALIST], np.int32),
        episode_return=np.array([1.0, -2.0, 3.0, 0.5, 1.0], np.float32),
        success=np.array([True, False, True, True, False]),
    )


def test_select_keeps_whole_episodes_and_renumbers(demonstrations):
    kept = select(demonstrations, np.array([False, True, True, False, True]))
    np.testing.assert_array_equal(kept.episode, [0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(kept.observation[:, :2], [[1, 0], [2, 0], [2, 1], [2, 2], [4, 0], [4, 1]])
    np.testing.assert_array_equal(kept.source, [0, 1, GENERALIST])
    np.testing.assert_array_equal(kept.episode_return, [-2, 3, 1])
    assert_same(select(demonstrations, np.ones(5, bool)), demonstrations)
    nothing = select(demonstrations, np.zeros(5, bool))
    assert (nothing.num_pairs, nothing.num_episodes) == (0, 0)


@pytest.mark.parametrize(
    ("min_return", "require_success", "expected"),
    [
        (None, False, [1, 1, 1, 1, 1]),
        (None, True, [1, 0, 1, 1, 0]),
        (1.0, False, [1, 0, 1, 0, 1]),  # exactly the minimum is enough
        (1.0, True, [1, 0, 1, 0, 0]),
        (9.0, False, [0, 0, 0, 0, 0]),
    ],
)
def test_worth_keeping(demonstrations, min_return, require_success, expected):
    np.testing.assert_array_equal(worth_keeping(demonstrations, min_return, require_success), np.array(expected, bool))


def test_concatenate_renumbers(demonstrations):
    first, second = (select(demonstrations, demonstrations.source == source) for source in (0, 1))
    third = select(demonstrations, demonstrations.source == GENERALIST)
    assert_same(concatenate([first, second, third]), demonstrations)
    assert_same(concatenate([demonstrations]), demonstrations)


# (b) Into minibatches.


@pytest.mark.parametrize(("num_pairs", "minibatches", "size"), [(7, 1, 3), (7, 2, 7), (7, 5, 4), (12, 3, 2), (1, 2, 3)])
def test_draw_is_an_endless_pass(num_pairs, minibatches, size):
    batch = DemonstrationBatch(jnp.arange(num_pairs) * 10, jnp.arange(num_pairs))
    function = jax.jit(draw, static_argnums=(3, 4))
    drawn, position = [], jnp.zeros((), jnp.int32)
    while len(drawn) * minibatches * size < 8 * num_pairs:
        found = function(batch, jax.random.key(5), position, minibatches, size)
        assert found.action.shape == (minibatches, size)
        np.testing.assert_array_equal(found.observation, 10 * found.action)  # pairs stay pairs
        drawn.append(np.ravel(found.action))
        position += minibatches * size
    stream = np.concatenate(drawn)
    rounds = stream[: len(stream) // num_pairs * num_pairs].reshape(-1, num_pairs)
    # Every pair once in every round, wherever the calls' borders are; and every round shuffled anew.
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.broadcast_to(np.arange(num_pairs), rounds.shape))
    if num_pairs > 1:
        assert len(np.unique(rounds, axis=0)) == len(rounds)

    # From any position it goes on as if it had never stopped.
    for start in (0, 1, num_pairs - 1, num_pairs, 3 * num_pairs + 1):
        found = function(batch, jax.random.key(5), jnp.int32(start), minibatches, size)
        available = stream[start : start + minibatches * size]
        np.testing.assert_array_equal(np.ravel(found.action)[: len(available)], available)
    other = function(batch, jax.random.key(6), jnp.int32(0), minibatches, size)
    if num_pairs > 1:
        assert np.any(np.ravel(other.action) != stream[: minibatches * size])


def test_every_order_is_as_likely():
    """Over many rounds, each pair is as often in each place."""
    batch = DemonstrationBatch(jnp.zeros(4), jnp.arange(4))
    drawn = draw(batch, jax.random.key(0), jnp.int32(0), 4000, 4).action
    counts = np.stack([np.bincount(drawn[:, place], minlength=4) for place in range(4)])
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)


# (c) Files.


@specs
def test_saved_and_loaded(tmp_path, spec):
    demonstrations = from_rollout(random_rollout(spec), spec, source=1)
    path = tmp_path / "new folder" / "demonstrations.npz"
    save(demonstrations, path)
    assert [file.name for file in path.parent.iterdir()] == ["demonstrations.npz"]
    assert_same(load(path, spec), demonstrations)
    other = select(demonstrations, demonstrations.success)
    save(other, path)  # replaces what was there
    assert_same(load(path, spec), other)
    with np.load(path, allow_pickle=False) as archive:  # nothing but plain arrays
        assert set(archive.files) == set(Demonstrations._fields)
    save(select(demonstrations, np.zeros(demonstrations.num_episodes, bool)), path)
    assert load(path, spec).num_pairs == 0


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, demonstrations, monkeypatch):
    path = tmp_path / "demonstrations.npz"
    save(demonstrations, path)

    def disk_full(file, **arrays):
        file.write(b"half a f")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", disk_full)
        with pytest.raises(UserError, match="cannot be written"):
            save(demonstrations._replace(episode_return=np.zeros(5, np.float32)), path)
    assert [file.name for file in tmp_path.iterdir()] == ["demonstrations.npz"]
    assert_same(load(path, CONTINUOUS), demonstrations)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": np.zeros((9, 5), np.float32)}, r"observation of shape \(9, 5\), but it must be \(9, 4\)"),
        ({"observation": np.zeros((8, 4), np.float32)}, r"observation of shape \(8, 4\), but it must be \(9, 4\)"),
        ({"observation": np.full((9, 4), "a")}, "observation of type <U1, but it must be number"),
        ({"action": np.zeros((9, 3), np.float32)}, r"action of shape \(9, 3\), but it must be \(9, 2\)"),
        ({"action": np.zeros(9, np.int32)}, r"action of shape \(9,\), but it must be \(9, 2\)"),
        ({"action": np.full((9, 2), 1.01, np.float32)}, r"actions outside -0.5 \.\. 1.0"),
        ({"action": np.full((9, 2), np.nan, np.float32)}, r"actions outside -0.5 \.\. 1.0"),
        ({"action": np.zeros((9, 2), np.int32)}, "action of type int32, but it must be floating"),
        ({"episode": np.zeros((9, 1), np.int32)}, r"episode of shape \(9, 1\), but it must be \(9,\)"),
        ({"episode": np.float32(0)}, r"shape .* but it must be"),
        ({"episode": np.zeros(9, np.float32)}, "episode of type float32, but it must be integer"),
        ({"episode": np.full(9, 5, np.int32)}, "pairs of episodes that it does not list"),
        ({"episode": np.full(9, -1, np.int32)}, "pairs of episodes that it does not list"),
        ({"variation": np.full(5, 3, np.int32)}, r"variations outside 0 \.\. 2"),
        ({"variation": np.full(5, -1, np.int32)}, r"variations outside 0 \.\. 2"),
        ({"variation": np.zeros((5, 2), np.int32)}, r"variation of shape \(5, 2\)"),
        ({"source": np.zeros(4, np.int32)}, r"source of shape \(4,\), but it must be \(5,\)"),
        ({"episode_return": np.zeros(5, bool)}, "episode_return of type bool, but it must be floating"),
        ({"success": np.zeros(5, np.float32)}, "success of type float32, but it must be bool"),
        ({"success": None}, "lacks the field 'success'"),
        ({"observation": np.array([{}] * 9)}, "cannot be read .*allow_pickle"),
    ],
)
def test_files_with_wrong_content_are_refused(tmp_path, demonstrations, changes, message):
    path = tmp_path / "demonstrations.npz"
    fields = {name: value for name, value in (demonstrations._asdict() | changes).items() if value is not None}
    np.savez_compressed(path, **fields)
    with pytest.raises(UserError, match=message) as error:
        load(path, CONTINUOUS)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_discrete_actions_out_of_range_are_refused(tmp_path):
    demonstrations = from_rollout(random_rollout(DISCRETE), DISCRETE, source=1)
    for wrong in (-1, 5):
        save(demonstrations._replace(action=np.full_like(demonstrations.action, wrong)), tmp_path / "demonstrations")
        with pytest.raises(UserError, match=r"actions outside 0 \.\. 4"):
            load(tmp_path / "demonstrations", DISCRETE)


def test_files_that_cannot_be_read_are_refused(tmp_path, demonstrations):
    path = tmp_path / "demonstrations.npz"
    with pytest.raises(UserError, match=r"cannot be read \(.*No such file"):
        load(path, CONTINUOUS)
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        load(path, CONTINUOUS)
    shutil.rmtree(path)
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"", b"not an archive", array.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            load(path, CONTINUOUS)

    save(demonstrations, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="cannot be read"):
            load(path, CONTINUOUS)
    refused = 0
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load(path, CONTINUOUS)
        except UserError:
            refused += 1
    assert refused > 50  # the rest are dates and the like


# (d) Large sets, in several files.


@pytest.fixture
def small_shards(monkeypatch):
    """Files of at most 4 of the pairs of 16 bytes; an episode that has more has one of its own."""
    monkeypatch.setattr(demonstrations_module, "SHARD_BYTES", 64)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_a_large_set_is_several_files_of_whole_episodes(tmp_path, demonstrations, small_shards):
    path = tmp_path / "demonstrations.npz"
    save(demonstrations, path)  # episodes of 2, 1, 3, 1 and 2 pairs
    assert names(tmp_path) == [f"demonstrations-000{index}-of-0003.npz" for index in (1, 2, 3)]
    with np.load(tmp_path / "demonstrations-0002-of-0003.npz", allow_pickle=False) as shard:
        assert set(shard.files) == {*Demonstrations._fields, "set"}
        np.testing.assert_array_equal(shard["episode"], [0, 0, 0, 1])
        np.testing.assert_array_equal(shard["episode_return"], [3.0, 0.5])
    assert_same(load(path, CONTINUOUS), demonstrations)


def test_episodes_longer_than_a_file_and_those_out_of_order(tmp_path, demonstrations, monkeypatch):
    monkeypatch.setattr(demonstrations_module, "SHARD_BYTES", 1)
    path = tmp_path / "demonstrations.npz"
    save(demonstrations, path)
    assert len(names(tmp_path)) == 5
    assert_same(load(path, CONTINUOUS), demonstrations)
    shuffled = demonstrations._replace(episode=demonstrations.episode[::-1].copy())
    save(shuffled, path)
    assert names(tmp_path) == ["demonstrations.npz"]
    assert_same(load(path, CONTINUOUS), shuffled)


def test_a_set_replaces_another_one_however_many_files_either_has(tmp_path, demonstrations, small_shards, monkeypatch):
    path = tmp_path / "demonstrations.npz"
    other = select(demonstrations, demonstrations.success)
    (tmp_path / "demonstrations-0004-of-0009.npz.partial").write_bytes(b"torn by a kill")
    for size, one in ((64, demonstrations), (1, other), (2**20, demonstrations), (64, other), (2**20, other)):
        monkeypatch.setattr(demonstrations_module, "SHARD_BYTES", size)
        save(one, path)
        assert_same(load(path, CONTINUOUS), one)
    assert names(tmp_path) == ["demonstrations.npz"]


def test_a_set_that_is_not_whole_is_refused(tmp_path, demonstrations, small_shards):
    path = tmp_path / "demonstrations.npz"
    save(demonstrations, path)
    first, second, third = (tmp_path / name for name in names(tmp_path))
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(UserError, match=r"not whole: the file .*-0002-of-0003\.npz is missing\.$"):
        load(path, CONTINUOUS)
    second.write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"-0002-of-0003\.npz cannot be read"):
        load(path, CONTINUOUS)
    save(demonstrations._replace(episode_return=np.zeros(5, np.float32)), path)
    second.write_bytes(whole)
    with pytest.raises(UserError, match="not whole: their files are of different sets"):
        load(path, CONTINUOUS)
    shutil.copy(first, tmp_path / "one")
    first.unlink()
    np.savez_compressed(first, **select(demonstrations, np.arange(5) < 2)._asdict())  # of no set
    with pytest.raises(UserError, match="different sets"):
        load(path, CONTINUOUS)
    assert third.exists()


def test_gather_is_concatenate_and_lets_go_of_what_it_has_copied(demonstrations):
    parts = [select(demonstrations, demonstrations.source == source) for source in (0, 1, GENERALIST)]
    expected = concatenate(parts)
    assert_same(gather(parts), expected)
    assert parts == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"min_normalized": 0.5}, [1, 0, 1, 0, 1]),  # of the range -2 to 4: a return of 1, exactly enough
        ({"min_normalized": 0.5, "min_return": 2.0}, [0, 0, 1, 0, 0]),
        ({"min_normalized": 0.5, "min_return": 0.0}, [1, 0, 1, 0, 1]),
        ({"min_normalized": 0.5, "require_success": True}, [1, 0, 1, 0, 0]),
        ({"min_normalized": -5.0}, [1, 1, 1, 1, 1]),
    ],
)
def test_episodes_pass_by_their_normalised_score(demonstrations, wanted, expected):
    spec = CONTINUOUS._replace(score_range=(-2.0, 4.0))
    config = SimpleNamespace(demonstrations=DemonstrationConfig(**{"require_success": False} | wanted))
    experiment: Any = SimpleNamespace(config=config, environment=SimpleNamespace(spec=spec))
    np.testing.assert_array_equal(passes(experiment, demonstrations), np.array(expected, bool))
