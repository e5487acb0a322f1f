"""Rollouts and whole episodes from pools on the host."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax import episodes as episodes_module
from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.algorithms.base import ActorOutput
from gsljax.envs import Pools, PoolStep
from gsljax.episodes import make_policy, play_episodes
from gsljax.errors import UserError
from gsljax.gsl.agent import make_algorithm
from gsljax.gsl.network_config import ImageNetworkConfig
from gsljax.networks import ActorCritic
from gsljax.rollout import make_collect_from_pools
from gsljax.types import ActionSpec, EnvSpec
from tests.pool_environments import HORIZON, CountingPool, counting_pools

pytestmark = pytest.mark.usefixtures("compilation_cache")

MEMBERS, LANES, STEPS = 3, 8, 25
ENVIRONMENT = counting_pools()
NETWORK = ActorCritic(ENVIRONMENT.spec.action, hidden=(8,))
ALGORITHM = make_ppo(NETWORK, ENVIRONMENT.spec, PPOConfig(minibatch_size=50, num_epochs=1))
KEYS = jax.random.split(jax.random.key(1), MEMBERS)
COLLECT = make_collect_from_pools(ALGORITHM.act)


def assignment(members=MEMBERS, lanes=LANES, choices=(0, 1, 2, 3), environment=ENVIRONMENT):
    keys = jax.random.split(jax.random.key(5), members)
    return jax.vmap(environment.reset)(keys, jnp.tile(jnp.array(choices), (members, lanes, 1)))


def scaled(state):
    """The member with a policy that is not indifferent."""
    head = jax.tree.map(lambda x: 30 * x, state.params["params"]["policy_head"])
    return state._replace(params={"params": state.params["params"] | {"policy_head": head}})


@pytest.fixture(scope="module")
def states():
    return jax.jit(jax.vmap(lambda key: scaled(ALGORITHM.init(key))))(jax.random.split(jax.random.key(0), MEMBERS))


def collected(states, members=slice(None), lanes=LANES, collect=COLLECT, calls=1, **options) -> Any:
    one = jax.tree.map(lambda x: x[members], (states, KEYS, assignment(lanes=lanes)))
    with ENVIRONMENT.open(one[2]) as live:
        rollouts = [collect(live, one[0], one[1], STEPS, **options)[0] for _ in range(calls)]
    return rollouts[0] if calls == 1 else rollouts


@pytest.fixture(scope="module")
def rollout(states):
    return collected(states)


def test_shapes_and_types_are_those_of_a_rollout_with_a_member_axis(rollout):
    assert rollout.observation.shape == (MEMBERS, STEPS + 1, LANES, 5)
    assert rollout.value.shape == (MEMBERS, STEPS + 1, LANES)
    rest = rollout._replace(observation=None, value=None)
    assert {x.shape for x in jax.tree.leaves(rest)} == {(MEMBERS, STEPS, LANES)}
    assert all(isinstance(x, jax.Array) and not x.weak_type for x in jax.tree.leaves(rollout))
    types = {name: str(x.dtype) for name, x in rollout._asdict().items()}
    assert {types[name] for name in ("observation", "reward", "log_prob", "value", "episode_return")} == {"float32"}
    assert {types[name] for name in ("terminated", "truncated", "valid", "success")} == {"bool"}
    assert {types[name] for name in ("action", "variation")} == {"int32"}


def test_rows_hold_what_belongs_together(states, rollout):
    """The observation tells the seed, the variation, the episode, the time and the action before it."""
    arrays = jax.tree.map(np.asarray, rollout)
    seed, variation, _, time, action_before = np.moveaxis(arrays.observation, -1, 0)
    np.testing.assert_array_equal(
        seed, np.broadcast_to((np.asarray(assignment().seed) & 0x7FFFFFFF)[:, None] % 1024, seed.shape)
    )
    np.testing.assert_array_equal(variation[:, 1:], arrays.variation)
    np.testing.assert_array_equal(variation[:, 0], [[0, 0, 1, 1, 2, 2, 3, 3]] * MEMBERS)
    np.testing.assert_array_equal(action_before[:, 1:], np.where(arrays.valid, arrays.action, 0))
    expected = np.where(arrays.valid, arrays.variation + 1 + arrays.action / 4, 0)
    np.testing.assert_array_equal(arrays.reward, expected)
    np.testing.assert_array_equal(arrays.valid, time[:, 1:] != 0)
    ended = arrays.terminated | arrays.truncated
    np.testing.assert_array_equal(arrays.valid[:, 1:], ~ended[:, :-1])
    assert (~arrays.valid).sum() > MEMBERS * LANES and 0 < arrays.action.mean() < 2
    policy, value = jax.vmap(NETWORK.apply)(states.params, rollout.observation)
    np.testing.assert_allclose(arrays.value, value, rtol=1e-4, atol=1e-5)
    log_prob = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(policy.logits[:, :-1])), arrays.action[..., None], axis=-1
    )
    np.testing.assert_allclose(arrays.log_prob, log_prob[..., 0], rtol=1e-4, atol=1e-4)


def test_the_rollout_is_the_same_with_the_policy_ahead_of_both_halves(states):
    rollouts = (collected(states, calls=2, ahead=ahead) for ahead in (False, True))
    for first, second in zip(*rollouts, strict=True):
        jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("strategy", ["map", 2])
def test_members_are_the_same_in_every_strategy(states, rollout, strategy):
    other = collected(states, collect=make_collect_from_pools(ALGORITHM.act, strategy))
    np.testing.assert_array_equal(other.action, rollout.action)
    np.testing.assert_array_equal(other.observation, rollout.observation)
    np.testing.assert_allclose(other.value, rollout.value, rtol=1e-5, atol=1e-6)


def test_a_member_is_the_same_alone_and_in_a_population(states, rollout):
    for member in range(MEMBERS):
        alone = collected(states, members=slice(member, member + 1))
        for name, one, all_ in zip(rollout._fields, alone, rollout, strict=True):
            if name in ("value", "log_prob"):
                np.testing.assert_allclose(one[0], all_[member], rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(one[0], all_[member], err_msg=name)


def test_a_rollout_goes_on_where_the_last_one_stopped(states):
    first, second = collected(states, calls=2)
    np.testing.assert_array_equal(first.observation[:, -1], second.observation[:, 0])
    ended = first.terminated[:, -1] | first.truncated[:, -1]
    np.testing.assert_array_equal(second.valid[:, 0], ~ended)


def test_every_lane_step_and_half_acts_by_a_key_of_its_own():
    def act(state, observation, key, deterministic=False):
        lanes = observation.shape[0]
        return ActorOutput(jax.random.randint(key, (lanes,), 0, 3), jnp.zeros(lanes), jnp.zeros(lanes))

    with ENVIRONMENT.open(assignment(members=2)) as live:
        rollout, _ = make_collect_from_pools(act)(live, jnp.zeros((2, 1)), KEYS[:2], STEPS)
    flat = np.moveaxis(np.asarray(rollout.action), 1, -1).reshape(-1, STEPS)
    assert len(np.unique(flat, axis=0)) == 2 * LANES


def test_deterministic_rollouts_play_the_mode(states):
    found = collected(states, deterministic=True)
    policy, _ = jax.vmap(NETWORK.apply)(states.params, found.observation[:, :-1])
    np.testing.assert_array_equal(found.action, policy.logits.argmax(axis=-1))


@pytest.mark.parametrize(("lanes", "shapes"), [(1, 1), (2, 1), (5, 2)])
def test_it_compiles_once_for_each_shape(lanes, shapes):
    traced = []

    def act(state, observation, key, deterministic=False):
        traced.append(observation.shape)
        lanes = observation.shape[0]
        return ActorOutput(jnp.zeros(lanes, jnp.int32), jnp.zeros(lanes), jnp.zeros(lanes))

    collect = make_collect_from_pools(act)
    with ENVIRONMENT.open(assignment(members=1, lanes=lanes, choices=(1,))) as live:
        rollout, times = collect(live, jnp.zeros((1, 1)), KEYS[:1], 3)
        assert rollout.reward.shape == (1, 3, lanes)
        first = len(traced)
        for _ in range(3):
            collect(live, jnp.zeros((1, 1)), KEYS[:1], 3)
    assert len(traced) == first == shapes + 1  # and once for the types of what it records
    assert times.env > 0 and times.act > 0


def test_updates_take_a_members_rollout(states, rollout):
    one = jax.tree.map(lambda x: x[0], (states, rollout))
    state, metrics = jax.jit(ALGORITHM.update)(*one)
    assert int(state.num_samples) == int(rollout.valid[0].sum())
    assert all(np.isfinite(value) for value in metrics.values())


class TestEpisodes:
    """`CountingPool`'s e-th episode of variation v has v + 2 + e steps, at most HORIZON, each worth v + 1."""

    def choose(self, half, observation, step):
        return np.zeros(observation.shape[:2])

    def play(
        self, episodes, lanes=LANES, on_episode=None, environment=ENVIRONMENT, choose=None, any_lanes=False, **given
    ):
        with environment.open(assignment(lanes=lanes, members=2, **given)) as live:
            return play_episodes(live, choose or self.choose, episodes, on_episode, any_lanes)

    def test_every_lane_plays_exactly_its_first_episodes(self):
        found = self.play(3)
        variation = np.array([0, 0, 1, 1, 2, 2, 3, 3])
        length = np.minimum(variation[:, None] + 2 + np.arange(3), HORIZON)
        np.testing.assert_array_equal(found.variation, np.tile(variation[:, None], (2, 1, 3)))
        np.testing.assert_array_equal(found.length, np.tile(length, (2, 1, 1)))
        np.testing.assert_array_equal(found.episode_return, found.length * (found.variation + 1))
        odd = np.asarray(assignment(members=2).seed) % 2 == 1
        np.testing.assert_array_equal(found.success, np.repeat(odd[..., None], 3, axis=-1))
        assert 0 < found.success.mean() < 1

    def test_short_episodes_do_not_weigh_more_than_long_ones(self):
        """Of variation 0 and 3 equally many: the mean of what ends within so many steps has more of the short ones."""
        found = self.play(1, choices=(0, 3))
        assert found.episode_return.mean() == (2 * 1 + 5 * 4) / 2
        with ENVIRONMENT.open(assignment(members=2, choices=(0, 3))) as live:
            rollout, _ = make_collect_from_pools(_play_zero)(live, jnp.zeros((2, 1)), KEYS[:2], 12)
        ended = np.asarray(rollout.terminated | rollout.truncated)
        assert np.asarray(rollout.variation)[ended].mean() < 1.5 - 0.2  # the bias that is avoided

    def test_episodes_are_handed_out_whole(self):
        episodes = []
        found = self.play(2, on_episode=episodes.append)
        assert len(episodes) == 2 * LANES * 2
        seen = {}
        for episode in episodes:
            at = episode.member, episode.lane, seen.get((episode.member, episode.lane), 0)
            seen[at[:2]] = at[2] + 1
            assert episode.episode_return == found.episode_return[at]
            assert episode.success == found.success[at]
            assert episode.variation == found.variation[at]
            length = found.length[at]
            assert episode.action.shape == (length,) and episode.observation.shape == (length, 5)
            np.testing.assert_array_equal(episode.observation[:, 3], np.arange(length))
            np.testing.assert_array_equal(episode.observation[:, 2], at[2])
            np.testing.assert_array_equal(episode.observation[:, 1], episode.variation)

    def test_demonstrated_actions_are_those_that_were_played_in_range(self):
        box = ActionSpec(dimension=1, low=-1.0, high=1.0)

        class Pool(CountingPool):
            def send(self, action):
                super().send(action[:, 0])

        environment = counting_pools(action=box)
        environment = type(environment)(environment.spec, lambda v, seeds, threads: Pool(v, seeds))
        episodes = []
        self.play(
            1, lanes=4, environment=environment, on_episode=episodes.append,
            choose=lambda half, observation, step: np.full((*observation.shape[:2], 1), 3.0 * (-1) ** step, np.float32),
        )  # fmt: skip
        for episode in episodes:
            np.testing.assert_array_equal(episode.action[:, 0], (-1.0) ** np.arange(len(episode.action)))
            np.testing.assert_array_equal(episode.observation[1:, 4], episode.action[:-1, 0])

    def test_only_lanes_that_still_play_are_chosen_for_and_stepped(self, monkeypatch):
        """Of each variation 2 lanes of 2 members in 2 halves; those of small variations have done first."""
        monkeypatch.setattr(episodes_module, "FEW_LANES", 1)
        environment, seen = counting_pools(num_variations=8), {0: [], 1: []}

        def choose(half, observation, step):
            seen[half].append(observation.shape[1])
            return observation[..., 1] % 3  # by what is observed, so that a mistaken lane would be found out

        given = {"environment": environment, "lanes": 16, "choices": tuple(range(8)), "episodes": 1}
        expected_episodes, episodes = [], []
        expected = self.play(choose=choose, on_episode=expected_episodes.append, **given)
        of_all = {half: list(sizes) for half, sizes in seen.items()}
        for sizes in seen.values():
            sizes.clear()
        found = self.play(choose=choose, on_episode=episodes.append, any_lanes=True, **given)
        for field, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(field, other)
        for episode, other in zip(episodes, expected_episodes, strict=True):
            np.testing.assert_array_equal(episode.action, np.full(len(episode.action), episode.variation % 3))
            np.testing.assert_array_equal(episode.action, other.action)
            np.testing.assert_array_equal(episode.observation, other.observation)
        assert of_all == {half: [8] * len(sizes) for half, sizes in seen.items()}
        for half, sizes in seen.items():
            playing = np.sum(expected.length[0, 8 * half : 8 * half + 8, 0] > np.arange(len(sizes))[:, None], axis=1)
            assert sizes == [next(size for size in (1, 2, 4, 8) if size >= lanes) for lanes in playing]
            assert sizes[0] == 8 and sizes[-1] < 8

    def test_a_policy_plays_as_in_a_rollout(self, states):
        policy = make_policy(ALGORITHM.act)
        with ENVIRONMENT.open(assignment()) as live:
            found = play_episodes(live, policy(states, KEYS), 1)
        rollout = jax.tree.map(np.asarray, collected(states))
        ended = rollout.terminated | rollout.truncated
        first = ended.argmax(axis=1)[:, None]
        expected = np.take_along_axis(rollout.episode_return, first, axis=1)[:, 0]
        np.testing.assert_array_equal(found.episode_return[..., 0], expected)

    def test_errors(self):
        with pytest.raises(UserError, match="number of episodes per lane is 0"):
            self.play(0)
        environment = counting_pools(horizon=3)
        with pytest.raises(UserError, match="longer than its horizon of 3 steps"):
            self.play(1, environment=environment)


def _play_zero(state, observation, key, deterministic=False):
    lanes = observation.shape[0]
    return ActorOutput(jnp.zeros(lanes, jnp.int32), jnp.zeros(lanes), jnp.zeros(lanes))


class ImagePool:
    """Images that tell a lane's seed, in episodes without an end."""

    def __init__(self, seeds):
        self.observation = np.stack([np.random.default_rng(s).integers(0, 256, (16, 16, 3), np.uint8) for s in seeds])

    def reset(self):
        pass

    def send(self, action):
        del action

    def receive(self):
        none = np.zeros(len(self.observation), bool)
        return PoolStep(self.observation, none.astype(np.float32), none, none, None, None)

    def close(self):
        pass


class TestImages:
    """A population of IMPALA networks, as the specialists of Procgen are one."""

    SPEC = EnvSpec("images", 4, (16, 16, 3), "uint8", ActionSpec(num_actions=3), 99, has_success=False)
    POOLS = Pools(SPEC, lambda variations, seeds, num_threads: ImagePool(seeds))

    def collected(self, dtype, calls):
        """A rollout of 5 steps of 3 members with 8 lanes; to `calls` go the shapes of what is acted for."""
        network = ImageNetworkConfig(channels=(4,), hidden=8, dtype=dtype)
        algorithm = make_algorithm(PPOConfig(minibatch_size=8), network, self.SPEC)

        def note(value):
            calls.append(value.shape)
            return value

        def act(state, observation, key, deterministic=False):
            output = algorithm.act(state, observation, key, deterministic)
            same = jax.ShapeDtypeStruct(output.value.shape, output.value.dtype)
            return output._replace(value=jax.pure_callback(note, same, output.value, vmap_method="expand_dims"))

        states = jax.vmap(algorithm.init)(jax.random.split(jax.random.key(0), MEMBERS))
        with self.POOLS.open(assignment(environment=self.POOLS)) as live:
            rollout, _ = make_collect_from_pools(act)(live, states, KEYS, 5)
        program = jax.make_jaxpr(lambda one: algorithm.act(one, rollout.observation[0, 0], KEYS[0]))
        return rollout, str(program(jax.tree.map(lambda x: x[0], states)))

    def test_all_members_and_lanes_of_a_half_act_in_one_call_in_the_networks_precision(self):
        rollouts, programs = {}, {}
        for dtype in ("float32", "bfloat16"):
            calls = []
            rollouts[dtype], programs[dtype] = self.collected(dtype, calls)
            assert calls == [(MEMBERS, LANES // 2)] * (2 * 6)  # 2 halves, and a step's values beyond the last action
        for dtype, shown in (("float32", "f32"), ("bfloat16", "bf16")):
            convolutions = [line for line in programs[dtype].splitlines() if "conv_general_dilated[" in line]
            assert convolutions and all(f":{shown}[" in line for line in convolutions)
        values = [np.asarray(rollouts[dtype].value) for dtype in rollouts]
        assert all(one.dtype == np.float32 for one in values)
        assert 1e-5 < np.max(np.abs(values[0] - values[1])) < 0.05
        assert len(np.unique(np.round(values[0][:, 0], 5))) > MEMBERS  # members and lanes differ
