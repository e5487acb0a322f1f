"""What the tests of Procgen and Meta-World share: raw EnvPool beside the feed."""

import os

import jax
import numpy as np

from gsljax.envs import PoolAssignment


def num_threads():
    """Threads of this process, as Linux counts them."""
    return len(os.listdir("/proc/self/task"))


def assignment(choices, members=1):
    """The same choices `[N, K]` for every member, seeds of their own."""
    choices = np.tile(np.asarray(choices, np.int32), (members, 1, 1))
    seeds = np.random.default_rng(0).integers(0, 2**32, choices.shape[:2], dtype=np.uint32)
    return PoolAssignment(seeds, choices)


def play(live, actions):
    """First observations `[P, N, ...]`, and the steps of all lanes with actions `[T, P, N, ...]`, stacked over T."""

    def join(parts):
        return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *parts)

    halves = range(len(live.halves))
    first = join([live.observation(half) for half in halves])
    steps = []
    for action in actions:
        for half in halves:
            live.send(half, action[:, live.halves[half]])
        steps.append(join([live.receive(half) for half in halves]))
    return first, jax.tree.map(lambda *each: np.stack(each), *steps)


def play_raw(pool, actions):
    """The same of one raw pool, actions `[T, n, ...]`: first observation, and a dictionary of arrays `[T, n, ...]`."""
    first, info = pool.reset()
    rows = []
    for action in actions:
        observation, reward, terminated, truncated, info = pool.step(action)
        rows.append({"observation": observation, "reward": reward, "terminated": terminated, "truncated": truncated})
        rows[-1] |= {name: info[name] for name in ("elapsed_step", "level_seed", "success") if name in info}
    return first, {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def check_lanes(first, steps, raw_first, raw, member, lanes):
    """Every field of some lanes of a member equals the raw pool's, bit for bit, and masked steps are its resets."""
    np.testing.assert_array_equal(first[member, lanes], raw_first)
    found = jax.tree.map(lambda x: x[:, member, lanes], steps)
    valid = raw["elapsed_step"] != 0
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_array_equal(found.observation, raw["observation"].astype(found.observation.dtype))
    np.testing.assert_array_equal(found.reward, np.where(valid, raw["reward"], 0))
    np.testing.assert_array_equal(found.terminated, raw["terminated"] & valid)
    np.testing.assert_array_equal(found.truncated, raw["truncated"] & valid)
    total, success = np.zeros(found.reward.shape[1:], np.float32), np.zeros(found.reward.shape[1:], bool)
    for step in range(len(valid)):
        total = np.where(valid[step], total + raw["reward"][step], np.float32(0))
        np.testing.assert_array_equal(found.episode_return[step], total)
        if "success" in raw:
            success = (success | (raw["success"][step] > 0)) & valid[step]
        np.testing.assert_array_equal(found.success[step], success)
    return np.sum(~valid)
