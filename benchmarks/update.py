"""Speed of every algorithm's update, of populations of 64, and of whole training loops beside rejax's and SB3's.

    python -m benchmarks.update --json FILE [--rejax PYTHON] [--sb3 PYTHON]

`--rejax` and `--sb3` name the Python of a virtual environment that has rejax (which needs gymnax < 1) or
Stable-Baselines3; without them those rows are left out. All programs of a comparison take turns in one run, and have
the same environment, lanes, network widths, minibatches and gradient steps per sample. `update` rows are samples of the
rollouts that are learnt from, per second over all members; `of one agent` compares 64 members with one that has their
total batch (in SAC, whose minibatches stay the same size, with one such member). `training` rows are environment steps
per second of a whole loop; compile time, tracing included, is apart.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.gymnax_learning import make_environment
from benchmarks.peer import Peer
from benchmarks.reporting import Row, arguments, interleaved_medians, report
from gsljax.algorithms import Algorithm, PPGConfig, PPOConfig, SACConfig, make_ppg, make_ppo, make_sac
from gsljax.envs import GymnaxLanes
from gsljax.gsl.training import Carry, begin, make_train
from gsljax.networks import MLP, ActorCritic, PhasicActorCritic, TanhGaussianActor, TwinQ, VectorEncoder
from gsljax.population import fastest_strategy, over_members
from gsljax.rollout import collect

HIDDEN = (64, 64)
LANES, STEPS, EPOCHS, MINIBATCHES = 64, 128, 4, 4
MEMBERS, TOTAL_LANES = 64, 512
SAC_LANES, SAC_STEPS, SAC_MINIBATCH, REPLAY = 4, 50, 256, 100_000


def make_algorithm(name: str, environment: GymnaxLanes, lanes: int) -> Algorithm:
    """An algorithm with the sizes that the comparisons share."""
    spec = environment.spec
    ppo = PPOConfig(learning_rate=1e-3, num_epochs=EPOCHS, minibatch_size=STEPS * lanes // MINIBATCHES)
    if name == "ppo":
        return make_ppo(ActorCritic(spec.action, HIDDEN, "tanh"), spec, ppo)
    if name == "ppg":
        config = PPGConfig(ppo=ppo, policy_phases=2, auxiliary_epochs=2, auxiliary_minibatch=lanes // 2)
        return make_ppg(PhasicActorCritic(spec.action, MLP(HIDDEN, "tanh")), spec, config)
    encoder = VectorEncoder(HIDDEN)
    config = SACConfig(
        learning_rate=1e-3, num_gradient_steps=SAC_STEPS, minibatch_size=SAC_MINIBATCH, replay_capacity=REPLAY,
        warmup_samples=256,
    )  # fmt: skip
    return make_sac(TanhGaussianActor(spec.action, encoder), TwinQ(encoder), spec, config)


def members_of(environment: GymnaxLanes, algorithm: Algorithm, members: int, steps: int, lanes: int) -> Carry:
    """A population at its start."""

    def member(key: jax.Array) -> Carry:
        only = jnp.zeros(1, jnp.int32)
        init_key, lanes_key = jax.random.split(key)
        return begin(environment, algorithm.init(init_key, (steps, lanes)), only, lanes, lanes_key)

    return jax.jit(jax.vmap(member))(jax.random.split(jax.random.key(0), members))


def update_rows(name: str, repeats: int) -> list[Row]:
    """One agent and 64 members with the same total batch."""
    environment = make_environment("Pendulum-v1" if name == "sac" else "CartPole-v1")
    programs, samples = {}, {}
    for members in (1, MEMBERS):
        # SAC's members each learn from 4 lanes and 50 minibatches; one agent with their total batch would need
        # minibatches 64 times as large, which nobody runs, so its single agent is one such member.
        steps, lanes = (SAC_STEPS, SAC_LANES) if name == "sac" else (STEPS, TOTAL_LANES // members)
        algorithm = make_algorithm(name, environment, lanes)
        carry = members_of(environment, algorithm, members, steps, lanes)

        def play(carry, algorithm=algorithm, steps=steps):
            return collect(environment, algorithm.act, carry.state, carry.lanes, carry.key, steps)[1]

        rollout = jax.jit(over_members(play))(carry)
        strategy = fastest_strategy((carry.state.params, carry.state.optimizer_state))
        compiled = jax.jit(over_members(algorithm.update, strategy)).lower(carry.state, rollout).compile()
        programs[members] = lambda compiled=compiled, state=carry.state, rollout=rollout: compiled(state, rollout)
        samples[members] = members * steps * lanes
    seconds = interleaved_medians({str(members): program for members, program in programs.items()}, repeats)
    rate = {members: samples[members] / seconds[str(members)] for members in programs}
    return [
        {
            "name": f"{name} update, {members} members",
            "value": rate[members],
            "unit": "samples/s",
            "of one agent": rate[members] / rate[1],
        }
        for members in programs
    ]


def training_rows(name: str, samples: dict[str, int], pythons: dict[str, Path], repeats: int) -> list[Row]:
    """Whole training loops: ours, and what other libraries make of the same settings.

    Args:
      name: `ppo` (CartPole-v1) or `sac` (Pendulum-v1).
      samples: how many each library trains for; the slow one gets fewer.
      pythons: other libraries' interpreters.
      repeats: timings of each.
    """
    task = "Pendulum-v1" if name == "sac" else "CartPole-v1"
    lanes, steps = (SAC_LANES, SAC_STEPS) if name == "sac" else (LANES, STEPS)
    environment = make_environment(task)
    algorithm = make_algorithm(name, environment, lanes)
    carry = members_of(environment, algorithm, 1, steps, lanes)
    epochs = samples["gsljax"] // (steps * lanes)
    train = jax.jit(make_train(environment, algorithm, steps, epochs))
    started = time.perf_counter()
    compiled = train.lower(carry, None, jnp.int32(epochs)).compile()
    compile_seconds: dict[str, Any] = {"gsljax": time.perf_counter() - started}
    programs = {"gsljax": lambda: compiled(carry, None, jnp.int32(epochs))}
    versions = {"gsljax": ""}
    settings = {
        "algorithm": name, "environment": task, "lanes": lanes, "hidden": HIDDEN, "num_steps": steps,
        "num_epochs": EPOCHS, "num_minibatches": MINIBATCHES, "minibatch_size": SAC_MINIBATCH,
        "replay_capacity": REPLAY,
    }  # fmt: skip
    for library, python in pythons.items():
        peer = Peer(python, f"{library}_training.py", settings | {"samples": samples[library]})
        programs[library], compile_seconds[library] = peer.run, peer.about["compile_seconds"]
        versions[library] = peer.about["versions"]
    seconds = interleaved_medians(programs, repeats)
    steps_played = int(jnp.sum(compiled(carry, None, jnp.int32(epochs))[1].samples))  # a step that resets is none
    rate = {
        library: (steps_played if library == "gsljax" else samples[library]) / elapsed
        for library, elapsed in seconds.items()
    }
    return [
        {
            "name": f"{name} training {task}: {library}",
            "value": rate[library],
            "unit": "steps/s",
            "gsljax is faster by": rate["gsljax"] / rate[library],
            "compile seconds": compile_seconds[library],
            "versions": versions[library],
        }
        for library in rate
    ]


def main() -> None:
    """Measure and report."""
    parser = arguments("Updates, populations and training loops.")
    parser.add_argument("--rejax", type=Path, help="Python of an environment that has rejax")
    parser.add_argument("--sb3", type=Path, help="Python of an environment that has Stable-Baselines3")
    given = parser.parse_args()
    pythons = {name: getattr(given, name) for name in ("rejax", "sb3") if getattr(given, name)}
    rows: list[Row] = []
    for name in ("ppo", "ppg", "sac"):
        rows += update_rows(name, given.repeats)
        print(f"{name}: update measured", flush=True)
    epoch = LANES * STEPS
    for name, (fast, slow) in {"ppo": (64 * epoch, 4 * epoch), "sac": (20_000, 2_000)}.items():
        rows += training_rows(name, {"gsljax": fast, "rejax": fast, "sb3": slow}, pythons, given.repeats)
        print(f"{name}: training measured", flush=True)
    report(rows, given.json)


if __name__ == "__main__":
    main()
