"""Tests of gsljax.conditions."""

import jax
import jax.numpy as jnp

from gsljax.conditions import any_member


def test_a_condition_of_any_member_is_not_batched():
    assert not any_member(jnp.array(False)) and any_member(jnp.array(True))
    _, axes = jax.vmap(lambda x: (x, any_member(x)), out_axes=(0, None))(jnp.array([False, True, False]))
    assert axes
    assert not jax.vmap(any_member, out_axes=None)(jnp.array([False, False]))
