"""The imitation terms: which loss a configuration takes, with which weight, off which gradient."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms.adversary import GAILConfig
from gsljax.algorithms.imitation import ImitationConfig, ImitationMethod, imitation_loss
from gsljax.distributions import ClampedGaussian
from gsljax.errors import UserError
from gsljax.types import DemonstrationBatch
from tests.algorithms.combinations import DISCRETE, Combination, make
from tests.algorithms.test_ppo import LANES, STEPS, random_demonstrations, random_rollout

# Unit Gaussians at 0, 1, 2 and actions at 0: densities φ(0), φ(1), φ(2).
MEAN = np.float32([[0.0], [1.0], [2.0]])
ACTION = np.zeros((3, 1), np.float32)
LOG_DENSITY = -0.5 * MEAN[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
ADVANTAGE_MAX, WEIGHT, ITERATION = 3.0, 0.2, 5


def loss_of(config, mean=MEAN, std=1.0):
    policy = ClampedGaussian(mean, jnp.broadcast_to(std, mean.shape))
    batch = DemonstrationBatch(np.zeros((3, 4), np.float32), ACTION)
    return imitation_loss(config, policy, batch, jnp.float32(ADVANTAGE_MAX), WEIGHT, jnp.int32(ITERATION))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("dapg", -WEIGHT * ADVANTAGE_MAX * np.exp(LOG_DENSITY).mean()),
        ("dapg-classic", -WEIGHT * 0.9**ITERATION * ADVANTAGE_MAX * LOG_DENSITY.mean()),
        ("bc", -WEIGHT * LOG_DENSITY.mean()),
    ],
)
def test_each_method_by_hand(method, expected):
    loss, metrics = loss_of(ImitationConfig(method, classic_decay=0.9))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["demonstration_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["demonstration_log_prob"], LOG_DENSITY.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["demonstration_probability"], np.exp(LOG_DENSITY).mean(), rtol=1e-5)


def test_cloning_by_squared_error_by_hand():
    # Means 0, 1, 2 and actions 0: (0 + 1 + 4) / 3, whatever the std, which gets no gradient.
    config = ImitationConfig("bc", bc_loss="squared-error")
    for std in (0.1, 1.0):
        loss, metrics = loss_of(config, MEAN, std)
        np.testing.assert_allclose(loss, WEIGHT * 5 / 3, rtol=1e-6)
        np.testing.assert_allclose(metrics["demonstration_squared_error"], 5 / 3, rtol=1e-6)
    gradient = jax.grad(lambda mean, std: loss_of(config, mean, std)[0], (0, 1))(MEAN, jnp.float32(1.0))
    np.testing.assert_allclose(gradient[0], WEIGHT * 2 * MEAN / 3, rtol=1e-6)
    assert gradient[1] == 0


@pytest.mark.parametrize("algorithm", ["ppo", "ppg", "sac"])
def test_every_algorithm_clones_by_squared_error_where_actions_have_a_distance(algorithm):
    config = {"imitation": "bc", "bc_loss": "squared-error"}
    made = make(Combination(algorithm, **config))
    state = jax.eval_shape(lambda key: made.init(key, (STEPS, LANES)), jax.random.key(0))
    pairs = random_demonstrations(made)
    _, metrics = jax.eval_shape(made.update, state, random_rollout(), pairs)
    assert {name for name in metrics if "demonstration" in name} == {
        "demonstration_loss",
        "demonstration_squared_error",
    }
    with pytest.raises(UserError, match=r"^The imitation's bc_loss is 'squared-error', but the actions of test are "):
        make(Combination(algorithm, action=DISCRETE, **config))


def test_a_squared_error_takes_no_std():
    with pytest.raises(UserError, match=r"^The imitation's demonstration_std is 0\.5, but must be None for the"):
        ImitationConfig("bc", bc_loss="squared-error", demonstration_std=0.5)
    assert ImitationConfig("dapg", bc_loss="squared-error", demonstration_std=0.5).demonstration_std == 0.5


def test_cloning_always_trains_the_std():
    """Nothing else would: bc drops the policy's loss and the entropy bonus."""

    def gradient(freeze):
        config = ImitationConfig("bc", freeze_scale=freeze)
        return jax.grad(lambda std: loss_of(config, MEAN, std)[0])(jnp.float32(1.0))

    assert gradient(True) == gradient(False) != 0


@pytest.mark.parametrize("method", ["dapg", "dapg-classic"])
def test_freeze_scale_keeps_the_gradient_off_the_std_alone(method):
    def gradient(freeze):
        config = ImitationConfig(method, freeze_scale=freeze)
        return jax.grad(lambda mean, std: loss_of(config, mean, std)[0], (0, 1))(MEAN, jnp.float32(1.0))

    (frozen_by_mean, frozen_by_std), (by_mean, by_std) = gradient(True), gradient(False)
    assert frozen_by_std == 0 and by_std != 0
    np.testing.assert_allclose(frozen_by_mean, by_mean, rtol=1e-6)


@pytest.mark.parametrize("method", ["dapg", "dapg-classic", "bc"])
def test_a_demonstration_std_takes_the_place_of_the_policys(method):
    def loss_and_gradient(config, std):
        return jax.value_and_grad(lambda mean, std: loss_of(config, mean, std)[0], (0, 1))(MEAN, jnp.float32(std))

    wide = ImitationConfig(method, demonstration_std=2.0)
    found, (by_mean, by_std) = loss_and_gradient(wide, 0.1)
    expected, (expected_by_mean, _) = loss_and_gradient(ImitationConfig(method), 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(by_mean, expected_by_mean, rtol=1e-6)
    assert by_std == 0


def test_a_wide_demonstration_std_reaches_pairs_that_the_policy_is_far_from():
    def pull(std, demonstration_std):
        config = ImitationConfig("dapg", demonstration_std=demonstration_std)
        return jnp.abs(jax.grad(lambda mean: loss_of(config, mean, std)[0])(MEAN)[2, 0])  # the pair is 2 away

    assert pull(0.1, None) < 1e-30  # 20 stds: exp(-200)
    np.testing.assert_allclose(pull(0.1, 1.0), WEIGHT * ADVANTAGE_MAX / 3 * 2 * np.exp(LOG_DENSITY[2]), rtol=1e-5)


def test_every_method_has_a_weight_of_its_own():
    weights = {"dapg_weight": 0.3, "classic_weight": 0.02, "bc_weight": 2.0}
    weights["gail_weight"] = 0.4
    found = {m: ImitationConfig(m, **weights).weight for m in get_args(ImitationMethod)}
    assert found == {"dapg": 0.3, "dapg-classic": 0.02, "bc": 2.0, "gail": 0.4, "none": 0.0}


def test_no_method_has_no_loss():
    with pytest.raises(UserError, match="'none', which has no loss; allowed are dapg, dapg-classic, bc"):
        loss_of(ImitationConfig("none"))


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("method", ("gan", "DAPG"), ("bc", "gail")),
        ("dapg_weight", (-0.1, math.nan, math.inf), (0.0, 3.0)),
        ("classic_weight", (-0.1, math.nan, math.inf), (0.0, 3.0)),
        ("bc_weight", (-0.1, math.nan, math.inf), (0.0, 3.0)),
        ("bc_loss", ("mse", "log_likelihood"), ("log-likelihood", "squared-error")),
        ("classic_decay", (0.0, -1.0, 1.1, math.nan), (0.5, 1.0)),
        ("gail_weight", (-0.1, 1.1, math.nan), (0.0, 1.0)),
        ("interval", (0, -1), (1,)),
        ("demonstration_std", (0.0, -1.0, math.nan, math.inf), (None, 0.5)),
    ],
)
def test_configurations_out_of_range_are_refused(name, wrong, right):
    for value in wrong:
        with pytest.raises(UserError, match=f"imitation.* {name} is {value!r}, but must"):
            ImitationConfig(**{name: value})
    for value in right:
        assert getattr(ImitationConfig(**{name: value}), name) == value


def test_a_scale_that_is_no_part_of_the_reward_cannot_be_kept():
    keeping = GAILConfig(keep_scale=True)
    assert ImitationConfig(gail_weight=0.9, gail=keeping).gail == keeping
    with pytest.raises(UserError, match=r"gail_weight is 1, but must be below 1 where gail\.keep_scale is set"):
        ImitationConfig(gail_weight=1.0, gail=keeping)
