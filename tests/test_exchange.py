"""Which random draw a step acts with, where several steps share one; and in which order halves act and step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms.base import ActorOutput
from gsljax.exchange import Stopwatch, draw_of_step, exchange
from gsljax.rollout import collect, make_collect_from_pools
from tests import probe_environments as probes
from tests.pool_environments import counting_pools

STEPS, LANES = 12, 4


def tell_the_draw(state, observation, key, deterministic=False):
    """The value is the same where the key is, and else another; the action is of no interest."""
    del state, deterministic
    lanes = observation.shape[0]
    drawn = jax.random.uniform(key, (lanes,))
    return ActorOutput(jnp.zeros(lanes, jnp.int32), drawn, drawn)


def lengths_of_runs(draws):
    """How many steps in a row have the same draw, one number for each draw."""
    return np.diff(np.flatnonzero(np.concatenate([[True], draws[1:] != draws[:-1], [True]]))).tolist()


def test_by_default_every_step_has_a_draw_of_its_own():
    for seed in range(5):
        np.testing.assert_array_equal(draw_of_step(jnp.arange(STEPS), 1, jax.random.key(seed)), np.arange(STEPS))


def test_steps_in_a_row_share_a_draw_and_the_first_is_cut_short_at_random():
    firsts = set()
    for seed in range(40):
        draws = np.asarray(draw_of_step(jnp.arange(STEPS), 5, jax.random.key(seed)))
        first, *whole, last = lengths_of_runs(draws)
        assert draws[0] == 0 and draws.max() < STEPS and whole in ([5], [5, 5]) and 1 <= last <= 5
        firsts.add(first)
    assert firsts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("noise_steps", [1, 4])
def test_a_compiled_rollout_acts_so(noise_steps):
    environment = probes.lanes_of(probes.DISCRETE)
    lanes = environment.reset(jax.random.key(1), jnp.zeros((LANES, 1), jnp.int32))
    rollout = collect(environment, tell_the_draw, (), lanes, jax.random.key(2), STEPS, noise_steps=noise_steps)[1]
    check(np.asarray(rollout.log_prob), noise_steps)


def test_a_rollout_from_pools_acts_so_each_member_by_its_own_number():
    environment = counting_pools()
    keys = jax.random.split(jax.random.key(5), 2)
    assignment = jax.vmap(environment.reset)(keys, jnp.zeros((2, LANES, 1), jnp.int32))
    with environment.open(assignment) as live:
        collect_from_pools = make_collect_from_pools(tell_the_draw)
        held, _ = collect_from_pools(live, jnp.zeros(2), keys, STEPS, noise_steps=jnp.array([1, 4]))
        plain, _ = collect_from_pools(live, jnp.zeros(2), keys, STEPS)
    check(np.asarray(held.log_prob[0]), 1)
    check(np.asarray(held.log_prob[1]), 4)
    np.testing.assert_array_equal(held.log_prob[0], plain.log_prob[0])


class Recorded:
    """Pools of two halves that write down what is asked of them, for two steps."""

    halves = (slice(0, 1), slice(1, 2))

    def __init__(self):
        self.calls = []

    def choose(self, half, step):
        self.calls.append(f"choose {half}")
        return np.zeros((1, 1)) if step < 2 else None

    def send(self, half, action):
        self.calls.append(f"send {half}")

    def receive(self, half):
        self.calls.append(f"receive {half}")


@pytest.mark.parametrize(
    ("ahead", "step"),
    [
        (False, ["receive 0", "choose 0", "send 0", "receive 1", "choose 1", "send 1"]),
        (True, ["receive 0", "choose 0", "receive 1", "choose 1", "send 0", "send 1"]),
    ],
)
def test_the_halves_take_turns_or_are_both_chosen_for_before_one_steps(ahead, step):
    live = Recorded()
    results = list(exchange(live, live.choose, Stopwatch(), ahead))
    first = ["choose 0", "choose 1", "send 0", "send 1"] if ahead else ["choose 0", "send 0", "choose 1", "send 1"]
    assert live.calls == first + step + ["receive 0", "choose 0", "receive 1", "choose 1"]
    assert results == [(0, None), (1, None)] * 2


def check(drawn, noise_steps):
    assert len(np.unique(drawn[0])) == LANES  # every lane has noise of its own
    for lane in range(LANES):
        runs = lengths_of_runs(drawn[:, lane])
        assert max(runs) == noise_steps and set(runs[1:-1]) <= {noise_steps}
