#!/usr/bin/env bash
# Meta-World on a machine with a GPU: how fast MT-10 trains, then MT-50, GSL and PPO at equal samples, in pieces.
#
#   benchmarks/gpu/meta_world.sh OUT_DIR MINUTES    speed once, then at most MINUTES of the next unfinished run; call it
#                                                   again until all are there (the runs are kept under OUT_DIR/runs)
#   benchmarks/gpu/meta_world.sh OUT_DIR small      the same programs at a size for trying them on a CPU
#
# It needs EnvPool (the `pools` extra). Physics is on the CPU: 16 cores, not the GPU, set the pace. PYTHON names another
# interpreter than python3. To go on elsewhere, take OUT_DIR along.
set -uo pipefail
out=$(mkdir -p "${1:?give the directory for the results}" && cd "$1" && pwd) || exit 1
minutes=${2:?give the minutes that the next run may take, or small}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}

"$python" -c 'import jax; print("devices:", jax.devices(), "jax", jax.__version__)' || exit 1
if [ "$minutes" = small ]; then
  "$python" -m benchmarks.meta_world --json "$out/meta_world.json" --lanes 10 --steps 40 --repeats 1 --python-lanes 0 &&
    "$python" -m gsljax.cli train meta-world-mt50 --method gsl-classic --run-dir "$out/runs/small" --max-minutes 1 \
      --env.tasks reach-v3 push-v3 drawer-close-v3 --num-low-performing 2 --num-specialists 2 --low-episodes 2 \
      --total-samples 120000 --generalist.lanes 6 --phase-two.lanes 6 --evaluation-episodes 2 \
      --demonstrations.specialist-episodes 8 --demonstrations.generalist-episodes 4
  exit
fi
if [ ! -e "$out/meta_world.json" ]; then
  timeout 240 "$python" -m benchmarks.meta_world --json "$out/meta_world.json" --repeats 3 || exit 1
fi
for method in gsl-classic ppo gsl; do # PPO needs the total of the first, the paper's form of DAPG its demonstrations
  summary=$out/runs/meta-world-mt50/$method-0/summary.json
  [ -e "$summary" ] && continue
  "$python" -m benchmarks.meta_world_learning --runs "$out/runs" --settings meta-world-mt50 --methods "$method" \
    --seeds 0 --max-minutes "$minutes"
  [ -e "$summary" ]
  exit
done
"$python" -m benchmarks.meta_world_learning --runs "$out/runs" --settings meta-world-mt50 \
  --methods gsl-classic ppo gsl --seeds 0 --collect-only
