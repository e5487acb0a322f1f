"""Films of episodes: which steps are shown, what stands above the picture, and the file, a GIF or an MP4."""

import contextlib
import importlib
import importlib.util
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

import matplotlib
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from gsljax.errors import UserError
from gsljax.files import write_atomically

FilmFormat = Literal["gif", "mp4"]
FRAMES_PER_SECOND = 20
MOST_FRAMES = 300
"""In a film: of a longer episode every k-th step is shown."""
INK = (51, 51, 56)
FAINT = (125, 125, 133)
PAPER = (255, 255, 255)
_MARGIN = 8
_LINE_HEIGHT = 18
_SECONDS_AT_THE_END = 1.5
_MORE_ERROR = 8
"""By how much, of 255, a colour may be further off than with colours of the picture's own."""


class FilmStyle(NamedTuple):
    """How the episodes of an environment are drawn.

    Attributes:
      frames: from a variation, an episode's observations `[T, ...]` and the ascending steps to show, one picture
        `[H, W, 3]` uint8 for each of these, all of one size.
      title: what a variation is called.
      moments: pictures of an episode in the contact sheet, the last one among them.
    """

    frames: Callable[[int, np.ndarray, Sequence[int]], Iterator[np.ndarray]]
    title: Callable[[int], str] = lambda variation: f"variation {variation}"
    moments: int = 4


def shown_steps(length: int, most: int = MOST_FRAMES) -> list[int]:
    """Every k-th of `length` observations, with the first and the last, and the least k that makes at most `most`."""
    if most == 1 or length == 1:
        return [length - 1]
    every = -(-(length - 1) // (most - 1))
    return [*range(0, length - 1, every), length - 1]


def image_frames(variation: int, observation: np.ndarray, steps: Sequence[int]) -> Iterator[np.ndarray]:
    """Observations that are images `[T, H, W, C]` uint8, C being 1 or 3, with every pixel enlarged to a square."""
    del variation
    factor = max(1, 320 // max(observation.shape[1:3]))
    for step in steps:
        image = np.broadcast_to(observation[step], (*observation.shape[1:3], 3))
        yield image.repeat(factor, axis=0).repeat(factor, axis=1)


@lru_cache
def font(size: int = 13, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The typeface of the figures, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def captioned(frames: Iterable[np.ndarray], title: str, facts: str, clock: Sequence[str]) -> Iterator[Image.Image]:
    """Each frame under a strip of two lines: the title, and the facts with what its clock shows.

    Args:
      frames: pictures of one size.
      title: of the film.
      facts: what the whole episode came to.
      clock: a text for each frame.
    """
    for frame, time in zip(frames, clock, strict=True):
        height, width = frame.shape[:2]
        picture = Image.new("RGB", (width, height + 2 * _LINE_HEIGHT + _MARGIN), PAPER)
        draw = ImageDraw.Draw(picture)
        draw.text((_MARGIN, _LINE_HEIGHT), title, INK, font(bold=True), anchor="ls")
        draw.text((_MARGIN, 2 * _LINE_HEIGHT), facts, INK, font(12), anchor="ls")
        draw.text((width - _MARGIN, 2 * _LINE_HEIGHT), time, FAINT, font(12), anchor="rs")
        picture.paste(Image.fromarray(frame), (0, picture.height - height))
        yield picture


def write_film(pictures: Iterator[Image.Image], count: int, path: Path) -> None:
    """Write a GIF that begins again after its end, or an MP4; one picture at a time is in memory.

    Args:
      pictures: `count` of them, all of one size.
      count: how many there are.
      path: a file that ends in .gif or .mp4.

    Raises:
      UserError: if it cannot be written; no part of it is left then.
    """
    write = {".gif": _write_gif, ".mp4": _write_mp4}[path.suffix]
    write_atomically(path, lambda file: write(pictures, count, file))


def check_format(name: str) -> None:
    """Refuse a format that cannot be written here.

    Raises:
      UserError: if it is unknown, or there is no FFmpeg for an MP4.
    """
    if name not in ("gif", "mp4"):
        raise UserError(f"The video format is {name!r}, but must be gif or mp4.")
    if name == "mp4" and _ffmpeg() is None:
        raise UserError(
            "The video format mp4 needs FFmpeg, which is not installed: run `pip install imageio-ffmpeg`, install the "
            "system's (Debian, Ubuntu: apt install ffmpeg), or choose gif."
        )


def _ffmpeg() -> str | None:
    """FFmpeg's executable: the system's, or the one in the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is None and importlib.util.find_spec("imageio_ffmpeg") is not None:
        return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    return found


def _write_gif(pictures: Iterator[Image.Image], count: int, file: BinaryIO) -> None:
    durations = [1000 // FRAMES_PER_SECOND] * (count - 1) + [round(1000 * _SECONDS_AT_THE_END)]
    reduced = _reduced(pictures)
    first = next(reduced)
    first.save(file, "GIF", save_all=True, append_images=reduced, duration=durations, loop=0, optimize=False)


def _reduced(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Each picture in 256 colours, undithered, as that would flicker and be large.

    Choosing colours takes most of a GIF's time, so a picture keeps its predecessor's if these come as near.
    """
    palette, tolerance = None, 0

    def error(one: Image.Image, other: Image.Image) -> int:
        difference = ImageChops.difference(one, other.convert("RGB"))
        return max(high for _, high in cast(Sequence[tuple[int, int]], difference.getextrema()))

    for picture in pictures:
        if palette is not None:
            reduced = picture.quantize(palette=palette, dither=Image.Dither.NONE)
            if error(picture, reduced) <= tolerance:
                yield reduced
                continue
        palette = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        tolerance = error(picture, palette) + _MORE_ERROR
        yield palette


def _write_mp4(pictures: Iterator[Image.Image], count: int, file: BinaryIO) -> None:
    del count
    executable = _ffmpeg()
    assert executable is not None
    first = next(pictures)
    size, rate = f"{first.width}x{first.height}", str(FRAMES_PER_SECOND)
    last = f"pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,tpad=stop_mode=clone:stop_duration={_SECONDS_AT_THE_END}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "pipe:0"]
    coded = ["-vf", last, "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-f", "mp4", "-y", file.name]
    command = [executable, "-loglevel", "error", *raw, *coded]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            process.stdin.write(first.tobytes())
            for picture in pictures:
                process.stdin.write(picture.tobytes())
            process.stdin.close()
        except BrokenPipeError:  # it has ended early and says below why
            with contextlib.suppress(BrokenPipeError):  # what is still in the buffer
                process.stdin.close()
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        reason = complaint.splitlines()[-1] if complaint else f"exit status {process.returncode}"
        raise OSError(None, f"FFmpeg: {reason}")
