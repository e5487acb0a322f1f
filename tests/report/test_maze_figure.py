"""The maze's picture, looked at pixel by pixel in the written file."""

import itertools

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gsljax.envs.brush_maze import BrushMaze, BrushMazeConfig
from gsljax.errors import UserError
from gsljax.report import canvas
from gsljax.report.maze_figure import FREE_SPACE, OUTLINE, WALL, draw_maze, goal_colours, maze_figure, maze_outline

MAZE = BrushMaze()


class Picture:
    """A figure as it lies in its file; `at` reads the colours `[points, 3]` at maze positions."""

    def __init__(self, figure, path):
        canvas.save(figure, path)
        self.figure, self.image = figure, matplotlib.image.imread(path)[..., :3]

    def at(self, points, panel=0):
        column, row = self.figure.axes[panel].transData.transform(np.asarray(points, float)).T
        return self.image[(len(self.image) - row).astype(int), column.astype(int)]


def same(colours, name, tolerance=0.01):
    return np.all(np.abs(colours - to_rgb(name)) <= tolerance, axis=-1)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Picture(maze_figure(MAZE, {"empty": {}}), tmp_path_factory.mktemp("maze") / "empty.png")


def test_goals_have_their_colours(empty):
    for goal, colour in enumerate(goal_colours(5)):
        assert same(empty.at(MAZE.goals[[goal]]), colour)
        # Around the goal, where an episode is a success, a tint of it; none behind the wall.
        x, y = MAZE.goals[goal]
        tint = 0.25 * np.array(to_rgb(colour)) + 0.75
        np.testing.assert_allclose(empty.at([[x - 0.5, y]])[0], tint, atol=0.02)
        assert same(empty.at([[x - 0.2, y + 0.5], [x - 0.2, y - 0.5]]), WALL).all()


def test_free_space_and_walls_differ(empty):
    free = [[3, 0], [1, 0.3], [1, -0.3], [7.5, 2], [7.5, -2], *[[10, y] for y in (-2, -1, 0, 1, 2)]]
    walls = [[3, 1], [3, -1], [-0.2, 0], [12.2, 0], [7.5, 2.5], *[[10, y] for y in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)]]
    assert same(empty.at(free), FREE_SPACE).all()
    assert same(empty.at(walls), WALL).all()
    assert np.mean(to_rgb(FREE_SPACE)) - np.mean(to_rgb(WALL)) > 0.05


def test_only_the_unions_outline_is_drawn(empty):
    inner = [[x, y] for x, centres in ((6.0, [0]), (9.0, [-2, -1, 0, 1, 2])) for y in centres]
    for offset in np.linspace(-0.3, 0.3, 13):
        for nudge in (-0.02, 0, 0.02):
            assert same(empty.at(np.add(inner, [nudge, offset])), FREE_SPACE).all()
    # Each side of the walls, found within two pixels of where it is.
    sides = [[3, 0.35], [3, -0.35], [0, 0.1], [6, 1.5], [7.5, 2.35], [9, 0.5], [10, 0.65], [10, 1.35], [12, 2.2]]
    nearby = [empty.at(np.add(sides, [dx, dy])) for dx in (-0.02, 0, 0.02) for dy in (-0.02, 0, 0.02)]
    assert np.any([same(colours, OUTLINE, 0.05) for colours in nearby], axis=0).all()


def test_trajectories_have_their_goals_colour_and_marked_ends(tmp_path):
    maze = MAZE
    # Two episodes each for goals 1 and 4, straight lines at heights of their own, at different lengths' ends.
    paths = {
        goal: np.array([[[1.0, y + shift], [3.0, y + shift]] for shift in (0.0, 0.1)])
        for goal, y in ((1, -0.25), (4, 0.1))
    }
    picture = Picture(maze_figure(maze, {"lines": paths, "nothing": {}}), tmp_path / "lines.png")
    for goal, episodes in paths.items():
        colour = np.array(to_rgb(goal_colours(5)[goal]))
        for _, end in episodes:
            assert same(picture.at([end]), goal_colours(5)[goal]).all()
            assert same(picture.at([end], panel=1), FREE_SPACE).all()
            middle = picture.at([[2.0, end[1] + dy] for dy in np.linspace(-0.02, 0.02, 9)])
            # The line shows as itself over white, at 0.55, or a little less where it covers part of a pixel.
            strength = (1 - middle).sum(axis=1).max() / (1 - colour).sum()
            assert 0.3 < strength < 0.6
            strongest = (1 - middle)[(1 - middle).sum(axis=1).argmax()]
            np.testing.assert_allclose(strongest / strongest.sum(), (1 - colour) / (1 - colour).sum(), atol=0.03)
    # Nothing between the two goals' lines.
    assert same(picture.at([[2.0, -0.05]]), FREE_SPACE).all()


def test_episodes_may_differ_in_number_between_goals(tmp_path):
    paths = {0: np.full((3, 5, 2), [2.0, 0.0]), 2: np.full((1, 9, 2), [4.0, 0.0]), 3: np.zeros((0, 5, 2))}
    picture = Picture(maze_figure(MAZE, {"counts": paths}), tmp_path / "counts.png")
    assert same(picture.at([[2.0, 0.0]]), goal_colours(5)[0])
    assert same(picture.at([[4.0, 0.0]]), goal_colours(5)[2])


@pytest.mark.parametrize("num_goals", [1, 2, 5, 6, 7, 12])
def test_goal_colours_differ_from_each_other_and_the_ground(num_goals):
    colours = goal_colours(num_goals)
    assert len(colours) == len(set(colours)) == num_goals
    rgb = np.array([to_rgb(colour) for colour in [*colours, FREE_SPACE]])
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(rgb, 2)]
    assert min(distances) > (0.25 if num_goals <= 6 else 0.08)


@pytest.mark.parametrize("num_branches", [1, 2, 5, 7])
def test_outline_encloses_exactly_the_rectangles(num_branches):
    maze = BrushMaze(BrushMazeConfig(num_branches=num_branches))
    x, y = maze_outline(maze).T
    area = 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    sizes = maze.rectangles[:, [1, 3]] - maze.rectangles[:, [0, 2]]
    np.testing.assert_allclose(area, np.sum(np.prod(sizes, axis=1)), rtol=1e-5)
    # All its sides are parallel to an axis.
    sides = np.diff(maze_outline(maze), axis=0, append=maze_outline(maze)[:1])
    assert np.all(np.min(np.abs(sides), axis=1) == 0)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 3)])
def test_panels_have_titles_and_nothing_else_around(count, rows, columns, tmp_path):
    names = [f"panel {index}" for index in range(count)]
    figure = maze_figure(MAZE, {name: {} for name in names})
    picture = Picture(figure, tmp_path / "panels.png")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(figure.axes) == rows * columns
    assert [axes.get_title() for axes in shown] == names
    for axes in shown:
        assert axes.get_aspect() == 1
        assert not axes.get_xticks().size
        assert not any(spine.get_visible() for spine in axes.spines.values())
    # Panels, titles and the legend lie inside the picture and apart from each other.
    boxes = [box for axes in shown if (box := axes.get_tightbbox())]
    boxes += [legend.get_window_extent() for legend in figure.legends]
    assert len(boxes) == count + 1
    height, width, _ = picture.image.shape
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_draws_into_any_axes():
    figure = Figure()
    axes = figure.add_subplot()
    draw_maze(axes, MAZE, {0: np.zeros((2, 3, 2))})
    assert axes.get_xlim()[0] < 0 < 12 < axes.get_xlim()[1]
    assert axes.get_title() == ""


def test_bad_input_is_refused_in_one_sentence():
    cases = [
        ({}, "0 panels"),
        ({"a": {5: np.zeros((1, 2, 2))}}, "goal 5, but the maze's goals are 0 to 4"),
        ({"a": {-1: np.zeros((1, 2, 2))}}, "goal -1"),
        ({"a": {0: np.zeros((2, 2))}}, "goal 0 have shape \\(2, 2\\)"),
        ({"a": {0: np.zeros((2, 2, 5))}}, "shape \\(2, 2, 5\\)"),
        ({"a": {0: np.zeros((2, 0, 2))}}, "shape \\(2, 0, 2\\)"),
    ]
    for panels, message in cases:
        with pytest.raises(UserError, match=message):
            maze_figure(MAZE, panels)
