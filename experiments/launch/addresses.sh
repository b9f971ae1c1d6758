#!/bin/bash
# One training job in several processes anywhere: the same line on every machine, with its own number. Here two on one
# machine, to try it out; elsewhere replace 127.0.0.1 by the first machine's address. What follows the run folder goes to
# `atomas train`: here the unit of a batch, which the devices of all processes together must divide.
#
#   ./experiments/launch/addresses.sh experiments/quickstart.py corpora/quickstart runs/two --batches.unit 2
set -uo pipefail
COUNT=${COUNT:-2}
PORT=${PORT:-12355}                    # any free one of the first machine, reachable by the others

codes=()
for i in $(seq 0 $((COUNT - 1))); do
  .venv/bin/atomas train "$1" --corpus "$2" --run "$3" \
    "${@:4}" --training.distributed "coordinator=127.0.0.1:$PORT,processes=$COUNT,process=$i" &
  codes+=($!)
done
trap 'kill -TERM "${codes[0]}"' TERM INT   # to one of them is enough: all stop after the same step
worst=0
for process in "${codes[@]}"; do
  wait "$process"; code=$?
  [ "$code" -gt 128 ] && kill -0 "$process" 2>/dev/null && { wait "$process"; code=$?; }   # the trap woke us first
  [ "$code" -gt "$worst" ] && worst=$code
done
exit "$worst"
