"""Cloning members, taking one out, keeping the best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.train_state import TrainState, clone, keep_best, take, where_members

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])


def member(seed=0):
    rng = np.random.default_rng(seed)
    params = {"kernel": rng.normal(size=(3, 2)).astype(np.float32), "bias": np.float32(rng.normal())}
    return TrainState(params, (), {"rate": jnp.float32(0.1)}, jax.random.key(seed), jnp.int32(7), jnp.int32(900))


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    np.testing.assert_array_equal(jax.random.key_data(found.key), jax.random.key_data(expected.key))
    rest = found._replace(key=0), expected._replace(key=0)
    jax.tree.map(np.testing.assert_array_equal, *rest)


def test_clones_are_copies_on_a_leading_axis():
    clones = clone(member(), 3)
    assert clones.params["kernel"].shape == (3, 3, 2)
    assert clones.params["bias"].shape == clones.num_updates.shape == clones.key.shape == (3,)
    for index in range(3):
        assert_same(take(clones, index), member())


@both
def test_take_picks_one_member(compiled):
    members = jax.tree.map(lambda *x: jnp.stack(x), *map(member, range(4)))
    for index in range(4):
        assert_same(compiled(take)(members, index), member(index))


@both
def test_where_members_takes_each_member_whole(compiled):
    one, other = (jax.tree.map(lambda *x: jnp.stack(x), *map(member, seeds)) for seeds in ((0, 1, 2), (3, 4, 5)))
    found = compiled(where_members)(np.array([True, False, True]), one.params, other.params)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *(member(seed).params for seed in (0, 4, 2)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@both
@pytest.mark.parametrize(
    ("best_score", "score", "better"),
    [
        (1.0, 2.0, True),
        (2.0, 1.0, False),
        (1.0, 1.0, False),  # the first of equals stays
        (-np.inf, -5.0, True),
        (-np.inf, -np.inf, False),
        (1.0, np.nan, False),  # an epoch in which no episode ended
        (-np.inf, np.nan, False),
    ],
)
def test_keep_best(compiled, best_score, score, better):
    best, candidate = member(0).params, member(1).params
    chosen, chosen_score = compiled(keep_best)(best, jnp.float32(best_score), candidate, jnp.float32(score))
    jax.tree.map(np.testing.assert_array_equal, chosen, candidate if better else best)
    assert chosen_score == (score if better else best_score)


def test_keep_best_of_every_member_by_itself():
    best, candidate = (
        jax.tree.map(lambda *x: jnp.stack(x), *(member(s).params for s in seeds)) for seeds in ([0, 1], [2, 3])
    )
    chosen, scores = jax.vmap(keep_best)(best, jnp.float32([1, 1]), candidate, jnp.float32([0, 2]))
    jax.tree.map(np.testing.assert_array_equal, take(chosen, 0), member(0).params)
    jax.tree.map(np.testing.assert_array_equal, take(chosen, 1), member(3).params)
    np.testing.assert_array_equal(scores, [1, 2])
