"""Every algorithm learns, and every use of demonstrations saves samples, on gymnax's environments.

    python -m benchmarks.gymnax_learning --json FILE [--tasks cartpole pendulum breakout] [--seeds 5] [--first-seed 10]

All seeds of a row train as one population, with a learning rate that falls to 0 (SAC's is constant). `cartpole`: PPO,
PPG and SAC from scratch, then PPO with BC, both forms of DAPG and GAIL on the trained PPO's episodes. `pendulum`: SAC
from scratch, then SAC with BC and GAIL on the trained SAC's. GAIL has a control with an untrained policy's
demonstrations. The expert's own samples are not counted. `breakout` (MinAtar's): PPO and PPG from scratch, with the
same network. Each row gives the final return in 20 episodes of each seed (sampled actions; their mean, and each
seed's), the samples after which the mean training return had covered 90 % of the way from a random policy to the
expert, and the mean training return at 50 points of the run.
"""

import dataclasses
import time
from typing import Any, NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.reporting import Row, arguments, report
from gsljax.algorithms import (
    Algorithm,
    GAILConfig,
    ImitationConfig,
    PPGConfig,
    PPOConfig,
    SACConfig,
    make_ppg,
    make_ppo,
    make_sac,
)
from gsljax.envs import GymnaxLanes
from gsljax.evaluation import episode_statistics, evaluate
from gsljax.gsl import demonstrations as demonstration_sets
from gsljax.networks import (
    MLP,
    ActorCritic,
    CategoricalActor,
    DiscreteTwinQ,
    PhasicActorCritic,
    TanhGaussianActor,
    TwinQ,
    VectorEncoder,
)
from gsljax.rollout import collect
from gsljax.train_state import TrainState, take
from gsljax.types import DemonstrationBatch, EnvSpec

EXPERT_EPISODES = 20


class Task(NamedTuple):
    """An environment, what trains on it and for how long.

    Attributes:
      environment: gymnax's name.
      random_return: what a uniformly random policy gets, about.
      lanes, steps: of each rollout.
      epochs: rollouts of a run from scratch; runs with demonstrations get half.
      expert: which algorithm demonstrates, and is the one that imitates.
      others: algorithms that only train from scratch.
      imitations: how the demonstrations are used.
      hidden: units of the networks' layers.
      ppo, ppg, sac: the algorithms' settings; ppg's policy phase is ppo's.
    """

    environment: str
    random_return: float
    lanes: int
    steps: int
    epochs: int
    expert: str
    others: tuple[str, ...] = ()
    imitations: tuple[ImitationConfig, ...] = ()
    hidden: tuple[int, ...] = (64, 64)
    ppo: PPOConfig = PPOConfig(learning_rate=1e-3, num_epochs=4, minibatch_size=256, entropy_coefficient=0.01)
    ppg: PPGConfig = PPGConfig(policy_phases=8, auxiliary_epochs=4)
    sac: SACConfig = SACConfig(
        learning_rate=1e-3, num_gradient_steps=100, minibatch_size=128, replay_capacity=50_000
    )  # fmt: skip


_GAIL = GAILConfig(num_updates=10, minibatch_size=128, hidden=(64, 64))
TASKS = {
    "cartpole": Task(
        "CartPole-v1", 20.0, 8, 128, 250, "ppo", ("ppg", "sac"),
        (
            ImitationConfig("bc"),
            ImitationConfig("dapg", dapg_weight=0.1),
            ImitationConfig("dapg-classic", classic_weight=0.1),
            ImitationConfig("gail", gail_weight=0.7, gail=_GAIL),
        ),
        # With γ 0.99 and λ 0.95 one seed in five collapses late; these are rl-baselines3-zoo's.
        ppo=PPOConfig(
            learning_rate=1e-3, discount=0.98, gae_lambda=0.8, num_epochs=4, minibatch_size=256,
            entropy_coefficient=0.01,
        ),
    ),
    "pendulum": Task(
        "Pendulum-v1", -1250.0, 4, 50, 200, "sac", (),
        (
            ImitationConfig("bc", interval=1),
            ImitationConfig("gail", gail_weight=0.7, gail=dataclasses.replace(_GAIL, reward="log-odds")),
        ),
    ),
    "breakout": Task(
        "Breakout-MinAtar", 0.5, 64, 64, 250, "ppo", ("ppg",), (), (128, 128),
        PPOConfig(learning_rate=1e-3, num_epochs=4, minibatch_size=512, entropy_coefficient=0.01),
        PPGConfig(policy_phases=16, auxiliary_epochs=6, auxiliary_minibatch=8),
    ),
}  # fmt: skip


class Flat(nn.Module):
    """An MLP of the flattened observation, whose shape has `rank` axes."""

    rank: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        """`[..., *shape]` to features `[..., hidden[-1]]`."""
        return MLP(self.hidden, "tanh")(observation.reshape(*observation.shape[: -self.rank], -1).astype(jnp.float32))


def make_algorithm(name: str, task: Task, spec: EnvSpec, imitation: ImitationConfig | None = None) -> Algorithm:
    """One of the three algorithms with the task's settings."""
    phasic = PhasicActorCritic(spec.action, Flat(len(spec.observation_shape), task.hidden))
    if name == "ppg":
        return make_ppg(phasic, spec, dataclasses.replace(task.ppg, ppo=task.ppo), imitation)
    if name == "ppo":
        plain = ActorCritic(spec.action, task.hidden, "tanh")
        return make_ppo(phasic if len(spec.observation_shape) > 1 else plain, spec, task.ppo, imitation)
    encoder = VectorEncoder(task.hidden)
    if spec.action.num_actions is not None:
        count = spec.action.num_actions
        return make_sac(CategoricalActor(count, encoder), DiscreteTwinQ(count, encoder), spec, task.sac, imitation)
    return make_sac(TanhGaussianActor(spec.action, encoder), TwinQ(encoder), spec, task.sac, imitation)


def make_environment(name: str) -> GymnaxLanes:
    """A gymnax environment of one variation."""
    environment, params = gymnax.make(name)
    return GymnaxLanes(environment, params, 1, lambda params, variation: params)


class Run(NamedTuple):
    """A population's final states `[S, ...]`, training returns `[epochs, S]` (NaN where no episode ended), seconds."""

    states: TrainState
    returns: np.ndarray
    seconds: float
    compile_seconds: float


def train(task: Task, algorithm: Algorithm, seeds: range, epochs: int, pairs: DemonstrationBatch | None = None) -> Run:
    """Train one member per seed, all in one program; `pairs` `[M, ...]` are the demonstrations."""
    environment = make_environment(task.environment)
    shape = algorithm.num_demonstration_pairs(task.steps * task.lanes)

    def member(key):
        init_key, lanes_key, act_key, pairs_key = jax.random.split(key, 4)
        lanes = environment.reset(lanes_key, jnp.zeros((task.lanes, 1), jnp.int32))
        start = annealed(algorithm.init(init_key, (task.steps, task.lanes))), lanes, jnp.zeros((), jnp.int32)

        def epoch(carry, key):
            state, lanes, drawn = carry
            lanes, rollout = collect(environment, algorithm.act, state, lanes, key, task.steps)
            batches = None
            if pairs is not None:
                batches = demonstration_sets.draw(pairs, pairs_key, drawn, *shape)
            state, _ = algorithm.update(state, rollout, batches)
            statistics = episode_statistics(rollout, 1)
            mean = jnp.sum(statistics.return_sum) / jnp.sum(statistics.episodes)
            return (state, lanes, drawn + shape[0] * shape[1]), mean

        (state, _, _), returns = jax.lax.scan(epoch, start, jax.random.split(act_key, epochs))
        return state, returns

    def annealed(state: TrainState) -> TrainState:
        """With a learning rate that falls to 0 over the run; SAC's is constant."""
        if not hasattr(state.hyperparameters, "anneal_samples"):
            return state
        samples = jnp.float32(epochs * task.steps * task.lanes)
        return state._replace(hyperparameters=state.hyperparameters._replace(anneal_samples=samples))

    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    started = time.perf_counter()
    program = jax.jit(jax.vmap(member)).lower(keys).compile()
    compiled = time.perf_counter()
    states, returns = jax.block_until_ready(program(keys))
    return Run(states, np.asarray(returns).T, time.perf_counter() - compiled, compiled - started)


def final_returns(task: Task, algorithm: Algorithm, states: TrainState, num_seeds: int) -> np.ndarray:
    """Mean return of 20 episodes of each seed `[S]`."""
    environment, only = make_environment(task.environment), jnp.zeros(1, jnp.int32)

    def mean_return(index: int) -> float:
        found = evaluate(environment, algorithm.act, take(states, index), only, 20, jax.random.key(1000 + index))
        return float(found.episode_return[0])

    return np.array([mean_return(index) for index in range(num_seeds)])


def expert_pairs(task: Task, algorithm: Algorithm, state: TrainState) -> tuple[DemonstrationBatch, int]:
    """The pairs of 20 episodes that a trained member plays, and how many there are."""
    environment = make_environment(task.environment)
    lanes = environment.reset(jax.random.key(1), jnp.zeros((EXPERT_EPISODES, 1), jnp.int32))
    horizon = environment.spec.horizon
    play = jax.jit(lambda state, lanes: collect(environment, algorithm.act, state, lanes, jax.random.key(2), horizon))
    found = demonstration_sets.from_rollout(jax.device_get(play(state, lanes)[1]), environment.spec, 0)
    return DemonstrationBatch(jnp.asarray(found.observation), jnp.asarray(found.action)), found.num_pairs


def samples_to(task: Task, returns: np.ndarray, threshold: float) -> int | None:
    """Samples of one seed after which the training return (mean of 5 epochs and all seeds) reached a threshold."""
    with np.errstate(invalid="ignore"):
        curve = np.array([np.nanmean(returns[max(0, i - 4) : i + 1]) for i in range(len(returns))])
    reached = np.flatnonzero(curve >= threshold)
    return None if not len(reached) else int((reached[0] + 1) * task.steps * task.lanes)


def thinned(returns: np.ndarray, points: int = 50) -> list[float | None]:
    """The seeds' mean training return in equal parts of the run; None for a part in which no episode ended."""
    parts = np.array_split(returns, min(points, len(returns)))
    return [None if np.isnan(part).all() else round(float(np.nanmean(part)), 2) for part in parts]


def rows_of(task_name: str, seeds: range, scale: float) -> list[Row]:
    """All rows of one task; `scale` shortens the runs, to try the script."""
    task = TASKS[task_name]
    spec = make_environment(task.environment).spec
    epochs = max(2, int(scale * task.epochs))
    rows: list[Row] = []

    def row(name: str, algorithm: Algorithm, run: Run, threshold: float, **more: Any) -> np.ndarray:
        final = final_returns(task, algorithm, run.states, len(seeds))
        rows.append(
            {
                "name": f"{task.environment} {name}",
                "value": float(final.mean()),
                "unit": "return",
                "of each seed": {str(seed): float(value) for seed, value in zip(seeds, final, strict=True)},
                "samples": len(run.returns) * task.steps * task.lanes,
                "samples to 90 %": samples_to(task, run.returns, threshold),
                "training returns": thinned(run.returns),
                "seconds": run.seconds,
                "compile seconds": run.compile_seconds,
            }
            | more
        )
        print(rows[-1], flush=True)
        return final

    expert = make_algorithm(task.expert, task, spec)
    scratch = train(task, expert, seeds, epochs)
    finals = final_returns(task, expert, scratch.states, len(seeds))
    best = int(np.argmax(finals))
    threshold = task.random_return + 0.9 * (float(finals[best]) - task.random_return)
    row(f"{task.expert} from scratch", expert, scratch, threshold)
    for name in task.others:
        algorithm = make_algorithm(name, task, spec)
        row(f"{name} from scratch", algorithm, train(task, algorithm, seeds, epochs), threshold)
    if not task.imitations:
        return rows
    pairs, count = expert_pairs(task, expert, take(scratch.states, best))
    for imitation in task.imitations:
        algorithm = make_algorithm(task.expert, task, spec, imitation)
        run = train(task, algorithm, seeds, max(2, epochs // 2), pairs)
        row(f"{task.expert} with {imitation.method}", algorithm, run, threshold, **{"demonstrated pairs": count})
        if imitation.method == "gail":  # how much of it is the reward's form, and not the demonstrations?
            beginner = expert.init(jax.random.key(3), (task.steps, task.lanes))
            random_pairs, random_count = expert_pairs(task, expert, beginner)
            run = train(task, algorithm, seeds, max(2, epochs // 2), random_pairs)
            name = f"{task.expert} with gail on an untrained policy's demonstrations"
            row(name, algorithm, run, threshold, **{"demonstrated pairs": random_count})
    return rows


def main() -> None:
    """Run the tasks and report."""
    parser = arguments("Learning on gymnax: algorithms from scratch and with demonstrations.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first-seed", type=int, default=10, help="the settings were chosen on seeds 0 to 4")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of epochs")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    report([row for name in given.tasks for row in rows_of(name, seeds, given.scale)], given.json)


if __name__ == "__main__":
    main()
