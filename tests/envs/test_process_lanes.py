"""Lanes in worker processes: what they answer, what happens when a worker dies, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gsljax.envs import PoolAssignment, Pools
from gsljax.envs.lane_worker import Lane as RawLane
from gsljax.envs.lane_worker import WorkerLane
from gsljax.envs.process_lanes import MOST_DEATHS, ProcessLanes
from gsljax.episodes import play_episodes
from gsljax.errors import UserError
from gsljax.types import ActionSpec, EnvSpec
from tests.lane_environments import HORIZON, Clock, Failing, Importing, Mortal, Slow, Stillborn, workers

ROOT = Path(__file__).parents[2]
SPEC = EnvSpec("clock", 3, (4,), "float32", ActionSpec(dimension=2), HORIZON, has_success=True)
SEEDS = np.array([[11, 22, 33, 44]], np.uint32)


def lanes_of(make, num_workers=2):
    return Pools(SPEC, ProcessLanes(SPEC, make, num_workers).open_pool)


def opened(make, choices=((0,), (1,), (2,), (0,)), num_workers=2):
    return lanes_of(make, num_workers).open(PoolAssignment(SEEDS[:, : len(choices)], np.array([choices], np.int32)))


def first_observation(live):
    return np.concatenate([live.observation(half) for half in range(len(live.halves))], axis=1)


def step_all(live, action):
    """One step of all lanes with actions `[P, N, 2]`."""
    for half, lanes in enumerate(live.halves):
        live.send(half, action[:, lanes])
    parts = [live.receive(half) for half in range(len(live.halves))]
    return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *parts)


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_lanes_equal_the_raw_environments_bit_for_bit_with_the_next_step_rule():
    played = np.random.default_rng(0).uniform(-1.5, 1.5, (20, 1, 4, 2)).astype(np.float32)
    with opened(Clock) as live:
        first = first_observation(live)
        steps = [step_all(live, action) for action in played]
    for lane, variation in enumerate((0, 1, 2, 0)):
        environment = Clock(variation)
        raw = RawLane(WorkerLane(0, variation, (int(SEEDS[0, lane]), 0)), lambda _, made=environment: made)
        np.testing.assert_array_equal(first[0, lane, :3], raw.answer(np.zeros(2), False).observation[:3])
        ended, total, resets = False, np.float32(0), 0
        for step, action in zip(steps, played, strict=True):
            expected = raw.answer(np.clip(action[0, lane], -1, 1), False)
            assert step.valid[0, lane] == (not ended)
            assert (environment.time == 0) == ended
            resets += ended
            np.testing.assert_array_equal(step.observation[0, lane, :3], expected.observation[:3])
            total = np.float32(0) if ended else np.float32(total + np.float32(expected.reward))
            assert step.reward[0, lane] == (0 if ended else np.float32(expected.reward))
            assert step.episode_return[0, lane] == total
            assert step.terminated[0, lane] == expected.terminated and step.truncated[0, lane] == expected.truncated
            assert step.success[0, lane] == (environment.time >= 1)
            assert step.variation[0, lane] == variation
            ended = expected.terminated or expected.truncated
        assert resets == (6 if variation == 1 else 3)


def test_the_lanes_of_all_pools_share_the_workers_evenly_and_the_same_seeds_repeat():
    with opened(Clock) as live:
        first = first_observation(live)
        processes, lanes = np.unique(first[0, :, 3], return_counts=True)
        assert lanes.tolist() == [2, 2]
        assert sorted(workers()) == sorted(processes.astype(int).tolist())
        assert len(np.unique(first[0, :2, 3])) == 2  # each half has both
    with opened(Clock) as live:
        np.testing.assert_array_equal(first_observation(live)[..., :3], first[..., :3])
    assert workers() == []


def test_a_worker_that_dies_is_replaced_and_the_running_episodes_of_its_lanes_are_masked():
    calm, deadly = np.full((1, 4, 2), 0.5, np.float32), np.full((1, 4, 2), 0.5, np.float32)
    deadly[0, 2, 0] = 0.25
    with opened(Mortal, choices=((0,), (2,), (0,), (2,))) as live:
        first = first_observation(live)[0]
        together = first[:, 3] == first[2, 3]
        assert together.tolist() == [True, False, True, False]
        step_all(live, calm)
        with pytest.warns(RuntimeWarning, match=r"^Worker process \d .* \(status 7\) and is replaced, time 1;"):
            after = step_all(live, deadly)
        # Lane 0 was answered before its worker died in the step of lane 2, in the second half.
        np.testing.assert_array_equal(after.valid[0], [True, True, False, True])
        assert after.observation[0, 2, 1] == 0 and after.episode_return[0, 2] == after.reward[0, 2] == 0
        assert not after.truncated.any() and not after.success[0, 2]
        assert after.observation[0, 2, 3] not in first[:, 3]
        assert after.observation[0, 2, 0] != first[2, 0]  # not the episode that killed the first one
        following = step_all(live, calm)
        np.testing.assert_array_equal(following.valid[0], [False, True, True, True])
        np.testing.assert_array_equal(following.observation[0, [0, 2], 1], [0, 1])
        assert following.episode_return[0].tolist() == [0.0, 9.0, 1.0, 9.0]
        later = step_all(live, calm)
        assert later.valid.all() and later.observation[0, :, 1].tolist() == [1, 4, 2, 4]


def test_a_worker_that_is_killed_between_the_steps_costs_its_episodes_and_nothing_else():
    calm = np.zeros((1, 4, 2), np.float32)
    with opened(Clock) as live:
        first = first_observation(live)[0]
        victim = int(first[0, 3])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_running(victim))
        with pytest.warns(RuntimeWarning, match="is replaced"):
            step = step_all(live, calm)
        np.testing.assert_array_equal(step.valid[0], first[:, 3] != victim)
        assert victim not in step.observation[0, :, 3].astype(int)
        assert step_all(live, calm).valid.all()


def test_exactly_the_asked_number_of_whole_episodes_is_played_although_a_worker_dies():
    killed, episodes = [], []

    def choose(half, observation, step):
        if step == 3 and half == 0:
            killed.append(int(observation[0, 0, 3]))
            os.kill(killed[0], signal.SIGKILL)
        return np.full((*observation.shape[:2], 2), 0.5, np.float32)

    with opened(Clock, choices=((0,), (2,), (0,), (2,))) as live, pytest.warns(RuntimeWarning, match="is replaced"):
        results = play_episodes(live, choose, 2, episodes.append)
    assert len(killed) == 1 and len(episodes) == 8
    assert np.all(results.length == HORIZON)
    lost = results.samples[0] - 2 * HORIZON
    # The lanes of the worker that was killed: after three steps, or two if it had not answered the other half yet.
    assert lost.max() == 3 and set(lost) <= {0, 2, 3} and 1 <= np.count_nonzero(lost) <= 2
    np.testing.assert_array_equal(results.episode_return[0], np.repeat([[5], [15], [5], [15]], 2, axis=1))
    for episode in episodes:
        assert episode.observation[:, 1].tolist() == [0, 1, 2, 3, 4]
        assert len(np.unique(episode.observation[:, 0])) == 1  # one seed: not half of one and half of another
        assert episode.final_observation[1] == HORIZON


def test_one_worker_answers_for_more_lanes_than_its_pipe_holds_messages():
    count = 700
    assignment = PoolAssignment(np.arange(count, dtype=np.uint32)[None], np.zeros((1, count, 1), np.int32))
    with lanes_of(Clock, num_workers=1).open(assignment) as live:
        assert step_all(live, np.zeros((1, count, 2), np.float32)).valid.all()


def test_one_worker_answers_more_pools_than_its_pipe_holds_messages():
    """Lanes of one variation each, in pools of their own: every pool sends a message, and is answered by one."""
    count, spec = 1200, SPEC._replace(num_variations=1200)
    pools = Pools(spec, ProcessLanes(spec, Clock, 1).open_pool)
    choices = np.arange(count, dtype=np.int32)[None, :, None]
    with pools.open(PoolAssignment(np.arange(count, dtype=np.uint32)[None], choices)) as live:
        assert step_all(live, np.zeros((1, count, 2), np.float32)).valid.all()


def test_a_worker_does_not_import_jax():
    with opened(Importing, num_workers=1) as live:
        assert first_observation(live)[..., 3].tolist() == [[0, 0, 0, 0]]


def test_a_worker_that_dies_again_and_again_is_an_error():
    message = rf"has died {MOST_DEATHS + 1} times \(at last with status 7\)"
    with pytest.warns(RuntimeWarning, match="is replaced"), pytest.raises(UserError, match=message):
        opened(Stillborn, choices=((0,),), num_workers=1)
    assert workers() == []


@pytest.mark.parametrize("num_calm", [0, 2])
def test_a_worker_that_dies_in_every_step_is_not_replaced_for_ever(num_calm):
    """Its replacements answer, for the calm lanes too, but only that an episode begins."""
    deadly = np.full((1, num_calm + 1, 2), 0.5, np.float32)
    deadly[0, -1] = 0.25
    with (
        opened(Mortal, choices=((0,),) * (num_calm + 1), num_workers=1) as live,
        pytest.warns(RuntimeWarning, match="is replaced, time"),
        pytest.raises(UserError, match=r"has died 4 times \(at last with status 7\) before it did a step"),
    ):
        first_observation(live)
        for _ in range(10):
            step_all(live, deadly)
    assert workers() == []


def test_what_an_environment_raises_reaches_the_caller():
    with opened(Failing, choices=((0,),)) as live, pytest.raises(RuntimeError, match="ZeroDivisionError: no time"):
        step_all(live, np.zeros((1, 1, 2), np.float32))
    with opened(Failing, choices=((1,),)) as live, pytest.raises(UserError, match=r"^There is no clock 1\.$"):
        step_all(live, np.zeros((1, 1, 2), np.float32))
    assert workers() == []


def test_closing_does_not_wait_for_a_step_under_way_and_leaves_nothing():
    memory = Path("/dev/shm")
    before = set(memory.iterdir()) if memory.exists() else set()
    descriptors = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    live = opened(Slow)
    live.send(0, np.zeros((1, 2, 2), np.float32))
    assert set(memory.iterdir()) - before == set() if memory.exists() else True
    live.close()
    live.close()
    assert time.monotonic() - started < 55
    assert workers() == []
    del live
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert set(memory.iterdir()) - before == set() if memory.exists() else True


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(end):
    """Ctrl-C goes to a whole process group; a kill leaves no time to close anything."""
    program = """
        import signal
        import numpy as np
        from gsljax.envs import PoolAssignment
        from tests.envs.test_process_lanes import Slow, lanes_of

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        assignment = PoolAssignment(np.zeros((1, 2), np.uint32), np.zeros((1, 2, 1), np.int32))
        with lanes_of(Slow).open(assignment) as live:
            print(*live.observation(0)[0, :, 3].astype(int), *live.observation(1)[0, :, 3].astype(int), flush=True)
            live.send(0, np.zeros((1, 1, 2), np.float32))
            live.receive(0)
        """
    process = subprocess.Popen(  # without a guard for `__main__`: workers do not import it
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stderr is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2 and all(is_running(pid) for pid in pids)
        time.sleep(0.5)
        os.killpg(process.pid, end)
        process.wait(timeout=30)
        if end == signal.SIGINT:
            wait_until(lambda: not any(is_running(pid) for pid in pids), seconds=10)
            assert "KeyboardInterrupt" in process.stderr.read()
        else:  # the idle one ends at once; the one in a step of a minute, when it is to answer
            wait_until(lambda: not is_running(pids[1]), seconds=10)
            os.kill(pids[0], signal.SIGKILL)


def test_what_cannot_be_sent_to_a_process_is_refused():
    with pytest.raises(UserError, match="cannot be sent to a process"):
        ProcessLanes(SPEC, lambda variation: Clock(variation))
    of_a_script = type("OfAScript", (Clock,), {"__module__": "__main__"})
    setattr(sys.modules["__main__"], "OfAScript", of_a_script)  # noqa: B010, so that it pickles
    with pytest.raises(UserError, match="of the script that runs, which a process cannot import"):
        ProcessLanes(SPEC, of_a_script)
    with pytest.raises(UserError, match=r"^A lane of clock plays one variation, so that its pools cannot draw"):
        ProcessLanes(SPEC, Clock).open_pool((0, 1), [5], 1)
    with pytest.raises(UserError, match="num_workers is 0, but must be at least 1"):
        ProcessLanes(SPEC, Clock, num_workers=0)
    assert isinstance(lanes_of(Clock), Pools)
