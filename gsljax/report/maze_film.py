"""An episode in the maze as a film: the agent, the way it came, and the goal that it is to reach."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from gsljax.envs.brush_maze import BrushMaze
from gsljax.report.film import FilmStyle
from gsljax.report.maze_figure import draw_maze, goal_colours, maze_outline

_PIXELS = 44
"""Of a film for one unit of the maze."""
_WIDEST = 900
_FINER = 2
"""All is drawn so much larger and then reduced, for smooth edges."""
_MARGIN = 0.35
AGENT = (51, 51, 56)


def maze_film(maze: BrushMaze) -> FilmStyle:
    """The maze from above, as `gsljax.report.maze_figure` draws it, with a ring around the goal to reach."""
    return FilmStyle(lambda goal, observation, steps: maze_frames(maze, goal, observation, steps), _title, moments=1)


def _title(goal: int) -> str:
    return f"goal {goal}"


class Backdrop:
    """The maze with all its goals, drawn once.

    Attributes:
      image: what lies behind the agent, in the finer pixels.
      scale: pixels of a film for one unit.
    """

    def __init__(self, maze: BrushMaze):
        """Draw it."""
        low, high = maze_outline(maze).min(0) - _MARGIN, maze_outline(maze).max(0) + _MARGIN
        self.scale = min(_PIXELS, _WIDEST / (high - low)[0])
        inches = np.ceil((high - low) * self.scale) / 100
        figure = Figure(figsize=tuple(inches), dpi=100 * _FINER)
        axes = figure.add_axes((0, 0, 1, 1))
        draw_maze(axes, maze, {})
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        self.image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        self._to_pixels = axes.transData

    def pixels(self, positions: np.ndarray) -> np.ndarray:
        """Finer pixels `[..., 2]` (column, row) of positions `[..., 2]`."""
        column, row = np.moveaxis(self._to_pixels.transform(positions.reshape(-1, 2)), -1, 0)
        return np.stack([column, self.image.height - row], axis=-1).reshape(positions.shape)


def maze_frames(maze: BrushMaze, goal: int, observation: np.ndarray, steps: Sequence[int]) -> Iterator[np.ndarray]:
    """One picture for each of the steps, see `gsljax.report.film.FilmStyle`.

    Args:
      maze: the maze.
      goal: the one to reach.
      observation: `[T, 5]`.
      steps: ascending numbers of observations.
    """
    backdrop = Backdrop(maze)
    way = backdrop.pixels(np.asarray(maze.positions(jnp.asarray(observation))))
    colour = tuple(round(255 * part) for part in to_rgb(goal_colours(maze.config.num_branches)[goal]))
    unit = _FINER * backdrop.scale
    canvas = backdrop.image.copy()
    size = canvas.width // _FINER, canvas.height // _FINER
    _ring(ImageDraw.Draw(canvas), backdrop.pixels(maze.goals[goal]), 0.22 * unit, colour, round(0.06 * unit))
    done = 0
    for step in steps:
        part = way[max(done - 1, 0) : step + 1]  # from one step before, so that the corner is joined
        done = step
        if len(part) > 1:
            ImageDraw.Draw(canvas).line([tuple(point) for point in part], colour, round(0.07 * unit), joint="curve")
        frame = canvas.copy()
        _disc(ImageDraw.Draw(frame), way[step], 0.17 * unit, (255, 255, 255))
        _disc(ImageDraw.Draw(frame), way[step], 0.13 * unit, AGENT)
        yield np.asarray(frame.resize(size, Image.Resampling.BOX))


def _disc(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
    (x, y) = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ring(
    draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple[int, ...], thickness: int
) -> None:
    (x, y) = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=thickness)
