#!/usr/bin/env bash
# The HTTPS front alone: one node answers /health/live, one request at a time and pipelined x 16,
# beside nginx with TLS. Usage: tools/bench_http.sh BIN [--json FILE] [--seconds N]
set -euo pipefail
bin=$1 bench=http
shift
. "$(dirname "$(readlink -f "$0")")/bench_lib.sh"
bench_options "$@"
bench_begin
bench_up --nodes 1 --threads 1
nginx=
if command -v nginx >/dev/null; then bench_nginx $((port + 30)) '{"status":"ok"}'; fi
for depth in 1 16; do
    measure() { # SYSTEM PORT PIDS
        "$bin/ringfort" bench --bench http --url "https://127.0.0.1:$2" --ca "$RINGFORT_CA" --pids "$3" --system "$1" \
            --workload "live x$depth" --path /health/live --pipeline $depth --value-bytes 0 --seconds "$seconds" \
            --json "$keep" | tail -n 1
    }
    measure ringfort "$port" "$(cat "$RINGFORT_DEV_DIR/n1/pid")"
    [ -z "$nginx" ] || measure nginx $((port + 30)) "$(pgrep -P "$nginx" | paste -sd,)"
done
"$here/bench_table.py" "$keep"
