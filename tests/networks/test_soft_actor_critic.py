"""SAC's actors and twin Q functions: shapes, sizes, the clamped std, and that twins are two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, TanhGaussian
from gsljax.networks import CategoricalActor, DiscreteTwinQ, ImpalaEncoder, TanhGaussianActor, TwinQ, VectorEncoder
from gsljax.types import ActionSpec

pytestmark = pytest.mark.usefixtures("compilation_cache")

ACTION = ActionSpec(dimension=3, low=-2.0, high=0.5)
GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(6, 5)).astype(np.float32)
ACTIONS = GENERATOR.uniform(-1, 1, (6, 3)).astype(np.float32)
IMAGES = GENERATOR.integers(0, 256, (6, 8, 8, 3), np.uint8)
VECTOR, IMAGE = VectorEncoder((8, 7)), ImpalaEncoder(channels=(4,), hidden=6)
KINDS = pytest.mark.parametrize(
    ("encoder", "observation"), [(VECTOR, VECTORS), (IMAGE, IMAGES)], ids=["vector", "image"]
)


def parameters(module, *inputs):
    return jax.jit(module.init)(jax.random.key(0), *inputs)


@KINDS
def test_shapes_with_any_encoder_and_leading_axes(encoder, observation):
    def outputs(module, *inputs):
        lanes = [x.reshape(2, 3, *x.shape[1:]) for x in inputs]
        params = jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return jax.eval_shape(module.apply, params, *lanes)

    policy = outputs(TanhGaussianActor(ACTION, encoder), observation)
    assert isinstance(policy, TanhGaussian) and policy.mean.shape == policy.std.shape == (2, 3, 3)
    policy = outputs(CategoricalActor(4, encoder), observation)
    assert isinstance(policy, Categorical) and policy.logits.shape == (2, 3, 4)
    assert outputs(TwinQ(encoder), observation, ACTIONS).shape == (2, 2, 3)
    assert outputs(DiscreteTwinQ(4, encoder), observation).shape == (2, 2, 3, 4)


def test_actions_fill_the_action_range():
    actor = TanhGaussianActor(ACTION, VECTOR)
    sample = np.asarray(actor.apply(parameters(actor, VECTORS), VECTORS).sample(jax.random.key(1)))
    assert np.all((sample >= ACTION.low) & (sample <= ACTION.high)) and sample.min() < -1 and sample.max() > 0


@pytest.mark.parametrize(
    ("module", "inputs", "expected"),
    [
        # A trunk of 5 → 8 → 7 has 5·8 + 8 + 8·7 + 7 = 111; with 3 action inputs 8·8 + 8 + 63 = 135.
        (TanhGaussianActor(ACTION, VECTOR), (VECTORS,), 111 + 7 * 6 + 6),
        (CategoricalActor(4, VECTOR), (VECTORS,), 111 + 7 * 4 + 4),
        (TwinQ(VECTOR), (VECTORS, ACTIONS), 2 * (135 + 7 + 1)),
        (DiscreteTwinQ(4, VECTOR), (VECTORS,), 2 * (111 + 7 * 4 + 4)),
    ],
)
def test_parameter_counts(module, inputs, expected):
    assert sum(x.size for x in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), *inputs))) == expected


def test_log_std_is_clamped():
    actor = TanhGaussianActor(ACTION, VECTOR)
    params = parameters(actor, VECTORS)

    def with_log_std(log_std):
        bias = jnp.concatenate([jnp.zeros(3), jnp.asarray(log_std)])
        head = {"kernel": jnp.zeros((7, 6)), "bias": bias}
        return actor.apply({"params": {**params["params"], "mean_and_log_std": head}}, VECTORS[0])

    np.testing.assert_allclose(with_log_std([-30.0, 0.5, 9.0]).std, np.exp([-20, 0.5, 2]), rtol=1e-5)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(jnp.log(with_log_std(x).std))))(jnp.array([-30.0, 0.5, 9.0]))
    np.testing.assert_allclose(slope, [0, 1, 0], atol=1e-6)


def test_std_depends_on_the_observation():
    actor = TanhGaussianActor(ACTION, VECTOR)
    std = np.asarray(actor.apply(parameters(actor, VECTORS), VECTORS).std)
    assert np.all(std.std(axis=0) > 0.01)


def test_twins_are_two_plain_networks():
    critic = TwinQ(VECTOR)
    params = parameters(critic, VECTORS, ACTIONS)
    values = jax.jit(critic.apply)(params, VECTORS, ACTIONS)
    for index in range(2):
        weights = jax.tree.map(lambda x, i=index: x[i], params["params"]["twin"])
        hidden = np.concatenate([VECTORS, ACTIONS], -1)
        for layer in ("Dense_0", "Dense_1"):
            layer = weights["encoder"]["mlp"][layer]
            hidden = np.maximum(hidden @ layer["kernel"] + layer["bias"], 0)
        expected = (hidden @ weights["value"]["kernel"] + weights["value"]["bias"])[:, 0]
        np.testing.assert_allclose(values[index], expected, rtol=1e-4, atol=1e-5)
    assert np.all(np.abs(values[0] - values[1]) > 1e-4)  # they do not begin as copies

    gradient = jax.jit(jax.grad(lambda p: jnp.sum(critic.apply(p, VECTORS, ACTIONS)[0])))(params)
    for leaf in jax.tree.leaves(gradient):
        assert np.any(np.asarray(leaf[0])) and not np.any(np.asarray(leaf[1]))  # one learns nothing from the other


@KINDS
def test_initialisation_vmaps_over_members(encoder, observation):
    keys = jax.random.split(jax.random.key(0), 2)
    init = TwinQ(encoder).init
    members = jax.jit(jax.vmap(init, (0, None, None)))(keys, observation, ACTIONS)
    alone = jax.jit(init)(keys[1], observation, ACTIONS)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, atol=1e-6), members, alone)
