"""Films: which steps they show, that a written file holds every frame, and what is left when it cannot be written."""

import shutil
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from gsljax.errors import UserError
from gsljax.report import film
from gsljax.report.film import captioned, check_format, image_frames, shown_steps, write_film


@pytest.mark.parametrize(
    ("length", "most", "expected"),
    [
        (1, 300, [0]),
        (5, 300, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 4, [0, 2, 4]),
        (6, 4, [0, 2, 4, 5]),
        (7, 1, [6]),
        (10, 2, [0, 9]),
    ],
)
def test_of_a_long_episode_every_kth_step_is_shown_and_the_last(length, most, expected):
    assert shown_steps(length, most) == expected


def test_the_longest_episode_of_procgen_has_a_bearable_number_of_frames():
    steps = shown_steps(6001)
    assert len(steps) <= film.MOST_FRAMES and set(np.diff(steps)[:-1]) == {21} and steps[-1] == 6000


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_shown_with_each_of_its_pixels_enlarged(channels):
    observation = np.random.default_rng(0).integers(0, 256, (4, 64, 64, channels), np.uint8)
    frames = list(image_frames(0, observation, [1, 3]))
    assert len(frames) == 2
    for frame, step in zip(frames, (1, 3), strict=True):
        assert (frame.shape, frame.dtype) == ((320, 320, 3), np.uint8)
        for row in range(5):
            np.testing.assert_array_equal(frame[row::5, 4 - row :: 5], np.broadcast_to(observation[step], (64, 64, 3)))


def frames_of(count):
    """Pictures `[40, 60, 3]`, each with a brighter square further to the right."""
    for index in range(count):
        frame = np.full((40, 60, 3), 20, np.uint8)
        frame[10:20, 2 * index : 2 * index + 10] = (255, 10 * index, 0)
        yield frame


def test_a_written_gif_holds_every_frame_under_its_caption(tmp_path):
    clock = [f"step {index}" for index in range(12)]
    write_film(captioned(frames_of(12), "title", "facts", clock), 12, tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (12, (60, 84), 0)
        durations, strips = [], []
        for index, expected in enumerate(frames_of(12)):
            gif.seek(index)
            shown = np.asarray(gif.convert("RGB"))
            np.testing.assert_allclose(shown[44:].astype(int), expected, atol=12)
            durations.append(gif.info["duration"])
            strips.append(shown[:44])
    assert durations == [50] * 11 + [1500]
    assert all(np.any(strip < 128) for strip in strips)  # has text
    assert np.any(strips[0] != strips[5])  # the clock


def test_a_picture_with_new_colours_gets_colours_of_its_own():
    rng = np.random.default_rng(0)
    few = [Image.fromarray(np.full((8, 8, 3), colour, np.uint8)) for colour in ((9, 9, 9), (9, 9, 9), (250, 9, 9))]
    many = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))  # of 64 colours
    for picture, reduced in zip([*few, many], film._reduced([*few, many]), strict=True):
        np.testing.assert_allclose(np.asarray(reduced.convert("RGB")).astype(int), np.asarray(picture), atol=9)


def test_a_film_that_breaks_off_leaves_nothing(tmp_path):
    def broken():
        yield Image.new("RGB", (8, 8))
        yield Image.new("RGB", (8, 8), "red")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"film\.gif cannot be written \(No space left on device\)"):
        write_film(broken(), 3, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A stand-in for FFmpeg that writes its arguments and what it reads to the file, or complains."""

    def install(complains=False):
        folder = tmp_path / "bin"
        folder.mkdir()
        body = "sys.exit('no encoder')" if complains else "open(sys.argv[-1], 'wb').write(repr(sys.argv).encode()+data)"
        script = folder / "ffmpeg"
        script.write_text(f"#!{sys.executable}\nimport sys\ndata = sys.stdin.buffer.read()\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    return install


def test_ffmpeg_is_given_every_frame(tmp_path, ffmpeg):
    ffmpeg()
    check_format("mp4")
    pictures = [Image.fromarray(frame) for frame in frames_of(5)]
    write_film(iter(pictures), 5, tmp_path / "film.mp4")
    written = (tmp_path / "film.mp4").read_bytes()
    assert written.endswith(b"".join(picture.tobytes() for picture in pictures))
    assert b"'60x40'" in written and b"'yuv420p'" in written


def test_what_ffmpeg_complains_of_is_said(tmp_path, ffmpeg):
    ffmpeg(complains=True)
    with pytest.raises(UserError, match=r"film\.mp4 cannot be written \(FFmpeg: no encoder\)"):
        write_film((Image.fromarray(frame) for frame in frames_of(5)), 5, tmp_path / "film.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.skipif(film._ffmpeg() is None, reason="there is no FFmpeg")
def test_a_real_mp4_is_made(tmp_path):
    write_film((Image.fromarray(frame[:39, :59]) for frame in frames_of(5)), 5, tmp_path / "film.mp4")  # odd sizes
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_format_that_cannot_be_written_is_refused(monkeypatch):
    with pytest.raises(UserError, match="format is 'avi', but must be gif or mp4"):
        check_format("avi")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(film.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="mp4 needs FFmpeg, which is not installed: run `pip install imageio-ffmpeg`"):
        check_format("mp4")
    check_format("gif")
