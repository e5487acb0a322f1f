"""Pools as lanes: which lane plays what, the next-step reset rule, and memory that nobody else may write to."""

import gc

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from gsljax.envs import GymnasiumAdapter, PoolAssignment, Pools
from gsljax.envs.pools import RecycledArrays, halves_of, threads_per_pool
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec
from tests.pool_environments import HORIZON, CountingPool, counting_pools


def assignment(choices, members=1, seed=0):
    """The same choices `[N, K]` for every member, seeds of their own."""
    choices = np.tile(np.asarray(choices, np.int32), (members, 1, 1))
    seeds = np.random.default_rng(seed).integers(0, 2**32, choices.shape[:2], dtype=np.uint32)
    return PoolAssignment(seeds, choices)


def step_halves(live, action=1):
    """One step of all lanes: its results with the halves joined, `[P, N, ...]`."""
    for half, lanes in enumerate(live.halves):
        live.send(half, np.full((live.num_members, lanes.stop - lanes.start), action))
    parts = [live.receive(half) for half in range(len(live.halves))]
    return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *parts)


def observations(live):
    return np.concatenate([live.observation(half) for half in range(len(live.halves))], axis=1)


def test_reset_is_pure_and_gives_every_lane_a_seed_of_its_own():
    environment = counting_pools()
    keys = jax.random.split(jax.random.key(0), 3)
    choices = jnp.tile(jnp.arange(4), (3, 8, 1))
    found = jax.jit(jax.vmap(environment.reset))(keys, choices)
    assert found.seed.shape == (3, 8) and found.seed.dtype == jnp.uint32
    assert len(np.unique(found.seed)) == 24
    np.testing.assert_array_equal(found.choices, choices)
    assert found.choices.dtype == jnp.int32


@pytest.mark.parametrize(("lanes", "expected"), [(1, [(0, 1)]), (2, [(0, 1), (1, 2)]), (5, [(0, 2), (2, 5)])])
def test_halves(lanes, expected, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert [(half.start, half.stop) for half in halves_of(lanes)] == expected


def test_beside_an_accelerator_few_lanes_are_one_half(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert halves_of(64) == (slice(0, 64),)
    assert halves_of(256) == (slice(0, 128), slice(128, 256))


def test_lanes_play_their_choices_in_blocks_and_keep_their_seeds():
    given = assignment([[3, 0, 2]] * 6, members=2)
    with counting_pools().open(given) as live:
        first = observations(live)
        np.testing.assert_array_equal(first[..., 1], [[3, 3, 0, 0, 2, 2]] * 2)
        np.testing.assert_array_equal(first[..., 0], (given.seed & 0x7FFFFFFF) % 1024)
        for _ in range(20):
            np.testing.assert_array_equal(step_halves(live).variation, [[3, 3, 0, 0, 2, 2]] * 2)
            np.testing.assert_array_equal(observations(live)[..., 0], first[..., 0])


def test_lanes_with_rows_of_their_own_play_them():
    rows = [[0], [3], [0], [1], [2], [1]]
    with counting_pools().open(assignment(rows)) as live:
        np.testing.assert_array_equal(observations(live)[0, :, 1], [0, 3, 0, 1, 2, 1])


def test_one_pool_serves_all_lanes_of_a_half_that_play_the_same():
    opened = []

    def open_pool(variations, seeds, num_threads):
        opened.append((variations, len(seeds), num_threads))
        return CountingPool(variations, seeds)

    def pools_of(choices, can_draw=False, members=1):
        opened.clear()
        environment = Pools(counting_pools().spec, open_pool, lambda variations: can_draw)
        environment.open(assignment(choices, members)).close()
        return [(variations, lanes) for variations, lanes, _ in opened]

    assert pools_of([[1]] * 8) == [((1,), 4), ((1,), 4)]
    assert pools_of([[1, 2]] * 8) == [((1,), 4), ((2,), 4)]
    assert pools_of([[1], [2]] * 4) == [((1,), 2), ((2,), 2)] * 2
    assert pools_of([[2, 1]] * 8, can_draw=True) == [((1, 2), 4)] * 2
    assert pools_of([[2, 1]] * 8, can_draw=True, members=3) == [((1, 2), 4)] * 6
    # Ids that fill a row would be drawn more often than they should be, and lanes that differ cannot share a pool.
    assert pools_of([[2, 1, 1]] * 6, can_draw=True) == [((1,), 1), ((2,), 2), ((1,), 3)]
    assert pools_of([[1, 2], [2, 1]] * 2, can_draw=True) == [((1,), 1), ((2,), 1)] * 2


def test_drawn_variations_are_those_of_the_episode_that_is_played():
    """The reward of a step tells its variation."""
    with counting_pools(can_draw=True).open(assignment([[0, 1, 2]] * 4, members=2)) as live:
        seen = set()
        for _ in range(40):
            step = step_halves(live, action=0)
            valid = np.asarray(step.valid)
            np.testing.assert_array_equal(np.asarray(step.variation)[valid], step.reward[valid] - 1)
            np.testing.assert_array_equal(step.variation, step.observation[..., 1])
            seen |= set(np.asarray(step.variation).ravel().tolist())
        assert seen == {0, 1, 2}


def test_the_next_step_reset_rule():
    with counting_pools().open(assignment([[0, 1, 2, 3]] * 8, members=2)) as live:
        ended = np.zeros((2, 8), bool)
        total = np.zeros((2, 8), np.float32)
        succeeded = np.zeros((2, 8), bool)
        number_of_resets = 0
        for index in range(60):
            action = index % 3
            step = step_halves(live, action)
            _, variation, episode, time, last_action = np.moveaxis(step.observation, -1, 0)
            np.testing.assert_array_equal(step.valid, ~ended)
            np.testing.assert_array_equal(time == 0, ended)
            number_of_resets += ended.sum()
            np.testing.assert_array_equal(step.reward, np.where(ended, 0, variation + 1 + action / 4))
            np.testing.assert_array_equal(last_action, np.where(ended, 0, action))
            total = np.where(ended, 0, total + step.reward).astype(np.float32)
            np.testing.assert_array_equal(step.episode_return, total)
            odd = np.round(step.observation[..., 0]) % 2 == 1
            succeeded = (succeeded | ((time == 2) & odd)) & ~ended
            np.testing.assert_array_equal(step.success, succeeded)
            over = (time >= np.minimum(variation + 2 + episode, HORIZON)) & ~ended
            np.testing.assert_array_equal(step.terminated, over & (variation % 2 == 1))
            np.testing.assert_array_equal(step.truncated, over & (variation % 2 == 0))
            ended = over
        assert number_of_resets > 50
        assert step.observation.dtype == step.reward.dtype == step.episode_return.dtype == np.float32
        assert step.variation.dtype == np.int32 and step.terminated.dtype == step.success.dtype == bool


def test_all_pools_of_a_half_are_sent_to_before_one_is_received_from():
    log = []
    with counting_pools(log=log).open(assignment([[0, 1, 2, 3]] * 8)) as live:
        log.clear()
        live.send(0, np.zeros((1, 4)))
        live.send(1, np.zeros((1, 4)))
        live.receive(1)
        assert log == [("send", 0), ("send", 1), ("send", 2), ("send", 3), ("receive", 2), ("receive", 3)]


def test_pools_whose_lanes_are_all_done_rest():
    """Two pools a half; lanes 0 and 1 share variation 0's of the first half, lane 2 has variation 1's."""
    log = []
    rows = [[0], [0], [1], [2], [2], [3]]
    with counting_pools(log=log).open(assignment(rows)) as live:
        step_halves(live)
        live.rest(0, np.array([[True, False, True]]))  # variation 0's pool has a lane that is not done
        log.clear()
        result = step_halves(live)
        assert {what for what in log if what[0] == "send"} == {("send", v) for v in (0, 2, 3)}
        np.testing.assert_array_equal(result.valid, [[True, True, False, True, True, True]])
        time = observations(live)[0, :, 3]
        for _ in range(2 * HORIZON):
            live.rest(0, np.array([[True, True, True]]))
            result = step_halves(live)
            assert not np.any(result.valid[0, :3] | result.terminated[0, :3] | result.truncated[0, :3])
            assert not np.any(result.reward[0, :3])
        np.testing.assert_array_equal(time, [2, 2, time[2], 2, 2, 2])  # and nobody else was disturbed
        live.send(1, np.zeros((1, 3)))
        with pytest.raises(UserError, match="stepping cannot rest"):
            live.rest(1, np.ones((1, 3), bool))


def test_actions_are_clipped_to_their_range():
    box = ActionSpec(dimension=1, low=-0.5, high=2.0)
    sent = []

    class Pool(CountingPool):
        def send(self, action):
            sent.append(action)
            super().send(action[:, 0])

    environment = Pools(counting_pools(action=box).spec, lambda v, seeds, threads: Pool(v, seeds))
    with environment.open(assignment([[0]] * 4)) as live:
        live.send(1, np.array([[[-3.0], [7.0]]], np.float32))
        np.testing.assert_array_equal(sent[0], [[-0.5], [2.0]])
        live.receive(1)


@pytest.mark.parametrize("choices", [[[0]] * 4, [[0, 1, 2, 3]] * 8], ids=["one pool per half", "many pools"])
def test_nothing_that_was_handed_out_is_written_to_again(choices):
    """Not even when JAX, rather than NumPy, keeps the memory alive: on the CPU `device_put` may alias it."""
    with counting_pools().open(assignment(choices, members=2 if len(choices) > 4 else 1)) as live:
        kept = []
        for index in range(30):
            step = step_halves(live, index % 3)
            mine = live.observation(0)
            on_device = jax.device_put(mine[:, 1:])
            kept.append((step, jax.tree.map(np.copy, step), mine[0, 0], mine[0, 0].copy()))
            kept.append((on_device, np.array(mine[:, 1:]), 0, 0))
            del mine
    for held, copied, view, copied_view in kept:
        jax.tree.map(np.testing.assert_array_equal, held, copied)
        np.testing.assert_array_equal(view, copied_view)


def test_memory_is_used_again_only_when_nobody_refers_to_it():
    arrays = RecycledArrays((4, 4096), "float32", keep=2)
    first = arrays.take()
    address = first.ctypes.data
    view = first[1:2]
    del first
    second = arrays.take()
    assert second.ctypes.data != address
    del view
    assert arrays.take().ctypes.data == address
    # An alias of JAX's counts as well.
    aligned = RecycledArrays((4, 4096), "float32", keep=1)
    for _ in range(20):
        array = aligned.take()
        array[:] = 1
        alias = jax.device_put(array)
        assert alias.unsafe_buffer_pointer() == array.ctypes.data
        del array
        again = aligned.take()
        again[:] = 2
        np.testing.assert_array_equal(alias, 1)
        del again, alias
        gc.collect()


def test_an_episode_that_is_longer_than_the_specification_says_is_refused_in_its_first_step_too_many():
    with counting_pools(horizon=3).open(assignment([[0, 1, 2, 3]] * 8)) as live:
        for _ in range(3):  # the last variation's first episode has five steps
            step_halves(live)
        with pytest.raises(UserError, match=r"An episode of counting is longer than its horizon of 3 steps\."):
            step_halves(live)


def test_all_pools_are_closed_though_one_fails_to():
    log = []

    class Failing(CountingPool):
        def close(self):
            super().close()
            if self.variations[0] == 1:
                raise OSError("does not end")

    environment = Pools(counting_pools().spec, lambda variations, seeds, threads: Failing(variations, seeds, log))
    live = environment.open(assignment([[0, 1, 2, 3]] * 8))
    with pytest.raises(OSError, match="does not end"):
        live.close()
    assert sorted(variation for what, variation in log if what == "close") == [0, 1, 2, 3]
    live.close()  # nothing is left to close


def test_few_pools_share_the_cores_and_many_have_one_thread_each():
    assert [threads_per_pool(pools, cores=16) for pools in (1, 2, 10, 16, 300)] == [16, 8, 2, 1, 1]
    assert threads_per_pool(10**6) == 1


def test_the_same_assignment_opens_the_same_episodes():
    def played():
        with counting_pools().open(assignment([[0, 3]] * 4)) as live:
            return [step_halves(live) for _ in range(10)]

    jax.tree.map(np.testing.assert_array_equal, played(), played())


class TestErrors:
    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            ([[0, 1, 2]] * 2, "a member has 2 lanes for 3 variations"),
            ([[0, 1], [2, 3]], "a member has 2 lanes for 4 variations"),
            ([[4]] * 2, r"was asked for variation 4, but its variations are 0 \.\. 3"),
            ([[-1]] * 2, "was asked for variation -1"),
        ],
    )
    def test_choices_that_cannot_be_played(self, choices, message):
        with pytest.raises(UserError, match=message):
            counting_pools().open(assignment(choices))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"observation_shape": (4,)}, r"observations of shape \(2, 5\), but its spec says \(2, 4\)"),
            ({"observation_dtype": "uint8"}, "observations of type float64, but its spec says uint8"),
        ],
    )
    def test_pools_that_do_not_fit_their_spec_are_refused_and_closed(self, changes, message):
        log = []
        with pytest.raises(UserError, match=message):
            counting_pools(log=log, **changes).open(assignment([[0]] * 4))
        assert log.count(("close", 0)) == 2

    def test_calls_out_of_order(self):
        live = counting_pools().open(assignment([[0]] * 4))
        with pytest.raises(UserError, match="sent no actions"):
            live.receive(0)
        live.send(0, np.zeros((1, 2)))
        with pytest.raises(UserError, match="sent actions already"):
            live.send(0, np.zeros((1, 2)))
        with pytest.raises(UserError, match="have no observation"):
            live.observation(0)
        live.close()
        live.close()
        with pytest.raises(UserError, match="closed"):
            live.observation(1)


def cart_poles(vectorization, lengths=(0.5, 2.0), num_steps=30, **options):
    """Gymnasium's CartPole with a pole length per variation."""

    def open_pool(variations, seeds, num_threads):
        def make():
            env = gymnasium.make("CartPole-v1", max_episode_steps=num_steps)
            env.unwrapped.length = lengths[variations[0]]
            return env

        if vectorization == "async":  # spawned: JAX's threads do not survive a fork
            return GymnasiumAdapter(gymnasium.vector.AsyncVectorEnv([make] * len(seeds), context="spawn"), seeds)
        return GymnasiumAdapter(gymnasium.vector.SyncVectorEnv([make] * len(seeds), **options), seeds)

    spec = EnvSpec("CartPole", len(lengths), (4,), "float32", ActionSpec(num_actions=2), num_steps, has_success=False)
    return Pools(spec, open_pool)


def raw_cart_pole(seed, length, actions, num_steps=30):
    """One lane stepped by hand, with the next-step reset: observations `[T + 1]`, rewards, terminated, truncated."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=num_steps)
    env.unwrapped.length = length
    rows = [(env.reset(seed=int(seed))[0], 0.0, False, False)]
    for action in actions:
        if rows[-1][2] or rows[-1][3]:
            rows.append((env.reset()[0], 0.0, False, False))
        else:
            rows.append(env.step(int(action))[:4])
    env.close()
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_gymnasium_lanes_equal_single_environments_bit_for_bit(vectorization):
    given = assignment([[1, 0]] * 4)
    actions = np.random.default_rng(0).integers(0, 2, (80, 4))
    with cart_poles(vectorization).open(given) as live:
        steps, starts = [], observations(live)[0]
        for action in actions:
            for half, lanes in enumerate(live.halves):
                live.send(half, action[None, lanes])
            parts = [live.receive(half) for half in range(2)]
            steps.append(jax.tree.map(lambda *each: np.concatenate(each, axis=1)[0], *parts))
    for lane, length in enumerate((2.0, 2.0, 0.5, 0.5)):
        seed = given.seed[0, lane] & 0x7FFFFFFF
        observation, reward, terminated, truncated = raw_cart_pole(seed, length, actions[:, lane])
        np.testing.assert_array_equal(starts[lane], observation[0])
        np.testing.assert_array_equal([step.observation[lane] for step in steps], observation[1:])
        np.testing.assert_array_equal([step.reward[lane] for step in steps], reward[1:])
        np.testing.assert_array_equal([step.terminated[lane] for step in steps], terminated[1:])
        np.testing.assert_array_equal([step.truncated[lane] for step in steps], truncated[1:] & ~terminated[1:])
    assert np.sum([step.terminated for step in steps]) > 4


def test_a_vector_environment_with_another_reset_rule_is_refused():
    options = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with pytest.raises(UserError, match=r"must have AutoresetMode\.NEXT_STEP"):
        cart_poles("sync", **options).open(assignment([[0]] * 2))


def test_a_process_that_ended_is_reported_in_one_sentence():
    live = cart_poles("async").open(assignment([[0]]))
    live.send(0, np.zeros((1, 1)))
    env = live._halves[0].pools[0].pool._env
    live.receive(0)
    env.processes[0].kill()
    env.processes[0].join()
    with pytest.raises(UserError, match=r"process of the vector environment .* has ended unexpectedly"):
        live.send(0, np.zeros((1, 1)))
        live.receive(0)
    live.close()
