"""Random orders against what chance says."""

import itertools
import math
from collections import Counter

import jax
import numpy as np
import pytest

from gsljax.shuffling import random_order, shuffled_minibatches


def orders(size, count, seed=0):
    draw = jax.jit(jax.vmap(lambda key: random_order(key, size)))
    return np.asarray(draw(jax.random.split(jax.random.key(seed), count)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1024, 2114, 33_824])
def test_every_number_comes_once(size):
    for order in orders(size, 3):
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_small_sizes_reach_all_orders_equally_often(size):
    """Chi-squared over all orders, within 5 standard deviations of its mean."""
    count, kinds = 40_000, math.factorial(size)
    seen = Counter(map(tuple, orders(size, count).tolist()))
    expected = count / kinds
    statistic = sum((seen[kind] - expected) ** 2 / expected for kind in itertools.permutations(range(size)))
    assert statistic < kinds - 1 + 5 * math.sqrt(2 * (kinds - 1))


@pytest.mark.parametrize("distance", [1, 30, 32, 500])
def test_neighbours_are_independent(distance):
    """The place of a number, and the difference of two that stood at a distance, are uniform."""
    drawn, bins = orders(1000, 5000), 50
    for numbers in (drawn[:, distance], (drawn[:, distance] - drawn[:, 0]) % 1000):
        counts = np.bincount(numbers // (1000 // bins), minlength=bins)
        expected = len(numbers) / bins
        statistic = np.sum((counts - expected) ** 2 / expected)
        assert statistic < bins - 1 + 5 * math.sqrt(2 * (bins - 1))


def test_keys_and_only_keys_matter():
    key = jax.random.key(3)
    np.testing.assert_array_equal(random_order(key, 50), jax.jit(random_order, static_argnums=1)(key, 50))
    assert not np.array_equal(random_order(key, 50), random_order(jax.random.key(4), 50))


def test_minibatches_of_a_pass_share_no_row_and_every_pass_leaves_out_others():
    rows = np.asarray(shuffled_minibatches(jax.random.key(0), 11, 5, 4))
    assert rows.shape == (10, 4)
    used = [set(map(int, one.ravel())) for one in rows.reshape(5, 8)]
    assert all(len(one) == 8 and one < set(range(11)) for one in used)
    assert len(set(map(frozenset, used))) > 1
