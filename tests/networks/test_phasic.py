"""The phasic network's two trunks and three heads: sizes, who learns from what, initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.distributions import Categorical, ClampedGaussian
from gsljax.networks import MLP, ImpalaEncoder, PhasicActorCritic
from gsljax.types import ActionSpec

pytestmark = pytest.mark.usefixtures("compilation_cache")

DISCRETE, CONTINUOUS = ActionSpec(num_actions=15), ActionSpec(dimension=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
VECTORS = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
SMALL_IMPALA = ImpalaEncoder(channels=(4,), hidden=6, initialization="ppg")
CASES = pytest.mark.parametrize(
    ("network", "observation"),
    [
        (PhasicActorCritic(DISCRETE, SMALL_IMPALA), IMAGES),
        (PhasicActorCritic(CONTINUOUS, MLP((8, 7))), VECTORS),
    ],
    ids=["images", "vectors"],
)


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        # Two encoders of 622,144; heads: 256·15 + 15 logits, two values of 256 + 1.
        (PhasicActorCritic(DISCRETE), (1, 64, 64, 3), 2 * 622_144 + 3_855 + 2 * 257),
        # A trunk of 5 → 8 → 7: 5·8 + 8 + 8·7 + 7 = 111; means and stds: 7·3 + 3 + 3; two values of 7 + 1.
        (PhasicActorCritic(CONTINUOUS, MLP((8, 7))), (1, 5), 2 * 111 + 27 + 2 * 8),
    ],
    ids=["images", "vectors"],
)
def test_parameter_counts(network, shape, expected):
    observation = np.zeros(shape, np.uint8 if len(shape) == 4 else np.float32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), observation))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@CASES
def test_acting_and_the_auxiliary_phase_see_the_same_policy_and_value(network, observation):
    params = jax.jit(network.init)(jax.random.key(0), observation)
    both = jax.jit(lambda *inputs: (network.apply(*inputs), network.apply(*inputs, method="with_auxiliary")))
    (policy, value), (policy_again, value_again, auxiliary) = both(params, observation[None])
    assert value.shape == auxiliary.shape == policy.log_prob(policy.mode()).shape == (1, 2)
    assert isinstance(policy, Categorical if network.action.is_discrete else ClampedGaussian)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7),
        (policy, value),
        (policy_again, value_again),
    )
    assert np.all(auxiliary != value)


@CASES
def test_each_output_teaches_its_own_trunk(network, observation):
    params = jax.jit(network.init)(jax.random.key(0), observation)
    outputs = {  # what learns, and from which number; a policy's first field is its logits or its mean
        "policy": ({"policy_trunk", "policy_head"}, lambda out: jax.tree.leaves(out[0])[0]),
        "value": ({"value_trunk", "value_head"}, lambda out: out[1]),
        "auxiliary value": ({"policy_trunk", "auxiliary_value_head"}, lambda out: out[2]),
    }

    @jax.jit
    def gradients(params):
        def loss(params, choose):
            return jnp.sum(choose(network.apply(params, observation, method="with_auxiliary")))

        return {name: jax.grad(loss)(params, choose)["params"] for name, (_, choose) in outputs.items()}

    for name, gradient in gradients(params).items():
        moved = {part for part, tree in gradient.items() if any(np.any(np.asarray(x)) for x in jax.tree.leaves(tree))}
        assert moved == outputs[name][0], name


def test_trunks_are_no_copies_of_each_other_and_heads_are_small():
    weights = jax.jit(PhasicActorCritic(DISCRETE, SMALL_IMPALA).init)(jax.random.key(0), IMAGES)["params"]
    policy, value = weights["policy_trunk"]["stack0_conv"], weights["value_trunk"]["stack0_conv"]
    assert np.all(policy["kernel"] != value["kernel"])
    for head in (weights["policy_head"]["logits"], weights["value_head"], weights["auxiliary_value_head"]):
        np.testing.assert_allclose(np.linalg.norm(head["kernel"], axis=0), 0.1, rtol=1e-5)


@CASES
def test_initialisation_vmaps_over_members(network, observation):
    keys = jax.random.split(jax.random.key(0), 2)
    members = jax.jit(jax.vmap(network.init, (0, None)))(keys, observation)
    alone = jax.jit(network.init)(keys[1], observation)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, atol=1e-6), members, alone)
