"""Procgen (Cobbe et al. 2020) by EnvPool: 16 games whose variations are their procedurally generated levels."""

import ctypes
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gsljax.envs.pools import Pools
from gsljax.envs.vector_pools import EnvPoolAdapter, require
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec

Distribution = Literal["easy", "hard"]

NUM_ACTIONS = 15
LAST_LEVEL = 2**31 - 2
"""The game adds a number of levels to the first one in 32 bits."""

TRAIN_LEVELS = range(1024)
TEST_LEVELS = range(1024, 2024)
"""The paper's training and test levels (GSL §5)."""


class Game(NamedTuple):
    """A game's time limit in steps, and its score ranges (a trivial policy's, the best possible or practical one)."""

    horizon: int
    easy: tuple[float, float]
    hard: tuple[float, float]


# Time limits: EnvPool's registration, which are the games' own. Score ranges: openai/train-procgen, constants.py, which
# for the paper's seven games on easy levels are the paper's.
GAMES = {
    "bigfish": Game(6000, (1, 40), (0, 40)),
    "bossfight": Game(4000, (0.5, 13), (0.5, 13)),
    "caveflyer": Game(1000, (3.5, 12), (2, 13.4)),
    "chaser": Game(1000, (0.5, 13), (0.5, 14.2)),
    "climber": Game(1000, (2, 12.6), (1, 12.6)),
    "coinrun": Game(1000, (5, 10), (5, 10)),
    "dodgeball": Game(1000, (1.5, 19), (1.5, 19)),
    "fruitbot": Game(1000, (-1.5, 32.4), (-0.5, 27.2)),
    "heist": Game(1000, (3.5, 10), (2, 10)),
    "jumper": Game(1000, (1, 10), (1, 10)),
    "leaper": Game(500, (1.5, 10), (1.5, 10)),
    "maze": Game(500, (5, 10), (4, 10)),
    "miner": Game(1000, (1.5, 13), (1.5, 20)),
    "ninja": Game(1000, (3.5, 10), (2, 10)),
    "plunder": Game(4000, (4.5, 30), (3, 30)),
    "starpilot": Game(1000, (2.5, 64), (1.5, 35)),
}


def procgen(game: str, levels: Sequence[int] = TRAIN_LEVELS, distribution: Distribution = "easy") -> Pools:
    """A Procgen game whose variation v is the level `levels[v]`.

    Observations are uint8 images `[64, 64, 3]`. A member whose lanes all draw from the same contiguous range of levels
    has one pool for them; one with any other list has a pool for each level, in whose lanes that level repeats.

    Args:
      game: a name in `GAMES`.
      levels: level seeds, without repetition.
      distribution: which levels, easy or hard ones, the seeds stand for.

    Raises:
      UserError: if the game, the distribution or a level does not exist, a level is listed twice or none is, or EnvPool
        is not installed.
    """
    if game not in GAMES:
        raise UserError(f"The Procgen game is {game!r}, but must be one of {', '.join(GAMES)}.")
    if distribution not in ("easy", "hard"):
        raise UserError(f"Procgen's distribution is {distribution!r}, but must be 'easy' or 'hard'.")
    seeds = np.asarray(levels)
    if not seeds.size or not np.issubdtype(seeds.dtype, np.integer) or seeds.ndim != 1:
        raise UserError(f"Procgen's levels are {levels!r}, but must be a list or range of at least one level.")
    wrong = seeds[(seeds < 0) | (seeds > LAST_LEVEL)]
    if wrong.size:
        raise UserError(f"Procgen's levels contain {wrong[0]}, but a level must lie between 0 and {LAST_LEVEL}.")
    order = np.argsort(seeds, kind="stable")
    ascending = seeds[order]
    twice = ascending[1:][np.diff(ascending) == 0]
    if twice.size:
        raise UserError(f"Procgen's levels contain {twice[0]} more than once, but each level is one variation.")
    require("envpool", "Procgen")
    task = f"{game.capitalize()}{distribution.capitalize()}-v0"

    def open_pool(variations: tuple[int, ...], lane_seeds: list[int], num_threads: int) -> EnvPoolAdapter:
        load_qt()
        own = seeds[list(variations)]
        pool = importlib.import_module("envpool").make(
            task,
            env_type="gymnasium",
            num_envs=len(lane_seeds),
            num_threads=min(num_threads, len(lane_seeds)),
            seed=lane_seeds,
            start_level=int(own.min()),
            num_levels=len(own),
            channel_first=False,
        )
        if len(own) == 1:
            return EnvPoolAdapter(pool)
        return EnvPoolAdapter(
            pool, variation="level_seed", to_variation=lambda level: order[np.searchsorted(ascending, level)]
        )

    def can_draw(variations: tuple[int, ...]) -> bool:
        own = seeds[list(variations)]
        return int(own.max() - own.min()) == len(own) - 1

    spec = EnvSpec(
        name=f"Procgen {game} ({distribution})",
        num_variations=len(seeds),
        observation_shape=(64, 64, 3),
        observation_dtype="uint8",
        action=ActionSpec(num_actions=NUM_ACTIONS),
        horizon=GAMES[game].horizon,
        has_success=False,
        score_range=getattr(GAMES[game], distribution),
        variation_names=tuple(f"level {seed}" for seed in seeds),
    )
    return Pools(spec, open_pool, can_draw)


def load_qt() -> None:
    """Make Qt 5 known to the process, as EnvPool's Procgen draws with it: the system's, or the one in PyQt5-Qt5.

    Raises:
      UserError: saying what to install, if neither can be loaded.
    """
    if not sys.platform.startswith("linux") or "envpool.procgen.procgen_envpool" in sys.modules:
        return
    try:
        for name in ("libQt5Core.so.5", "libQt5Gui.so.5"):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError:  # not installed, or not whole
        _load_qt_of_the_wheel()
    if "envpool.procgen" in sys.modules:  # it was imported without Qt, by another environment of EnvPool's, and failed
        importlib.reload(sys.modules["envpool.procgen"])


def _load_qt_of_the_wheel() -> None:
    folder = _qt_of_the_wheel()
    if folder is None:
        raise UserError(
            "Procgen draws with Qt 5, which is not installed: run `pip install PyQt5-Qt5`, or install the system's "
            "(Debian, Ubuntu: apt install libqt5gui5)."
        )
    # In this order, each one's dependencies before itself; the wheel's own search path is not the process's.
    names = ("libicudata.so.56", "libicuuc.so.56", "libicui18n.so.56", "libQt5Core.so.5", "libQt5Gui.so.5")
    try:
        for name in names:
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise UserError(
            f"Procgen draws with Qt 5, which cannot be loaded ({error}): install what it lacks (Debian, Ubuntu: apt "
            "install libgl1)."
        ) from None


def _qt_of_the_wheel() -> Path | None:
    found: Any = importlib.util.find_spec("PyQt5")
    folders = [Path(each) / "Qt5" / "lib" for each in (found.submodule_search_locations or ())] if found else []
    return next((folder for folder in folders if (folder / "libQt5Gui.so.5").exists()), None)
