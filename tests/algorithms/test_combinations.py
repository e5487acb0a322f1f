"""Every algorithm with every use of demonstrations: what all of them must hold to, on rollouts of random numbers."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import gradients
from gsljax.algorithms.imitation import ImitationMethod
from gsljax.errors import UserError
from gsljax.population import over_members
from gsljax.train_state import take
from tests.algorithms.combinations import (
    CONTINUOUS,
    DISCRETE,
    Combination,
    compiled,
    demonstrations_of,
    make,
    rollout_of,
)
from tests.algorithms.test_ppo import LANES, STEPS, assert_same

pytestmark = pytest.mark.usefixtures("compilation_cache")

ALGORITHMS = ("ppo", "ppg", "sac")
NEEDS_ADVANTAGES = ("dapg", "dapg-classic")
SENSIBLE = [
    Combination(algorithm, method, action)
    for algorithm in ALGORITHMS
    for method in get_args(ImitationMethod)
    if algorithm != "sac" or method not in NEEDS_ADVANTAGES
    for action in (DISCRETE, CONTINUOUS)
]
# Compiled and run: every method with each algorithm (classic DAPG with PPO alone); either kind of actions,
# normalisation and images with each.
EXECUTED = [
    Combination("ppo", "none", DISCRETE, images=True),
    Combination("ppo", "dapg"),
    Combination("ppo", "dapg-classic", DISCRETE),
    Combination("ppo", "bc", DISCRETE),
    Combination("ppo", "gail", normalized=True),
    Combination("ppg", normalized=True),
    Combination("ppg", "dapg", DISCRETE, images=True),
    Combination("ppg", "bc"),
    Combination("ppg", "gail", DISCRETE),
    Combination("sac", normalized=True),
    Combination("sac", "bc", DISCRETE, images=True),
    Combination("sac", "gail", DISCRETE),
]
executed = pytest.mark.parametrize("combination", EXECUTED, ids=str)


@pytest.mark.parametrize("algorithm", ["ppo", "ppg"])
def test_updates_from_images_are_the_same_in_parts(algorithm, monkeypatch):
    """Minibatches of 12 in parts of 4; of the rollouts some steps are masked, others not."""
    combination = Combination(algorithm, "dapg", DISCRETE, images=True)
    _, start, update, demonstrations = compiled(combination)
    rollouts = [rollout_of(combination, seed) for seed in range(2)]  # PPG's auxiliary phase is due in the second
    assert all(0 < rollout.valid.sum() < rollout.valid.size for rollout in rollouts)

    def updated(update):
        state, all_metrics = start, []
        for rollout in rollouts:
            state, metrics = update(state, rollout, demonstrations)
            all_metrics.append(metrics)
        return state.params, all_metrics

    whole, expected = updated(update)  # traced here, before what follows
    monkeypatch.setattr(gradients, "PIXELS_AT_ONCE", 4 * 8 * 8)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    parts, found = updated(jax.jit(make(combination).update))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)
    changed = jax.tree.map(lambda new, old: np.abs(new - old).max(), whole, start.params)
    apart = jax.tree.map(lambda one, other: np.abs(one - other).max(), whole, parts)
    assert max(jax.tree.leaves(apart)) < 0.02 * max(jax.tree.leaves(changed))


def signature(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), tree)


@pytest.mark.parametrize("combination", [c for c in SENSIBLE if c not in EXECUTED], ids=str)
def test_every_other_sensible_combination_keeps_its_state_s_structure(combination):
    algorithm = make(combination)
    state = jax.eval_shape(lambda key: algorithm.init(key, (STEPS, LANES)), jax.random.key(0))
    demonstrations = demonstrations_of(combination, algorithm)
    assert (demonstrations is None) == (combination.imitation == "none")
    updated, metrics = jax.eval_shape(algorithm.update, state, rollout_of(combination), demonstrations)
    assert signature(updated) == signature(state)
    assert all(metric.shape == () and metric.dtype == np.float32 for metric in metrics.values())


@executed
def test_two_updates_learn_and_compile_once(combination):
    _, state, update, demonstrations = compiled(combination)
    before, all_metrics = state, []
    for seed in range(2):
        state, metrics = update(state, rollout_of(combination, seed), demonstrations)
        all_metrics.append(metrics)
    assert update._cache_size() == 1
    assert jax.tree.all(jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), (state.params, all_metrics)))
    assert signature(state) == signature(before)
    # Every layer of every network has learnt from something.
    kernels = [
        (jax.tree_util.keystr(path), old, new)
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(before.params), jax.tree.leaves(state.params), strict=True
        )
        if "kernel" in jax.tree_util.keystr(path)
    ]
    assert kernels
    for name, old, new in kernels:
        assert np.any(old != new), name


@pytest.mark.parametrize("combination", [c for c in EXECUTED if c.imitation != "none"], ids=str)
def test_demonstrations_reach_what_is_learnt(combination):
    _, state, update, demonstrations = compiled(combination)
    rollout = rollout_of(combination)
    unused = state._replace(hyperparameters=state.hyperparameters._replace(imitation_weight=jnp.float32(0.0)))
    (found, metrics), (without, _) = (update(x, rollout, demonstrations) for x in (state, unused))
    assert ("discriminator_loss" if combination.imitation == "gail" else "demonstration_loss") in metrics
    assert not jax.tree.all(jax.tree.map(np.array_equal, found.params, without.params))


@executed
def test_masked_steps_change_nothing_bit_for_bit(combination):
    """Two updates, so that PPG's auxiliary phase and SAC's replay have seen the garbage too."""
    _, start, update, demonstrations = compiled(combination)
    rollouts = [rollout_of(combination, seed) for seed in range(2)]

    def after(rollouts):
        state, shown = start, []
        for rollout in rollouts:
            state, metrics = update(state, rollout, demonstrations)
            shown.append(metrics)
        if combination.algorithm == "sac":  # a terminated step's next observation is kept as it is, and not used
            replay = state.memory["replay"]
            experience = replay.experience._replace(next_observation=None)
            state = state._replace(memory={**state.memory, "replay": replay.replace(experience=experience)})
        return state, shown

    expected = after(rollouts)
    for junk in (1e30, np.nan):
        assert_same(after([spoilt(rollout, combination, junk) for rollout in rollouts]), expected)


def spoilt(rollout, combination, junk):
    """The rollout with garbage in all that a reset step has; the final observation of an episode comes with it."""
    reset, after_termination = ~rollout.valid, np.zeros_like(rollout.valid)
    after_termination[1:] = rollout.terminated[:-1]
    assert 0.1 < np.mean(reset) < 0.4 and np.any(after_termination)

    def spoil(field, where):
        field = field.copy()
        field[: len(where)][where] = junk if field.dtype.kind == "f" else 17
        return field

    return rollout._replace(
        # SAC bootstraps a truncated episode from its final observation, PPO and PPG from that one's value.
        observation=spoil(rollout.observation, after_termination if combination.algorithm == "sac" else reset),
        action=spoil(rollout.action, reset),
        reward=spoil(rollout.reward, reset),
        log_prob=spoil(rollout.log_prob, reset),
        value=spoil(rollout.value, after_termination),
        variation=spoil(rollout.variation, reset),
    )


# A batched matrix product may add in another order than a single one: equal up to rounding, which Adam's division by
# the gradients' own size does not let shrink with them. One after another (`map`) they are equal bit for bit, as
# `tests/test_population.py` shows.
POPULATIONS = [
    Combination("ppo", "none", DISCRETE, images=True),
    Combination("ppo", "dapg"),
    Combination("ppo", "gail", normalized=True),
    Combination("ppg", normalized=True),
    Combination("ppo", "bc", DISCRETE),
    Combination("sac", "gail", DISCRETE),
]


@pytest.mark.parametrize("combination", POPULATIONS, ids=str)
def test_members_of_a_population_equal_members_run_alone(combination):
    algorithm, _, update, demonstrations = compiled(combination)
    init = jax.jit(jax.vmap(lambda key: algorithm.init(key, (STEPS, LANES))))
    states = init(jax.random.split(jax.random.key(1), 2))
    inputs = [jax.tree.map(jnp.asarray, (rollout_of(combination, seed), demonstrations)) for seed in range(2)]
    found = jax.jit(over_members(algorithm.update))(states, *jax.tree.map(lambda *x: jnp.stack(x), *inputs))
    for index, data in enumerate(inputs):
        assert_same(take(found, index), update(take(states, index), *data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", NEEDS_ADVANTAGES)
@pytest.mark.parametrize("action", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_sac_refuses_what_needs_an_advantage(method, action):
    with pytest.raises(UserError, match=f"^The imitation method is '{method}', but SAC has no advantage for it; allow"):
        make(Combination("sac", method, action))
