"""GSL (GAIL + SAC) against SAC on PushChair in state mode, over seeds, at equal total samples; and SAC on one chair.

    python -m benchmarks.push_chair_learning --runs runs/push-chair      # 3 seeds: hours on 2 cores
    python -m benchmarks.push_chair_learning --runs DIR --settings push-chair-one
    python -m benchmarks.push_chair_learning --runs DIR --settings push-chair-tiny --seeds 0

Runs that are finished are not run again and runs that were cut off are resumed, so the command can be repeated until
all are there. GSL runs first: SAC gets its total samples, rounded up to a whole epoch, never fewer. At the end
settings, curves and summaries go to `benchmarks/results/<setting>/<method>/seed<k>/`, with the figure and the tables of
all runs that are kept there.
"""

from pathlib import Path

from benchmarks.comparison import Comparison, Setting, Summaries, main, total_of, whole_epochs
from gsljax.envs.push_chair import CHAIRS

NOTE = """Return of the final policy over an episode of 200 steps (push-chair-tiny: 20), all its chairs alike: mean ±
standard deviation over seeds (range). How the setting differs from the paper's:
[docs/push_chair.md](../../../docs/push_chair.md).
"""


def flags_of(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """SAC's total on all chairs: the GSL run's of its seed, rounded up to whole epochs."""
    if method != "sac" or setting == "push-chair-one":
        return []
    return ["--total-samples", str(whole_epochs(*total_of(runs, setting, "gsl", seed)))]


def success_section(setting: str, rows: Summaries) -> str:
    """Each method's success rate, which the paper's return does not show, in Markdown."""
    del setting
    lines = ["| method | seed | success, actions sampled | success, deterministic |", "|---|---|---|---|"]
    for method, summaries in rows.items():
        for summary in summaries:
            final = summary["final"]
            lines.append(
                f"| {method} | {summary['seed']} | {final['success']:.3f} | {final['deterministic']['success']:.3f} |"
            )
    return "\n## Success\n\n" + "\n".join(lines) + "\n"


def tiny_sac(stage: str, gradient_steps: int, replay_capacity: int, warmup: int) -> str:
    """The flags of a stage's SAC that a CPU's cores can bear with point clouds."""
    values = {"num-gradient-steps": gradient_steps, "minibatch-size": 16, "replay-capacity": replay_capacity}
    return "".join(f"--{stage}.sac.{name} {value} " for name, value in (values | {"warmup-samples": warmup}).items())


_TINY = "--total-samples 6000 --env.horizon 20 --rollout-steps 21 --low-episodes 1 --evaluation-episodes 1 "
_TINY += "--best-window 1 "
_TINY += "--demonstrations.specialist-episodes 16 --demonstrations.min-return -6000 --imitation.gail.minibatch-size 16 "
_TINY += "--imitation.gail.num-updates 1 "
_TINY += tiny_sac("generalist", 4, 4000, 320) + tiny_sac("specialist", 2, 400, 80) + tiny_sac("phase-two", 4, 4000, 160)
TINY = tuple(_TINY.split())
"""Point clouds and the paper's networks, through all stages on a CPU: far too little to learn anything."""

PUSH_CHAIR = Comparison(
    module="push_chair_learning",
    description="GSL (GAIL + SAC) against SAC on PushChair in state mode, over seeds; and SAC on one chair.",
    settings={
        "push-chair-state": Setting("push-chair-state"),
        "push-chair-one": Setting(
            "push-chair-state", ("--env.chairs", next(iter(CHAIRS)), "--total-samples", "160000"), ("sac",)
        ),
        "push-chair-tiny": Setting("push-chair", TINY, ("gsl",)),
    },
    phases=(("gsl",), ("sac",)),
    seeds=3,
    note=NOTE,
    metric="return",
    rarely=("push-chair-one", "push-chair-tiny"),
    flags_of=flags_of,
    more=success_section,
)

if __name__ == "__main__":
    main(PUSH_CHAIR)
