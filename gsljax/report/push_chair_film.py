"""An episode of PushChair as a film, drawn from the observations: what the policy knows, in the target's frame.

Two projections, from above and from the side: the points of a cloud, or of a state the chair's axes and its seat; the
robot's place and heading, its four fingertips, and the target.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from gsljax.cloud_layout import CloudLayout, unpack
from gsljax.report.film import FAINT, INK, PAPER, FilmStyle, font

ROBOT, CHAIR, TARGET = (0, 114, 178), (213, 94, 0), (0, 158, 115)
"""Okabe and Ito's blue, vermilion and green."""
_FLOOR, _FRAME = (231, 231, 234), (190, 190, 196)
_PIXELS = 100
"""For one metre."""
_FINER = 2
"""All is drawn so much larger and then reduced, for smooth edges."""
_REACH, _HEIGHT = 2.2, 1.9
"""Metres to each side of the target, and upwards, that are shown at least."""
_HEADING, _LEGEND, _GAP = 20, 24, 7
_CHAIR_STATE = 87
"""Where in a state's observation the chair's begins: its place 3, its x and z axes 6."""


class Scene(NamedTuple):
    """What observations `[T, ...]` say, in the target's frame and in metres.

    Attributes:
      robot: `[T, 2]` on the floor.
      heading: `[T, 2]`, of length 1.
      fingertips: `[T, 4, 3]`.
      points: of the chair, `[T, P, 3]`; NaN where there is none.
      body: of the robot, the same; none of a state's.
    """

    robot: np.ndarray
    heading: np.ndarray
    fingertips: np.ndarray
    points: np.ndarray
    body: np.ndarray


def scene(observation: np.ndarray, layout: CloudLayout | None) -> Scene:
    """Read observations `[T, ...]`: packed clouds where there is a layout, states otherwise."""
    if layout is None:
        state = np.asarray(observation, np.float64)
        chair, body = _outline(state[:, _CHAIR_STATE:]), np.zeros((len(state), 0, 3))
    else:
        xyz, segmentation, state = unpack(layout, observation)
        body, chair = (np.where(segmentation[..., [part]], xyz, np.nan) for part in (0, 1))
    target, angle = state[:, 24:26], state[:, 26]
    cosine, sine = np.cos(angle), np.sin(angle)
    axes = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -1)  # [T, robot's, target's]

    def placed(points: np.ndarray) -> np.ndarray:
        flat = np.einsum("tpi,tij->tpj", points[..., :2] - target[:, None], axes)
        return np.concatenate([flat, points[..., 2:]], axis=-1)

    robot = placed(np.zeros((len(state), 1, 3)))[:, 0, :2]
    heading = placed(np.tile([1.0, 0.0, 0.0], (len(state), 1, 1)))[:, 0, :2] - robot
    tips = state[:, :12].reshape(-1, 4, 3)
    return Scene(robot, heading, placed(tips), placed(chair), placed(body))


def _outline(chair: np.ndarray) -> np.ndarray:
    """Points `[T, P, 3]` that stand for a chair of which the pose is known: a column, a seat, and what it faces."""
    place, forwards, upwards = chair[:, None, :3], chair[:, None, 3:6], chair[:, None, 6:9]
    sideways = np.cross(upwards, forwards)
    swivel = chair[:, None, 15:17]
    facing = swivel[..., :1] * forwards + swivel[..., 1:] * sideways
    across = np.cross(upwards, facing)
    grid = np.linspace(-0.2, 0.2, 9)
    seat = [place + 0.44 * upwards + x * facing + y * across for x in grid for y in grid]
    back = [place + z * upwards - 0.2 * facing + y * across for z in np.linspace(0.5, 0.9, 9) for y in grid]
    column = [place + z * upwards for z in np.linspace(0.05, 0.4, 8)]
    return np.concatenate([*seat, *back, *column], axis=1)


def push_chair_film(names: Sequence[str], layout: CloudLayout | None) -> FilmStyle:
    """Films of chairs, variation v being called `names[v]`."""

    def frames(variation: int, observation: np.ndarray, steps: Sequence[int]) -> Iterator[np.ndarray]:
        del variation
        return push_chair_frames(scene(np.asarray(observation), layout), steps)

    return FilmStyle(frames, lambda variation: f"{variation}: {names[variation]}", moments=3)


def push_chair_frames(seen: Scene, steps: Sequence[int]) -> Iterator[np.ndarray]:
    """One picture `[H, W, 3]` uint8 for each of the steps, all of one size."""
    things = (seen.fingertips, seen.points, seen.body)
    furthest = [float(np.nanmax(np.abs(one[..., :2]), initial=0.0)) for one in things]
    reach = max(_REACH, float(np.abs(seen.robot).max()) + 0.5, *(one + 0.1 for one in furthest))
    views = _views(reach)
    backdrop = _backdrop(views, reach)
    size = backdrop.width // _FINER, backdrop.height // _FINER
    for step in steps:
        picture = backdrop.copy()
        draw = ImageDraw.Draw(picture)
        for view in views:
            _draw_points(draw, view, seen.body[step], ROBOT)
            _draw_points(draw, view, seen.points[step], CHAIR)
            base = np.array([*seen.robot[step], 0.0])
            ahead = base + np.array([*0.35 * seen.heading[step], 0.0])
            if view.upward == 1:
                _draw_disc(draw, view.pixel(base), view.unit * 0.2, ROBOT, filled=False)
            draw.line((*view.pixel(base), *view.pixel(ahead)), ROBOT, 2 * _FINER)
            for tip in seen.fingertips[step]:
                _draw_disc(draw, view.pixel(tip), 3 * _FINER, ROBOT)
        yield np.asarray(picture.resize(size, Image.Resampling.BOX))


class _View(NamedTuple):
    """One projection: x goes to the right, and `upward`, y or z, upwards, in the finer pixels."""

    upward: int
    left: float
    middle: float
    floor: float
    unit: float

    def pixel(self, position: np.ndarray) -> tuple[float, float]:
        """Column and row of a position `[3]`."""
        return self.middle + position[0] * self.unit, self.floor - position[self.upward] * self.unit


def _views(reach: float) -> tuple[_View, _View]:
    unit, wide = float(_FINER * _PIXELS), 2 * reach * _FINER * _PIXELS
    left = float(_FINER * _GAP)
    top = float(_FINER * _HEADING)
    above = _View(1, left, left + wide / 2, top + wide / 2, unit)
    second = left + wide + 2 * left
    side = _View(2, second, second + wide / 2, top + wide / 2 + _HEIGHT * unit / 2, unit)
    return above, side


def _backdrop(views: tuple[_View, _View], reach: float) -> Image.Image:
    above, side = views
    wide = 2 * reach * above.unit
    width = 2 * round((side.left + wide + _FINER * _GAP) / 2)
    height = 2 * round((_FINER * (_HEADING + _LEGEND) + wide) / 2)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    small, top = font(11 * _FINER), _FINER * _HEADING
    draw.rectangle((above.left, top, above.left + wide, top + wide), fill=_FLOOR, outline=_FRAME, width=_FINER)
    draw.rectangle((side.left, top, side.left + wide, top + wide), fill=PAPER, outline=_FRAME, width=_FINER)
    draw.rectangle((side.left, side.floor, side.left + wide, top + wide), fill=_FLOOR, outline=_FRAME, width=_FINER)
    for view, name in ((above, "from above"), (side, "from the side")):
        draw.text((view.left, top - 5 * _FINER), name, FAINT, small, anchor="ls")
        _draw_disc(draw, view.pixel(np.zeros(3)), 0.15 * view.unit, TARGET, filled=False)
    column, row = above.left, height - _FINER * _LEGEND / 2
    for name, colour in (("robot", ROBOT), ("chair", CHAIR), ("target", TARGET)):
        _draw_disc(draw, (column + 6 * _FINER, row), 5 * _FINER, colour, filled=name != "target")
        draw.text((column + 16 * _FINER, row), name, INK, small, anchor="lm")
        column += 34 * _FINER + small.getlength(name)
    return canvas


def _draw_points(draw: ImageDraw.ImageDraw, view: _View, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """The points nearest to the viewer last, as dots that are paler the further away they are."""
    points = points[np.isfinite(points).all(axis=1)]
    depth = points[:, 2] / _HEIGHT if view.upward == 1 else 0.5 - points[:, 1] / (2 * _REACH)
    for index in np.argsort(depth):
        share = 0.35 + 0.65 * float(np.clip(depth[index], 0.0, 1.0))
        shade = tuple(round(share * part + (1 - share) * 255) for part in colour)
        column, row = view.pixel(points[index])
        draw.rectangle((column - _FINER, row - _FINER, column + _FINER, row + _FINER), fill=shade)


def _draw_disc(
    draw: ImageDraw.ImageDraw,
    centre: tuple[float, float],
    radius: float,
    colour: tuple[int, int, int],
    filled: bool = True,
) -> None:
    x, y = centre
    box = x - radius, y - radius, x + radius, y + radius
    if filled:
        draw.ellipse(box, fill=colour, outline=PAPER, width=_FINER)
    else:
        draw.ellipse(box, outline=colour, width=2 * _FINER)
