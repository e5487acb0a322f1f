"""GSL against PPO and the controls of phase II on Meta-World, over seeds, at equal total samples.

    python -m benchmarks.meta_world_learning --runs runs/meta-world      # MT-10 and MT-50: days on 2 cores
    python -m benchmarks.meta_world_learning --runs DIR --settings meta-world-mt10 --seeds 0 1 2 \
        --methods gsl-classic ppo
    python -m benchmarks.meta_world_learning --runs DIR --settings meta-world-mt50-cpu --seeds 0 \
        --methods gsl-classic ppo

Runs that are finished are not run again and runs that were cut off are resumed, so the command can be repeated until
all are there. GSL with classic DAPG runs first: PPO gets its total samples, rounded up to a whole epoch, never fewer;
the paper's form of DAPG and the controls of phase II start from its demonstrations, and have its total. At the end
settings, curves and summaries go to `benchmarks/results/<setting>/<method>/seed<k>/`, with the figure and the tables of
all runs that are kept there.
"""

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.comparison import Comparison, Setting, Summaries, main, total_of, whole_epochs
from gsljax.envs.meta_world import MT10, MT50

LEAD = "gsl-classic"
"""GSL with the classic form of DAPG, which does better here than the paper's smoothed one (method `gsl`)."""
TASKS = {"meta-world-mt10": MT10, "meta-world-mt50": MT50, "meta-world-mt50-cpu": MT50}
FOR_A_CPU = (
    *("--total-samples", "2000000", "--low-episodes", "4", "--num-low-performing", "10", "--num-specialists", "10"),
    *("--specialists-per-subset", "1", "--fresh-specialists", "0", "--fresh-noise-steps", "1", "--trial-share", "0"),
    *("--generalist-share", "0.35", "--specialist-share", "0.35"),
    *("--plateau.window", "8", "--plateau.kernel-sigma", "1", "--plateau.head", "0.5"),
    *("--demonstrations.specialist-episodes", "400", "--demonstrations.generalist-episodes", "200"),
)
"""MT-50 in 2 of 30 million samples, too few for trials and for a specialist of every task that fails."""

NOTE = """Success of the final policy in episodes of 500 steps, reached at any of them, all tasks alike: mean ± standard
deviation over seeds (range). How the setting differs from the paper's:
[docs/meta_world.md](../../../docs/meta_world.md).
"""


def flags_of(runs: Path, setting: str, method: str, seed: int) -> list[str]:
    """PPO's total: the GSL run's of its seed, rounded up to whole epochs, of which alone a run of PPO consists."""
    return ["--total-samples", str(whole_epochs(*total_of(runs, setting, LEAD, seed)))] if method == "ppo" else []


def tasks_section(setting: str, rows: Summaries) -> str:
    """Each method's success on every task, and of GSL what came before its phase II, in Markdown."""
    tasks = {str(variation): task for variation, task in enumerate(TASKS[setting])}
    columns: dict[str, list[str]] = {}
    if LEAD in rows:
        stages = [{record["name"]: record for record in summary["stages"]} for summary in rows[LEAD]]
        columns["generalist at its plateau"] = _successes([stage["evaluation"] for stage in stages], tasks)
        columns["seeds with a specialist"] = [
            f"{sum(int(variation) in _with_specialist(stage) for stage in stages)}" for variation in tasks
        ]
        columns["demonstrations kept"] = [
            f"{mean(_kept(stage).get(variation, 0) for stage in stages):.1f}" for variation in tasks
        ]
    columns |= {method: _successes([one["final"] for one in summaries], tasks) for method, summaries in rows.items()}
    lines = ["| " + " | ".join(["task", *columns]) + " |", "|---" * (len(columns) + 1) + "|"]
    cells = zip(tasks.values(), *columns.values(), strict=True)
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    explanation = "Means over seeds, actions sampled; the generalist's success in episodes of the training horizon."
    return "\n## Task by task\n\n" + "\n".join(lines) + f"\n\n{explanation}\n"


def _successes(results: list[dict[str, Any]], tasks: dict[str, str]) -> list[str]:
    return [f"{mean(one['per_variation'][variation]['success'] for one in results):.2f}" for variation in tasks]


def _with_specialist(stages: dict[str, dict[str, Any]]) -> set[int]:
    members = stages["specialists"]["members"] if "specialists" in stages else []
    return {variation for member in members for variation in member["variations"]}


def _kept(stages: dict[str, dict[str, Any]]) -> dict[str, int]:
    return stages["demonstrations"]["kept_per_variation"] if "demonstrations" in stages else {}


META_WORLD = Comparison(
    module="meta_world_learning",
    description="GSL against PPO and the controls of phase II on Meta-World, over seeds.",
    settings={
        "meta-world-mt10": Setting("meta-world-mt10"),
        "meta-world-mt50": Setting("meta-world-mt50"),
        "meta-world-mt50-cpu": Setting("meta-world-mt50", FOR_A_CPU),
    },
    lead=LEAD,
    phases=((LEAD,), ("ppo", "gsl", "gsl-bc", "gsl-no-demonstrations")),
    seeds=5,
    note=NOTE,
    rarely=("meta-world-mt50-cpu",),
    flags_of=flags_of,
    more=tasks_section,
)

if __name__ == "__main__":
    main(META_WORLD)
