"""The point-cloud preset's own network: it learns a fixed batch by heart, from points alone, in whatever order."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsljax.cloud_layout import CloudLayout, pack
from gsljax.networks import PackedCloudEncoder, PointCloudEncoder, TanhGaussianActor
from gsljax.presets.push_chair import CLOUD_CONFIG
from gsljax.types import ActionSpec

LAYOUT = CloudLayout(points=60, segments=2, state=87)
ACTION = ActionSpec(dimension=22)
ENCODER = PackedCloudEncoder(LAYOUT, PointCloudEncoder(**dataclasses.asdict(CLOUD_CONFIG.network)))


def batch(random, order=None):
    """8 clouds with nothing but the place of the chair to tell them apart, in the order of the points that is given."""
    segmentation = np.arange(60)[:, None] % 2 == np.arange(2)
    shape, clouds = random.uniform(-0.3, 0.3, (60, 3)), []
    order = np.arange(60) if order is None else order
    for place in random.uniform(-1, 1, (8, 3)):
        xyz = (shape + place * segmentation[:, 1:]).astype(np.float32)
        clouds.append(pack(LAYOUT, xyz[order], segmentation[order], np.zeros(87, np.float32)))
    return jnp.asarray(np.stack(clouds))


def test_it_learns_a_small_batch_by_heart_and_knows_it_in_any_order_of_the_points():
    actor, observations = TanhGaussianActor(ACTION, ENCODER), batch(np.random.default_rng(0))
    actions = jnp.asarray(np.random.default_rng(1).uniform(-0.8, 0.8, (8, 22)), jnp.float32)
    params = actor.init(jax.random.key(0), observations)
    optimizer = optax.adam(CLOUD_CONFIG.generalist.sac.learning_rate)

    def loss(params, observations):
        return jnp.mean((actor.apply(params, observations).mode() - actions) ** 2)

    @jax.jit
    def learn(params):
        def step(carry, _):
            gradient = jax.grad(loss)(carry[0], observations)
            updates, memory = optimizer.update(gradient, carry[1])
            return (optax.apply_updates(carry[0], updates), memory), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=300)[0][0]

    learnt = learn(params)
    before, after = loss(params, observations), loss(learnt, observations)
    assert before > 0.1 and after < 0.01 * before
    shuffled = batch(np.random.default_rng(0), np.random.default_rng(2).permutation(60))
    assert not np.array_equal(shuffled, observations)
    modes = [actor.apply(learnt, given).mode() for given in (observations, shuffled)]
    np.testing.assert_allclose(*modes, atol=1e-4)
