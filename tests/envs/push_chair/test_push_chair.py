"""PushChair as pools: the raw task bit for bit, workers that die, and what is said where ManiSkill is missing."""

import importlib.util
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from gsljax.envs import PoolAssignment
from gsljax.envs.lane_worker import Lane, WorkerLane
from gsljax.envs.push_chair import push_chair
from gsljax.envs.push_chair.lane import PushChairLane
from gsljax.errors import UserError
from tests.lane_environments import workers
from tests.maniskill import PACKAGES

with_maniskill = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES),
    reason="ManiSkill or PyTorch is not installed (pip install 'gsljax[maniskill]')",
)
HORIZON = 4
ASSIGNMENT = PoolAssignment(np.array([[5, 6, 7]], np.uint32), np.array([[[0], [3], [0]]], np.int32))


def step_all(live, action):
    for half, lanes in enumerate(live.halves):
        live.send(half, action[:, lanes])
    parts = [live.receive(half) for half in range(len(live.halves))]
    return jax.tree.map(lambda *each: np.concatenate(each, axis=1), *parts)


def observations(live):
    return np.concatenate([live.observation(half) for half in range(len(live.halves))], axis=1)


@with_maniskill
@pytest.mark.filterwarnings("ignore")
def test_some_chairs_are_the_variations_in_the_order_given():
    environment = push_chair(horizon=HORIZON, num_workers=1, chairs=("drafting chair", "stool"))
    assert environment.spec.num_variations == 2 and environment.spec.variation_names == ("drafting chair", "stool")
    with environment.open(PoolAssignment(np.array([[5, 6]], np.uint32), np.array([[[1], [0]]], np.int32))) as live:
        first = observations(live)[0]
    for lane, (seed, chair) in enumerate(((5, 3), (6, 7))):
        raw = Lane(WorkerLane(0, chair, (seed, 0)), lambda v: PushChairLane(v, "state", 100, HORIZON))
        np.testing.assert_array_equal(first[lane], raw.answer(np.zeros(22), False).observation)


@with_maniskill
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["state", "cloud"])
def test_lanes_equal_the_raw_task_bit_for_bit_with_the_next_step_rule(mode):
    played = np.random.default_rng(0).uniform(-1.2, 1.2, (2 * HORIZON + 3, 1, 3, 22)).astype(np.float32)
    environment = push_chair(mode, horizon=HORIZON, num_workers=2)
    with environment.open(ASSIGNMENT) as live:
        first = observations(live)
        steps = [step_all(live, action) for action in played]
    assert first.shape == (1, 3, *environment.spec.observation_shape)
    assert first.dtype == environment.spec.observation_dtype
    for lane, (seed, variation) in enumerate(((5, 0), (6, 3), (7, 0))):
        raw = Lane(WorkerLane(0, variation, (seed, 0)), lambda v: PushChairLane(v, mode, 100, HORIZON))
        np.testing.assert_array_equal(first[0, lane], raw.answer(np.zeros(22), False).observation)
        valid = []
        for number, (step, action) in enumerate(zip(steps, played, strict=True), start=1):
            expected = raw.answer(np.clip(action[0, lane], -1, 1), False)
            np.testing.assert_array_equal(step.observation[0, lane], expected.observation)
            valid.append(bool(step.valid[0, lane]))
            assert step.reward[0, lane] == np.float32(expected.reward)
            assert step.truncated[0, lane] == (number % (HORIZON + 1) == HORIZON) and not step.terminated[0, lane]
        assert valid == [number % (HORIZON + 1) != 0 for number in range(1, len(valid) + 1)]


@with_maniskill
def test_a_worker_that_is_killed_costs_its_lanes_an_episode():
    calm = np.zeros((1, 3, 22), np.float32)
    with push_chair(horizon=20, num_workers=1).open(ASSIGNMENT) as live:
        first = observations(live)
        assert step_all(live, calm).valid.all()
        (worker,) = workers()
        os.kill(worker, signal.SIGKILL)
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        with pytest.warns(RuntimeWarning, match="is replaced"):
            lost = step_all(live, calm)
        assert not lost.valid.any() and not lost.truncated.any()
        assert not np.array_equal(lost.observation, first)  # seeds of their own
        assert step_all(live, calm).valid.all()


def test_what_is_out_of_range_is_refused():
    with pytest.raises(UserError, match="mode is 'pixels', but must be one of: state, cloud"):
        push_chair("pixels")
    with pytest.raises(UserError, match="physics_frequency is 50, but must be a multiple of 20"):
        push_chair(physics_frequency=50)
    with pytest.raises(UserError, match="horizon is 0"):
        push_chair(horizon=0)
    with pytest.raises(UserError, match=r"^PushChair has no chair 'sofa'; there are: task chair, task chair with arms"):
        push_chair(chairs=("sofa",))
    with pytest.raises(UserError, match="name one of them twice"):
        push_chair(chairs=("stool", "task chair", "stool"))


@pytest.mark.parametrize("missing", PACKAGES)
def test_without_its_packages_one_sentence_says_what_to_install(missing, monkeypatch):
    find_spec = importlib.util.find_spec
    present = importlib.util.find_spec("numpy")
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *rest: None if name == missing else present if name in PACKAGES else find_spec(name, *rest),
    )  # fmt: skip
    sentence = (
        f"^PushChair needs the package {missing}, which is not installed: run `pip install 'gsljax.maniskill.'`.$"
    )
    with pytest.raises(UserError, match=sentence):
        push_chair()


def test_importing_gsljax_imports_none_of_them():
    packages = {"mani_skill", "sapien", "trimesh"}  # tensorboardX imports torch where it is installed
    program = f"import gsljax, gsljax.envs.push_chair, sys; print(*{packages} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
