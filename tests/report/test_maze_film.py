"""The maze's film, pixel by pixel: the agent where the observation says it is, its way behind it, the goal ringed."""

from functools import cache

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gsljax.envs.brush_maze import BrushMaze
from gsljax.report.maze_figure import goal_colours
from gsljax.report.maze_film import AGENT, Backdrop, maze_film, maze_frames

MAZE = BrushMaze()
GOAL = 3
COLOUR = 255 * np.array(to_rgb(goal_colours(5)[GOAL]))


def observations(positions):
    scaled = np.asarray(positions) * MAZE.config.position_scale
    return np.concatenate([scaled, np.zeros((len(scaled), 3))], axis=1).astype(np.float32)


WAY = np.array([(0.5, 0.0), (2.5, 0.2), (5.0, 0.0), (7.0, 0.0), (7.0, 1.0), (9.5, 1.0)])


@pytest.fixture(scope="module")
def frames():
    return list(maze_frames(MAZE, GOAL, observations(WAY), [0, 2, 5]))


@cache
def backdrop():
    return Backdrop(MAZE)


def at(frame, position):
    column, row = backdrop().pixels(np.asarray(position, float)) / 2
    return frame[int(row), int(column)].astype(int)


def near(pixel, colour):
    return np.abs(pixel - np.asarray(colour)).max() < 30


def test_there_is_a_frame_of_one_size_for_each_step(frames):
    assert len(frames) == 3 and len({frame.shape for frame in frames}) == 1
    height, width, channels = frames[0].shape
    assert (channels, frames[0].dtype) == (3, np.uint8)
    assert 500 < width <= 900 and width / height == pytest.approx(12.7 / 5.4, rel=0.02)


def test_the_agent_is_where_it_was(frames):
    for frame, step in zip(frames, (0, 2, 5), strict=True):
        for position in WAY:
            assert near(at(frame, position), AGENT) == np.array_equal(position, WAY[step])


def test_the_way_so_far_is_in_the_goals_colour(frames):
    early, late = WAY[:3].mean(0) * [1, 0] + [0, 0.1], (7.0, 0.5)  # beside the first corner, on the last upward part
    between = (WAY[0] + WAY[1]) / 2
    assert not near(at(frames[0], between), COLOUR)
    assert near(at(frames[1], between), COLOUR) and near(at(frames[2], between), COLOUR)
    assert not near(at(frames[1], late), COLOUR) and near(at(frames[2], late), COLOUR)
    assert near(at(frames[0], early), (255, 255, 255))


def test_steps_between_those_shown_are_part_of_the_way():
    (last,) = maze_frames(MAZE, GOAL, observations(WAY), [5])
    np.testing.assert_array_equal(last, list(maze_frames(MAZE, GOAL, observations(WAY), range(6)))[-1])


def test_only_the_goal_to_reach_has_a_ring(frames):
    for goal, centre in enumerate(MAZE.goals):
        ring = [at(frames[0], centre - [0.19, 0])]
        assert near(ring[0], 255 * np.array(to_rgb(goal_colours(5)[goal]))) == (goal == GOAL)


def test_a_film_is_called_after_its_goal():
    style = maze_film(MAZE)
    assert style.title(4) == "goal 4"
    (frame,) = style.frames(GOAL, observations(WAY), [2])
    assert near(at(frame, WAY[2]), AGENT)
