"""Advantages against numbers worked by hand and a plain loop; masked steps must not matter, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.losses import (
    generalized_advantages,
    masked_mean,
    masked_mean_by_group,
    normalize,
    normalize_by_group,
)

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
garbage = pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])


def flags(shape, *steps):
    """False everywhere but at the (time, lane) pairs `steps`."""
    array = np.zeros(shape, bool)
    for time, lane in steps:
        array[time, lane] = True
    return array


# γ 0.5, λ 0.5, so γλ 0.25. Four lanes of four steps; lanes 1 and 2 end at t = 1 and reset at t = 2.
SHAPE = (4, 4)
REWARD = np.array([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3], [4, 4, 4, 4]], np.float32)
VALUE = np.array([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 6, 3], [4, 4, 4, 4], [5, 5, 5, 5]], np.float32)
TERMINATED = flags(SHAPE, (1, 1), (3, 3))
TRUNCATED = flags(SHAPE, (1, 2))
VALID = ~flags(SHAPE, (2, 1), (2, 2))
EXPECTED = np.array([
    # Never ends: δ = 1 + 0.5·2 − 1, 2 + 0.5·3 − 2, 3 + 0.5·4 − 3, 4 + 0.5·5 − 4 = 1, 1.5, 2, 2.5, from the back
    # A_3 = 2.5, A_2 = 2 + 0.25·2.5, A_1 = 1.5 + 0.25·2.625, A_0 = 1 + 0.25·2.15625.
    [1.5390625, 2.15625, 2.625, 2.5],
    # Terminates at 1: δ_1 = 2 − 2 = 0 without bootstrap; A_0 = 1 + 0.25·0; the reset has 0; A_3 as before.
    [1.0, 0.0, 0.0, 2.5],
    # Truncated at 1, where the final observation is worth 6: δ_1 = 2 + 0.5·6 − 2 = 3; A_0 = 1 + 0.25·3.
    [1.75, 3.0, 0.0, 2.5],
    # Terminates with the last step: δ_3 = 4 − 4 = 0; A_2 = 2, A_1 = 1.5 + 0.25·2 = 2, A_0 = 1 + 0.25·2.
    [1.5, 2.0, 2.0, 0.0],
]).T  # fmt: skip


@both
def test_advantages_by_hand(compiled):
    advantages = compiled(generalized_advantages)(REWARD, VALUE, TERMINATED, TRUNCATED, VALID, 0.5, 0.5)
    np.testing.assert_array_equal(advantages, EXPECTED)


@both
def test_only_truncation_bootstraps(compiled):
    """A worth of the final observation reaches a truncated step's advantage, and no other end's."""
    later = VALUE + np.array([0, 0, 100, 0, 0], np.float32)[:, None] * flags((1, 4), (0, 1), (0, 2))
    function = compiled(generalized_advantages)
    change = function(REWARD, later, TERMINATED, TRUNCATED, VALID, 0.5, 0.5) - EXPECTED
    # 0.5 · 100 for the truncated step, a quarter of it one step before.
    np.testing.assert_array_equal(change, np.array([[0, 0, 12.5, 0], [0, 0, 50, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))


@both
@garbage
def test_reset_steps_pass_nothing_on(compiled, junk):
    reward, value, terminated, truncated = REWARD.copy(), VALUE.copy(), TERMINATED.copy(), TRUNCATED.copy()
    reward[~VALID] = junk
    value[2, 1] = junk  # what terminated state 2 of lane 1 is worth, used by nobody
    terminated[~VALID] = truncated[~VALID] = True
    function = compiled(generalized_advantages)
    np.testing.assert_array_equal(function(reward, value, terminated, truncated, VALID, 0.5, 0.5), EXPECTED)

    def weighted(reward, value, terminated, truncated, valid):
        weights = np.arange(1, 17, dtype=np.float32).reshape(SHAPE)
        return jnp.sum(weights * generalized_advantages(reward, value, terminated, truncated, valid, 0.5, 0.5))

    gradient = compiled(jax.grad(weighted, (0, 1)))
    clean = gradient(REWARD, VALUE, TERMINATED, TRUNCATED, VALID)
    dirty = gradient(reward, value, terminated, truncated, VALID)
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    np.testing.assert_array_equal(dirty[0][~VALID], 0.0)
    assert dirty[1][2, 1] == 0


@both
def test_ends_pass_nothing_on_even_where_a_valid_step_follows(compiled):
    """As in a rollout whose reset step somebody has cut out."""
    everywhere = np.ones(SHAPE, bool)
    advantages = compiled(generalized_advantages)(REWARD, VALUE, TERMINATED, TRUNCATED, everywhere, 0.5, 0.5)
    # Lanes 1 and 2 as before up to their end; then δ_2 = 3 + 0.5·4 − V_2 for V_2 = 3 and 6, and 0.25·2.5 from t = 3.
    expected = EXPECTED.copy()
    expected[2, 1:3] = 2 + 0.625, -1 + 0.625
    np.testing.assert_array_equal(advantages, expected)


def loop(reward, value, terminated, truncated, valid, discount, gae_lambda):
    """One lane after the other, one step after the other, as one would explain it."""
    advantages = np.zeros(reward.shape)
    for lane in range(reward.shape[1]):
        following = 0.0
        for t in reversed(range(reward.shape[0])):
            if not valid[t, lane]:
                following = 0.0
                continue
            bootstrap = 0.0 if terminated[t, lane] else value[t + 1, lane]
            if terminated[t, lane] or truncated[t, lane]:
                following = 0.0
            delta = reward[t, lane] + discount * bootstrap - value[t, lane]
            following = delta + discount * gae_lambda * following
            advantages[t, lane] = following
    return advantages


@both
def test_advantages_equal_a_plain_loop(compiled):
    rng = np.random.default_rng(0)
    steps, lanes = 60, 9
    reward, value = rng.normal(size=(steps, lanes)), rng.normal(size=(steps + 1, lanes))
    ended = rng.random((steps, lanes)) < 0.2
    for t in range(1, steps):
        ended[t] &= ~ended[t - 1]  # no episode ends with its reset
    valid = np.concatenate([np.ones((1, lanes), bool), ~ended[:-1]])
    terminated = ended & (rng.random((steps, lanes)) < 0.5)
    truncated = ended & ~terminated
    assert terminated.sum() > 20
    assert truncated.sum() > 20
    arguments = np.float32(reward), np.float32(value), terminated, truncated, valid
    advantages = compiled(generalized_advantages)(*arguments, 0.95, 0.97)
    np.testing.assert_allclose(advantages, loop(reward, value, terminated, truncated, valid, 0.95, 0.97), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(advantages)[~valid], 0.0)


@both
def test_lambda_limits(compiled):
    """λ 0 gives the one-step errors, λ 1 the discounted returns minus the value."""
    reward, value = jnp.array([[1.0], [2.0], [4.0]]), jnp.array([[0.5], [1.0], [2.0], [8.0]])
    no = np.zeros((3, 1), bool)
    function = compiled(generalized_advantages)
    one_step = function(reward, value, no, no, ~no, 0.5, 0.0)
    np.testing.assert_array_equal(one_step[:, 0], [1 + 0.5 - 0.5, 2 + 1 - 1, 4 + 4 - 2])
    returns = [1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 8, 2 + 0.5 * 4 + 0.25 * 8, 4 + 0.5 * 8]
    np.testing.assert_array_equal(function(reward, value, no, no, ~no, 0.5, 1.0)[:, 0] + value[:-1, 0], returns)


@both
@pytest.mark.parametrize(
    "wrong",
    [
        {"reward": REWARD[0]},
        {"value": VALUE[:-1]},
        {"value": VALUE[:, :2]},
        {"terminated": TERMINATED[:-1]},
        {"truncated": TRUNCATED[:, :1]},
        {"valid": VALID[None]},
        {"valid": VALID.astype(np.float32)},
    ],
)
def test_wrong_shapes_and_types_are_refused(compiled, wrong):
    arguments = {"reward": REWARD, "value": VALUE, "terminated": TERMINATED, "truncated": TRUNCATED, "valid": VALID}
    with pytest.raises(AssertionError):
        compiled(generalized_advantages)(**{**arguments, **wrong}, discount=0.5, gae_lambda=0.5)


@both
@garbage
def test_masked_mean_and_normalize_by_hand(compiled, junk):
    values, mask = jnp.array([[1.0, junk], [3.0, 8.0]]), jnp.array([[True, False], [True, True]])
    assert compiled(masked_mean)(values, mask) == 4.0
    # Deviations −3, −1, 4: variance 26/3.
    expected = np.array([[-3, 0], [-1, 4]]) / np.sqrt(26 / 3)
    np.testing.assert_allclose(compiled(normalize)(values, mask), expected, rtol=1e-6)
    clean = jnp.where(mask, values, 0.0)
    np.testing.assert_array_equal(compiled(normalize)(values, mask), compiled(normalize)(clean, mask))
    for function in (masked_mean, normalize):
        gradient = compiled(jax.grad(lambda x, f=function: jnp.sum(f(x, mask) ** 3)))
        np.testing.assert_array_equal(gradient(values), gradient(clean))
        assert gradient(values)[0, 1] == 0


@both
def test_nothing_valid_gives_zero(compiled):
    values, mask = np.full(3, np.nan, np.float32), np.zeros(3, bool)
    assert compiled(masked_mean)(values, mask) == 0
    np.testing.assert_array_equal(compiled(normalize)(values, mask), 0.0)


@both
def test_normalize_leaves_equal_values_finite(compiled):
    np.testing.assert_array_equal(compiled(normalize)(jnp.array([2.0, 2.0, 2.0]), np.ones(3, bool)), 0.0)


@both
def test_mask_of_another_shape_is_refused(compiled):
    for function in (masked_mean, normalize):
        with pytest.raises(AssertionError):
            compiled(function)(np.ones((2, 3), np.float32), np.ones(3, bool))


def test_normalising_each_group_is_normalising_it_alone():
    """By hand for group 0: 1, 3, 8 have the mean 4 and the variance 26/3. Group 1 has one entry, group 2 none."""
    values = jnp.array([[1.0, 5.0, 3.0], [np.nan, 8.0, 2.0]])
    group = jnp.array([[0, 1, 0], [99, 0, 3]])
    mask = jnp.array([[True, True, True], [False, True, False]])
    expected = np.array([[-3.0, 0.0, -1.0], [0.0, 4.0, 0.0]]) / np.sqrt(26 / 3)
    for function in (normalize_by_group, jax.jit(normalize_by_group, static_argnums=3)):
        np.testing.assert_allclose(function(values, mask, group, 4), expected, rtol=1e-6)
    for one in range(2):
        alone = normalize(values, mask & (group == one))
        found = jnp.where(group == one, normalize_by_group(values, mask, group, 4), 0.0)
        np.testing.assert_allclose(found, alone, rtol=1e-6)
    np.testing.assert_allclose(masked_mean_by_group(values, mask, group, 4), [4.0, 5.0, 0.0, 0.0])
    nothing = jnp.zeros_like(mask)
    np.testing.assert_array_equal(normalize_by_group(values, nothing, group, 4), np.zeros((2, 3)))
