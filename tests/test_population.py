"""A population against the same members run alone."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import PPOConfig, make_ppo
from gsljax.errors import UserError
from gsljax.networks import ActorCritic
from gsljax.population import fastest_strategy, over_members
from gsljax.rollout import collect
from tests import probe_environments as probes

MEMBERS = 3


ENVIRONMENT = probes.lanes_of(probes.DISCRETE)
NETWORK = ActorCritic(ENVIRONMENT.spec.action, hidden=(16, 16))
ALGORITHM = make_ppo(NETWORK, ENVIRONMENT.spec, PPOConfig(num_epochs=2, minibatch_size=20))


def epoch(state, lanes, key):
    """Collecting a rollout and learning from it, for one member."""
    lanes, rollout = collect(ENVIRONMENT, ALGORITHM.act, state, lanes, key, 10)
    return ALGORITHM.update(state, rollout), lanes, rollout


@pytest.fixture(scope="module")
def members():
    """Members that differ in everything: parameters, keys, variations, hyperparameters."""

    def start(key, variations, learning_rate, discount):
        init_key, lanes_key, act_key = jax.random.split(key, 3)
        state = ALGORITHM.init(init_key)
        traced = state.hyperparameters._replace(learning_rate=learning_rate, discount=discount)
        lanes = ENVIRONMENT.reset(lanes_key, jnp.tile(variations, (6, 1)))
        return state._replace(hyperparameters=traced), lanes, act_key

    keys, variations = jax.random.split(jax.random.key(0), MEMBERS), jnp.array([[0, 3], [4, 4], [7, 6]])
    rates, discounts = jnp.float32([1e-3, 3e-3, 1e-2]), jnp.float32([0.9, 0.95, 0.5])
    return jax.jit(jax.vmap(start))(keys, variations, rates, discounts)


@pytest.fixture(scope="module")
def alone(members):
    compiled = jax.jit(epoch)
    return [plain(compiled(*jax.tree.map(lambda x, m=m: x[m], members))) for m in range(MEMBERS)]


def plain(tree):
    """The tree on the host, random keys as numbers."""
    return jax.device_get(
        jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    )


@pytest.mark.parametrize(
    # Floating-point results: one after another they are the same program, bit for bit. Batched, a matrix product may
    # add in another order; actions, resets, masks and keys are equal all the same.
    ("strategy", "tolerance"),
    [("map", 0.0), (2, 1e-5), ("vmap", 1e-5)],
)
def test_members_of_a_population_equal_members_run_alone(members, alone, strategy, tolerance):
    population = plain(jax.jit(over_members(epoch, strategy))(*members))
    for index, expected in enumerate(alone):
        found = jax.tree.map(lambda x, index=index: x[index], population)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            if np.issubdtype(b.dtype, np.floating):
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
            else:
                np.testing.assert_array_equal(a, b)
    # The members do differ.
    assert len({tuple(np.ravel(rollout.observation)) for *_, rollout in alone}) == MEMBERS


@pytest.mark.parametrize("strategy", ["vmap", "map"])
def test_a_population_of_one_is_the_member_itself(strategy):
    seen = []

    def function(x, y, nothing):
        seen.append(type(x))
        assert nothing is None and x.shape == (2,)
        return {"sum": x + y, "twice": 2 * y}

    x, y = np.float32([[1, 2]]), np.float32([3])
    result = over_members(function, strategy)(x, y, None)
    np.testing.assert_array_equal(result["sum"], [[4, 5]])
    np.testing.assert_array_equal(result["twice"], [6])
    assert seen == [np.ndarray]  # neither batched nor traced: called as it is


@pytest.mark.parametrize("strategy", ["vmap", "map", 2])
def test_none_and_trees_pass_through(strategy):
    function = over_members(lambda tree, nothing, key: (tree["a"] * 2, nothing, jax.random.normal(key)), strategy)
    keys = jax.random.split(jax.random.key(0), 3)
    doubled, nothing, draws = function({"a": jnp.arange(6.0).reshape(3, 2)}, None, keys)
    np.testing.assert_array_equal(doubled, 2 * np.arange(6).reshape(3, 2))
    assert nothing is None
    np.testing.assert_array_equal(draws, [jax.random.normal(key) for key in keys])


def test_members_that_do_not_match_are_refused():
    function = over_members(lambda *args: args)
    with pytest.raises(UserError, match=r"disagree on how many members there are: \[2, 3\]"):
        function(np.zeros((2, 4)), {"x": np.zeros(3)})
    with pytest.raises(UserError, match="need a leading member axis"):
        function(np.zeros((2, 4)), np.float32(1))
    with pytest.raises(UserError, match="need a leading member axis"):
        function(np.zeros((2, 4)), jax.random.key(0))
    with pytest.raises(UserError, match="need a leading member axis"):
        function(None)


def test_unknown_strategies_are_refused():
    with pytest.raises(UserError, match="strategy is 'pmap', but must be 'vmap', 'map' or a positive number"):
        over_members(lambda x: x, "pmap")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="strategy is 0, but must be"):
        over_members(lambda x: x, 0)


def test_small_members_run_at_once_and_large_ones_one_after_another():
    """A core's cache holds the state of a few members of 64 units, and not of two of 256."""

    def state(width):
        weights = 2 * (4 * width + width * width)
        return [jax.ShapeDtypeStruct((16, weights), jnp.float32)] * 3

    assert fastest_strategy(state(64)) == 5
    assert fastest_strategy(state(256)) == 1


def test_beside_an_accelerator_image_networks_learn_one_after_another(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    dense, image = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 8, 8), (4, 3, 3, 8, 8)))
    assert fastest_strategy([dense]) == "vmap"
    assert fastest_strategy([dense, image]) == "map"


def test_a_population_split_over_devices(tmp_path):
    """In a process of its own: the number of devices is fixed when JAX starts."""
    script = tmp_path / "sharded.py"
    script.write_text(
        "import jax, jax.numpy as jnp, numpy as np\n"
        "from gsljax.errors import UserError\n"
        "from gsljax.population import over_members\n"
        "def step(x, key):\n"
        "    return jnp.sin(x).sum() + jax.random.normal(key), {'y': x * 2}\n"
        "x, keys = jnp.arange(8.0).reshape(4, 2), jax.random.split(jax.random.key(0), 4)\n"
        "alone = jax.jit(over_members(step))(x, keys)\n"
        "for strategy in ('vmap', 'map', 2):\n"
        "    split = jax.jit(over_members(step, strategy, jax.devices()))(x, keys)\n"
        "    assert len(split[0].sharding.device_set) == 2, split[0].sharding\n"
        "    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), split, alone)\n"
        "try:\n"
        "    over_members(step, 'vmap', jax.devices())(x[:3], keys[:3])\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, str(script)], env=environment | {"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "3 members cannot be split evenly over 2 devices.\n"
