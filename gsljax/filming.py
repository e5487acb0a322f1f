"""Filming a policy: one whole episode of each chosen variation, a file for each, and one contact sheet of all."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from gsljax.algorithms.base import ActFunction
from gsljax.envs.protocol import JaxEnvironment, PooledEnvironment
from gsljax.episodes import Episode
from gsljax.errors import UserError
from gsljax.evaluation import play_once
from gsljax.gsl.config import GSLConfig
from gsljax.presets import Preset
from gsljax.report.contact_sheet import WIDEST_PANEL, Panel, write_contact_sheet
from gsljax.report.film import FilmFormat, FilmStyle, captioned, check_format, image_frames, shown_steps, write_film
from gsljax.report.film_progress import FilmProgress
from gsljax.report.text import format_value
from gsljax.train_state import TrainState
from gsljax.types import EnvSpec

MOST_BY_DEFAULT = 12
"""Variations that are filmed if none are named: all, or so many evenly spread over the ids."""
CONTACT_SHEET = "contact_sheet.png"
_MEMORY = 2**29
"""Bytes of observations that are held while episodes are played; more variations are played in turns."""
_MOST_LANES = 64


@dataclasses.dataclass(frozen=True)
class Filming:
    """What is filmed, and where to.

    Raises:
      UserError: if the format cannot be written, or the directory is a file or not empty.
    """

    directory: Path
    """A directory that does not exist or is empty."""
    variations: tuple[int, ...] = ()
    """Ids of variations; none for `MOST_BY_DEFAULT` evenly spread ones."""
    format: FilmFormat = "gif"
    """GIF, or MP4 where there is FFmpeg."""

    def __post_init__(self):
        check_format(self.format)
        path = self.directory
        if path.exists() and not path.is_dir():
            raise UserError(f"The video directory {path} is a file; give a directory that does not exist or is empty.")
        if path.exists() and any(path.iterdir()):
            raise UserError(f"The video directory {path} is not empty; give one that does not exist or is empty.")

    def chosen(self, spec: EnvSpec) -> np.ndarray:
        """The variations of an environment that are filmed, ascending int32 ids, each once.

        Raises:
          UserError: if one of them does not exist.
        """
        wrong = [v for v in self.variations if not 0 <= v < spec.num_variations]
        if wrong:
            raise UserError(
                f"The video is to show variation {wrong[0]}, but the variations of {spec.name} are 0 .. "
                f"{spec.num_variations - 1}."
            )
        spread = np.linspace(0, spec.num_variations - 1, min(MOST_BY_DEFAULT, spec.num_variations)).round()
        return np.unique(np.asarray(self.variations or spread, np.int32))

    def prepare(self, spec: EnvSpec) -> None:
        """Make the directory, if it is not there.

        Raises:
          UserError: if a variation does not exist, or the directory cannot be made.
        """
        self.chosen(spec)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The video directory {self.directory} cannot be made ({error.strerror}).") from error


def style_of(preset: Preset, config: GSLConfig, spec: EnvSpec) -> FilmStyle:
    """How the episodes of a preset are drawn: as it says, or by their observations where these are images.

    Raises:
      UserError: if there is no way to draw them.
    """
    if preset.film_style is not None:
        return preset.film_style(config)
    shape = spec.observation_shape
    if spec.observation_dtype == "uint8" and len(shape) == 3 and shape[-1] in (1, 3):
        names = spec.variation_names
        return FilmStyle(image_frames, names.__getitem__) if names else FilmStyle(image_frames)
    raise UserError(
        f"The preset {preset.name} cannot be filmed: it has no `film_style`, and its observations, "
        f"{spec.observation_dtype} of shape {shape}, are no images."
    )


def film(
    filming: Filming,
    style: FilmStyle,
    environment: JaxEnvironment | PooledEnvironment,
    act: ActFunction,
    state: TrainState,
    key: jax.Array,
    header: str,
    quiet: bool = False,
) -> dict[str, dict[str, Any]]:
    """Play one episode of each variation with the stochastic policy, and write it as soon as it is over.

    Args:
      filming: what is filmed, and where to.
      style: how it is drawn.
      environment: what is played.
      act: the algorithm's `act`.
      state: the member that plays.
      key: for resets and actions.
      header: the title of the contact sheet.
      quiet: show no progress.

    Returns:
      For each variation's id `{"file", "steps", "return"}`, with `"success"` where the environment has it.

    Raises:
      UserError: if a variation does not exist, or a file cannot be written.
    """
    spec = environment.spec
    filming.prepare(spec)
    variations = filming.chosen(spec)
    digits = len(str(spec.num_variations - 1))
    found: dict[int, dict[str, Any]] = {}
    panels: dict[int, Panel] = {}
    with FilmProgress(len(variations), quiet) as progress:

        def write(episode: Episode) -> None:
            variation = episode.variation
            progress.show(f"writing variation {variation}", len(found))
            path = filming.directory / f"variation_{variation:0{digits}}.{filming.format}"
            panels[variation] = _write(episode, style, spec, path)
            success = {"success": episode.success} if spec.has_success else {}
            facts = {"steps": len(episode.observation), "return": episode.episode_return}
            found[variation] = {"file": path.name} | facts | success
            progress.show("playing", len(found))

        for turn, some in enumerate(_turns(variations, spec)):
            progress.show("playing", len(found))
            play_once(environment, act, state, some, jax.random.fold_in(key, turn), write)
    in_order = [int(variation) for variation in variations]
    write_contact_sheet([panels[v] for v in in_order], header, filming.directory / CONTACT_SHEET)
    return {str(v): found[v] for v in in_order}


def _turns(variations: np.ndarray, spec: EnvSpec) -> Iterator[np.ndarray]:
    """The variations, as many at a time as fit into the memory with whole episodes."""
    size = np.dtype(spec.observation_dtype).itemsize * int(np.prod(spec.observation_shape)) * (spec.horizon + 1)
    lanes = int(np.clip(_MEMORY // size, 1, _MOST_LANES))
    return (variations[first : first + lanes] for first in range(0, len(variations), lanes))


def _write(episode: Episode, style: FilmStyle, spec: EnvSpec, path: Path) -> Panel:
    """Write one film; its moments stay for the contact sheet."""
    observation = np.concatenate([episode.observation, episode.final_observation[None]])
    length = len(episode.observation)
    steps = shown_steps(len(observation))
    facts = f"return {format_value(episode.episode_return)}"
    if spec.has_success:
        facts += ", success" if episode.success else ", no success"
    title = style.title(episode.variation)
    frames = style.frames(episode.variation, observation, steps)
    kept: list[Image.Image] = []
    keep = {round(place) for place in np.linspace(len(steps) - 1, 0, style.moments, endpoint=style.moments > 1)}

    def shown() -> Iterator[np.ndarray]:
        for place, frame in enumerate(frames):
            if place in keep:
                moment = Image.fromarray(frame)
                moment.thumbnail((WIDEST_PANEL, WIDEST_PANEL))
                kept.append(moment)
            yield frame

    clock = [f"step {step} of {length}" for step in steps]
    write_film(captioned(shown(), title, facts, clock), len(steps), path)
    return Panel(kept, title, f"{facts}, {length} steps")
