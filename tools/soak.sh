#!/usr/bin/env bash
# A long campaign of faults with a checked history: tools/soak.sh kill [ROUNDS] | freeze [ROUNDS].
# A round is one fault; 1,000 kills take about half an hour. RINGFORT_BIN chooses the build.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
case "${1:-}" in
kill | freeze) ;;
*) echo "usage: ./dev soak kill|freeze [ROUNDS]" >&2; exit 64 ;;
esac
export RINGFORT_BIN="${RINGFORT_BIN:-$PWD/build/release/bin}"
exec /usr/bin/python3 tests/fault/soak.py "$1" "${2:-1000}"
