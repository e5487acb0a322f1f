"""GSL against PPO on Procgen, scaled down to a CPU: over seeds, at equal totals, on training and held-out levels.

    python -m benchmarks.procgen_learning --runs runs/procgen      # StarPilot and FruitBot, 3 seeds: hours on 2 cores
    python -m benchmarks.procgen_learning --runs DIR --results DIR --settings procgen-tiny --seeds 0      # a trial

Runs that are finished are not run again and runs that were cut off are resumed, so the command can be repeated until
all are there. GSL runs first: PPO gets its total samples and an epoch more, of which it spends at least GSL's total and
less than the epoch more. Every finished run is evaluated on held-out levels. At the end settings, curves and summaries
go to `benchmarks/results/<setting>/<method>/seed<k>/`, with the figure and the tables of all runs that are kept there.

What is scaled down, from the paper's 100M samples of 1024 levels: docs/procgen.md.
"""

from pathlib import Path

from benchmarks.comparison import Comparison, Setting, main, total_of

NOTE = """Normalised score of the final policy, all levels alike: mean ± standard deviation over seeds (range). How the
setting differs from the paper's: [docs/procgen.md](../../../docs/procgen.md).
"""


def flags(
    total: int,
    levels: int,
    low: int,
    specialists: int,
    lanes: int,
    steps: int,
    shrink: int,
    channels: str,
    hidden: int,
    score: float,
    episodes: int = 4,
    specialist_lanes: int | None = None,
) -> tuple[str, ...]:
    """The flags of a setting.

    H is asked late (`plateau.head`): in a small total the scaled W is short, and a pause of the curve is flat enough.

    Args:
      total: samples.
      levels: for training; as many are held out, from level 1024.
      low: of them, the low-performing ones.
      specialists: who share those.
      lanes: of the generalist.
      steps: of a rollout.
      shrink, channels, hidden: of the IMPALA network.
      score: that a demonstration must have, normalised.
      episodes: of the specialists per low-performing level, of the evaluation after the run per level, and half as many
        of the one that finds the low-performing levels.
      specialist_lanes: of each specialist; half of the generalist's unless given.
    """
    specialist_lanes = specialist_lanes or lanes // 2
    of_generalist, of_specialist = lanes * steps // 8, specialist_lanes * steps // 8
    words = f"--total-samples {total} --env.num-levels {levels} --env.num-test-levels {levels} --rollout-steps {steps} "
    words += (
        f"--network.shrink {shrink} --network.channels {channels} --network.hidden {hidden} --num-low-performing {low} "
    )
    words += f"--low-episodes {-(-episodes // 2)} --num-specialists {specialists} "
    words += f"--demonstrations.specialist-episodes {episodes * low} "
    words += f"--demonstrations.generalist-episodes {levels - low} --demonstrations.min-normalized {score} "
    words += f"--evaluation-episodes {episodes} --checkpoint-interval 10 --plateau.head 0.8 "
    for stage in ("baseline", "generalist", "phase-two"):
        words += f"--{stage}.lanes {lanes} --{stage}.ppo.minibatch-size {of_generalist} "
    words += f"--specialist.lanes {specialist_lanes} --specialist.ppo.minibatch-size {of_specialist}"
    return tuple(words.split())


SMALL = (
    *flags(
        total=500_000,
        levels=24,
        low=12,
        specialists=3,
        lanes=16,
        steps=128,
        shrink=4,
        channels="16 16",
        hidden=128,
        score=0.04,
        episodes=6,
    ),
    *("--generalist-share=0.25", "--specialist-share=0.35", "--best-window=1"),
    "--phase-two.ppo.entropy-coefficient=0.01",
)
"""Half a million samples: on so few, specialists need a larger share to come away from the generalist, and the paper's
entropy bonus of 0.05 keeps phase II from taking over what they show (docs/procgen.md)."""
LEVELS_200 = (
    *flags(
        total=4_000_000,
        levels=200,
        low=60,
        specialists=15,
        lanes=64,
        steps=256,
        shrink=1,
        channels="16 32 32",
        hidden=256,
        score=0.1,
        episodes=2,
        specialist_lanes=8,
    ),
    *("--network.dtype", "bfloat16"),
)
"""The easy levels 0 to 199 of train-procgen's reference runs, with the paper's network and lanes; for a GPU."""
TINY = (
    *flags(
        total=6_000,
        levels=2,
        low=1,
        specialists=1,
        lanes=8,
        steps=32,
        shrink=4,
        channels="4 4",
        hidden=16,
        score=-1.0,
        episodes=1,
    ),
    *(f"--{stage}.ppo.num-epochs=1" for stage in ("baseline", "generalist", "specialist", "phase-two")),
)


def flags_of(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """PPO's total: that of the GSL run with its seed, and an epoch, which it may not be able to fill."""
    if method != "ppo":
        return []
    total, config = total_of(runs, setting, "gsl", seed)
    return ["--total-samples", str(total + config["baseline"]["lanes"] * config["rollout_steps"])]


PROCGEN = Comparison(
    module="procgen_learning",
    description="GSL against PPO on Procgen, over seeds, on training and held-out levels.",
    settings={
        "procgen-starpilot-small": Setting("procgen-starpilot", SMALL),
        "procgen-fruitbot-small": Setting("procgen-fruitbot", SMALL),
        "procgen-starpilot-200": Setting("procgen-starpilot", LEVELS_200),
        "procgen-fruitbot-200": Setting("procgen-fruitbot", LEVELS_200),
        "procgen-tiny": Setting("procgen-leaper", TINY),
    },
    phases=(("gsl",), ("ppo",)),
    seeds=3,
    note=NOTE,
    metric="normalized",
    rarely=("procgen-starpilot-200", "procgen-fruitbot-200", "procgen-tiny"),
    test_episodes=4,
    flags_of=flags_of,
)

if __name__ == "__main__":
    main(PROCGEN)
