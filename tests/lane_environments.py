"""Environments with known values for tests of lanes in worker processes; workers import this module."""

import os
import subprocess
import sys
import time

import numpy as np

from gsljax.envs.lane_worker import EnvironmentStep
from gsljax.errors import UserError

HORIZON = 5


class Clock:
    """Observation `[4]`: the episode's seed (its last 10 bits), time, the last action's sum, the process.

    The reward is the variation plus the sum of the action. It is truncated at HORIZON, but variation 1 terminates at
    time 2; time 1 is a success.
    """

    def __init__(self, variation):
        self.variation = variation

    def reset(self, seed):
        self.seed, self.time = seed, 0
        return self._observation(0.0)

    def step(self, action):
        self.time += 1
        total = float(np.sum(action))
        terminated = self.variation == 1 and self.time == 2
        truncated = self.time == HORIZON and not terminated
        return EnvironmentStep(
            self._observation(total), self.variation + total, terminated, truncated, success=self.time == 1
        )

    def _observation(self, total):
        return np.array([self.seed % 1024, self.time, total, os.getpid()], np.float32)


class Mortal(Clock):
    """Its process ends in a step with the action 0.25."""

    def step(self, action):
        if action[0] == 0.25:
            os._exit(7)
        return super().step(action)


class Stillborn(Clock):
    """Its process ends before the first episode."""

    def reset(self, seed):
        os._exit(7)


class Failing(Clock):
    """It fails in the first step: with a sentence for the user where the variation is 1."""

    def step(self, action):
        if self.variation == 1:
            raise UserError("There is no clock 1.")
        raise ZeroDivisionError("no time")


class Importing(Clock):
    """It imports modules of packages whose `__init__` needs JAX; its last number says whether JAX was imported."""

    def __init__(self, variation):
        from gsljax.envs.push_chair import chairs
        from gsljax.report import text

        assert chairs and text
        super().__init__(variation)

    def _observation(self, total):
        return np.array([0, self.time, total, "jax" in sys.modules], np.float32)


class Slow(Clock):
    """Its steps take a minute."""

    def step(self, action):
        time.sleep(60)
        return super().step(action)


def workers():
    """Ids of this process's worker processes; -ww since `ps` cuts its lines at COLUMNS otherwise."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if "lane_process" in line]
