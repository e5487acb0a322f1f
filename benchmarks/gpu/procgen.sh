#!/usr/bin/env bash
# Procgen on a machine with a GPU, for the minutes that it is at hand: first what is not measured yet, then, in the time
# that is left, the next piece of a training run. The same command again goes on with both.
#
#   benchmarks/gpu/procgen.sh OUT_DIR [MINUTES]   MINUTES in all, 9 unless given
#   benchmarks/gpu/procgen.sh OUT_DIR small       the same programs at a size for trying them on a CPU: about 5 minutes
#
# OUT_DIR gets feed.json, epochs-float32.json, epochs-bfloat16.json (delete one to measure it again) and run/, the run
# directory. FLAGS names other flags of `gsljax train` than those below, PRESET another preset than procgen-bigfish, PYTHON
# another interpreter than python3, with gsljax and its `pools` extra.
set -uo pipefail
began=$SECONDS
out=$(mkdir -p "${1:?give the directory for the results}" && cd "$1" && pwd) || exit 1
minutes=${2:-9} small=
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3} preset=${PRESET:-procgen-bigfish}
flags=${FLAGS:-'--total-samples 25000000 --plateau.head 0.5 --network.dtype bfloat16 --checkpoint-interval 10'}
if [ "$minutes" = small ]; then
  minutes=30 small=--small
  flags='--total-samples 40000 --method ppo --rollout-steps 32 --baseline.lanes 8 --baseline.ppo.minibatch-size 64
    --network.channels 8 8 --network.hidden 32 --env.num-levels 8 --env.num-test-levels 4 --checkpoint-interval 5'
fi
left() { echo $((60 * minutes - SECONDS + began)); }

measure() { # NAME SECONDS MODULE ARGUMENTS...: one measurement, unless it is there already; one whose seconds did not do
  # has all the time that is left when it is tried again
  local file=$out/$1.json limit=$2 module=$3 status
  shift 3
  [ -e "$file" ] && return
  echo "== $module: $(basename "$file")"
  [ "$(left)" -lt "$limit" ] || [ -e "$file.late" ] && limit=$(left)
  [ "$limit" -lt 1 ] && return
  if timeout "$limit" "$python" -m "benchmarks.$module" --json "$file.part" "$@"; then
    mv "$file.part" "$file" && rm -f "$file.late"
  else
    status=$?
    [ "$status" = 124 ] && touch "$file.late"
    echo "== not finished (exit status $status), measured again next time; what there is lies in $file.part, if anything" >&2
  fi
}

"$python" -c 'import jax; print("devices:", jax.devices(), "jax", jax.__version__)' || exit 1
if [ -n "$small" ]; then
  measure feed 600 feed --cases pools-2 --pools 4 --samples 200 --network-samples 16 --repeats 1
  measure epochs-float32 600 procgen --small --dtypes float32 --ways auto/auto packed/vmap --repeats 1
  measure epochs-bfloat16 600 procgen --small --dtypes bfloat16 --repeats 1
else
  measure feed 90 feed --cases procgen-64 procgen-512 pools-2 --samples 100000 --network-samples 20000 --repeats 3
  measure epochs-bfloat16 200 procgen --dtypes bfloat16
  measure epochs-float32 240 procgen --dtypes float32
fi

piece=$((($(left) - 30) / 60)) # the evaluations and demonstrations at the end of a stage are not cut
[ -n "$small" ] && piece=0.3
case $piece in 0 | -*) echo "== no time is left to train" && exit ;; esac
if [ -e "$out/run/config.json" ]; then
  "$python" -m gsljax.cli resume "$out/run" --max-minutes "$piece"
else # shellcheck disable=SC2086 # the flags are words
  "$python" -m gsljax.cli train "$preset" --run-dir "$out/run" --max-minutes "$piece" $flags
fi
