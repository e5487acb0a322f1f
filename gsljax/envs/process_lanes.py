"""Lanes whose environments step in worker processes, as pools: for environments that have no threads of their own.

All pools that are opened together share one crew of workers, about one for each core, whatever the number of lanes. A
worker that dies is replaced, the running episodes of its lanes are lost (`PoolStep.lost`), and the run goes on.
"""

import contextlib
import mmap
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Collection, Sequence
from multiprocessing import Pipe
from typing import NamedTuple

import numpy as np

from gsljax.envs import lane_process
from gsljax.envs.lane_worker import (
    Command,
    Failure,
    LaneArrays,
    LaneLayout,
    MakeEnvironment,
    Setup,
    WorkerLane,
    nameless_file,
)
from gsljax.envs.vector_pools import PoolStep
from gsljax.errors import UserError
from gsljax.types import EnvSpec

MOST_DEATHS = 3
"""Deaths of a worker, none of its lanes having done a step in between, after which it is not replaced again."""


class ProcessLanes:
    """Opens pools of lanes in worker processes; `open_pool` is what `gsljax.envs.Pools` needs.

    The workers start when the first of the pools is received from, and end with the last pool that is closed; pools
    opened after the start get a crew of their own.
    """

    def __init__(self, spec: EnvSpec, make: MakeEnvironment, num_workers: int | None = None):
        """Lanes of an environment.

        Args:
          spec: the environment's.
          make: a variation to its environment; it must pickle.
          num_workers: the most worker processes of pools that are opened together; None for the number of cores.

        Raises:
          UserError: if there is to be less than one worker, or `make` does not pickle.
        """
        if num_workers is not None and num_workers < 1:
            raise UserError(f"{spec.name}'s num_workers is {num_workers}, but must be at least 1.")
        try:
            pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UserError(f"{spec.name} is made by {make!r}, which cannot be sent to a process: {error}.") from None
        if getattr(make, "__module__", None) == "__main__":
            raise UserError(
                f"{spec.name} is made by {make!r} of the script that runs, which a process cannot import: put it into "
                "a module of its own."
            )
        self._spec, self._make = spec, make
        self._num_workers = num_workers or _cores()
        self._crew: _Crew | None = None

    def open_pool(self, variations: tuple[int, ...], seeds: list[int], num_threads: int) -> "ProcessPool":
        """A pool of lanes that all play one variation, see `gsljax.envs.pools.OpenPool`."""
        del num_threads  # the workers are shared
        if len(variations) != 1:
            raise UserError(
                f"A lane of {self._spec.name} plays one variation, so that its pools cannot draw from several."
            )
        (variation,) = variations
        if self._crew is None or not self._crew.is_gathering:
            self._crew = _Crew(self._spec, self._make, self._num_workers)
        return ProcessPool(self._crew, self._crew.add(variation, seeds))


class ProcessPool:
    """Some lanes of a crew, as a `gsljax.envs.vector_pools.VectorPool`."""

    def __init__(self, crew: "_Crew", rows: range):
        """The lanes of these rows of the crew's arrays."""
        self._crew: _Crew | None = crew
        self._rows = rows

    def reset(self) -> None:
        """Begin an episode in every lane."""
        self._opened().ask(self._rows, None)

    def send(self, action: np.ndarray) -> None:
        """Begin a step with actions `[n, ...]`."""
        self._opened().ask(self._rows, action)

    def receive(self) -> PoolStep:
        """Wait for it.

        Raises:
          UserError: if an environment raises one, or a worker cannot be kept alive.
          RuntimeError: if an environment fails in another way, with its traceback.
        """
        return self._opened().answer(self._rows)

    def close(self) -> None:
        """Give the lanes back; the crew's last pool ends its processes."""
        if self._crew is not None:
            crew, self._crew = self._crew, None
            crew.leave(self._rows)

    def _opened(self) -> "_Crew":
        if self._crew is None:
            raise UserError("This pool is closed: open it again.")
        return self._crew


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, setup: Setup, memory_file: int):
        self.connection, theirs = Pipe()
        # Its own session, so that Ctrl-C reaches the parent alone; not multiprocessing's spawn, which would import the
        # parent's main module anew in every worker.
        self._process = subprocess.Popen(
            [sys.executable, "-P", lane_process.__file__, str(theirs.fileno()), str(memory_file)],
            env=_environment_variables(),
            pass_fds=(theirs.fileno(), memory_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        with contextlib.suppress(OSError):  # it has died already, which whoever reads from it finds out
            self.connection.send(setup)

    def end(self, grace: float = 0.0) -> int:
        """End it, as it has nothing to save, if it does not end by itself within `grace` seconds; its exit status."""
        self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(grace)
        self._process.kill()
        return self._process.wait()


class _Place(NamedTuple):
    """Which worker a lane is at, and what it was opened with."""

    worker: int
    variation: int
    seed: int


class _Crew:
    """The lanes of pools that were opened together, and once they have started, their workers."""

    def __init__(self, spec: EnvSpec, make: MakeEnvironment, num_workers: int):
        self._spec, self._make, self._num_workers = spec, make, num_workers
        self._places: list[_Place] = []
        self._present: set[int] = set()
        self._waiting: list[int] = []
        self._workers: _Workers | None = None
        self.is_gathering = True

    def add(self, variation: int, seeds: Sequence[int]) -> range:
        """Lanes join before the start; neighbours go to different workers, so that these are equally busy."""
        rows = range(len(self._places), len(self._places) + len(seeds))
        self._places += [
            _Place(row % self._num_workers, variation, seed) for row, seed in zip(rows, seeds, strict=True)
        ]
        self._present |= set(rows)
        return rows

    def ask(self, rows: range, action: np.ndarray | None) -> None:
        """Begin a step, or with no action an episode, in some lanes."""
        if self._workers is None:  # more lanes may join: the first answer that is waited for starts all
            self._waiting += rows
        else:
            self._workers.ask(rows, action)

    def answer(self, rows: range) -> PoolStep:
        """Wait for what `ask` began."""
        if self._workers is None:
            self.is_gathering = False
            self._workers = _Workers(self._spec, self._make, self._places)
            self._workers.ask(self._waiting, None)
        return self._workers.answer(rows)

    def leave(self, rows: range) -> None:
        """Some lanes are not needed any more; with the last of them the processes end."""
        self._present -= set(rows)
        if not self._present:
            self.is_gathering = False
            if self._workers is not None:
                workers, self._workers = self._workers, None
                workers.end()


class _Workers:
    """Running workers, and the memory that they share. Every array has an entry, or a row, for each lane."""

    def __init__(self, spec: EnvSpec, make: MakeEnvironment, places: Sequence[_Place]):
        self._spec, self._make, self._places = spec, make, tuple(places)
        self._layout, count = _layout(spec), len(places)
        size = LaneArrays.size_of(self._layout, count)
        self._asked, self._resets, self._lost, self._must_reset = (np.zeros(count, bool) for _ in range(4))
        self._file = nameless_file(size)
        self._arrays = LaneArrays(mmap.mmap(self._file.fileno(), size), self._layout, count)
        numbers = range(1 + max(place.worker for place in places))
        self._deaths, self._deaths_in_a_row = [0 for _ in numbers], [0 for _ in numbers]
        self._workers: list[_Worker] = []
        try:
            for number in numbers:
                self._workers.append(self._begin(number))
        except BaseException:
            self.end()
            raise

    def ask(self, rows: Sequence[int], action: np.ndarray | None) -> None:
        """Begin a step, or with no action an episode."""
        if action is not None:
            self._arrays.action[np.asarray(rows)] = action
        self._command(rows, is_reset=action is None)

    def answer(self, rows: range) -> PoolStep:
        """Wait for what `ask` began; copies, as the workers go on writing."""
        for row in rows:
            while self._asked[row]:
                self._read(self._places[row].worker)
        some, arrays = slice(rows.start, rows.stop), self._arrays
        fields = arrays.observation, arrays.reward, arrays.terminated, arrays.truncated, arrays.success
        observation, reward, terminated, truncated, success = (field[some].copy() for field in fields)
        lost = self._lost[some].copy()
        self._lost[some] = False
        return PoolStep(observation, reward, terminated, truncated, success, lost=lost)

    def end(self) -> None:
        """End all processes and give the memory back."""
        while self._workers:
            self._workers.pop().end()
        self._file.close()

    def _begin(self, number: int) -> _Worker:
        lanes = tuple(
            WorkerLane(row, place.variation, (place.seed, self._deaths[number]))
            for row, place in enumerate(self._places)
            if place.worker == number
        )
        return _Worker(Setup(self._layout, len(self._places), self._make, lanes), self._file.fileno())

    def _command(self, rows: Collection[int], is_reset: bool) -> None:
        """Tell every worker of its rows in one message: many would fill the pipe before their answers are read.

        What it has answered to other pools is read first: it must not wait for that while this waits for it.
        """
        for number in {self._places[row].worker for row in rows}:
            while self._workers[number].connection.poll():
                self._read(number)
        self._send(rows, is_reset)

    def _send(self, rows: Collection[int], is_reset: bool) -> None:
        of_workers: dict[int, list[Command]] = {}
        for row in rows:
            self._asked[row] = True
            must_reset = bool(self._must_reset[row])
            self._lost[row] |= must_reset
            self._must_reset[row] = False
            self._resets[row] = is_reset or must_reset
            of_workers.setdefault(self._places[row].worker, []).append(Command(row, is_reset or must_reset))
        for number, commands in of_workers.items():
            with contextlib.suppress(OSError):  # it has died, which the one that reads its answer finds out
                self._workers[number].connection.send(commands)

    def _read(self, number: int) -> None:
        """One answer of a worker, whichever pool it is for."""
        try:
            answer = self._workers[number].connection.recv()
        except (EOFError, OSError):
            self._replace(number)
            return
        if isinstance(answer, Failure):
            if answer.is_users:
                raise UserError(answer.text)
            raise RuntimeError(f"An environment of {self._spec.name} failed in its worker process:\n{answer.text}")
        self._asked[answer] = False
        if not self._resets[answer]:
            self._deaths_in_a_row[number] = 0

    def _replace(self, number: int) -> None:
        """Start another worker in place of a dead one: the episodes of its lanes are lost, and begin anew."""
        status = self._workers[number].end(grace=1.0)
        self._deaths[number] += 1
        self._deaths_in_a_row[number] += 1
        if self._deaths_in_a_row[number] > MOST_DEATHS:
            raise UserError(
                f"A worker process of {self._spec.name} has died {self._deaths_in_a_row[number]} times (at last with "
                f"status {status}) before it did a step: try fewer lanes or workers if memory is short."
            )
        warnings.warn(
            f"Worker process {number} of {self._spec.name} ended (status {status}) and is replaced, time "
            f"{self._deaths[number]}; the running episodes of its lanes are lost.",
            RuntimeWarning,
            stacklevel=2,
        )
        self._workers[number] = self._begin(number)
        rows = [row for row, place in enumerate(self._places) if place.worker == number]
        self._must_reset[rows] = True
        self._send([row for row in rows if self._asked[row]], is_reset=True)


def _layout(spec: EnvSpec) -> LaneLayout:
    action = ((), "int32") if spec.action.is_discrete else ((spec.action.dimension or 0,), "float32")
    return LaneLayout(spec.observation_shape, spec.observation_dtype, *action)


def _environment_variables() -> dict[str, str]:
    """One thread for each library in a worker, as there is a worker for each core, unless the user says otherwise."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return single | os.environ | {"PYTHONPATH": path}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
