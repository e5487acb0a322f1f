"""The contact sheet: a panel for each episode, with its pictures in their order and its text below them."""

import itertools

import numpy as np
import pytest
from PIL import Image

from gsljax.report.contact_sheet import Panel, contact_sheet, write_contact_sheet


def colour(panel, moment):
    return 40 + 2 * panel, 100 + 30 * moment, 77


def panels_of(count, moments, size=(90, 60)):
    return [
        Panel([Image.new("RGB", size, colour(panel, moment)) for moment in range(moments)], f"panel {panel}", "facts")
        for panel in range(count)
    ]


def codes(sheet):
    """Each pixel's colour as one number."""
    return np.asarray(sheet, np.int32) @ np.array([65536, 256, 1], np.int32)


def box(pixels, panel, moment):
    """Rows and columns where a panel's picture is."""
    rows, columns = np.nonzero(pixels == np.dot(colour(panel, moment), [65536, 256, 1]))
    assert rows.size, (panel, moment)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize(("count", "moments"), [(1, 1), (5, 1), (12, 4), (13, 4), (70, 1)])
def test_every_episode_has_a_panel_of_its_own_in_order(count, moments):
    sheet = contact_sheet(panels_of(count, moments), "header")
    pixels, places = codes(sheet), []
    for panel in range(count):
        found = [box(pixels, panel, moment) for moment in range(moments)]
        assert len({(top, bottom) for top, bottom, _, _ in found}) == 1  # beside each other
        lefts = [left for _, _, left, _ in found]
        assert lefts == sorted(set(lefts))
        top, bottom, left, right = found[0]
        assert (right - left) / (bottom - top) == pytest.approx(1.5, rel=0.1)
        places.append((top, left))
        below = np.asarray(sheet.convert("L"))[bottom + 2 : bottom + 34, left : left + 60]
        assert below.min() < 150  # its text
    assert places == sorted(set(places))  # row by row
    if count > 4:
        assert 0.6 < sheet.width / sheet.height < 3


def test_panels_of_different_shapes_do_not_overlap_and_keep_theirs():
    short, wide = panels_of(2, 4)[0]._replace(moments=panels_of(1, 1)[0].moments), panels_of(2, 4, (90, 30))[1]
    pixels = codes(contact_sheet([short, wide, *panels_of(4, 4)[2:]], "header"))
    top, bottom, left, right = box(pixels, 1, 0)
    assert (right - left) / (bottom - top) == pytest.approx(3, rel=0.1)
    for panel in (1, 2):
        boxes = [box(pixels, panel, moment) for moment in range(4)]
        assert all(one[3] <= other[2] for one, other in itertools.pairwise(boxes))
        assert len({found[3] - found[2] for found in boxes}) == 1  # none is covered in part


def test_pictures_are_made_smaller_but_never_larger():
    top, bottom, left, right = box(codes(contact_sheet(panels_of(2, 1, (30, 20)), "h")), 0, 0)
    assert (bottom - top, right - left) == (20, 30)
    top, bottom, left, right = box(codes(contact_sheet(panels_of(2, 1, (1920, 960)), "h")), 1, 0)
    assert (bottom - top, right - left) == (480, 960)


def test_it_is_written_as_png(tmp_path):
    write_contact_sheet(panels_of(3, 1), "header", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as written:
        assert written.format == "PNG"
        np.testing.assert_array_equal(np.asarray(written), np.asarray(contact_sheet(panels_of(3, 1), "header")))
