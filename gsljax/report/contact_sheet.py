"""A contact sheet: one labelled panel for each of many episodes, in one picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

from gsljax.files import write_atomically
from gsljax.report.film import FAINT, INK, PAPER, font

_GAP = 18
_LINE_HEIGHT = 17
_HEADER = 40
_BETWEEN_MOMENTS = 3
WIDEST_PANEL = 960
_WIDEST = {12: WIDEST_PANEL, 60: 480, 10**9: 240}
"""Up to so many panels, a panel is so many pixels wide at most."""


class Panel(NamedTuple):
    """One episode: at least one picture of it, in their order, and what stands under them."""

    moments: Sequence[Image.Image]
    title: str
    facts: str


def contact_sheet(panels: Sequence[Panel], header: str) -> Image.Image:
    """All panels in rows, as many beside each other as make the sheet about four units wide for three high.

    Args:
      panels: at least one.
      header: the line above them.
    """
    widest = next(width for most, width in _WIDEST.items() if len(panels) <= most)
    count = max(len(panel.moments) for panel in panels)
    largest = [max(moment.size[axis] for panel in panels for moment in panel.moments) for axis in (0, 1)]
    scale = min((widest - _BETWEEN_MOMENTS * (count - 1)) / (count * largest[0]), 1.0)
    size = max(1, round(scale * largest[0])), max(1, round(scale * largest[1]))
    labels = [text for panel in panels for text in (panel.title, panel.facts)]
    width = max(count * (size[0] + _BETWEEN_MOMENTS) - _BETWEEN_MOMENTS, *(_width(text) for text in labels))
    height = size[1] + 2 * _LINE_HEIGHT + 4
    columns = min(len(panels), max(1, round(math.sqrt(4 / 3 * len(panels) * (height + _GAP) / (width + _GAP)))))
    rows = -(-len(panels) // columns)
    columns = -(-len(panels) // rows)  # no emptier than it must be
    sheet_width = max(columns * (width + _GAP) + _GAP, round(font(15, bold=True).getlength(header)) + 2 * _GAP)
    sheet = Image.new("RGB", (sheet_width, _HEADER + rows * (height + _GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _HEADER / 2), header, INK, font(15, bold=True), anchor="lm")
    for place, panel in enumerate(panels):
        left, top = _GAP + place % columns * (width + _GAP), _HEADER + place // columns * (height + _GAP)
        for index, moment in enumerate(panel.moments):
            small = moment if moment.size == size else ImageOps.contain(moment, size, Image.Resampling.BOX)
            sheet.paste(small, (left + index * (size[0] + _BETWEEN_MOMENTS), top))
        below = top + size[1] + _LINE_HEIGHT - 1
        draw.text((left, below), panel.title, INK, font(12, bold=True), anchor="ls")
        draw.text((left, below + _LINE_HEIGHT), panel.facts, FAINT, font(12), anchor="ls")
    return sheet


def write_contact_sheet(panels: Sequence[Panel], header: str, path: Path) -> None:
    """Write `contact_sheet` as a PNG.

    Raises:
      UserError: if it cannot be written.
    """
    sheet = contact_sheet(panels, header)
    write_atomically(path, lambda file: sheet.save(file, "PNG"))


def _width(text: str) -> int:
    return math.ceil(font(12, bold=True).getlength(text))
