#!/usr/bin/env bash
# The storage engine beside RocksDB, LevelDB and LMDB, each scenario in a process of its own. Usage:
# tools/bench_engine.sh BIN [--full] [--json FILE] and options of bench_engine: --only SYSTEMS
# --scenarios fill,read,amp,sync,reopen --entries N --value-bytes N --reads N --syncs N.
# 500,000 rows without --full (about two minutes), 3,000,000 with it; buffers and caches in proportion.
set -euo pipefail
bin=$1
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
rows=$work/rows.json
options=()
while (($#)); do
    case $1 in
    --json) rows=$(realpath -m "$2"); shift 2 ;;
    --full) options+=(--entries 3000000 --syncs 10000); shift ;;
    *) options+=("$1"); shift ;;
    esac
done
: >"$rows"
"$bin/bench_engine" --dir "$work/db" --json "$rows" --plugins "$bin/../lib/ringfort/plugins" "${options[@]}"
"$(dirname "$(readlink -f "$0")")/bench_engine_table.py" "$rows"
