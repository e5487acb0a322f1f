"""A run beside pools that SIGKILL ends at a moment of one's choice: `python -m tests.gsl.killed_run DIR MOMENT`.

Demonstrations are written in several files and stream from the host, however few they are. A moment is the third time
of something: `epoch STAGE`, `receive STAGE` (from the pools, while the stage is under way), `file` (of demonstrations).
"""

import dataclasses
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gsljax.envs.pools import OpenPools
from gsljax.gsl import demonstrations, streaming
from gsljax.gsl.config import resolve
from gsljax.gsl.experiment import Experiment
from gsljax.gsl.run import run
from gsljax.report.progress import Silent
from gsljax.run_directory import RunDirectory
from tests.gsl.test_run_in_pools import CONFIG, PRESET

TIMES = 3


class Killer(Silent):
    """Kills the process at its moment, and knows which stage is under way."""

    def __init__(self, moment: str):
        self.moment, self.stage, self.seen = moment, "", Counter()

    def __call__(self, what: str) -> None:
        """What happens now."""
        self.seen[what] += 1
        if what == self.moment and self.seen[what] == TIMES:
            os.kill(os.getpid(), signal.SIGKILL)

    def begin_stage(self, name: str, description: str, budget: int, done: int) -> None:
        """A stage begins."""
        self.stage = name

    def advance(self, stage: str, record: Any) -> None:
        """An epoch is over."""
        self(f"epoch {stage}")


def main(path: Path, moment: str) -> None:
    """Begin the run, or go on with it."""
    config, killer = resolve(CONFIG), Killer(moment)
    demonstrations.SHARD_BYTES, streaming.DEVICE_BYTES = 100, 0
    receive, write = OpenPools.receive, demonstrations.write_atomically

    def received(live: OpenPools, half: int) -> Any:
        killer(f"receive {killer.stage}")
        return receive(live, half)

    def written(*given: Any) -> None:
        write(*given)
        killer("file")

    OpenPools.receive, demonstrations.write_atomically = received, written
    environment = PRESET.make_environment(config)
    header = {"preset": PRESET.name, "method": config.method, "seed": 0, "config": dataclasses.asdict(config)}
    begun = (path / "config.json").exists()
    directory = RunDirectory.reopen(path) if begun else RunDirectory.create(path, header)
    run(Experiment(config, environment, environment, directory, killer), PRESET.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
