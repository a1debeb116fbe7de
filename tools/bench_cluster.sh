#!/usr/bin/env bash
# Three nodes on this machine beside Redis (master and two replicas) and nginx, by the same client
# in one run. Usage: tools/bench_cluster.sh BIN [--json FILE] [--seconds N] [--only SYSTEM]
set -euo pipefail
bin=$1 bench=cluster systems='ringfort|redis|nginx'
shift
. "$(dirname "$(readlink -f "$0")")/bench_lib.sh"
bench_options "$@"
bench_begin
keys=100000

wants() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# --- Ringfort: its certificates serve the others too
bench_up --threads 1
ca=$RINGFORT_CA cert=$RINGFORT_DEV_DIR/n1/node.crt key=$RINGFORT_DEV_DIR/n1/node.key
if wants ringfort; then
    pids=$(cat "$RINGFORT_DEV_DIR"/n*/pid | paste -sd,)
    urls=()
    for i in 0 1 2; do urls+=(--url "https://127.0.0.1:$((port + 2 * i))"); done
    measure() { "$bin/ringfort" bench "${urls[@]}" --pids "$pids" --keys $keys --json "$keep" "$@" | tail -n 1; }
    for bytes in 100 1024; do
        measure --value-bytes $bytes --fill
        measure --value-bytes $bytes --seconds "$seconds" --mix 0:100
        measure --value-bytes $bytes --seconds "$seconds" --mix 100:0
        measure --value-bytes $bytes --seconds "$seconds" --mix 100:0 --strong
    done
fi
"$bin/ringfort" dev down --keep >/dev/null

# --- Redis: a write counts when one of two replicas has it (WAIT 1)
redis() { # NAME TLS FSYNC: starts three, measures, stops them
    local name=$1 tls=$2 fsync=$3 base=$((port + 20)) i pids=() safe=() load=(--address "127.0.0.1:$((port + 20))")
    if [ "$tls" = tls ]; then load+=(--ca "$ca"); fi
    for i in 0 1 2; do
        local dir=$work/$name$i listen=(--port $((base + i)))
        mkdir "$dir"
        if [ "$tls" = tls ]; then
            listen=(--port 0 --tls-port $((base + i)) --tls-cert-file "$cert" --tls-key-file "$key"
                    --tls-ca-cert-file "$ca" --tls-auth-clients no --tls-replication yes)
        fi
        ((i == 0)) || listen+=(--replicaof 127.0.0.1 "$base")
        redis-server --bind 127.0.0.1 "${listen[@]}" --dir "$dir" --save '' --appendonly yes \
            --appendfsync "$fsync" --auto-aof-rewrite-percentage 0 --repl-diskless-sync-delay 0 --logfile "$dir/log" --daemonize no &
        pids+=($!)
        started+=($!)
    done
    safe=(--pids "$(IFS=,; echo "${pids[*]}")" --system "$name" --json "$keep" --keys $keys)
    for i in 1 2; do # the replicas are in step
        for _ in $(seq 200); do
            ! grep -q 'MASTER <-> REPLICA sync: Finished with success' "$work/$name$i/log" 2>/dev/null || break
            sleep 0.1
        done
    done
    for bytes in 100 1024; do
        "$bin/bench_redis" "${load[@]}" --value-bytes $bytes --fill --wait 1 --keys $keys >/dev/null
        "$bin/bench_redis" "${load[@]}" "${safe[@]}" --value-bytes $bytes --put --wait 1 \
            --seconds "$seconds" --workload put | tail -n 1
        "$bin/bench_redis" "${load[@]}" "${safe[@]}" --value-bytes $bytes --seconds "$seconds" | tail -n 1
    done
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null || true
    started=()
}
if wants redis && command -v redis-server >/dev/null; then
    redis redis-tls tls everysec
    redis redis-tls-fsync tls always
    redis redis-plain plain everysec
    redis redis-plain-fsync plain always
fi

# --- nginx: parse and answer, no work
if wants nginx && command -v nginx >/dev/null; then
    for bytes in 100 1024; do
        body=$(head -c $((bytes * 4 / 3 + 150)) /dev/zero | tr '\0' x)
        bench_nginx $((port + 30)) "$body"
        pids=$(pgrep -P "$nginx" | paste -sd,)
        "$bin/ringfort" bench --url "https://127.0.0.1:$((port + 30))" --ca "$ca" --pids "$pids" --json "$keep" \
            --seconds "$seconds" --path "/api/v1/item?key=bench00000000000" --system nginx --workload get \
            --value-bytes $bytes | tail -n 1
        kill "$nginx"
        wait "$nginx" 2>/dev/null || true
        started=()
    done
fi
"$here/bench_table.py" "$keep"
