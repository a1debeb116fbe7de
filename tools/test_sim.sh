#!/usr/bin/env bash
# The simulator as a test: many short seeds with sanitizers and slow assertions (chaos, hints and calm;
# 3 to 7 nodes; 1 or 3 shards), some with the real storage engine under power cuts, equal seeds give equal digests, and 1,200 nodes of gossip.
# RF_SIM_SEED moves the seeds (default 1), RF_SIM_SEEDS sets their number.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

[ -x build/dev/bin/ringfort-sim ] || ./dev build dev
sum=$(build/dev/bin/ringfort-sim --seed "${RF_SIM_SEED:-1}" --seeds "${RF_SIM_SEEDS:-240}" --seconds 25)
printf '%s\n' "$sum"
if [ "${RF_SIM_SEEDS:-240}" -ge 30 ] && grep -q ' hints_expired=0 ' <<<"$sum"; then
    echo "no hint has expired (S44): the scenario does not reach what it is for" >&2
    exit 1
fi
build/dev/bin/ringfort-sim --seed "${RF_SIM_SEED:-1}" --seeds 24 --seconds 20 --engine
build/dev/bin/ringfort-sim --seed "${RF_SIM_SEED:-1}" --seeds 12 --seconds 20 --engine --scenario rot
build/dev/bin/ringfort-sim --seed 200000 --seeds 3 --seconds 10 --twice --engine
build/dev/bin/ringfort-sim --seed 100000 --seeds 16 --seconds 10 --twice
# The order of each key without faults; a longer run.
build/dev/bin/ringfort-sim --seed 300000 --seeds 8 --seconds 20 --scenario calm
build/dev/bin/ringfort-sim --seed 400000 --seeds 2 --seconds 120
./dev build release
# An hour at 1 % loss without a false death; then 1,200 nodes, half of which die.
build/release/bin/ringfort-sim --gossip-only --nodes 60 --seconds 3600 --loss 10000 --seed "${RF_SIM_SEED:-1}"
build/release/bin/ringfort-sim --gossip-only --nodes 1200 --seconds 20 --seed "${RF_SIM_SEED:-1}"
