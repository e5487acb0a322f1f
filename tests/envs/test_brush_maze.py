"""The maze against a second one, written in plain NumPy from the picture: walls in tiny steps, distances by search."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.envs.brush_maze import BrushMaze, BrushMazeConfig, BrushMazeState, context_intervals
from gsljax.errors import UserError

ROUNDING = 1e-5  # what float32 positions up to 12 may be off

CONFIGS = {
    "default": BrushMazeConfig(),
    "one-branch": BrushMazeConfig(num_branches=1, corridor_length=2.0, junction_width=0.5),
    "two-branches": BrushMazeConfig(num_branches=2, half_width=0.3),
    "seven-branches": BrushMazeConfig(
        num_branches=7, branch_spacing=0.7, half_width=0.15, branch_length=1.3, junction_width=0.4, goal_radius=0.3
    ),
}
DRAWS = 4000
every_maze = pytest.mark.parametrize("name", CONFIGS)


def centre_lines(config):
    return [(k - (config.num_branches - 1) / 2) * config.branch_spacing for k in range(config.num_branches)]


def is_free(config, x, y):
    """Whether (x, y) is inside the maze, walls included."""
    beyond_corridor = x - config.corridor_length
    beyond_junction = beyond_corridor - config.junction_width
    in_corridor = (x >= -ROUNDING) & (beyond_corridor <= ROUNDING) & (np.abs(y) <= config.half_width + ROUNDING)
    top = centre_lines(config)[-1] + config.half_width
    in_junction = (beyond_corridor >= -ROUNDING) & (beyond_junction <= ROUNDING) & (np.abs(y) <= top + ROUNDING)
    off_centre = np.min([np.abs(y - centre) for centre in centre_lines(config)], axis=0)
    in_branch = (beyond_junction >= -ROUNDING) & (beyond_junction <= config.branch_length + ROUNDING)
    in_branch &= off_centre <= config.half_width + ROUNDING
    return in_corridor | in_junction | in_branch


def walk(config, position, displacement, increment):
    """Along x, then along y, in increments of at most `increment`, each point stopping before its first wall."""
    position = np.array(position, np.float64)
    for axis in (0, 1):
        start, way = position[:, axis].copy(), displacement[:, axis].astype(np.float64)
        num_increments = int(np.ceil(np.abs(way).max() / increment))
        walking = np.ones(len(position), bool)
        for k in range(1, num_increments + 1):
            ahead = start + way * k / num_increments
            coordinates = (ahead, position[:, 1]) if axis == 0 else (position[:, 0], ahead)
            walking &= is_free(config, *coordinates)
            position[:, axis] = np.where(walking, ahead, position[:, axis])
    return position


@cache
def compiled(name):
    maze = BrushMaze(CONFIGS[name])
    return maze, jax.jit(jax.vmap(maze.move))


def reset(maze, variation=-1):
    """States of `DRAWS` fresh episodes. Op by op, as random numbers take seconds to compile anew for every maze."""
    keys = jax.random.split(jax.random.key(1), DRAWS)
    params = maze.default_params.replace(variation=jnp.int32(variation))
    return jax.vmap(maze.reset_env, (0, None))(keys, params)[1]


def free_grid(config, spacing):
    """Points of a grid in general position that are free, `[G, 2]`."""
    height = centre_lines(config)[-1] + config.half_width
    width = config.corridor_length + config.junction_width + config.branch_length
    x, y = np.meshgrid(np.arange(0.0123, width, spacing), np.arange(-height + 0.0071, height, spacing))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return points[is_free(config, points[:, 0], points[:, 1])].astype(np.float32)


# (a) Walls.


@every_maze
@pytest.mark.parametrize(("speed", "increment", "spacing"), [(0.25, 2e-3, 0.23), (15.0, 0.08, 0.57)])
def test_moves_equal_a_walk_in_tiny_increments(name, speed, increment, spacing):
    config = CONFIGS[name]
    _, move = compiled(name)
    rng = np.random.default_rng(0)
    inside = free_grid(config, spacing)
    # Also start where moves end: on walls and in corners.
    axis_pushes = np.array([[40, 0], [-40, 0], [0, 40], [0, -40]], np.float32)
    at_walls = [np.asarray(move(inside, np.broadcast_to(push, inside.shape))) for push in axis_pushes]
    start = np.concatenate([inside, *(points[::3] for points in at_walls)])
    directions = rng.uniform(-1, 1, (12, 2))
    directions[:4] = np.sign(axis_pushes)  # straight
    directions[4:8] = [[1, 1], [1, -1], [-1, 1], [-1, -1]]  # diagonal at full speed
    # Slightly different lengths keep targets off the walls, where rounding would decide.
    lengths = speed * rng.uniform(0.5, 1, (len(start), len(directions), 1))
    displacement = (lengths * directions).astype(np.float32).reshape(-1, 2)
    start = np.repeat(start, len(directions), axis=0)

    end = np.asarray(move(start, displacement))
    expected = walk(config, start, displacement, increment)
    assert np.all(is_free(config, end[:, 0], end[:, 1]))
    assert np.abs(end - expected).max() <= increment + ROUNDING
    stopped = np.any(np.abs(end - start - displacement) > 1e-3, axis=1)
    assert 0.1 < stopped.mean() < 1.0 if speed < 1 else stopped.mean() > 0.9


@pytest.mark.parametrize(
    ("start", "displacement", "end"),
    [
        ((3.0, 0.3), (0.25, 0.25), (3.25, 0.35)),  # slides along the corridor's wall
        ((3.0, -0.35), (0.25, -0.25), (3.25, -0.35)),  # ... also from the wall itself
        ((10.5, 0.0), (0.0, 1.0), (10.5, 0.35)),  # the next branch's centre is no reason to pass the wall
        ((10.5, 2.0), (0.0, -4.0), (10.5, 1.65)),
        ((8.9, 0.5), (2.0, 0.0), (9.0, 0.5)),  # the wall between two branches
        ((8.9, 0.5), (2.0, 0.5), (9.0, 1.0)),  # ... stops x, then y goes on
        ((9.0, 0.5), (0.25, 0.0), (9.0, 0.5)),
        ((11.9, 0.0), (5.0, 0.0), (12.0, 0.0)),  # a branch's end
        ((0.1, 0.2), (-0.25, 0.0), (0.0, 0.2)),  # the corridor's
        ((7.0, 0.0), (0.0, 10.0), (7.0, 2.35)),  # the junction's
        ((0.1, 0.0), (30.0, 0.0), (12.0, 0.0)),  # corridor, junction and branch are one straight way
        ((12.0, 0.1), (-30.0, 0.0), (0.0, 0.1)),
        ((5.9, 0.0), (0.25, 1.0), (6.15, 1.0)),  # x first, then y: free round this corner
        ((6.1, 1.0), (-0.25, -1.0), (6.0, 0.0)),  # ... and stopped by that wall
    ],
)
def test_moves_by_hand(start, displacement, end):
    _, move = compiled("default")
    np.testing.assert_allclose(move(jnp.array([start]), jnp.array([displacement]))[0], end, atol=1e-6)


@every_maze
def test_random_actions_stay_inside(name):
    config, lanes, steps = CONFIGS[name], 500, 400
    maze, _ = compiled(name)
    rng = np.random.default_rng(1)
    # A drift to the right, which turns now and then, takes lanes into branches; noise far above top speed.
    drift = [0.7, 0.0] + 2 * rng.normal(size=(steps // 25, lanes, 2))
    actions = (np.repeat(drift, 25, axis=0) + 5 * rng.normal(size=(steps, lanes, 2))).astype(np.float32)

    @jax.jit
    def rollout(state, actions):
        def step(state, action):
            key, params = jax.random.key(0), maze.default_params
            _, state, *_ = jax.vmap(maze.step_env, (None, 0, 0, None))(key, state, action, params)
            return state, state.position

        return jax.lax.scan(step, state, actions)[1]

    positions = np.asarray(rollout(jax.tree.map(lambda x: x[:lanes], reset(maze)), actions), np.float64).reshape(-1, 2)
    assert np.all(is_free(config, positions[:, 0], positions[:, 1]))
    bar_end = config.corridor_length + config.junction_width
    in_branches = positions[positions[:, 0] > bar_end + 2 * ROUNDING]
    visited = np.argmin(np.abs(in_branches[:, 1:] - np.array(centre_lines(config))), axis=1)
    assert set(visited.tolist()) == set(range(config.num_branches))


# (b) The reward's distance.


def search(config, goal_index, spacing):
    """Free points `[G, 2]` and their shortest way along the axes to a goal `[G]`, by breadth-first search on a grid."""
    goal = np.array([
        config.corridor_length + config.junction_width + config.branch_length - config.half_width / 2,
        centre_lines(config)[goal_index],
    ])  # fmt: skip
    height = centre_lines(config)[-1] - centre_lines(config)[0] + 2 * config.half_width
    left, right, vertical = int(goal[0] / spacing) + 1, int(config.half_width / spacing) + 1, int(height / spacing) + 1
    x = goal[0] + np.arange(-left, right + 1)[:, None] * spacing
    y = goal[1] + np.arange(-vertical, vertical + 1)[None, :] * spacing
    x, y = np.broadcast_arrays(x, y)
    free = is_free(config, x, y)
    length = np.full(x.shape, np.inf)
    frontier, steps = np.zeros(x.shape, bool), 0
    frontier[left, vertical] = True
    while frontier.any():
        length[frontier] = steps * spacing
        reached = np.zeros_like(frontier)
        reached[1:] |= frontier[:-1]
        reached[:-1] |= frontier[1:]
        reached[:, 1:] |= frontier[:, :-1]
        reached[:, :-1] |= frontier[:, 1:]
        frontier, steps = reached & free & np.isinf(length), steps + 1
    assert np.all(np.isfinite(length[free]))  # the maze is connected
    return np.stack([x[free], y[free]], axis=1), length[free]


def reward_distance(maze, points, goal_index):
    return np.asarray(jax.vmap(maze.distance, (0, None))(jnp.asarray(points, jnp.float32), goal_index))


@every_maze
def test_geodesic_reward_equals_search(name):
    spacing = 0.025 if name == "default" else 0.05
    config = dataclasses.replace(CONFIGS[name], reward="geodesic")
    maze = BrushMaze(config)
    for goal_index in range(0, config.num_branches, 2):
        points, length = search(config, goal_index, spacing)
        error = np.abs(reward_distance(maze, points, goal_index) - length).max()
        # The grid of the default maze meets its walls exactly; others lose up to a cell on the way in and out.
        assert error <= (1e-4 if name == "default" else 2 * spacing), error


def test_geodesic_reward_at_the_goal_branch_walls_and_beyond_the_goal():
    maze = BrushMaze(BrushMazeConfig(reward="geodesic"))
    # On the wall of goal 3's own branch (y 1.35, rounded up in float32) there is no way out to add.
    np.testing.assert_allclose(maze.distance(jnp.array([10.0, 1.35]), jnp.int32(3)), 1.825 + 0.35, rtol=1e-6)
    # Right of where goal 4 (11.825, 2) would be, in branch 2: out 2.95, up 2, in 2.825.
    np.testing.assert_allclose(maze.distance(jnp.array([11.95, 0.0]), jnp.int32(4)), 2.95 + 2 + 2.825, rtol=1e-6)


def test_manhattan_reward_is_short_by_the_way_out_of_wrong_branches_only():
    config, spacing = BrushMazeConfig(), 0.025
    maze = BrushMaze(config)
    errors, points_all = [], []
    for goal_index in range(config.num_branches):
        points, length = search(config, goal_index, spacing)
        error = length - reward_distance(maze, points, goal_index)
        depth = points[:, 0] - 9.0
        wrong = (depth > 0) & (np.abs(points[:, 1] - centre_lines(config)[goal_index]) > 0.5)
        # The goals lie at depth 2.825: beyond it, |dx| grows again with the way out.
        expected = np.where(wrong, 2 * np.minimum(depth, 2.825), 0.0)
        np.testing.assert_allclose(error, expected, atol=1e-4)
        errors.append(error)
        points_all.append(points)
    error = np.concatenate(errors)
    # Largest: 2 · 2.825. Mean over goals and the free space (area 0.7 · 6 + 3 · 4.7 + 5 · 0.7 · 3 = 28.8): the share of
    # wrong branches, 8.4 / 28.8, times the mean of 2 min(depth, 2.825) over 0 .. 3, (2.825² + 2 · 2.825 · 0.175) / 3.
    np.testing.assert_allclose(error.max(), 5.65, atol=1e-4)
    np.testing.assert_allclose(error.mean(), 0.872, atol=0.03)
    outside = np.concatenate(points_all)[:, 0] <= 9.0
    assert np.abs(error[outside]).max() <= 1e-4


# (c) Contexts, goals, starts.


@pytest.mark.parametrize(
    ("num_goals", "per_goal", "gap", "scale"),
    [(5, 2, 0.5, 1.0), (5, 1, 0.0, 0.1), (1, 1, 0.5, 1.0), (1, 3, 0.2, 1.0), (2, 3, 0.25, 2.0), (7, 4, 0.9, 1.0)],
)
def test_context_intervals_are_disjoint_and_in_range(num_goals, per_goal, gap, scale):
    intervals = context_intervals(num_goals, per_goal, gap, scale)
    assert intervals.shape == (num_goals, per_goal, 2)
    slot_width = 2 * scale / (num_goals * per_goal)
    np.testing.assert_allclose(intervals[..., 1] - intervals[..., 0], slot_width * (1 - gap), rtol=1e-4)
    in_order = intervals.reshape(-1, 2)[np.argsort(intervals[..., 0].ravel())].astype(np.float64)
    np.testing.assert_allclose(in_order[1:, 0] - in_order[:-1, 1], slot_width * gap, atol=1e-6)
    assert in_order.min() >= -scale - 1e-6
    assert in_order.max() <= scale + 1e-6
    # Every slot has exactly one owner, every block one slot of every goal.
    slots = np.floor((intervals.mean(axis=-1) + scale) / slot_width).astype(int)
    assert sorted(slots.ravel()) == list(range(num_goals * per_goal))
    assert np.all(slots // num_goals == np.arange(per_goal))
    if per_goal == 1:
        assert np.all(np.diff(slots[:, 0]) > 0)


@every_maze
def test_reset_draws_the_goals_contexts_uniformly(name):
    maze, _ = compiled(name)
    states = [reset(maze, variation) for variation in range(maze.config.num_branches)]
    assert [set(state.goal.tolist()) for state in states] == [{goal} for goal in range(len(states))]
    contexts = np.stack([state.context for state in states])
    for goal in range(maze.config.num_branches):
        low, high = maze.intervals[goal].T
        inside = (contexts[goal][:, None] >= low) & (contexts[goal][:, None] <= high)
        assert np.all(inside.sum(axis=1) == 1)  # in one of its own, so in nobody else's
        per_interval = DRAWS / len(low)
        assert np.all(np.abs(inside.sum(axis=0) - per_interval) <= 5 * np.sqrt(per_interval))
        position = (contexts[goal][inside[:, 0]] - low[0]) / (high[0] - low[0])
        levels = [0.02, 0.25, 0.5, 0.75, 0.98]
        np.testing.assert_allclose(np.quantile(position, levels), levels, atol=0.04)


def test_no_chosen_variation_draws_goals_uniformly():
    maze, _ = compiled("default")
    counts = np.bincount(reset(maze).goal, minlength=5)
    assert len(counts) == 5
    assert np.sum((counts - 800) ** 2 / 800) < 23.5  # χ² with 4 degrees of freedom: p = 1e-4


@pytest.mark.parametrize(
    ("settings", "reach", "half"),
    [
        ({}, 0.4, 0.2),
        ({"start_noise": 0.5}, 1.0, 0.35),
        ({"start_noise": 2.0, "corridor_length": 3.0}, 3.0, 0.35),
        ({"start_noise": 0.0}, 0.0, 0.0),
    ],
)
def test_start_is_uniform_in_its_part_of_the_corridor(settings, reach, half):
    maze = BrushMaze(BrushMazeConfig(**settings))
    states = reset(maze)
    position = np.asarray(states.position)
    assert np.all(np.abs(position - [reach / 2, 0.0]) <= np.array([reach / 2, half]) + 1e-6)
    levels = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(np.quantile(position[:, 0], levels), reach * levels, atol=0.04 * reach)
    np.testing.assert_allclose(np.quantile(position[:, 1], levels), half * (2 * levels - 1), atol=0.08 * half)
    assert not np.any(states.velocity)
    assert not np.any(states.time)


# (d) Observations.


def state_at(position, goal=0, time=0, context=0.25):
    return BrushMazeState(
        time=jnp.int32(time),
        position=jnp.asarray(position, jnp.float32),
        velocity=jnp.zeros(2),
        goal=jnp.int32(goal),
        context=jnp.float32(context),
    )


def step(maze, state, action):
    """One step: (observation, state, reward, terminated, success)."""
    key, params = jax.random.key(0), maze.default_params
    observation, state, reward, terminated, info = maze.step_env(key, state, jnp.asarray(action, jnp.float32), params)
    return np.asarray(observation), state, float(reward), bool(terminated), bool(info["success"])


def test_observation_holds_scaled_position_achieved_velocity_and_context():
    maze = BrushMaze(BrushMazeConfig(position_scale=0.1, max_speed=0.5))
    # x: 0.4 of the top speed 0.5. y: asked for 0.5 (clipped from 7), but 0.1 from the wall.
    observation, state, *_ = step(maze, state_at((3.0, 0.25)), (0.4, 7.0))
    np.testing.assert_allclose(state.position, [3.2, 0.35], rtol=1e-6)
    np.testing.assert_allclose(state.velocity, [0.2, 0.1], rtol=1e-5)
    np.testing.assert_allclose(observation, [0.32, 0.035, 0.4, 0.2, 0.25], rtol=1e-5)
    assert observation.dtype == np.float32
    np.testing.assert_allclose(maze.positions(jnp.asarray([[observation]])), [[[3.2, 0.35]]], rtol=1e-6)
    # Against the wall there is no velocity left.
    observation, *_ = step(maze, state, (0.0, 1.0))
    np.testing.assert_array_equal(observation[2:4], 0.0)


def test_first_observation_matches_the_state_and_the_spaces():
    maze, _ = compiled("default")
    observation, state = maze.reset_env(jax.random.key(5), maze.default_params)
    np.testing.assert_allclose(observation[:2], 0.2 * state.position, rtol=1e-6)
    np.testing.assert_array_equal(observation[2:4], 0.0)
    assert observation[4] == state.context
    assert observation.shape == maze.observation_space().shape
    assert maze.action_space().shape == (maze.num_actions,) == (2,)
    assert maze.name == "BrushMaze"


# (e) Horizon and success.


@pytest.mark.parametrize("horizon", [150, 7])
def test_episodes_truncate_at_the_horizon_and_succeed_only_there(horizon):
    maze = BrushMaze(BrushMazeConfig(horizon=horizon))
    params = maze.default_params

    @jax.jit
    def stay_at_goal(state):
        def one(state, _):
            _, state, _, terminated, info = maze.step_env(jax.random.key(0), state, jnp.zeros(2), params)
            ended = terminated, maze.is_terminated(state, params)
            return state, (maze.is_truncated(state, params), ended, info["success"])

        return jax.lax.scan(one, state, None, horizon)[1]

    truncated, terminated, success = stay_at_goal(state_at(maze.goals[2], goal=2))
    np.testing.assert_array_equal(truncated, np.arange(1, horizon + 1) == horizon)
    np.testing.assert_array_equal(success, truncated)
    assert not np.any(terminated)


@pytest.mark.parametrize(
    ("position", "success"),
    [
        ((11.825 - 0.599, 1.0), True),
        ((11.825 - 0.601, 1.0), False),
        ((12.0, 1.35), True),
        ((11.825 - 0.5, 0.7), True),  # 0.5² + 0.3² < 0.6²
        ((11.825 - 0.55, 0.7), False),  # 0.55² + 0.3² > 0.6²
        ((11.825, 2.0), False),  # another goal
        ((11.825, 0.35), False),  # the nearest point of the next branch
    ],
)
def test_success_is_the_last_position_near_the_goal(position, success):
    maze, _ = compiled("default")
    assert step(maze, state_at(position, goal=3, time=149), (0.0, 0.0))[-1] is success
    assert step(maze, state_at(position, goal=3, time=148), (0.0, 0.0))[-1] is False


def test_gymnax_step_resets_at_the_horizon():
    maze = BrushMaze(BrushMazeConfig(horizon=1))
    key = jax.random.key(0)
    _, state, _, terminated, truncated, info = maze.step(key, state_at((5.0, 0.0)), jnp.ones(2))
    assert (bool(terminated), bool(truncated)) == (False, True)
    np.testing.assert_allclose(info["final_observation"][:2], [1.05, 0.05], rtol=1e-6)
    assert state.position[0] <= 0.4


# (f) Rewards.


@pytest.mark.parametrize(
    ("reward", "position", "action", "expected"),
    [
        # After the step: (10.25, 1), goal 4 at (11.825, 2): 1.575 + 1.
        ("manhattan", (10.0, 1.0), (1.0, 0.0), -0.2575),
        # ... and out of branch 3 and back: 2 · 1.25 more.
        ("geodesic", (10.0, 1.0), (1.0, 0.0), -0.5075),
        # From the start both are 11.825 + 2, less the step: 0.125 to the right and 0.125 up.
        ("manhattan", (0.0, 0.0), (0.5, 0.5), -1.3575),
        ("geodesic", (0.0, 0.0), (0.5, 0.5), -1.3575),
        # At the goal: nothing to pay.
        ("manhattan", (11.825, 2.0), (0.0, 0.0), 0.0),
        ("geodesic", (11.825, 2.0), (0.0, 0.0), 0.0),
    ],
)
def test_rewards_by_hand(reward, position, action, expected):
    maze = BrushMaze(BrushMazeConfig(reward=reward))
    _, _, value, terminated, _ = step(maze, state_at(position, goal=4), action)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    assert not terminated


def test_reward_scale():
    maze = BrushMaze(BrushMazeConfig(reward_scale=2.0))
    np.testing.assert_allclose(step(maze, state_at((10.0, 2.0), goal=4), (0.0, 0.0))[2], -2 * 1.825, rtol=1e-6)


# (g) Bad configurations.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[({name: 0}, f"{name} is 0, .*at least 1") for name in ("num_branches", "intervals_per_goal", "horizon")],
        *[
            ({name: value}, f"{name} is {value}, .*positive")
            for name in (
                "corridor_length",
                "junction_width",
                "branch_length",
                "branch_spacing",
                "half_width",
                "max_speed",
                "goal_radius",
                "context_scale",
                "position_scale",
                "reward_scale",
            )
            for value in (0.0, -1.0, float("nan"))
        ],
        ({"start_noise": -0.1}, "start_noise is -0.1, .*not be negative"),
        ({"start_noise": float("nan")}, "start_noise is nan"),
        ({"interval_gap": 1.0}, "interval_gap is 1.0, .*below 1"),
        ({"interval_gap": -0.1}, "interval_gap is -0.1"),
        ({"reward": "euclidean"}, "reward is 'euclidean', .*'manhattan' or 'geodesic'"),
        ({"branch_spacing": 0.7}, "branch_spacing is 0.7, .*half_width \\(0.35\\)"),
        ({"goal_radius": 0.65}, "goal_radius is 0.65, .*neighbouring branch"),
    ],
)
def test_bad_configuration_is_refused_in_one_sentence(settings, message):
    with pytest.raises(UserError, match=message) as error:
        BrushMazeConfig(**settings)
    assert "\n" not in str(error.value)


def test_a_single_branch_may_have_a_large_goal():
    assert BrushMazeConfig(num_branches=1, goal_radius=5.0).goal_radius == 5.0


# (h) Layouts.


@every_maze
def test_layout(name):
    maze, _ = compiled(name)
    config = maze.config
    assert maze.rectangles.shape == (2 + config.num_branches, 4)
    assert maze.rectangles.dtype == maze.goals.dtype == maze.intervals.dtype == np.float32
    assert np.all(maze.rectangles[:, [0, 2]] < maze.rectangles[:, [1, 3]])
    np.testing.assert_allclose(maze.goals[:, 1], centre_lines(config), atol=1e-6)
    goals_depth = maze.goals[:, 0] - config.corridor_length - config.junction_width
    np.testing.assert_allclose(goals_depth, config.branch_length - config.half_width / 2, atol=1e-5)
    assert np.all(is_free(config, maze.goals[:, 0], maze.goals[:, 1]))
