"""The paper's Fig. 2 on the maze: GSL against PPO and the controls, over seeds, at equal total samples.

    python -m benchmarks.maze_learning --runs runs/maze-learning            # everything: hours on 2 cores
    python -m benchmarks.maze_learning --runs DIR --methods gsl ppo --seeds 0 1 2 --processes 2

Runs that are finished are not run again and runs that were cut off are resumed, so the command can be repeated until
all are there. Controls of phase II start from the demonstrations of the GSL run with their seed. At the end
settings, curves and summaries go to `benchmarks/results/<setting>/<method>/seed<k>/`, with the figure and a table of
all runs that are kept there.
"""

from benchmarks.comparison import USES_OF_DEMONSTRATIONS, Comparison, Setting, main

MAZE = Comparison(
    module="maze_learning",
    description="GSL against PPO and the controls on the maze, over seeds.",
    settings={
        "maze": Setting("maze"),
        "maze-one-interval": Setting(
            "maze",
            (
                *("--env.intervals-per-goal", "1"),
                *("--env.context-scale", "1"),
                *("--good-enough", "None"),  # or GSL would stop at its plateau, with fewer samples than PPO
            ),
        ),
    },
    phases=(("gsl", "ppo", "gsl-scratch"), USES_OF_DEMONSTRATIONS[1:]),
    seeds=10,
    note="""Success of the final policy, all goals alike: mean ± standard deviation over seeds (range).
The setting, and what else was tried: [docs/maze.md](../../../docs/maze.md).
""",
)

if __name__ == "__main__":
    main(MAZE)
