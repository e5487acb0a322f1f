"""The paper's benchmarks as named configurations."""

from gsljax.errors import UserError
from gsljax.presets.base import Preset
from gsljax.presets.maze import MAZE, MazeConfig
from gsljax.presets.meta_world import META_WORLD
from gsljax.presets.procgen import PROCGEN
from gsljax.presets.push_chair import PUSH_CHAIR

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (MAZE, *META_WORLD, *PROCGEN, *PUSH_CHAIR)}


def get(name: str) -> Preset:
    """The preset called `name`.

    Raises:
      UserError: if there is none, naming those there are.
    """
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}; there are: {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]


__all__ = ["MAZE", "PRESETS", "MazeConfig", "Preset", "get"]
