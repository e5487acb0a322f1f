"""SAC on environments with known values, its replay, and what it refuses."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsljax.algorithms import ImitationConfig, SACConfig, make_sac
from gsljax.algorithms.replay import drawn_of_newest
from gsljax.errors import UserError
from gsljax.networks import CategoricalActor, DiscreteTwinQ, TanhGaussianActor, TwinQ, VectorEncoder
from gsljax.types import ActionSpec, DemonstrationBatch, EnvSpec
from tests import probe_environments as probes
from tests.algorithms.learning import learn
from tests.algorithms.test_ppo import GAMMA, LANES, STEPS, VALUES, random_demonstrations, random_rollout

pytestmark = pytest.mark.usefixtures("compilation_cache")

LEARNING = SACConfig(
    learning_rate=3e-3, discount=GAMMA, tau=0.02, target_entropy=-100.0, initial_temperature=0.1, num_gradient_steps=8,
    minibatch_size=64, replay_capacity=4_000, warmup_samples=200,
)  # fmt: skip
ENCODER = VectorEncoder((32, 32), "relu")
SMALL = SACConfig(num_gradient_steps=2, minibatch_size=8, replay_capacity=100, warmup_samples=0)


def networks(action):
    if action.is_discrete:
        return CategoricalActor(action.num_actions, ENCODER), DiscreteTwinQ(action.num_actions, ENCODER)
    return TanhGaussianActor(action, ENCODER), TwinQ(ENCODER)


def make(spec, config=SMALL, imitation=None):
    return make_sac(*networks(spec.action), spec, config, imitation)


def spec_of(action):
    return EnvSpec("test", 1, (4,), "float32", action, 5, False)


DISCRETE, CONTINUOUS = spec_of(ActionSpec(num_actions=3)), spec_of(ActionSpec(dimension=2))


@pytest.fixture(scope="module")
def discrete():
    """Each probe's policy and Q values, learnt with a temperature that falls to 0: soft values are then values."""
    _, states = learn(probes.DISCRETE, lambda spec: make(spec, LEARNING), 250)
    actor, critic = networks(ActionSpec(num_actions=2))

    def outputs(name, observation):
        observation, params = jnp.asarray([observation], jnp.float32), states[name].params
        probability = jax.nn.softmax(actor.apply(params["actor"], observation).logits)[0]
        assert jnp.exp(params["log_temperature"]) < 0.001
        return probability, critic.apply(params["critic"], observation)[:, 0]

    return outputs


@pytest.mark.parametrize("name", [name for name in probes.DISCRETE if name != "one for four steps"])
def test_values_of_probes(discrete, name):
    """`one for four steps` is left out: its value depends on λ, which SAC does not have."""
    for observation, expected in VALUES[name].items():
        probability, q = discrete(name, observation)
        np.testing.assert_allclose(q[:, jnp.argmax(probability)], expected, atol=0.1)


@pytest.mark.parametrize(
    ("name", "observation", "best"),
    [("action", (0, 0), 1), ("observation and action", (-1, 0), 0), ("observation and action", (1, 0), 1)],
)
def test_policies_of_probes(discrete, name, observation, best):
    assert discrete(name, observation)[0][best] > 0.95


def test_continuous_probe():
    algorithm, states = learn(probes.CONTINUOUS, lambda spec: make(spec, LEARNING), 250)
    for clue in (-1.0, 1.0):
        observation = jnp.array([[clue, 0.0]])
        action = algorithm.act(states["target"], observation, jax.random.key(0), deterministic=True).action
        np.testing.assert_allclose(action, 0.5 * clue, atol=0.15)


def test_the_replay_holds_true_next_observations_and_forgets_the_oldest():
    algorithm = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=STEPS * LANES))
    update, state = jax.jit(algorithm.update), algorithm.init(jax.random.key(0))
    for seed in range(2):
        rollout = random_rollout(CONTINUOUS.action, seed)
        state, _ = update(state, rollout)
        held = jax.tree.map(lambda x: np.asarray(x[0]), state.memory["replay"].experience)
        valid = np.asarray(rollout.valid).reshape(-1)
        np.testing.assert_array_equal(held.valid, valid)
        following = rollout.observation[1:].reshape(-1, 4)
        np.testing.assert_array_equal(held.next_observation[valid], following[valid])
        np.testing.assert_array_equal(held.terminated, np.asarray(rollout.terminated).reshape(-1))
        np.testing.assert_array_equal(held.reward[valid], np.asarray(rollout.reward).reshape(-1)[valid])


@pytest.mark.parametrize(
    ("variations", "capacity", "expected"),
    [
        ([7], 60, [2, 5, 7, 9]),  # all of one, in their order
        ([7], 60 + 1, [2, 5, 7, 9]),
        ([7, 3, 7], 60, [1, 2, 3, 5, 6, 7, 9, 10]),
        ([8], 60, []),
    ],
)
@pytest.mark.parametrize("is_full", [False, True])
def test_a_clone_inherits_the_newest_transitions_of_its_variations(variations, capacity, expected, is_full):
    """Transition i has the reward i; it is of variation 7, 3 or another one, and each that 4 divides is a reset."""
    of, total = {1: 3, 2: 7, 3: 3, 5: 7, 6: 3, 7: 7, 9: 7, 10: 3}, STEPS * LANES
    small = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=capacity, minibatch_size=2))
    parent = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=total, minibatch_size=2, warmup_samples=10**6))
    state, number = parent.init(jax.random.key(0)), np.arange(total)
    variation = np.array([of.get(i, 1) for i in number], np.int32)
    for start in (-total, 0) if is_full else (0,):
        rollout = random_rollout(CONTINUOUS.action)
        grid = (number + start).reshape(STEPS, LANES)
        ids = variation.reshape(STEPS, LANES) if start == 0 else np.full_like(grid, 5, np.int32)
        rollout = rollout._replace(reward=grid.astype(np.float32), variation=ids, valid=grid % 4 != 0)
        state, _ = jax.jit(parent.update)(state, rollout)
    heritage = {name: state.memory[name] for name in parent.heritage}
    heir = jax.jit(small.inherit)(small.init(jax.random.key(1)), heritage, jnp.asarray(variations))
    replay = heir.memory["replay"]
    assert heir.num_samples == replay.current_index == len(expected) and not replay.is_full
    held = jax.tree.map(lambda x: np.asarray(x[0, : len(expected)]), replay.experience)
    np.testing.assert_array_equal(held.reward, expected)
    assert held.valid.all() and set(held.variation.tolist()) <= set(variations)


def test_a_clone_inherits_no_more_than_its_replay_holds():
    """The newest 6 of a ring of 53 that 96 transitions went through; the clone's next one overwrites the oldest."""
    parent = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=STEPS * LANES + 5, warmup_samples=10**6))
    state = parent.init(jax.random.key(0))
    for turn in range(2):
        number = np.arange(STEPS * LANES, dtype=np.float32).reshape(STEPS, LANES) + 1000 * turn
        rollout = random_rollout(CONTINUOUS.action)._replace(reward=number, valid=np.ones_like(number, bool))
        state, _ = jax.jit(parent.update)(state, rollout)
    small = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=6, minibatch_size=2))
    heir = small.inherit(small.init(jax.random.key(1)), state.memory, jnp.zeros(1, jnp.int32))
    replay = heir.memory["replay"]
    assert replay.is_full and replay.current_index == 0 and heir.num_samples == 6
    np.testing.assert_array_equal(replay.experience.reward[0], number.ravel()[-6:])


@pytest.mark.parametrize(
    ("rollouts", "most", "expected"), [(1, 20, range(28, 48)), (1, 10**6, range(48)), (2, 5, range(91, 96))]
)
def test_the_newest_are_drawn_alike(rollouts, most, expected):
    """Transition i has the reward i; the replay of 60 has overwritten its oldest after two rollouts of 48."""
    algorithm = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=60, warmup_samples=10**6))
    state = algorithm.init(jax.random.key(0))
    for number in range(rollouts):
        reward = (number * 48 + jnp.arange(48.0)).reshape(STEPS, LANES)
        valid = jnp.ones((STEPS, LANES), bool)
        state, _ = algorithm.update(state, random_rollout(CONTINUOUS.action)._replace(reward=reward, valid=valid))
    drawn = drawn_of_newest(state.memory["replay"], jax.random.key(1), (50, 100), most)
    assert drawn.observation.shape == (50, 100, 4)
    values, counts = np.unique(drawn.reward, return_counts=True)
    np.testing.assert_array_equal(values, expected)
    each = 5000 / len(expected)
    assert np.all(np.abs(counts - each) < 5 * np.sqrt(each))


def test_warmup_acts_at_random_and_learns_nothing():
    algorithm = make(CONTINUOUS, dataclasses.replace(SMALL, warmup_samples=60))
    state = algorithm.init(jax.random.key(0))
    observation = jnp.ones((5000, 4))
    action = np.asarray(algorithm.act(state, observation, jax.random.key(1)).action)
    assert abs(action.mean()) < 0.02 and abs(action.std() - 1 / np.sqrt(3)) < 0.02  # uniform on [-1, 1]
    mode = np.asarray(algorithm.act(state, observation, jax.random.key(1), deterministic=True).action)
    assert (mode == mode[0]).all()  # an evaluation plays the policy from the start
    update, before = jax.jit(algorithm.update), state
    state, _ = update(state, random_rollout(CONTINUOUS.action))
    assert state.num_samples < 60
    jax.tree.map(np.testing.assert_array_equal, state.params, before.params)
    state, _ = update(state, random_rollout(CONTINUOUS.action, 1))
    assert state.num_samples >= 60 and (state.params["log_temperature"] != before.params["log_temperature"])


def test_a_clone_of_one_that_has_learnt_plays_its_policy_while_its_own_replay_fills():
    algorithm = make(CONTINUOUS, dataclasses.replace(SMALL, warmup_samples=60))
    update, observation = jax.jit(algorithm.update), jnp.ones((200, 4))

    def actions(state):
        return algorithm.act(state, observation, jax.random.key(1)).action

    origin = algorithm.init(jax.random.key(0))
    for seed in range(2):
        assert not origin.params["has_learnt"]
        origin, _ = update(origin, random_rollout(CONTINUOUS.action, seed))
    assert origin.params["has_learnt"] and origin.num_samples >= 60
    fresh = algorithm.init(jax.random.key(5))
    cloned = fresh._replace(params=origin.params)
    np.testing.assert_array_equal(actions(cloned), actions(origin))
    assert np.any(np.asarray(actions(fresh)) != np.asarray(actions(fresh._replace(num_samples=jnp.int32(60)))))
    after, _ = update(cloned, random_rollout(CONTINUOUS.action, 2))
    assert after.num_samples < 60  # the replay is not full enough yet
    jax.tree.map(np.testing.assert_array_equal, after.params, origin.params)
    later, _ = update(after, random_rollout(CONTINUOUS.action, 3))
    assert later.params["log_temperature"] != origin.params["log_temperature"]


def test_the_cloning_term_is_in_every_interval_th_gradient_step():
    """Of three steps with an interval of 2, the first and the last have it; the metrics are means over those two."""
    config = dataclasses.replace(SMALL, num_gradient_steps=3)
    algorithm = make(DISCRETE, config, ImitationConfig("bc", interval=2))
    assert algorithm.num_demonstration_pairs(STEPS * LANES) == (2, 8)
    pairs, rollout = random_demonstrations(algorithm, DISCRETE.action), random_rollout(DISCRETE.action)
    update, start = jax.jit(algorithm.update), algorithm.init(jax.random.key(0))
    slow = start._replace(hyperparameters=start.hyperparameters._replace(learning_rate=jnp.float32(1e-9)))
    _, metrics = update(slow, rollout, pairs)
    actor, _ = networks(DISCRETE.action)
    log_probs = jax.nn.log_softmax(actor.apply(start.params["actor"], pairs.observation).logits)
    expected = np.take_along_axis(np.asarray(log_probs), pairs.action[..., None], axis=-1).mean()
    np.testing.assert_allclose(metrics["demonstration_log_prob"], expected, rtol=1e-4)
    actors = [
        update(start._replace(hyperparameters=start.hyperparameters._replace(imitation_weight=jnp.float32(weight))),
               rollout, pairs)[0].params["actor"]
        for weight in (1.0, 0.0)
    ]  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, actors[1], start.params["actor"])  # it is the actor's only loss
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(a != b)), *actors)))


def test_targets_follow_the_critics_slowly():
    config = dataclasses.replace(SMALL, num_gradient_steps=1, tau=0.25)
    algorithm = make(CONTINUOUS, config)
    before = algorithm.init(jax.random.key(0))
    after, _ = jax.jit(algorithm.update)(before, random_rollout(CONTINUOUS.action))
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, before.params["target_critic"], after.params["critic"]
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), after.params["target_critic"], expected
    )


def test_the_offset_is_as_if_the_environment_paid_it():
    rollout, start = random_rollout(CONTINUOUS.action), make(CONTINUOUS).init(jax.random.key(0))
    paid = rollout._replace(reward=rollout.reward + 2.5)
    with_offset, without = (make(CONTINUOUS, dataclasses.replace(SMALL, reward_offset=x)).update for x in (2.5, 0.0))
    after, expected, unlike = with_offset(start, rollout)[0], without(start, paid)[0], without(start, rollout)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, expected.params)
    critics = after.params["critic"], unlike.params["critic"]
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.any(np.abs(a - b) > 1e-5)), *critics)))


def test_bc_follows_demonstrations_whatever_the_reward():
    imitation = ImitationConfig("bc", bc_weight=1.0, interval=1)

    def demonstrate(key, shape):
        clue = jax.random.rademacher(key, shape, jnp.float32)
        observation = jnp.stack([clue, jnp.zeros(shape)], -1)
        return DemonstrationBatch(observation, jnp.stack([-0.5 * clue] * 2, -1))  # the opposite of what is rewarded

    algorithm, states = learn(probes.CONTINUOUS, lambda spec: make(spec, LEARNING, imitation), 60, demonstrate)
    for clue in (-1.0, 1.0):
        action = algorithm.act(states["target"], jnp.array([[clue, 0.0]]), jax.random.key(0), deterministic=True).action
        np.testing.assert_allclose(action, -0.5 * clue, atol=0.1)


def test_what_makes_no_sense_is_refused():
    for method in ("dapg", "dapg-classic"):
        with pytest.raises(UserError, match=f"^The imitation method is '{method}', but SAC has no advantage for it"):
            make(CONTINUOUS, imitation=ImitationConfig(method))
    with pytest.raises(UserError, match=r"^SAC's replay_capacity is 20, but a rollout holds 48 samples\.$"):
        algorithm = make(CONTINUOUS, dataclasses.replace(SMALL, replay_capacity=20))
        algorithm.update(algorithm.init(jax.random.key(0)), random_rollout(CONTINUOUS.action))
    with pytest.raises(UserError, match=r"^SAC's update needs demonstration minibatches of leading shape \(1, 8\)"):
        algorithm = make(CONTINUOUS, imitation=ImitationConfig("bc"))
        algorithm.update(algorithm.init(jax.random.key(0)), random_rollout(CONTINUOUS.action))
    with pytest.raises(UserError, match=r"^SAC's actor CategoricalActor gives a Categorical, but test needs a TanhG"):
        make_sac(*networks(DISCRETE.action), CONTINUOUS, SMALL)
    with pytest.raises(UserError, match=r"^SAC's actor CategoricalActor gives logits of shape \(2, 5\) and type"):
        make_sac(CategoricalActor(5), DiscreteTwinQ(3), DISCRETE, SMALL)
    with pytest.raises(UserError, match=r"^SAC's critic DiscreteTwinQ gives Q values of shape \(2, 2, 5\) and type"):
        make_sac(CategoricalActor(3), DiscreteTwinQ(5), DISCRETE, SMALL)
    with pytest.raises(UserError, match=r"^SAC's critic DiscreteTwinQ cannot be applied to the observations of test"):
        make_sac(TanhGaussianActor(CONTINUOUS.action), DiscreteTwinQ(5), CONTINUOUS, SMALL)
    with pytest.raises(UserError, match=r"^SAC's rollout has action of shape \(8, 6, 1\) and type"):
        algorithm, rollout = make(CONTINUOUS), random_rollout(CONTINUOUS.action)
        algorithm.update(algorithm.init(jax.random.key(0)), rollout._replace(action=rollout.action[..., :1]))
    with pytest.raises(UserError, match=r"normalize_observations needs float32 observations, .* are uint8\.$"):
        make(CONTINUOUS._replace(observation_dtype="uint8"), dataclasses.replace(SMALL, normalize_observations=True))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("num_gradient_steps", 0),
        ("minibatch_size", 0),
        ("replay_capacity", 0),
        ("learning_rate", 0.0),
        ("initial_temperature", -1.0),
        ("discount", 1.1),
        ("tau", 0.0),
        ("warmup_samples", -1),
        ("target_entropy", math.nan),
        ("reward_offset", math.inf),
        ("minibatch_size", 100_001),
    ],
)
def test_configurations_out_of_range_are_refused(name, wrong):
    with pytest.raises(UserError, match=f"^SAC's {name} is {wrong}, but"):
        SACConfig(**{name: wrong})
