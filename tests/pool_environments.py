"""A pool with known values, for tests of the feed."""

import numpy as np

from gsljax.envs import Pools, PoolStep
from gsljax.types import ActionSpec, EnvSpec

HORIZON = 9


class CountingPool:
    """Observation `[5]`: lane's seed, variation, episode, time, last action (or 0).

    An episode of variation v ends at time v + 2 + the episode's number (at most HORIZON); it terminates where v is odd
    and is truncated where it is even. The reward is v + 1 + the action / 4, and 1000 in a reset, which is to be
    ignored. A step is a success at time 2 where the seed is odd. Several variations take turns, one an episode.
    """

    def __init__(self, variations, seeds, log=None):
        self.variations = np.array(variations)
        self.seeds = np.array(seeds)
        self.episode = np.full(len(seeds), -1)
        self.time = np.zeros(len(seeds), int)
        self.ended = np.ones(len(seeds), bool)
        self.action = np.zeros(len(seeds))
        self.log = log if log is not None else []

    def reset(self):
        self.action = np.zeros(len(self.seeds))

    def send(self, action):
        self.log.append(("send", self.variations[0]))
        self.action = np.array(action, float)

    def receive(self):
        self.log.append(("receive", self.variations[0]))
        resets = self.ended
        self.episode = self.episode + resets
        self.time = np.where(resets, 0, self.time + 1)
        variation = self.variations[self.episode % len(self.variations)]
        over = ~resets & (self.time >= np.minimum(variation + 2 + self.episode, HORIZON))
        self.ended = over
        columns = self.seeds % 1024, variation, self.episode, self.time, np.where(resets, 0, self.action)
        return PoolStep(
            observation=np.stack(columns, axis=1).astype(np.float64),
            reward=np.where(resets, 1000.0, variation + 1 + self.action / 4),
            terminated=over & (variation % 2 == 1),
            truncated=over & (variation % 2 == 0),
            success=((self.time == 2) & (self.seeds % 2 == 1)).astype(np.float64),
            variation=variation if len(self.variations) > 1 else None,
        )

    def close(self):
        self.log.append(("close", self.variations[0]))


def counting_pools(num_variations=4, can_draw=False, log=None, action=None, **spec_changes):
    """The environment of these pools, with actions 0, 1, 2."""
    spec = EnvSpec(
        "counting", num_variations, (5,), "float32", action or ActionSpec(num_actions=3), HORIZON, has_success=True
    )
    return Pools(
        spec._replace(**spec_changes),
        lambda variations, seeds, num_threads: CountingPool(variations, seeds, log),
        (lambda variations: True) if can_draw else (lambda variations: False),
    )
