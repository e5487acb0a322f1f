"""The adversarial losses and rewards against numbers worked by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.losses import (
    discriminator_logit,
    discriminator_loss,
    gradient_penalty,
    imitation_reward,
    interpolate_pairs,
    mixed_reward,
)
from gsljax.types import DemonstrationBatch

both = pytest.mark.parametrize("compiled", [lambda f: f, jax.jit], ids=["eager", "jit"])
garbage = pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf"), -float("inf")])
forms = pytest.mark.parametrize("form", ["negative-log", "log-odds", "airl"])


def logit(probability):
    return np.log(np.float32(probability) / (1 - np.float32(probability)))


POLICY = logit([0.75, 0.25, 0.5])
DEMONSTRATION = logit([0.25, 0.125])
ALL = np.ones(3, bool)


@both
def test_discriminator_loss_by_hand(compiled):
    # −(log ¾ + log ¼ + log ½) / 3 − (log ¾ + log ⅞) / 2.
    loss, metrics = compiled(discriminator_loss)(POLICY, DEMONSTRATION, ALL)
    expected = -(math.log(0.75) + math.log(0.25) + math.log(0.5)) / 3 - (math.log(0.75) + math.log(0.875)) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["discriminator_loss"] == loss
    np.testing.assert_allclose(metrics["discriminator_policy"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(metrics["discriminator_demonstration"], 0.1875, rtol=1e-6)
    # One policy pair of three (½ is not above ½), both demonstrations.
    np.testing.assert_allclose(metrics["discriminator_accuracy"], (1 / 3 + 1) / 2, rtol=1e-6)
    assert set(metrics) == {
        "discriminator_loss",
        "discriminator_policy",
        "discriminator_demonstration",
        "discriminator_accuracy",
    }


@both
def test_descent_pushes_policy_pairs_up_and_demonstrations_down(compiled):
    gradient = compiled(jax.grad(lambda *x: discriminator_loss(*x, ALL)[0], (0, 1)))
    # −(1 − D) / 3 and D / 2.
    by_policy, by_demonstration = gradient(POLICY, DEMONSTRATION)
    np.testing.assert_allclose(by_policy, -np.array([0.25, 0.75, 0.5]) / 3, rtol=1e-6)
    np.testing.assert_allclose(by_demonstration, [0.125, 0.0625], rtol=1e-6)
    # An undecided discriminator costs 2 log 2; one that is certain and wrong pays in proportion, and stays finite.
    np.testing.assert_allclose(discriminator_loss(np.zeros(3), np.zeros(2), ALL)[0], 2 * math.log(2), rtol=1e-6)
    assert discriminator_loss(np.full(3, -1e4, np.float32), np.full(2, 1e4, np.float32), ALL)[0] == 2e4


@both
@garbage
def test_masked_policy_pairs_change_nothing(compiled, junk):
    rng = np.random.default_rng(0)
    values, valid = rng.normal(size=50).astype(np.float32), rng.random(50) < 0.7
    function = compiled(jax.value_and_grad(discriminator_loss, (0, 1), has_aux=True))
    clean = function(np.where(valid, values, np.float32(0)), DEMONSTRATION, valid)
    dirty = function(np.where(valid, values, np.float32(junk)), DEMONSTRATION, valid)
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    np.testing.assert_array_equal(np.asarray(clean[1][0])[~valid], 0.0)
    alone = function(values[valid], DEMONSTRATION, np.ones(valid.sum(), bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), clean[0], alone[0])


@both
def test_rewards_by_hand(compiled):
    reward = {
        form: compiled(functools.partial(imitation_reward, form=form))(POLICY)
        for form in ("negative-log", "log-odds", "airl")
    }
    # −log of ¾, ¼, ½; log of ¼ / ¾, ¾ / ¼, 1.
    np.testing.assert_allclose(reward["negative-log"], -np.log([0.75, 0.25, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(reward["log-odds"], [-math.log(3), math.log(3), 0], rtol=1e-6)
    np.testing.assert_array_equal(reward["airl"], reward["log-odds"])


@both
@forms
def test_pairs_like_the_demonstrations_pay_more_in_every_form(compiled, form):
    probability = np.linspace(0.01, 0.99, 50)
    reward = compiled(functools.partial(imitation_reward, form=form))(logit(probability))
    assert np.all(np.diff(reward) < 0)
    if form == "negative-log":
        assert np.all(np.asarray(reward) > 0)
    else:
        np.testing.assert_array_equal(np.asarray(reward) > 0, probability < 0.5)


@both
@forms
def test_a_longer_useless_episode_gains_only_in_the_form_that_says_so(compiled, form):
    """An episode of pairs that are plainly the policy's (D 0.6 to 0.95), cut short or drawn out, then discounted."""
    rng = np.random.default_rng(0)
    output = logit(rng.uniform(0.6, 0.95, size=150))
    log_prob = rng.normal(size=150).astype(np.float32)
    if form == "airl":
        output = log_prob - output  # the f whose D is the same
    logits = compiled(functools.partial(discriminator_logit, form=form))(output, log_prob)
    rewards = np.asarray(compiled(functools.partial(imitation_reward, form=form))(logits), np.float64)
    for discount in (0.95, 1.0):
        returns = np.cumsum(rewards * discount ** np.arange(150))  # entry t: of the episode that ends after t
        if form == "negative-log":
            assert np.all(np.diff(returns) > 0)
        else:
            assert np.all(np.diff(returns) < 0)
            assert returns[0] < 0


@both
def test_logits_of_the_airl_form_by_hand(compiled):
    # π = ½, ¼ and exp f = ½, ¾: D = ½ / (½ + ½), ¼ / (¼ + ¾); reward f − log π = 0, log 3.
    score, log_prob = np.log(np.float32([0.5, 0.75])), np.log(np.float32([0.5, 0.25]))
    airl = compiled(functools.partial(discriminator_logit, form="airl"))
    np.testing.assert_allclose(jax.nn.sigmoid(airl(score, log_prob)), [0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(imitation_reward(airl(score, log_prob), "airl"), [0, math.log(3)], atol=1e-7)
    by_score, by_log_prob = compiled(jax.grad(lambda *x: jnp.sum(airl(*x)), (0, 1)))(score, log_prob)
    np.testing.assert_array_equal(by_score, [-1, -1])
    np.testing.assert_array_equal(by_log_prob, [0, 0])
    for form in ("negative-log", "log-odds"):
        for ignored in (log_prob, None):
            np.testing.assert_array_equal(discriminator_logit(score, ignored, form), score)


def test_a_bad_form_is_refused():
    with pytest.raises(ValueError, match=r"'reward'.*negative-log, log-odds, airl"):
        imitation_reward(POLICY, "reward")
    with pytest.raises(ValueError, match="'gail'"):
        discriminator_logit(POLICY, None, "gail")
    with pytest.raises(ValueError, match="log_prob"):
        discriminator_logit(POLICY, None, "airl")


@both
def test_mixed_reward_by_hand(compiled):
    # 0.3 · 10 + 0.7 · 1, 0.3 · 0 + 0.7 · 2.
    np.testing.assert_allclose(compiled(mixed_reward)(np.float32([10, 0]), np.float32([1, 2]), 0.3), [3.7, 1.4])
    with pytest.raises(AssertionError):
        compiled(mixed_reward)(np.ones(2), np.ones((2, 1)), 0.3)


@both
def test_interpolated_pairs_lie_between_and_share_their_place(compiled):
    policy = DemonstrationBatch(jnp.zeros((200, 2, 3)), jnp.ones((200, 4)))
    demonstration = DemonstrationBatch(jnp.ones((200, 2, 3)), jnp.zeros((200, 4)))
    between = compiled(interpolate_pairs)(jax.random.key(0), policy, demonstration)
    share = np.asarray(between.action[:, 0])
    np.testing.assert_array_equal(between.action, np.tile(share[:, None], 4))
    np.testing.assert_array_equal(between.observation, np.tile((1 - share)[:, None, None], (1, 2, 3)))
    assert 0 <= share.min() < 0.1
    assert 0.9 < share.max() <= 1
    np.testing.assert_allclose(share.mean(), 0.5, atol=4 * math.sqrt(1 / 12 / 200))
    with pytest.raises(AssertionError):
        compiled(interpolate_pairs)(jax.random.key(0), policy, demonstration._replace(action=jnp.zeros((200, 1))))
    with pytest.raises(AssertionError):
        compiled(interpolate_pairs)(jax.random.key(0), *[x._replace(action=jnp.ones(200, int)) for x in (policy,) * 2])


def bilinear(pair, scale=1.0):
    """scale · s · a, whose gradient is scale · (a, s)."""
    return scale * jnp.sum(pair.observation * pair.action, axis=-1)


PAIRS = DemonstrationBatch(jnp.array([[3.0, 0.0], [0.0, 0.0], [1.0, 2.0]]), jnp.array([[0.0, 4.0], [0.0, 0.0], [2, 0]]))


@both
def test_gradient_penalty_by_hand(compiled):
    # Norms over both leaves: √(9 + 16) = 5, 0, √(5 + 4) = 3. To 1: (16 + 1 + 4) / 3; to 0: (25 + 0 + 9) / 3.
    function = compiled(functools.partial(gradient_penalty, bilinear))
    loss, metrics = function(PAIRS, ALL)
    np.testing.assert_allclose(loss, 7.0, rtol=1e-6)
    assert set(metrics) == {"gradient_penalty", "gradient_norm"}
    assert metrics["gradient_penalty"] == loss
    np.testing.assert_allclose(metrics["gradient_norm"], 8 / 3, rtol=1e-6)
    np.testing.assert_allclose(function(PAIRS, ALL, target=0.0)[0], 34 / 3, rtol=1e-6)


@both
def test_gradient_penalty_differentiates_in_the_discriminators_parameters(compiled):
    # (5c − 1)² + 1 + (3c − 1)² over 3 at c = 2: (10 · 9 + 6 · 5) / 3. The vanishing gradient's pair adds nothing.
    gradient = compiled(jax.grad(lambda c: gradient_penalty(lambda pair: bilinear(pair, c), PAIRS, ALL)[0]))(2.0)
    np.testing.assert_allclose(gradient, 40.0, rtol=1e-6)


@both
@garbage
def test_masked_pairs_of_the_penalty_change_nothing(compiled, junk):
    valid = np.array([True, False, True])
    weights = jnp.array([[0.3, -0.5], [0.8, 0.1], [-0.4, 0.9], [0.2, 0.7]])

    def penalty(weights, pairs, valid):
        def network(pair):
            features = jnp.tanh(jnp.concatenate([pair.observation, pair.action], axis=-1) @ weights)
            return jnp.sum(features**2, axis=-1)

        return gradient_penalty(network, pairs, valid)

    function = compiled(jax.value_and_grad(penalty, has_aux=True))
    dirty = jax.tree.map(lambda x: jnp.where(valid[:, None], x, junk), PAIRS)
    clean = function(weights, PAIRS, valid)
    jax.tree.map(np.testing.assert_array_equal, function(weights, dirty, valid), clean)
    alone = function(weights, jax.tree.map(lambda x: x[valid], PAIRS), np.ones(2, bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), clean, alone)


@both
def test_wrong_shapes_and_types_are_refused(compiled):
    for arguments in [(POLICY[:2], DEMONSTRATION, ALL), (POLICY, DEMONSTRATION[None], ALL), (POLICY, DEMONSTRATION, 1)]:
        with pytest.raises(AssertionError):
            compiled(discriminator_loss)(*arguments)
    calls = [
        (bilinear, PAIRS, ALL[:2]),
        (bilinear, PAIRS._replace(action=jnp.ones((3, 2), int)), ALL),
        (lambda pair: pair.observation, PAIRS, ALL),
    ]
    for function, pairs, valid in calls:
        with pytest.raises(AssertionError):
            compiled(functools.partial(gradient_penalty, function))(pairs, valid)
    with pytest.raises(AssertionError):
        compiled(functools.partial(discriminator_logit, form="airl"))(POLICY, POLICY[:2])
