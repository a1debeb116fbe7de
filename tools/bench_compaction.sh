#!/usr/bin/env bash
# Write and space amplification of both strategies beside RocksDB's universal and level styles, each
# system and workload in a process of its own. Usage: tools/bench_compaction.sh BIN [--json FILE]
# [--only SYSTEM] [--workload NAME] and options of bench_compaction (--entries N --value-bytes N --memtable-mib N)
set -euo pipefail
bin=$1
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
systems=(ringfort-stl ringfort-leveled rocksdb-universal rocksdb-level)
workloads=(fill overwrite delete ttl zipf)
options=()
while (($#)); do
    case $1 in
    --json) options+=(--json "$(realpath -m "$2")"); : >"$2"; shift 2 ;;
    --only) systems=("$2"); shift 2 ;;
    --workload) workloads=("$2"); shift 2 ;;
    *) options+=("$1"); shift ;;
    esac
done
printf '%-10s %-18s %9s %9s %9s %9s %9s %9s %8s\n' workload system 'write amp' 'space amp' 'live MB' 'disk MB' 'peak MB' 'ops/s' 'CPU us'
for workload in "${workloads[@]}"; do
    for system in "${systems[@]}"; do
        "$bin/bench_compaction" "$system" "$workload" --dir "$work/data" --plugins "$bin/../lib/ringfort/plugins" "${options[@]}"
        rm -rf "${work:?}/data"
    done
done
