"""The IMPALA network's size, its arithmetic against Flax's own layers, and its initial weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian
from gsljax.networks import ImpalaActorCritic, ImpalaEncoder
from gsljax.networks.impala import normalized
from gsljax.types import ActionSpec

pytestmark = pytest.mark.usefixtures("compilation_cache")

DISCRETE, CONTINUOUS = ActionSpec(num_actions=15), ActionSpec(dimension=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), np.uint8)
SMALL = dict(channels=(4, 5), hidden=6)


def count(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    return sum(x.size for x in jax.tree.leaves(shapes))


def parameters(module):
    return jax.jit(module.init)(jax.random.key(0), IMAGES)["params"]


def conv(inputs, outputs):
    return 9 * inputs * outputs + outputs


def test_parameter_counts():
    images = np.zeros((1, 64, 64, 3), np.uint8)
    stacks = conv(3, 16) + 4 * conv(16, 16) + conv(16, 32) + 4 * conv(32, 32) + conv(32, 32) + 4 * conv(32, 32)
    dense = 2048 * 256 + 256  # 64×64 is halved three times: 8 · 8 · 32 = 2048
    assert stacks == 97_600 and stacks + dense == 622_144
    assert count(ImpalaEncoder(), images) == 622_144
    assert count(ImpalaEncoder(), images, np.zeros((1, 7), np.float32)) == 622_144 + 7 * 256
    assert count(ImpalaActorCritic(DISCRETE), images) == 622_144 + (256 * 15 + 15) + (256 + 1)  # 626,256


def plain_impala(params, images):
    """The same network with Flax's convolution and max-pool, from the encoder's parameters."""

    def convolve(name, x):
        return jnp.asarray(nn.Conv(params[name]["bias"].size, (3, 3)).apply({"params": params[name]}, x))

    x = images / 255
    for stack in range(2):
        x = nn.max_pool(convolve(f"stack{stack}_conv", x), (3, 3), (2, 2), "SAME")
        for block in range(2):
            hidden = convolve(f"stack{stack}_block{block}_conv0", nn.relu(x))
            x = x + convolve(f"stack{stack}_block{block}_conv1", nn.relu(hidden))
    return nn.relu(nn.relu(x.reshape(len(x), -1)) @ params["dense"]["kernel"] + params["dense"]["bias"])


def test_encoder_is_the_plain_network():
    encoder = ImpalaEncoder(**SMALL, compute="patches")
    # Biases start at zero; something else tests more.
    params = jax.tree.map(lambda x: x + 0.1 if x.ndim == 1 else x, {"params": parameters(encoder)})
    expected = jax.jit(plain_impala)(params["params"], IMAGES)
    lanes = jax.jit(encoder.apply)(params, np.stack([IMAGES, IMAGES[::-1]]))
    np.testing.assert_allclose(lanes, np.stack([expected, expected[::-1]]), rtol=1e-4, atol=1e-5)


def test_floating_point_images_are_not_divided():
    encoder = ImpalaEncoder(channels=(4,), hidden=6)
    params, apply = {"params": parameters(encoder)}, jax.jit(encoder.apply)
    scaled = IMAGES.astype(np.float32) / 255
    np.testing.assert_allclose(apply(params, scaled), apply(params, IMAGES), rtol=1e-4, atol=1e-5)


def test_shrunken_images_are_means_over_squares():
    images = IMAGES[:, :8]
    means = images.reshape(2, 4, 2, 4, 2, 3).astype(np.float32).mean(axis=(2, 4)) / 255
    whole, shrunken = (ImpalaEncoder(**SMALL, shrink=shrink) for shrink in (1, 2))
    params = jax.jit(shrunken.init)(jax.random.key(0), images)
    np.testing.assert_allclose(shrunken.apply(params, images), whole.apply(params, means), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compute", ["auto", "conv", "library", "packed", "patches", "taps"])
def test_every_convolution_is_computed_as_told(compute):
    encoder = ImpalaEncoder(**SMALL, compute=compute)
    program = str(jax.make_jaxpr(lambda x: encoder.init_with_output(jax.random.key(0), x)[0])(IMAGES))
    assert program.count("conv_general_dilated[") == (10 if compute in ("auto", "conv", "library", "packed") else 0)
    products = {"patches": 10, "taps": 90}.get(compute, 0)
    assert program.count("dot_general[") == products + 1  # with the dense layer


def test_an_action_changes_the_features():
    encoder, action = ImpalaEncoder(**SMALL), np.eye(2, dtype=np.float32)
    params = jax.jit(encoder.init)(jax.random.key(0), IMAGES, action)
    jacobian = jax.jit(jax.jacobian(lambda a: jnp.sum(encoder.apply(params, IMAGES, a), -1)))(action)
    assert np.all(np.abs(jacobian[[0, 1], [0, 1]]).sum(-1) > 0)  # each its own image's
    np.testing.assert_array_equal(jacobian[[0, 1], [1, 0]], 0)


def test_bfloat16_gives_float32_features_and_gradients():
    encoder = ImpalaEncoder(channels=(4,), hidden=6, dtype=jnp.bfloat16)
    params = jax.jit(encoder.init)(jax.random.key(0), IMAGES)
    features = jax.jit(encoder.apply)(params, IMAGES)
    gradient = jax.eval_shape(jax.grad(lambda p: jnp.sum(encoder.apply(p, IMAGES))), params)
    assert {x.dtype for x in jax.tree.leaves((params, features, gradient))} == {np.dtype("float32")}
    np.testing.assert_allclose(
        features, jax.jit(ImpalaEncoder(channels=(4,), hidden=6).apply)(params, IMAGES), rtol=0.1, atol=0.05
    )


@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_policy_and_value(action):
    network = ImpalaActorCritic(action, channels=(4,), hidden=6)
    params = jax.jit(network.init)(jax.random.key(0), IMAGES)
    policy, value = jax.jit(network.apply)(params, IMAGES[None])
    assert value.shape == policy.log_prob(policy.mode()).shape == (1, 2)
    assert isinstance(policy, Categorical if action.is_discrete else ClampedGaussian)
    assert np.abs(policy.logits if action.is_discrete else policy.mean).max() < 0.1  # nearly uniform at first


def test_initial_weights_of_ppo():
    weights = parameters(ImpalaActorCritic(DISCRETE, channels=(16, 32), hidden=64))
    for name, layer in weights["encoder"].items():
        *window, inputs, outputs = layer["kernel"].shape
        bound = (6 / (np.prod(window) * (inputs + outputs))) ** 0.5  # Glorot's
        assert 0.95 * bound < np.abs(layer["kernel"]).max() <= bound, name
        np.testing.assert_array_equal(layer["bias"], 0)
    logits, value = weights["policy_head"]["logits"]["kernel"], weights["value_head"]["kernel"]
    np.testing.assert_allclose(logits.T @ logits, 1e-4 * np.eye(15), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(value), 1, rtol=1e-5)


def test_initial_weights_of_ppg():
    network = ImpalaActorCritic(DISCRETE, channels=(4, 5, 6), hidden=7, initialization="ppg")
    weights = parameters(network)
    # Per stack 1/√3, per block 1/√2, and each of a block's two convs the root of that.
    residual = (3**-0.5 * 2**-0.5) ** 0.5
    assert round(residual, 3) == 0.639
    norms = {name: 1.4 if name == "dense" else residual if "block" in name else 1.0 for name in weights["encoder"]}
    layers = [(weights["encoder"][name], norm) for name, norm in norms.items()]
    layers += [(weights["policy_head"]["logits"], 0.1), (weights["value_head"], 0.1)]
    for layer, norm in layers:
        kernel = layer["kernel"].reshape(-1, layer["bias"].size)
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), norm, rtol=1e-5)
        np.testing.assert_array_equal(layer["bias"], 0)


def test_normalized_weights_point_every_way():
    weights = normalized(2.0)(jax.random.key(0), (400, 3))
    assert np.all(np.abs(weights.mean(0)) < 0.02) and np.all(np.abs(np.corrcoef(weights.T)[0, 1:]) < 0.2)


def test_members_vmapped_are_members_alone():
    network = ImpalaActorCritic(DISCRETE, channels=(4,), hidden=6, compute="patches")
    keys = jax.random.split(jax.random.key(0), 2)
    members = jax.jit(jax.vmap(network.init, (0, None)))(keys, IMAGES)
    policy, value = jax.jit(jax.vmap(network.apply, (0, None)))(members, IMAGES)
    init, apply = jax.jit(network.init), jax.jit(network.apply)
    for member, key in enumerate(keys):
        alone = init(key, IMAGES)
        jax.tree.map(lambda x, y, m=member: np.testing.assert_allclose(x[m], y, atol=1e-6), members, alone)
        expected = apply(alone, IMAGES)
        np.testing.assert_allclose(policy.logits[member], expected[0].logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value[member], expected[1], rtol=1e-5, atol=1e-6)
