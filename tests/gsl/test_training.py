"""The training loop: epochs in one call or in many, the best parameters, the endless pass over the demonstrations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import ImitationConfig, PPOConfig, make_ppo
from gsljax.gsl.demonstrations import draw
from gsljax.gsl.training import begin, make_train
from gsljax.networks import ActorCritic
from gsljax.rollout import collect
from gsljax.train_state import take
from gsljax.types import DemonstrationBatch
from tests import probe_environments as probes

pytestmark = pytest.mark.usefixtures("compilation_cache")

ENVIRONMENT = probes.lanes_of(probes.DISCRETE)
VARIATIONS = [list(probes.DISCRETE).index(name) for name in ("action", "observation and action")]
MEMBERS, LANES, STEPS, EPOCHS, PAIRS = 2, 5, 8, 6, 11
ALGORITHM = make_ppo(
    ActorCritic(ENVIRONMENT.spec.action, hidden=(8,)),
    ENVIRONMENT.spec,
    PPOConfig(learning_rate=0.02, num_epochs=2, minibatch_size=10),
    ImitationConfig(interval=4),
)


@pytest.fixture(scope="module")
def start():
    """Two members: one on a single variation, the other on two; and demonstrations of their own."""
    keys = jax.random.split(jax.random.key(0), MEMBERS)
    variations = jnp.array([[VARIATIONS[0]] * 2, VARIATIONS])
    rng = np.random.default_rng(0)
    demonstrations = DemonstrationBatch(
        jnp.asarray(rng.normal(size=(MEMBERS, PAIRS, 2)), jnp.float32),
        jnp.asarray(rng.integers(0, 2, (MEMBERS, PAIRS))),
    )

    def member(key, variations):
        return begin(ENVIRONMENT, ALGORITHM.init(key), variations, LANES, jax.random.fold_in(key, 1))

    return jax.jit(jax.vmap(member))(keys, variations), demonstrations


@pytest.fixture(scope="module")
def train():
    return jax.jit(make_train(ENVIRONMENT, ALGORITHM, STEPS, EPOCHS, strategy="map"))


@pytest.fixture(scope="module")
def one_by_one(start, train):
    """The carry before every epoch and after the last, and the epochs' records, by calls of one epoch each."""
    carry, demonstrations = start
    carries, records = [carry], []
    for _ in range(EPOCHS):
        carry, record = train(carry, demonstrations, jnp.int32(1))
        carries.append(carry)
        records.append(jax.tree.map(lambda x: x[0], record))
    return carries, records


def plain(tree):
    return jax.device_get(
        jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    )


def test_epochs_in_one_call_equal_calls_of_one_epoch_bit_for_bit(start, train, one_by_one):
    carries, records = one_by_one
    carry, record = train(*start, jnp.int32(EPOCHS))
    jax.tree.map(np.testing.assert_array_equal, plain(carry), plain(carries[-1]))
    stacked = jax.tree.map(lambda *x: np.stack(x), *records)
    jax.tree.map(np.testing.assert_array_equal, plain(record), plain(stacked))
    assert train._cache_size() == 1


def test_records_beyond_the_epochs_that_were_run_are_zero(start, train, one_by_one):
    carry, record = train(*start, jnp.int32(2))
    jax.tree.map(np.testing.assert_array_equal, plain(carry), plain(one_by_one[0][2]))
    for x in jax.tree.leaves(record):
        assert x.shape[:2] == (EPOCHS, MEMBERS)
        np.testing.assert_array_equal(x[2:], 0)
    carry, _ = train(*start, jnp.int32(0))
    jax.tree.map(np.testing.assert_array_equal, plain(carry), plain(start[0]))


def test_best_parameters_are_those_that_acted_in_the_best_epoch(one_by_one):
    carries, records = one_by_one
    for member in range(MEMBERS):
        returns = [take(record.statistics, member).mean_return() for record in records]
        assert len(set(map(float, returns))) > 2
        best = int(np.argmax(returns))  # the first of equals
        np.testing.assert_allclose(carries[-1].best_score[member], returns[best], rtol=1e-6)
        jax.tree.map(
            np.testing.assert_array_equal,
            take(carries[-1].best_params, member),
            take(carries[best].state.params, member),  # before that epoch's update
        )


def test_best_parameters_end_the_window_with_the_best_mean_over_its_episodes(start, train):
    """The carry's window decides; before it is full nothing is the best, and at rest nothing enters it."""
    carry, demonstrations = start
    window, nothing = 3, jnp.full((MEMBERS, 2, 3), jnp.nan, jnp.float32)
    carry, carries, played = carry._replace(recent=nothing), [], []
    for epoch in range(EPOCHS):
        carry = carry._replace(rests=jnp.array([False, epoch == 3]))
        carries.append(carry)
        carry, record = train(carry, demonstrations, jnp.int32(1))
        statistics = jax.tree.map(lambda x: x[0], record).statistics
        played.append(np.stack([statistics.return_sum.sum(axis=1), statistics.episodes.sum(axis=1)], axis=1))
        assert np.all(np.isneginf(carry.best_score)) == (epoch < window - 1)
    for member, epochs in enumerate(([0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5])):
        sums, episodes = np.array([played[epoch][member] for epoch in epochs]).T
        means = [sums[i : i + window].sum() / episodes[i : i + window].sum() for i in range(len(epochs) - window + 1)]
        np.testing.assert_allclose(carry.best_score[member], max(means), rtol=1e-6)
        best = epochs[int(np.argmax(means)) + window - 1]
        jax.tree.map(
            np.testing.assert_array_equal,
            take(carry.best_params, member),
            take(carries[best].state.params, member),
        )


def test_samples_are_the_valid_steps(one_by_one):
    """Both members' episodes are single steps, so every other step is a reset; all lanes began in the same one."""
    for record in one_by_one[1]:
        np.testing.assert_array_equal(record.samples, LANES * STEPS // 2)
        np.testing.assert_array_equal(record.statistics.episodes.sum(axis=1), LANES * STEPS // 2)
        assert np.all(record.statistics.episodes[0] == np.eye(8)[VARIATIONS[0]] * 20)
        assert np.all(record.statistics.episodes[1][np.array(VARIATIONS)] > 0)


def test_demonstrations_are_passed_over_endlessly(start, one_by_one):
    """By hand: the last epoch of the second member, from its own pairs and its own position."""
    carries, records = one_by_one
    shape = ALGORITHM.num_demonstration_pairs(LANES * STEPS)
    assert shape == (2, 10)
    np.testing.assert_array_equal([carry.pairs_drawn for carry in carries], [[20 * k] * 2 for k in range(EPOCHS + 1)])
    carry = take(carries[-2], 1)
    batches = draw(take(start[1], 1), carry.demonstration_key, jnp.int32(20 * (EPOCHS - 1)), *shape)
    stretch = np.concatenate([batch.ravel() for batch in batches.observation])
    assert len(np.unique(stretch)) == 2 * PAIRS  # more than a round
    _, act_key = jax.random.split(carry.key)

    def epoch(state, lanes, batches):
        _, rollout = collect(ENVIRONMENT, ALGORITHM.act, state, lanes, act_key, STEPS)
        return ALGORITHM.update(state, rollout, batches)

    state, metrics = jax.jit(epoch)(carry.state, carry.lanes, batches)
    jax.tree.map(np.testing.assert_array_equal, plain(take(carries[-1].state, 1)), plain(state))
    jax.tree.map(np.testing.assert_array_equal, take(records[-1].metrics, 1), metrics)


def test_members_have_keys_of_their_own(start):
    carry, _ = start
    for key in (carry.key, carry.demonstration_key, carry.state.key):
        assert len(np.unique(jax.random.key_data(key), axis=0)) == MEMBERS
    lane_keys = jax.random.key_data(carry.lanes.key).reshape(MEMBERS * LANES, -1)
    assert len(np.unique(lane_keys, axis=0)) == MEMBERS * LANES


@pytest.mark.parametrize("strategy", ["vmap", "map"])
def test_without_demonstrations(start, strategy):
    """Traced only: what goes in comes out, and the records have their axes."""
    carry, _ = start
    plain_ppo = make_ppo(
        ActorCritic(ENVIRONMENT.spec.action, hidden=(8,)), ENVIRONMENT.spec, PPOConfig(minibatch_size=40)
    )
    after, record = jax.eval_shape(make_train(ENVIRONMENT, plain_ppo, STEPS, 3, strategy), carry, None, jnp.int32(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), (after,)) == jax.tree.map(
        lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), (carry,)
    )
    assert {x.shape[:2] for x in jax.tree.leaves(record)} == {(3, MEMBERS)}
    assert not any(name.startswith("demonstration") for name in record.metrics)
