"""Lanes against the raw gymnax environment stepped by hand, and the next-step reset rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.environments.classic_control.cartpole import CartPole

from gsljax.envs import BrushMaze, BrushMazeConfig, GymnaxLanes
from gsljax.errors import UserError
from gsljax.types import ActionSpec
from tests import probe_environments as probes

pytestmark = pytest.mark.usefixtures("compilation_cache")

LANES = 5


def cart_pole():
    env = CartPole()
    params = env.default_params.replace(max_steps_in_episode=25)
    # The variation is the gravity: 9.8, 19.6, 29.4.
    return GymnaxLanes(env, params, 3, lambda p, v: p.replace(gravity=9.8 * (v + 1)))


def maze():
    short = {"corridor_length": 0.5, "junction_width": 0.5, "branch_length": 0.5}
    env = BrushMaze(BrushMazeConfig(num_branches=3, horizon=20, **short))
    return GymnaxLanes(env, env.default_params, 3, lambda p, v: p.replace(variation=v))


def play(lanes, num_steps, seed=0):
    """Random actions: the lanes' start, the actions `[T, N]`, and of every step the lanes after it and its result."""
    reset_key, action_key = jax.random.split(jax.random.key(seed))
    start = jax.jit(lanes.reset)(reset_key, jnp.tile(jnp.arange(3), (LANES, 1)))
    if lanes.spec.action.is_discrete:
        actions = jax.random.randint(action_key, (num_steps, LANES), 0, lanes.spec.action.num_actions)
    else:
        # Mostly to the right, at up to twice the top speed: some episodes end at their goal.
        actions = jax.random.uniform(action_key, (num_steps, LANES, lanes.spec.action.dimension), minval=-1, maxval=2)

    def step(state, action):
        state, result = lanes.step(state, action)
        return state, (state, result)

    _, (states, steps) = jax.jit(lambda start: jax.lax.scan(step, start, actions))(start)
    return start, actions, states, steps


@pytest.fixture(scope="module", params=[cart_pole, maze], ids=["CartPole", "maze"])
def played(request):
    lanes = request.param()
    return lanes, *play(lanes, 60)


def test_every_step_equals_the_raw_environments(played):
    """Both environments ignore the key in `step_env`, so any will do."""
    lanes, start, actions, states, steps = played
    before = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), start, states)

    def raw_step(state, action, variation):
        params = lanes._set_variation(lanes.params, variation)
        observation, state, reward, terminated, info = lanes.environment.step_env(
            jax.random.key(9), state, action, params
        )
        truncated = lanes.environment.is_truncated(state, params)
        return observation, state, reward, terminated, truncated, info.get("success", False)

    over_all = jax.jit(jax.vmap(jax.vmap(raw_step)))
    observation, state, reward, terminated, truncated, _ = over_all(before.environment_state, actions, before.variation)
    valid = np.asarray(steps.valid)
    assert valid.mean() > 0.8
    for found, expected in [
        (steps.observation, observation),
        (steps.reward, reward),
        (steps.terminated, terminated),
        (steps.truncated, truncated & ~terminated),
        (steps.variation, before.variation),
        *zip(jax.tree.leaves(states.environment_state), jax.tree.leaves(state), strict=True),
    ]:
        np.testing.assert_array_equal(np.asarray(found)[valid], np.asarray(expected)[valid])
    if lanes.spec.has_success:
        assert not np.any(steps.terminated)
    else:
        assert np.any(steps.terminated)
    assert np.any(steps.truncated)
    assert not np.any(steps.terminated & steps.truncated)


def test_the_step_after_an_end_is_a_reset(played):
    _, _, _, states, steps = played
    ended = np.asarray(steps.terminated | steps.truncated)
    valid = np.asarray(steps.valid)
    np.testing.assert_array_equal(valid[0], True)
    np.testing.assert_array_equal(valid[1:], ~ended[:-1])
    assert np.sum(~valid) >= 2 * LANES
    for nothing in (steps.reward, steps.terminated, steps.truncated, steps.episode_return, steps.success):
        np.testing.assert_array_equal(np.asarray(nothing)[~valid], 0)
    # It shows the first observation of an episode of its own: time 0, all different.
    np.testing.assert_array_equal(np.asarray(states.environment_state.time)[~valid], 0)
    first = np.asarray(steps.observation)[~valid]
    assert len(np.unique(first, axis=0)) == len(first)


def test_a_reset_is_an_ordinary_one(played):
    """Its state is what `reset_env` makes of the variation it reports."""
    lanes, _, _, _, steps = played
    first = np.asarray(steps.observation)[~np.asarray(steps.valid)]
    if isinstance(lanes.environment, BrushMaze):
        context, variations = first[:, 4], np.asarray(steps.variation)[~np.asarray(steps.valid)]
        low, high = np.moveaxis(lanes.environment.intervals[variations], 2, 0)
        assert np.all(np.any((low <= context[:, None]) & (context[:, None] <= high), axis=1))
    else:
        assert np.abs(first).max() <= 0.05


def test_a_termination_at_the_time_limit_is_no_truncation():
    lanes = probes.lanes_of(probes.DISCRETE)
    start = lanes.reset(jax.random.key(0), jnp.full((LANES, 1), list(probes.DISCRETE).index("one at once")))
    _, step = jax.jit(lanes.step)(start, jnp.zeros(LANES, jnp.int32))
    np.testing.assert_array_equal(step.terminated, True)
    np.testing.assert_array_equal(step.truncated, False)


@pytest.mark.parametrize("make", [cart_pole, maze], ids=["CartPole", "maze"])
def test_a_reset_ignores_its_action(make):
    lanes = make()
    start = lanes.reset(jax.random.key(0), jnp.tile(jnp.arange(3), (LANES, 1)))
    ended = start._replace(ended=jnp.array([True, False, True, False, True]))
    shape = (LANES,) if lanes.spec.action.is_discrete else (LANES, 2)
    dtype = jnp.int32 if lanes.spec.action.is_discrete else jnp.float32
    step = jax.jit(lanes.step)

    def outcome(action):
        after, result = step(ended, jnp.full(shape, action, dtype))
        return jax.tree.leaves((after._replace(key=jax.random.key_data(after.key)), result))

    pairs = list(zip(outcome(0), outcome(1), strict=True))
    same = [all(np.array_equal(a[lane], b[lane]) for a, b in pairs) for lane in range(LANES)]
    assert same == [True, False, True, False, True]


def test_episode_return_and_success_belong_to_the_episode_so_far(played):
    lanes, _, _, _, steps = played
    valid, reward = np.asarray(steps.valid), np.asarray(steps.reward)
    expected = np.zeros(LANES)
    for t in range(len(valid)):
        expected = np.where(valid[t], expected + reward[t], 0.0)
        np.testing.assert_allclose(steps.episode_return[t], expected, rtol=1e-5, atol=1e-6)
    if lanes.spec.has_success:  # the maze tells it in the last step alone
        success, ended = np.asarray(steps.success), np.asarray(steps.truncated)
        assert 0 < success[ended].mean() < 1
        assert not np.any(success & ~ended)
    else:
        assert not np.any(steps.success)


def test_variations_are_drawn_uniformly_from_the_lanes_own_row():
    env = BrushMaze(BrushMazeConfig(num_branches=5, horizon=1))
    lanes = GymnaxLanes(env, env.default_params, 5, lambda p, v: p.replace(variation=v))
    rows = jnp.array([[0, 1, 2, 3, 4, 4], [3, 3, 3, 3, 3, 3], [1, 4, 1, 4, 1, 4]])
    choices = jnp.tile(rows, (40, 1))
    start = lanes.reset(jax.random.key(0), choices)

    def step(state, _):
        state, result = lanes.step(state, jnp.zeros((120, 2)))
        return state, result

    _, steps = jax.jit(lambda start: jax.lax.scan(step, start, length=201))(start)
    drawn = np.asarray(steps.variation)[::2].reshape(101, 40, 3)  # every other step is a reset
    np.testing.assert_array_equal(drawn[0].ravel(), start.variation)
    for row, probabilities in enumerate([[1, 1, 1, 1, 2], [0, 0, 0, 6, 0], [0, 3, 0, 0, 3]]):
        frequencies = np.bincount(drawn[..., row].ravel(), minlength=5) / drawn[..., row].size
        np.testing.assert_allclose(frequencies, np.array(probabilities) / 6, atol=4 * 0.5 / drawn[..., row].size ** 0.5)
    # Lanes and episodes do not copy each other.
    assert len(np.unique(drawn[..., 0].T, axis=0)) == 40
    np.testing.assert_array_equal(start.choices, choices)


@pytest.mark.parametrize("make", [cart_pole, maze], ids=["CartPole", "maze"])
def test_lanes_keep_their_types_from_reset_to_step(make):
    """Weak types included: otherwise the second step of a user's loop compiles anew."""
    lanes = make()
    start = jax.eval_shape(lanes.reset, jax.random.key(0), jnp.zeros((2, 1), jnp.int32))
    action = jnp.zeros(2, jnp.int32) if lanes.spec.action.is_discrete else jnp.zeros((2, 2))
    after, _ = jax.eval_shape(lanes.step, start, action)
    signature = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), (start, after))
    assert signature[0] == signature[1]


def test_specs():
    spec = cart_pole().spec
    assert spec.action == ActionSpec(num_actions=2) and spec.action.is_discrete and not spec.has_success
    assert (spec.name, spec.num_variations, spec.observation_shape, spec.observation_dtype, spec.horizon) == (
        "CartPole-v1", 3, (4,), "float32", 25,
    )  # fmt: skip
    spec = maze().spec
    assert spec.action == ActionSpec(dimension=2, low=-1.0, high=1.0) and not spec.action.is_discrete
    assert (spec.name, spec.num_variations, spec.observation_shape, spec.observation_dtype, spec.horizon) == (
        "BrushMaze", 3, (5,), "float32", 20,
    )  # fmt: skip
    assert spec.has_success


def test_the_horizon_is_the_longest_variations():
    env = CartPole()
    lanes = GymnaxLanes(env, env.default_params, 4, lambda p, v: p.replace(max_steps_in_episode=10 + 5 * v))
    assert lanes.spec.horizon == 25


@struct.dataclass
class State(environment.EnvState):
    time: int | jax.Array


class Sloppy(environment.Environment[State, environment.EnvParams]):
    """What users may write: Python numbers for state, reward, termination; an action space of any kind."""

    def __init__(self, space: Any):
        super().__init__()
        self.space = space

    @property
    def default_params(self):
        return environment.EnvParams(max_steps_in_episode=3)

    def reset_env(self, key, params):
        return jnp.zeros(2, jnp.uint8), State(0)

    def step_env(self, key, state, action, params):
        return jnp.zeros(2, jnp.uint8), State(state.time + 1), 1, False, {"success": True}

    def action_space(self, params=None):
        return self.space


def sloppy(space, num_variations=1):
    env = Sloppy(space)
    return GymnaxLanes(env, env.default_params, num_variations, lambda p, v: p)


def test_python_numbers_are_taken():
    lanes = sloppy(spaces.Discrete(2))
    assert lanes.spec.observation_dtype == "uint8"
    state = lanes.reset(jax.random.key(0), jnp.zeros((2, 1), jnp.int32))
    for t in range(1, 9):
        state, step = jax.jit(lanes.step)(state, jnp.zeros(2, jnp.int32))
        assert step.terminated.dtype == step.truncated.dtype == step.valid.dtype == step.success.dtype == bool
        assert step.reward.dtype == step.episode_return.dtype == np.float32
        np.testing.assert_array_equal(step.truncated, t % 4 == 3)
        np.testing.assert_array_equal(step.episode_return, t % 4)


def test_a_box_has_the_same_bounds_for_every_dimension():
    low, high = jnp.full(2, -3.0), jnp.full(2, 2.0)
    assert sloppy(spaces.Box(low, high, (2,))).spec.action == ActionSpec(dimension=2, low=-3.0, high=2.0)
    with pytest.raises(UserError, match=r"but must have .* the same finite bounds for every dimension\.$"):
        sloppy(spaces.Box(low.at[0].set(-1.0), high, (2,)))


def test_what_cannot_be_wrapped_is_refused():
    with pytest.raises(UserError, match="Sloppy was given 0 variations, but needs at least 1"):
        sloppy(spaces.Discrete(2), num_variations=0)
    for space in (spaces.Box(-1.0, 1.0, (2, 2)), spaces.Box(-1.0, 1.0, ()), spaces.Tuple([spaces.Discrete(2)])):
        with pytest.raises(UserError, match=r"Sloppy has the action space .*, but must have a discrete one"):
            sloppy(space)
    with pytest.raises(AssertionError):
        sloppy(spaces.Discrete(2)).reset(jax.random.key(0), jnp.zeros(3, jnp.int32))
