"""A stream of demonstrations from the host is the pass that is drawn on the device, bit for bit."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.gsl import streaming
from gsljax.gsl.demonstrations import Demonstrations, draw
from gsljax.gsl.streaming import Stream, is_large
from gsljax.types import DemonstrationBatch

PAIRS, MINIBATCHES, SIZE = 11, 3, 4
RNG = np.random.default_rng(0)
DEMONSTRATIONS = Demonstrations(
    observation=RNG.integers(0, 256, (PAIRS, 4, 4, 3), dtype=np.uint8),
    action=np.arange(PAIRS, dtype=np.int32),
    episode=np.zeros(PAIRS, np.int32),
    variation=np.zeros(1, np.int32),
    source=np.zeros(1, np.int32),
    episode_return=np.zeros(1, np.float32),
    success=np.zeros(1, bool),
)
ON_DEVICE = DemonstrationBatch(jnp.asarray(DEMONSTRATIONS.observation), jnp.asarray(DEMONSTRATIONS.action))


def stream():
    return contextlib.closing(Stream(DEMONSTRATIONS, MINIBATCHES, SIZE))


def assert_drawn(found, keys, positions):
    expected = [
        draw(ON_DEVICE, key, position, MINIBATCHES, SIZE) for key, position in zip(keys, positions, strict=True)
    ]
    assert found.observation.dtype == np.uint8
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(lambda *members: np.stack(members), *expected))


@pytest.mark.parametrize("members", [1, 3])
def test_it_draws_what_is_drawn_on_the_device(members):
    """Over many rounds, though the caller's keys are gone when the next draw is gathered, as those of training are."""
    expected_keys = jax.random.split(jax.random.key(3), members)
    positions = jnp.arange(members, dtype=jnp.int32) * 5
    with stream() as one:
        for _ in range(12):
            keys = jax.random.split(jax.random.key(3), members)
            found = one.draw(keys, positions)
            keys.delete()
            assert_drawn(found, expected_keys, positions)
            positions = positions + MINIBATCHES * SIZE


def test_a_new_stream_goes_on_from_any_position():
    keys = jax.random.split(jax.random.key(4), 1)
    for start in (0, 7, 3 * PAIRS, 100):
        with stream() as one:
            for position in (start, start + MINIBATCHES * SIZE, 5):  # the last one is not the one that was prepared
                assert_drawn(one.draw(keys, jnp.array([position], jnp.int32)), keys, jnp.array([position], jnp.int32))


def test_what_was_handed_out_is_not_written_to_again():
    keys = jax.random.split(jax.random.key(5), 1)
    with stream() as one:
        first = one.draw(keys, jnp.zeros(1, jnp.int32))
        copy = jax.tree.map(np.array, first)
        for draws in range(1, 5):
            one.draw(keys, jnp.full(1, draws * MINIBATCHES * SIZE, jnp.int32))
    jax.tree.map(np.testing.assert_array_equal, first, copy)


def test_only_what_is_large_is_streamed(monkeypatch):
    size = DEMONSTRATIONS.observation.nbytes + DEMONSTRATIONS.action.nbytes
    for most, expected in ((size, False), (size - 1, True)):
        monkeypatch.setattr(streaming, "DEVICE_BYTES", most)
        assert is_large(DEMONSTRATIONS) is expected
