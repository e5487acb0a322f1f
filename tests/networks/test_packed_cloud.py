"""Packed point clouds: what goes in comes out, on the host and in a compiled program."""

import jax
import jax.numpy as jnp
import numpy as np

from gsljax.cloud_layout import CloudLayout, pack, unpack
from gsljax.networks import Discriminator, PackedCloudEncoder, PointCloudEncoder, TanhGaussianActor, TwinQ, unpack_cloud
from gsljax.types import ActionSpec

LAYOUT = CloudLayout(points=16, segments=3, state=5)
ENCODER = PackedCloudEncoder(
    LAYOUT, PointCloudEncoder(width=8, blocks=1, heads=2, head_size=4, feedforward=8, hidden=8)
)


def cloud(seed=0):
    random = np.random.default_rng(seed)
    xyz = random.uniform(-2, 2, (16, 3)).astype(np.float32)
    segmentation = random.integers(0, 2, (16, 3)).astype(bool)
    return xyz, segmentation, random.normal(size=5).astype(np.float32)


def test_the_bytes_are_those_of_the_layout():
    assert LAYOUT.size == 16 * 6 + 16 + 20
    xyz = np.zeros((16, 3), np.float32)
    xyz[0] = 1.0, -2.0, 0.5  # 0x3c00, 0xc000, 0x3800 in float16, the low byte first
    segmentation = np.zeros((16, 3), bool)
    segmentation[0] = True, False, True
    segmentation[15, 1] = True
    packed = pack(LAYOUT, xyz, segmentation, np.array([1, 0, 0, 0, 0], np.float32))
    assert packed[:6].tolist() == [0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38]
    assert packed[96:112].tolist() == [0b101, *[0] * 14, 0b010]
    assert packed[112:116].tolist() == [0, 0, 0x80, 0x3F]


def test_what_is_packed_comes_out_on_the_host_and_in_a_program():
    clouds = [cloud(seed) for seed in range(6)]
    packed = np.stack([pack(LAYOUT, *one) for one in clouds]).reshape(2, 3, -1)
    for xyz, segmentation, state in (unpack(LAYOUT, packed), _in_a_program(packed)):
        for index, (expected_xyz, expected_segmentation, expected_state) in enumerate(clouds):
            at = divmod(index, 3)
            np.testing.assert_allclose(xyz[at], expected_xyz, atol=1e-3, rtol=0)
            np.testing.assert_array_equal(xyz[at], expected_xyz.astype(np.float16).astype(np.float32))
            np.testing.assert_array_equal(segmentation[at], expected_segmentation)
            np.testing.assert_array_equal(state[at], expected_state)


def _in_a_program(packed):
    unpacked = jax.jit(lambda x: unpack_cloud(LAYOUT, x))(packed)
    assert unpacked.rgb.shape == (2, 3, 16, 0) and unpacked.segmentation.dtype == bool
    return unpacked.xyz, unpacked.segmentation, unpacked.state


def test_the_order_of_the_points_and_what_padding_holds_do_not_matter():
    xyz, segmentation, state = cloud()
    segmentation[10:] = False
    order = np.random.default_rng(1).permutation(16)
    garbage = xyz.copy()
    garbage[10:] = 7.0
    first = jnp.asarray(pack(LAYOUT, xyz, segmentation, state))
    variables = ENCODER.init(jax.random.key(0), first)
    features = ENCODER.apply(variables, first)
    for other in (pack(LAYOUT, xyz[order], segmentation[order], state), pack(LAYOUT, garbage, segmentation, state)):
        np.testing.assert_allclose(ENCODER.apply(variables, other), features, atol=1e-5)
    moved = xyz.copy()
    moved[1] += 1.0
    assert segmentation[1].any()
    other = ENCODER.apply(variables, pack(LAYOUT, moved, segmentation, state))
    assert np.abs(np.asarray(other) - np.asarray(features)).max() > 1e-3


def test_it_is_an_encoder_of_actors_critics_and_discriminators():
    action = ActionSpec(dimension=2)
    observation = jnp.asarray(np.stack([pack(LAYOUT, *cloud(seed)) for seed in range(4)]))
    played = jnp.zeros((4, 2))
    actor = TanhGaussianActor(action, ENCODER)
    policy = actor.apply(actor.init(jax.random.key(0), observation), observation)
    assert policy.mode().shape == (4, 2)
    critic = TwinQ(ENCODER)
    assert critic.apply(critic.init(jax.random.key(0), observation, played), observation, played).shape == (2, 4)
    judge = Discriminator(action, ENCODER)
    assert judge.apply(judge.init(jax.random.key(0), observation, played), observation, played).shape == (4,)
