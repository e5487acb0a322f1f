#!/usr/bin/env bash
# Every throughput benchmark on a machine with a GPU, each with a time limit and a JSON file of its own:
#
#   benchmarks/gpu/throughput.sh OUT_DIR          at most 12 minutes; what is not finished by its limit is left out
#   benchmarks/gpu/throughput.sh OUT_DIR small    the same programs at a size for trying them on a CPU
#
# The feed needs EnvPool (the `pools` extra). PYTHON names another interpreter than python3.
set -uo pipefail
out=$(mkdir -p "${1:?give the directory for the results}" && cd "$1" && pwd) || exit 1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}

measure() { # NAME SECONDS ARGUMENTS...: one benchmark's module, its limit, its flags
  local name=$1 limit=$2
  shift 2
  echo "== $name"
  timeout "$limit" "$python" -m "benchmarks.${name%%-*}" --json "$out/$name.json" "$@" ||
    echo "== $name: not finished (exit status $?)" >&2
}

"$python" -c 'import jax; print("devices:", jax.devices(), "jax", jax.__version__)' || exit 1
if [ "${2:-}" = small ]; then
  measure population_conv 600 --members 1 2 --batch 4 --dtypes bfloat16 --ways packed taps --repeats 1
  measure maze 600 --members 1 2 --lanes 4 --hidden 16 --repeats 1
  measure update 600 --repeats 1
  measure feed-mt10 600 --cases mt10-1 --samples 200 --network-samples 100 --repeats 1
  exit
fi
ways='conv packed patches taps map loop' # gradients in parts are for CPUs: elsewhere the same as map
measure population_conv-float32 170 --batch 1024 --dtypes float32 --repeats 3 --ways $ways
measure population_conv-bfloat16 140 --batch 1024 --dtypes bfloat16 --repeats 3 --ways $ways
measure update 90
measure maze 90 --members 1 5 16 64 --lanes 14 224 --repeats 3
measure feed-procgen 60 --cases procgen-64 procgen-512 --network-samples 20000 --repeats 3
measure feed-mt10 40 --cases mt10-8 --network-samples 20000 --repeats 3
measure feed-pools 90 --cases pools-2 pools-8 --network-samples 20000 --repeats 3
