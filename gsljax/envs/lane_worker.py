"""A worker process of `gsljax.envs.process_lanes`: it steps some lanes' environments and answers through shared memory.

A worker ends when its pipe does, so that it does not outlive the process that started it; the memory is a file without
a name, so that nothing of it can be left behind. Nothing that is imported here needs JAX, see `lane_process`.
"""

import contextlib
import mmap
import signal
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from gsljax.errors import UserError


class EnvironmentStep(NamedTuple):
    """What a step of one environment led to: observation, reward, and whether it terminated, truncated, succeeded."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    success: bool = False


class HostEnvironment(Protocol):
    """One environment, of one variation, in a worker process."""

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode that the seed determines; its first observation."""
        ...

    def step(self, action: np.ndarray) -> EnvironmentStep:
        """One step; not called again before `reset` once it has ended."""
        ...


MakeEnvironment = Callable[[int], HostEnvironment]
"""A variation to its environment; sent to workers, so a function of a module or a frozen bundle that pickles."""


class WorkerLane(NamedTuple):
    """A lane as a worker knows it: its row in the arrays, its variation, and what its episodes are seeded from."""

    row: int
    variation: int
    seed: tuple[int, ...]


class LaneLayout(NamedTuple):
    """Shape and type of a lane's observation and of its action."""

    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_shape: tuple[int, ...]
    action_dtype: str


class Setup(NamedTuple):
    """The first message to a worker."""

    layout: LaneLayout
    num_rows: int
    make: MakeEnvironment
    lanes: tuple[WorkerLane, ...]


class Command(NamedTuple):
    """A later message: step the lane of a row, or begin its next episode whatever its state."""

    row: int
    is_reset: bool


class Failure(NamedTuple):
    """What a worker answers in place of a row when its environment fails; `is_users` for a `UserError`."""

    text: str
    is_users: bool


class LaneArrays:
    """The shared arrays of all lanes, a row each: actions one way, steps the other."""

    def __init__(self, memory: mmap.mmap, layout: LaneLayout, num_rows: int):
        """Lay the arrays out in memory of at least `size_of` bytes."""
        start = 0
        views = []
        for shape, dtype in _fields(layout):
            array = np.ndarray((num_rows, *shape), dtype, buffer=memory, offset=start)
            views.append(array)
            start = _aligned(start + array.nbytes)
        self.observation, self.action, self.reward, self.terminated, self.truncated, self.success = views

    @staticmethod
    def size_of(layout: LaneLayout, num_rows: int) -> int:
        """Bytes that the arrays take."""
        size = 0
        for shape, dtype in _fields(layout):
            size = _aligned(size + num_rows * int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return size

    def write(self, row: int, step: EnvironmentStep) -> None:
        """Answer for a lane."""
        self.observation[row] = step.observation
        self.reward[row] = step.reward
        self.terminated[row], self.truncated[row], self.success[row] = step.terminated, step.truncated, step.success


def _fields(layout: LaneLayout) -> list[tuple[tuple[int, ...], str]]:
    observation = layout.observation_shape, layout.observation_dtype
    action = layout.action_shape, layout.action_dtype
    return [observation, action, ((), "float32"), *[((), "bool")] * 3]


def _aligned(offset: int) -> int:
    return -(-offset // 64) * 64


def nameless_file(size: int):
    """A file in memory, where the system has such a folder, that is gone with the last process that holds it."""
    folder = Path("/dev/shm")
    file = tempfile.TemporaryFile(dir=folder if folder.is_dir() else None)  # noqa: SIM115, the caller closes it
    file.truncate(size)
    return file


class Lane:
    """One lane: its environment, made when it is first needed, and the next-step reset rule."""

    def __init__(self, lane: WorkerLane, make: MakeEnvironment):
        """A lane before its first episode."""
        self._lane, self._make = lane, make
        self._environment: HostEnvironment | None = None
        self._episodes = 0
        self._has_ended = True

    def answer(self, action: np.ndarray, is_reset: bool) -> EnvironmentStep:
        """A step, or in the step after an end, or where told to, the first observation of the next episode."""
        self._environment = self._environment or self._make(self._lane.variation)
        if is_reset or self._has_ended:
            seed = int(np.random.SeedSequence([*self._lane.seed, self._episodes]).generate_state(1)[0] >> 1)
            self._episodes += 1
            self._has_ended = False
            return EnvironmentStep(self._environment.reset(seed), 0.0, False, False)
        step = self._environment.step(action)
        self._has_ended = bool(step.terminated or step.truncated)
        return step


def work(connection: Connection, memory: mmap.mmap, setup: Setup) -> None:
    """Answer commands until the other end of the pipe is gone."""
    arrays = LaneArrays(memory, setup.layout, setup.num_rows)
    lanes = {lane.row: Lane(lane, setup.make) for lane in setup.lanes}
    while True:
        commands: list[Command] = connection.recv()
        for command in commands:
            connection.send(_answer(arrays, lanes, command))


def _answer(arrays: LaneArrays, lanes: dict[int, Lane], command: Command) -> int | Failure:
    """The row whose answer lies in the shared memory now, or why there is none."""
    try:
        step = lanes[command.row].answer(arrays.action[command.row].copy(), command.is_reset)
        arrays.write(command.row, step)
    except UserError as error:
        return Failure(str(error), is_users=True)
    except Exception:  # told to the process that waits, which stops with it
        return Failure(traceback.format_exc(), is_users=False)
    return command.row


def main(pipe: int, memory_file: int) -> None:
    """The process: the setup comes first through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, which then ends this process
    with Connection(pipe) as connection, contextlib.suppress(EOFError, OSError):
        setup: Setup = connection.recv()
        memory = mmap.mmap(memory_file, LaneArrays.size_of(setup.layout, setup.num_rows))
        work(connection, memory, setup)
