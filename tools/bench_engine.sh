#!/usr/bin/env bash
# The storage engine beside RocksDB, each in a process of its own. Usage: tools/bench_engine.sh BIN
# [--json FILE] and options of bench_engine (--entries N --value-bytes N --syncs N --reads N)
set -euo pipefail
bin=$1
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
rows=$work/rows.json
[ "${1:-}" != --json ] || { rows=$(realpath -m "$2"); shift 2; }
: >"$rows"
for system in ringfort rocksdb; do
    "$bin/bench_engine" "$system" --dir "$work/$system" --json "$rows" "$@"
    rm -rf "${work:?}/$system"
done
"$(dirname "$(readlink -f "$0")")/bench_table.py" "$rows"
