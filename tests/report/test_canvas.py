"""Smoothing is the Gaussian filter it says, and figures go where they are sent or the user is told why not."""

import math

import numpy as np
import pytest

from gsljax.errors import UserError
from gsljax.report import canvas


@pytest.mark.parametrize("width", [0.0, 49.0, 60.0, 250.0, 5000.0])
def test_smoothing_is_a_normalised_gaussian_over_samples(width):
    samples = np.arange(1, 41) * 100.0
    values = np.random.default_rng(0).normal(size=40)
    expected = []
    for center in samples:
        weights = (
            [math.exp(-((at - center) ** 2) / (2 * width**2)) for at in samples] if width >= 50 else samples == center
        )
        near = [weight * (abs(at - center) <= 4 * width + 100) for weight, at in zip(weights, samples, strict=True)]
        expected.append(np.dot(near, values) / sum(near))
    np.testing.assert_allclose(canvas.smooth(samples, values, width), expected, atol=2e-4)


def test_a_constant_curve_stays_and_a_single_point_stays():
    np.testing.assert_allclose(canvas.smooth(np.arange(30.0), np.full(30, 0.7), 5.0), 0.7)
    assert canvas.smooth(np.array([3.0]), np.array([0.2]), 5.0) == [0.2]
    assert canvas.smooth(np.array([]), np.array([]), 5.0).shape == (0,)


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"\x89PNG")]
)
def test_the_suffix_picks_the_format_and_folders_are_made(tmp_path, suffix, start):
    path = tmp_path / "new" / "folder" / f"figure{suffix}"
    canvas.save(canvas.new_figure(1, 1), path)
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["figure.gif", "figure", "figure.png.txt"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"allowed are \.pdf, \.png, \.svg"):
        canvas.save(canvas.new_figure(1, 1), tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "figure.png", tmp_path / "folder.png"):
        with pytest.raises(UserError, match=rf"^Figure {path} cannot be written: "):
            canvas.save(canvas.new_figure(1, 1), path)
    assert (tmp_path / "file").read_text() == "kept"
