"""The maze seen from above, with its goals and the ways that policies take to them (GSL Fig. 2)."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.path import Path

from gsljax.envs.brush_maze import BrushMaze
from gsljax.errors import UserError
from gsljax.report import canvas

FREE_SPACE = "#FFFFFF"
WALL = "#E7E7EA"
OUTLINE = "#8A8A92"
_INK = "#333338"
# Neighbours far apart in hue and lightness; black and grey are left to what belongs to no goal.
_GOAL_COLOURS = (canvas.BLUE, canvas.ORANGE, canvas.GREEN, canvas.VERMILION, canvas.PURPLE, canvas.SKY)
_GOAL_STYLE = {"marker": "*", "markersize": 8, "markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}
_START_STYLE = {"marker": "D", "markersize": 3.5, "color": _INK, "markeredgewidth": 0, "linestyle": ""}
_END_STYLE = {"marker": "o", "s": 4.5, "edgecolors": "white", "linewidths": 0.3}
_TRAJECTORY_KEY = "trajectory and its end, in the colour of the goal to reach"
_MARGIN = 0.35  # maze units around the free space
# In inches; a panel's width goes by how many stand beside each other.
_PANEL_WIDTHS = (4.6, 3.6, 3.0)
_TITLE_HEIGHT = 0.28
_LEGEND_HEIGHT = 0.24


def goal_colours(num_goals: int) -> list[str]:
    """One colour for each goal, as `#rrggbb`: Okabe and Ito's where they suffice, else steps of `viridis`.

    Args:
      num_goals: how many goals there are.
    """
    if num_goals <= len(_GOAL_COLOURS):
        return [to_hex(colour) for colour in _GOAL_COLOURS[:num_goals]]
    # The palest yellow would vanish on the free space.
    return [to_hex(colour) for colour in matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, num_goals))]


def maze_outline(maze: BrushMaze) -> np.ndarray:
    """The free space as one polygon `[corners, 2]`, counter-clockwise from the corridor's lower left corner.

    Args:
      maze: the maze.
    """
    (x0, x1, low, high), (_, x2, bottom, top), *branches = maze.rectangles.tolist()
    teeth = [corner for b in branches for corner in ((x2, b[2]), (b[1], b[2]), (b[1], b[3]), (x2, b[3]))]
    left = [(x1, top), (x1, high), (x0, high)]
    return np.array([(x0, low), (x1, low), (x1, bottom), (x2, bottom), *teeth, (x2, top), *left])


def draw_maze(axes: Axes, maze: BrushMaze, trajectories: Mapping[int, np.ndarray]) -> None:
    """Draw the maze, its goals, and for each goal the trajectories that were to reach it, in its colour.

    Args:
      axes: where to draw; its ticks and spines are removed and its limits set.
      maze: the maze.
      trajectories: goal to positions `[episodes, T, 2]` in maze units; an episode's end is its last position.

    Raises:
      UserError: if a goal is unknown or its positions have another shape.
    """
    paths = {goal: _checked(maze, goal, positions) for goal, positions in trajectories.items()}
    colours = goal_colours(maze.config.num_branches)
    outline = maze_outline(maze)
    axes.set_facecolor(WALL)
    axes.add_patch(Polygon(outline, facecolor=FREE_SPACE, zorder=1))
    for goal, centre in enumerate(maze.goals.tolist()):
        near = Circle(centre, maze.config.goal_radius, facecolor=colours[goal], alpha=0.25, linewidth=0, zorder=1)
        axes.add_patch(near)
        near.set_clip_path(Path(outline), axes.transData)
    # Goals take turns, so that none hides the others where all their ways are the same.
    episodes = max((len(path) for path in paths.values()), default=0)
    order = [(goal, episode) for episode in range(episodes) for goal in sorted(paths) if episode < len(paths[goal])]
    lines = [paths[goal][episode] for goal, episode in order]
    line_colours = [colours[goal] for goal, _ in order]
    ways = LineCollection(lines, colors=line_colours, linewidths=0.7, alpha=0.55, capstyle="round", zorder=2)
    axes.add_collection(ways, autolim=False)
    start_x = min(maze.config.start_noise, maze.config.corridor_length / 2)
    axes.plot(start_x, 0.0, zorder=3, **_START_STYLE)
    for goal, (x, y) in enumerate(maze.goals.tolist()):
        axes.plot(x, y, color=colours[goal], zorder=3, **_GOAL_STYLE)
    # The walls lie above what slides along them.
    axes.add_patch(Polygon(outline, fill=False, edgecolor=OUTLINE, linewidth=0.8, joinstyle="miter", zorder=4))
    if lines:
        axes.scatter(*np.array([line[-1] for line in lines]).T, c=line_colours, zorder=5, **_END_STYLE)
    axes.set_xlim(outline[:, 0].min() - _MARGIN, outline[:, 0].max() + _MARGIN)
    axes.set_ylim(outline[:, 1].min() - _MARGIN, outline[:, 1].max() + _MARGIN)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def maze_figure(maze: BrushMaze, panels: Mapping[str, Mapping[int, np.ndarray]]) -> Figure:
    """Draw one panel for each policy, its name above it, at most three beside each other.

    Args:
      maze: the maze.
      panels: name to trajectories, as `draw_maze` takes them.

    Returns:
      A figure that belongs to no window; save it with `gsljax.report.canvas.save`.

    Raises:
      UserError: if there is no panel, or for the reasons of `draw_maze`.
    """
    if not panels:
        raise UserError("A maze figure was given 0 panels, but needs at least 1.")
    columns = min(len(panels), len(_PANEL_WIDTHS))
    rows = -(-len(panels) // columns)
    width, height = np.ptp(maze_outline(maze), axis=0) + 2 * _MARGIN
    panel_width = _PANEL_WIDTHS[columns - 1]
    panel_height = panel_width * height / width + _TITLE_HEIGHT
    figure = canvas.new_figure(columns * panel_width, rows * panel_height + _LEGEND_HEIGHT)
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, trajectories) in zip(all_axes, panels.items(), strict=False):
        draw_maze(axes, maze, trajectories)
        axes.set_title(name, fontsize=9, color=_INK, pad=4)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], label="start", **_START_STYLE),
        Line2D([], [], color=_INK, label="goal", **_GOAL_STYLE),
        Line2D([], [], color=_INK, linewidth=0.7, marker=".", markersize=4, label=_TRAJECTORY_KEY),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False, labelcolor=_INK)
    return figure


def _checked(maze: BrushMaze, goal: int, positions: np.ndarray) -> np.ndarray:
    positions = np.asarray(positions)
    if not 0 <= goal < maze.config.num_branches:
        raise UserError(
            f"The trajectories are for goal {goal}, but the maze's goals are 0 to {maze.config.num_branches - 1}."
        )
    if positions.ndim != 3 or positions.shape[1] < 1 or positions.shape[2] != 2:
        raise UserError(
            f"The trajectories of goal {goal} have shape {positions.shape}, but it must be [episodes, T, 2]."
        )
    return positions
