"""Evaluation: exactly so many episodes of each variation, long and short ones alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from gsljax.algorithms import ActorOutput
from gsljax.envs import GymnaxLanes
from gsljax.evaluation import EpisodeStatistics, episode_statistics, evaluate
from gsljax.types import Rollout

pytestmark = pytest.mark.usefixtures("compilation_cache")

SHORT, LONG = 1, 9


@struct.dataclass
class Params(environment.EnvParams):
    scale: float | jax.Array = 1.0
    max_steps_in_episode: int = LONG


@struct.dataclass
class State(environment.EnvState):
    time: int | jax.Array
    length: jax.Array


class ShortOrLong(environment.Environment[State, Params]):
    """Episodes of 1 or 9 steps, equally likely; reward `scale` per step, plus 100 per unit of action.

    Their mean return is 5 · scale. Long ones are a success. Whoever counts the episodes that end in a fixed number of
    steps sees more short ones.
    """

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        return jnp.zeros(1), State(0, jnp.where(jax.random.bernoulli(key), LONG, SHORT))

    def step_env(self, key, state, action, params):
        state = state.replace(time=state.time + 1)
        terminated = (state.time == state.length) & (state.length == SHORT)
        reward = params.scale + 100.0 * action
        return jnp.zeros(1), state, reward, terminated, {"success": state.time == LONG}

    def action_space(self, params=None):
        return spaces.Discrete(2)


ENVIRONMENT = GymnaxLanes(ShortOrLong(), Params(), 3, lambda p, v: p.replace(scale=1.0 + v))
VARIATIONS, EPISODES = np.array([2, 0], np.int32), 400


def act(state, observation, key, deterministic=False):
    """The mode is 1, every sample is 0."""
    del state, key
    nothing = jnp.zeros(len(observation))
    return ActorOutput(jnp.full(len(observation), int(deterministic)), nothing, nothing)


@pytest.fixture(scope="module")
def evaluated():
    function = jax.jit(lambda key: evaluate(ENVIRONMENT, act, None, VARIATIONS, EPISODES, key))
    return function(jax.random.key(0))


def first_episodes(rollout: Rollout):
    """Of every lane, the first episode's length, return, success, in plain Python."""
    episodes = []
    for lane in range(rollout.reward.shape[1]):
        total = 0.0
        for t in range(len(rollout.reward)):
            assert rollout.valid[t, lane]
            total += float(rollout.reward[t, lane])
            if rollout.terminated[t, lane] or rollout.truncated[t, lane]:
                episodes.append((t + 1, total, bool(rollout.success[t, lane])))
                break
    return np.array(episodes).reshape(len(VARIATIONS), EPISODES, 3)


def test_the_first_episode_of_every_lane_counts_and_nothing_else(evaluated):
    lengths, returns, successes = np.moveaxis(first_episodes(jax.device_get(evaluated.rollout)), 2, 0)
    np.testing.assert_allclose(evaluated.episode_return, returns.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(evaluated.success, successes.mean(axis=1), rtol=1e-5)
    assert evaluated.samples == lengths.sum()
    np.testing.assert_array_equal(evaluated.rollout.variation[0], np.repeat(VARIATIONS, EPISODES))


def test_short_episodes_have_no_advantage(evaluated):
    error = 4 / EPISODES**0.5  # of the mean length, one standard deviation
    np.testing.assert_allclose(evaluated.episode_return, [15.0, 5.0], atol=3 * 3 * error)
    np.testing.assert_allclose(evaluated.success, 0.5, atol=3 * 0.5 / EPISODES**0.5)
    # All episodes that ended in those steps would give far less: that is the bias.
    statistics = episode_statistics(evaluated.rollout, 3)
    assert statistics.mean_return() < 0.8 * 10.0 and statistics.mean_success() < 0.4


def test_deterministic_evaluation_plays_the_mode():
    modal = evaluate(ENVIRONMENT, act, None, VARIATIONS, 3, jax.random.key(0), deterministic=True)
    np.testing.assert_array_equal(modal.rollout.action, 1)
    sampled = evaluate(ENVIRONMENT, act, None, VARIATIONS, 3, jax.random.key(0))
    np.testing.assert_array_equal(sampled.rollout.action, 0)
    assert np.all(modal.episode_return > 100)
    assert modal.samples == sampled.samples  # the same episodes: the key decides on resets alone


def random_rollout(steps=30, lanes=7):
    rng = np.random.default_rng(0)
    terminated, truncated = rng.random((2, steps, lanes)) < 0.1
    nothing = np.zeros((steps, lanes), np.float32)
    return Rollout(
        observation=nothing, action=nothing, reward=nothing, terminated=terminated, truncated=truncated & ~terminated,
        valid=nothing, log_prob=nothing, value=nothing,
        variation=rng.integers(0, 3, (steps, lanes)).astype(np.int32),
        episode_return=rng.normal(size=(steps, lanes)).astype(np.float32),
        success=rng.random((steps, lanes)) < 0.5,
    )  # fmt: skip


@pytest.mark.parametrize("compiled", [lambda f, **_: f, jax.jit], ids=["eager", "jit"])
def test_statistics_equal_a_plain_loop(compiled):
    rollout = random_rollout()
    statistics = compiled(episode_statistics, static_argnames="num_variations")(rollout, num_variations=4)
    expected = np.zeros((3, 4))
    for t, lane in np.ndindex(rollout.terminated.shape):
        if rollout.terminated[t, lane] or rollout.truncated[t, lane]:
            row = [1, rollout.episode_return[t, lane], rollout.success[t, lane]]
            expected[:, rollout.variation[t, lane]] += row
    assert expected[0].min() == 0 and np.sort(expected[0])[1] > 3  # the fourth variation was never played
    for found, wanted in zip(statistics, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(statistics.mean_return(), expected[1].sum() / expected[0].sum(), rtol=1e-5)
    np.testing.assert_allclose(statistics.mean_success(), expected[2].sum() / expected[0].sum(), rtol=1e-5)


def test_means_over_no_episode_are_nan_and_the_others_are_not():
    statistics = EpisodeStatistics(np.array([[2, 1], [0, 0]]), np.array([[5, 4], [0, 0]]), np.array([[1, 1], [0, 0]]))
    np.testing.assert_allclose(statistics.mean_return(), [3.0, np.nan])
    np.testing.assert_allclose(statistics.mean_success(), [2 / 3, np.nan])
