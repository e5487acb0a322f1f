"""The point-cloud network: sizes, a PointNet by hand, order of points, empty segments, padding, members."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.networks import Discriminator, PointCloud, PointCloudEncoder, TanhGaussianActor, TwinQ
from gsljax.networks.point_cloud import PointNet, TwoLayers
from gsljax.types import ActionSpec

pytestmark = pytest.mark.usefixtures("compilation_cache")

SMALL = PointCloudEncoder(width=8, blocks=2, heads=2, head_size=3, feedforward=10, hidden=6)
ACTION = ActionSpec(dimension=3)
ACTIONS = np.random.default_rng(1).uniform(-1, 1, (2, 3)).astype(np.float32)


def cloud(points=12, segments=3, batch=(2,), state=5, seed=0):
    """Random points, each in one segment; the last four are in none."""
    generator = np.random.default_rng(seed)
    segmentation = np.eye(segments, dtype=bool)[generator.integers(0, segments, (*batch, points))]
    segmentation[..., -4:, :] = False
    xyz, rgb = generator.normal(size=(2, *batch, points, 3)).astype(np.float32)
    return PointCloud(xyz, np.abs(rgb), segmentation, generator.normal(size=(*batch, state)).astype(np.float32))


CLOUD = cloud()
INIT = jax.jit(SMALL.init)
APPLY = jax.jit(SMALL.apply)


@functools.cache
def params_and_features():
    """One member's parameters, and what it makes of `CLOUD`."""
    params = INIT(jax.random.key(0), CLOUD)
    return params, APPLY(params, CLOUD)


def features_of(observation):
    return APPLY(params_and_features()[0], observation)


def assert_same(features, expected=None):
    expected = params_and_features()[1] if expected is None else expected
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def count(module, *inputs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))
    return sum(x.size for x in jax.tree.leaves(shapes))


def backbone_size(segments, state):
    """The paper's sizes, layer by layer."""
    dense = lambda inputs, outputs: inputs * outputs + outputs  # noqa: E731
    # Per point: mean xyz, rgb, xyz - mean, state. Layers 192-192, pooled, 192-192.
    point_net = dense(9 + state, 192) + dense(192, 192) + 2 * dense(192, 192)
    state_token = dense(state, 192) + dense(192, 192)
    # Query, key, value and output of 4 heads × 32; one layer norm; feed-forward 768.
    block = 4 * 192 * 128 + 2 * 192 + dense(192, 768) + dense(768, 192)
    pooling = 128 + 3 * 192 * 128  # the learned query; key, value, output
    return (segments + 1) * point_net + state_token + 192 + 2 * block + pooling + dense(192, 128)


def test_parameter_counts_of_push_chair():
    # Three segments, 68 numbers of state, 22 of action, which join the state of critics and discriminator.
    observation, action = cloud(segments=3, state=68), np.zeros((2, 22), np.float32)
    assert count(PointCloudEncoder(), observation) == backbone_size(3, 68) == 1_442_752
    spec = ActionSpec(dimension=22)
    assert count(TanhGaussianActor(spec, PointCloudEncoder()), observation) == backbone_size(3, 68) + 128 * 44 + 44
    assert count(TwinQ(PointCloudEncoder()), observation, action) == 2 * (backbone_size(3, 90) + 129)
    assert count(Discriminator(spec, PointCloudEncoder()), observation, action) == backbone_size(3, 90) + 129


def test_point_net_by_hand():
    mask = CLOUD.segmentation[0, :, 1]
    one = jax.tree.map(lambda x: x[0], CLOUD)
    module = PointNet(8)
    params = jax.jit(module.init)(jax.random.key(0), one, mask)
    weights = params["params"]
    chosen = one.xyz[mask]
    mean = np.broadcast_to(chosen.mean(0), chosen.shape)
    state = np.broadcast_to(one.state, (len(chosen), 5))
    inputs = np.concatenate([one.rgb[mask], chosen - mean, mean, state], -1)
    hidden = np.maximum(inputs @ weights["kernel"] + weights["bias"], 0)
    features = np.asarray(hidden @ weights["Dense_0"]["kernel"] + weights["Dense_0"]["bias"])
    pooled = np.concatenate([features[:, :4].max(0), features[:, 4:].mean(0)])
    expected = TwoLayers(8).apply({"params": weights["TwoLayers_0"]}, pooled)
    np.testing.assert_allclose(jax.jit(module.apply)(params, one, mask), expected, rtol=1e-4, atol=1e-5)


def test_order_of_points_does_not_matter():
    order = np.random.default_rng(2).permutation(12)
    assert_same(features_of(CLOUD._replace(xyz=CLOUD.xyz[:, order], rgb=CLOUD.rgb[:, order],
                                             segmentation=CLOUD.segmentation[:, order])))  # fmt: skip
    apart = features_of(CLOUD._replace(xyz=CLOUD.xyz[:, order]))  # positions without their colours do
    assert np.abs(apart - params_and_features()[1]).max() > 1e-3


def test_segments_matter():
    swapped = features_of(CLOUD._replace(segmentation=CLOUD.segmentation[..., ::-1]))
    assert np.abs(swapped - params_and_features()[1]).max() > 1e-3


def test_points_of_no_segment_are_padding():
    xyz, rgb = CLOUD.xyz.copy(), CLOUD.rgb.copy()
    xyz[:, -4:], rgb[:, -4:] = 0, 9
    assert_same(features_of(CLOUD._replace(xyz=xyz, rgb=rgb)))
    assert_same(features_of(CLOUD._replace(xyz=xyz[:, :-4], rgb=rgb[:, :-4],
                                             segmentation=CLOUD.segmentation[:, :-4])))  # fmt: skip


def test_dictionaries_integers_and_more_axes():
    as_integers = CLOUD._replace(segmentation=CLOUD.segmentation.astype(np.uint8))
    assert_same(
        features_of(jax.tree.map(lambda x: x[:, None], as_integers)._asdict()), params_and_features()[1][:, None]
    )
    assert_same(features_of(jax.tree.map(lambda x: x[0], CLOUD)), params_and_features()[1][0])


GRADIENT = jax.jit(jax.grad(lambda params, observation: jnp.sum(jnp.asarray(SMALL.apply(params, observation)) ** 2)))


@pytest.mark.parametrize("empty", [[1], [0, 1, 2]], ids=["one", "all"])
def test_empty_segments_give_no_nan_and_take_no_part(empty):
    segmentation = CLOUD.segmentation.copy()
    segmentation[..., empty] = False
    observation = CLOUD._replace(segmentation=segmentation)
    gradient = GRADIENT(params_and_features()[0], observation)["params"]
    for leaf in jax.tree.leaves((features_of(observation), gradient)):
        assert np.all(np.isfinite(leaf))
    point_nets = [leaf.reshape(4, -1) for leaf in jax.tree.leaves(gradient["point_nets"])]  # three segments, all points
    learning = np.any(np.concatenate(point_nets, -1) != 0, axis=-1)
    full = len(empty) < 3
    np.testing.assert_array_equal(learning, [full and index not in empty for index in range(3)] + [full])
    assert np.any(np.asarray(gradient["state"]["Dense_0"]["kernel"]))


def test_actor_critic_and_discriminator_on_this_backbone():
    actor, critic, discriminator = TanhGaussianActor(ACTION, SMALL), TwinQ(SMALL), Discriminator(ACTION, SMALL)
    key = jax.random.key(0)
    policy = jax.eval_shape(lambda: actor.init_with_output(key, CLOUD)[0])
    assert policy.mean.shape == policy.std.shape == (2, 3)
    assert jax.eval_shape(lambda: discriminator.init_with_output(key, CLOUD, ACTIONS)[0]).shape == (2,)
    params = jax.jit(critic.init)(key, CLOUD, ACTIONS)
    apply = jax.jit(critic.apply)
    values, others = apply(params, CLOUD, ACTIONS), apply(params, CLOUD, -ACTIONS)
    assert values.shape == (2, 2) and len(np.unique([values, others])) == 8  # twins and actions differ


def test_members_vmapped_are_members_alone():
    keys = jax.random.split(jax.random.key(0), 2)
    members = jax.jit(jax.vmap(SMALL.init, (0, None)))(keys, CLOUD)
    features = jax.jit(jax.vmap(SMALL.apply, (0, None)))(members, CLOUD)
    for member, key in enumerate(keys):
        assert_same(features[member], APPLY(INIT(key, CLOUD), CLOUD))
