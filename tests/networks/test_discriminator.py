"""The discriminator: shapes and sizes for vectors and images, one-hot actions, and that it tells two sources apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsljax.networks import Discriminator, ImpalaEncoder, VectorEncoder
from gsljax.types import ActionSpec

pytestmark = pytest.mark.usefixtures("compilation_cache")

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(6, 5)).astype(np.float32)
IMAGES = GENERATOR.integers(0, 256, (6, 8, 8, 3), np.uint8)
VECTOR, IMAGE = VectorEncoder((8, 7)), ImpalaEncoder(channels=(4,), hidden=6)
DISCRETE, CONTINUOUS = ActionSpec(num_actions=4), ActionSpec(dimension=4)
CHOICES = np.array([0, 3, 1, 2, 2, 0])
ONE_HOT = np.eye(4, dtype=np.float32)[CHOICES]
KINDS = pytest.mark.parametrize(
    ("encoder", "observation"), [(VECTOR, VECTORS), (IMAGE, IMAGES)], ids=["vector", "image"]
)


@KINDS
def test_discrete_actions_go_in_one_hot(encoder, observation):
    discrete, continuous = Discriminator(DISCRETE, encoder), Discriminator(CONTINUOUS, encoder)
    params = jax.jit(discrete.init)(jax.random.key(0), observation, CHOICES)
    apply = jax.jit(discrete.apply)
    logits = apply(params, observation, CHOICES)
    assert logits.shape == (6,)
    np.testing.assert_allclose(logits, jax.jit(continuous.apply)(params, observation, ONE_HOT), rtol=1e-5, atol=1e-6)
    others = apply(params, observation, (CHOICES + 1) % 4)
    assert np.all(others != logits) and len(set(np.asarray(logits).tolist())) == 6  # it sees action and observation


def test_parameter_counts():
    count = lambda module, *x: sum(x.size for x in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), *x)))  # noqa: E731
    # 5 + 4 inputs: 9·8 + 8 + 8·7 + 7, then 7 + 1.
    assert count(Discriminator(DISCRETE, VECTOR), VECTORS, CHOICES) == 143 + 8
    # One conv 3 → 4 and four 4 → 4; 4×4 pixels of 4 channels and the action to 6 units; 6 + 1.
    convs = (27 * 4 + 4) + 4 * (36 * 4 + 4)
    assert count(Discriminator(CONTINUOUS, IMAGE), IMAGES, ONE_HOT) == convs + (64 + 4) * 6 + 6 + 7


def test_it_learns_who_acted():
    """Two sources that differ only in how the action goes with the observation."""
    observation = np.asarray(GENERATOR.normal(size=(64, 1)), np.float32)
    expert, policy = observation, -observation
    module = Discriminator(ActionSpec(dimension=1), VectorEncoder((16,)))
    params = jax.jit(module.init)(jax.random.key(0), observation, expert)
    optimizer = optax.adam(0.05)

    def loss(params):
        of_policy = jnp.asarray(module.apply(params, observation, policy))
        of_expert = jnp.asarray(module.apply(params, observation, expert))
        return jnp.mean(jax.nn.softplus(-of_policy)) + jnp.mean(jax.nn.softplus(of_expert))

    def train(params):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=200)[0][0]

    assert jax.jit(loss)(params) > 1.0 and jax.jit(loss)(jax.jit(train)(params)) < 0.3


def test_initialisation_vmaps_over_members():
    module, keys, observation = Discriminator(DISCRETE, VECTOR), jax.random.split(jax.random.key(0), 2), VECTORS
    members = jax.jit(jax.vmap(module.init, (0, None, None)))(keys, observation, CHOICES)
    alone = jax.jit(module.init)(keys[1], observation, CHOICES)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, atol=1e-6), members, alone)
