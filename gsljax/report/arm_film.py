"""An episode of Meta-World as a film, drawn from the observations: not the rendered scene, but what the policy knows.

Two projections, from above and from the robot's right side: the hand with its two fingers as wide apart as they are,
the task's one or two objects (as points: the observation has no shapes), the goal, and the ways that they came.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from gsljax.report.film import FAINT, INK, PAPER, FilmStyle, font

HAND, FIRST_OBJECT, SECOND_OBJECT, GOAL = (0, 114, 178), (213, 94, 0), (204, 121, 167), (0, 158, 115)
"""Okabe and Ito's blue, vermilion, purple and green."""
_TABLE = (231, 231, 234)
_FRAME = (190, 190, 196)
_PIXELS = 340
"""For one metre."""
_FINER = 2
"""All is drawn so much larger and then reduced, for smooth edges."""
_LOW, _HIGH = np.array([-0.55, 0.3, -0.05]), np.array([0.55, 1.05, 0.55])
"""What is shown at least, in metres: x to the robot's right, y away from it, z upwards."""
_GAP = 14
_HEADING = 20
_LEGEND = 24
_MARGIN = 0.03
_WIDEST_GRIP = 0.1  # metres between the fingers where the observation says 1


class Scene(NamedTuple):
    """What observations `[T, 39 or more]` say, in metres.

    Attributes:
      hand: `[T, 3]`.
      opening: `[T]` of the gripper, from 0 to 1.
      objects: one or two, each `[T, 3]`; the second only where the task has it.
      goal: `[T, 3]`.
    """

    hand: np.ndarray
    opening: np.ndarray
    objects: tuple[np.ndarray, ...]
    goal: np.ndarray


def scene(observation: np.ndarray) -> Scene:
    """Read Meta-World's layout: hand 0-2, gripper 3, two objects 4-6 and 11-13 (zeros if absent), goal 36-38."""
    seen = np.asarray(observation, np.float64)
    objects = tuple(part for part in (seen[:, 4:7], seen[:, 11:14]) if np.any(part))
    return Scene(seen[:, :3], np.clip(seen[:, 3], 0.0, 1.0), objects, seen[:, 36:39])


class _View:
    """One projection: which axes lie across and up, and where they stand in the finer pixels."""

    def __init__(self, axes: tuple[int, int], left: int, bounds: np.ndarray, height: int):
        """Place a view at the column `left`; `bounds` `[2, 3]` are what it shows, `height` is the picture's."""
        self.axes = axes
        across, up = axes
        (self._left, self._low) = bounds[0, [across, up]]
        self._unit = _FINER * _PIXELS
        self.box = (
            left,
            _FINER * _HEADING,
            left + round((bounds[1, across] - bounds[0, across]) * self._unit),
            _FINER * (height - _LEGEND),
        )

    def pixel(self, position: np.ndarray) -> tuple[float, float]:
        """Column and row of a position `[3]`."""
        across, up = self.axes
        column = self.box[0] + (position[across] - self._left) * self._unit
        return column, self.box[3] - (position[up] - self._low) * self._unit

    def length(self, metres: float) -> float:
        """Of something in finer pixels."""
        return metres * self._unit


def arm_film(tasks: Sequence[str]) -> FilmStyle:
    """Films of Meta-World's tasks, variation v being `tasks[v]`."""
    return FilmStyle(arm_frames, lambda variation: f"{variation}: {tasks[variation]}", moments=1)


def arm_frames(variation: int, observation: np.ndarray, steps: Sequence[int]) -> Iterator[np.ndarray]:
    """One picture for each of the steps, see `gsljax.report.film.FilmStyle`.

    Args:
      variation: any; all tasks are drawn alike.
      observation: `[T, 39 or more]`.
      steps: ascending numbers of observations.
    """
    del variation
    seen = scene(observation)
    canvas, views = _backdrop(seen)
    size = canvas.width // _FINER, canvas.height // _FINER
    ways = [*zip(seen.objects, (FIRST_OBJECT, SECOND_OBJECT), strict=False), (seen.hand, HAND)]
    done = 0
    for step in steps:
        draw = ImageDraw.Draw(canvas)
        for view in views:
            for way, colour in ways:
                points = [view.pixel(position) for position in way[done : step + 1]]
                if len(points) > 1:
                    draw.line(points, _paler(colour), 2 * _FINER, joint="curve")
        done = step
        frame = canvas.copy()
        draw = ImageDraw.Draw(frame)
        for view in views:
            for way, colour in ways[:-1]:
                _draw_disc(draw, view.pixel(way[step]), view.length(0.022), colour)
            _draw_goal(draw, view.pixel(seen.goal[step]), view.length(0.022))
            _draw_hand(draw, view, seen.hand[step], seen.opening[step])
        yield np.asarray(frame.resize(size, Image.Resampling.BOX))


def _backdrop(seen: Scene) -> tuple[Image.Image, tuple[_View, _View]]:
    """The empty views with their names and the key, wide enough for all that happens."""
    points = np.concatenate([seen.hand, *seen.objects, seen.goal])
    bounds = np.stack([np.minimum(_LOW, points.min(0) - _MARGIN), np.maximum(_HIGH, points.max(0) + _MARGIN)])
    deep, high = bounds[1, 1] - bounds[0, 1], bounds[1, 2] - bounds[0, 2]
    bounds[1, 2] += max(0.0, deep - high)  # the views are equally high
    bounds[1, 1] += max(0.0, high - deep)
    height = _HEADING + _LEGEND + round((bounds[1, 1] - bounds[0, 1]) * _PIXELS)
    above = _View((0, 1), _FINER * _GAP // 2, bounds, height)
    side = _View((1, 2), above.box[2] + _FINER * _GAP, bounds, height)
    canvas = Image.new("RGB", (_FINER * (side.box[2] // _FINER + _GAP // 2), _FINER * height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle(above.box, fill=_TABLE, outline=_FRAME, width=_FINER)
    left, _, right, bottom = side.box
    draw.rectangle(side.box, fill=PAPER, outline=_FRAME, width=_FINER)
    surface = side.pixel(np.zeros(3))[1]
    draw.rectangle((left, surface, right, bottom), fill=_TABLE, outline=_FRAME, width=_FINER)
    small = font(11 * _FINER)
    for view, name in ((above, "from above, robot below"), (side, "from the side, robot on the left")):
        draw.text((view.box[0], view.box[1] - 5 * _FINER), name, FAINT, small, anchor="ls")
    column = left = _FINER * _GAP // 2
    row = canvas.height - _FINER * _LEGEND / 2
    names = ["object", "second object"][: len(seen.objects)]
    colours = [HAND, *(FIRST_OBJECT, SECOND_OBJECT)[: len(names)], GOAL]
    for name, colour in zip(["hand", *names, "goal"], colours, strict=True):
        if name == "goal":
            _draw_goal(draw, (column + 6 * _FINER, row), 5 * _FINER)
        else:
            _draw_disc(draw, (column + 6 * _FINER, row), 5 * _FINER, colour)
        draw.text((column + 16 * _FINER, row), name, INK, small, anchor="lm")
        column += 34 * _FINER + small.getlength(name)
    return canvas, (above, side)


def _draw_hand(draw: ImageDraw.ImageDraw, view: _View, hand: np.ndarray, opening: float) -> None:
    """Two fingers that open along y, which is across the view from the side, below the palm."""
    half = (0.012 + opening * _WIDEST_GRIP / 2) * np.array([0.0, 1.0, 0.0])
    thick = 4 * _FINER
    if view.axes == (0, 1):
        for finger in (hand - half, hand + half):
            x, y = view.pixel(finger)
            reach = view.length(0.022)
            draw.line((x - reach, y, x + reach, y), HAND, thick)
        draw.line((*view.pixel(hand - half), *view.pixel(hand + half)), HAND, _FINER)
        return
    down = np.array([0.0, 0.0, -0.05])  # the observed point lies between the fingers' upper ends
    for finger in (hand - half, hand + half):
        draw.line((*view.pixel(finger), *view.pixel(finger + down)), HAND, thick)
    wide = np.array([0.0, 0.07, 0.0])
    draw.line((*view.pixel(hand - wide), *view.pixel(hand + wide)), HAND, 2 * thick)


def _draw_disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, colour: tuple[int, ...]) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=PAPER, width=_FINER)


def _draw_goal(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    """A ring with a cross, so that it can be told from the objects without its colour."""
    (x, y), reach = centre, 1.5 * radius
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=GOAL, width=2 * _FINER)
    draw.line((x - reach, y, x + reach, y), GOAL, _FINER)
    draw.line((x, y - reach, x, y + reach), GOAL, _FINER)


def _paler(colour: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(round(0.45 * part + 0.55 * 255) for part in colour)
