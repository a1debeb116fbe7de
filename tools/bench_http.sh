#!/usr/bin/env bash
# The HTTPS front alone: one node answers /health/live, one request at a time and pipelined x 16,
# beside nginx with TLS. Usage: tools/bench_http.sh BIN [--json FILE] [--seconds N]
set -euo pipefail
bin=$1
shift
seconds=3 rows=''
while (($#)); do
    case $1 in
    --json) rows=$(realpath -m "$2"); shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    *) echo "usage: ./dev bench http [--json FILE] [--seconds N]" >&2; exit 64 ;;
    esac
done
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-bench.XXXXXX")
keep=${rows:-$work/rows.json}
: >"$keep"
export RINGFORT_DEV_DIR=$work/cluster
port=${RINGFORT_BENCH_PORT:-18400} nginx=

finish() {
    [ -z "$nginx" ] || kill "$nginx" 2>/dev/null || true
    "$bin/ringfort" dev down >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

"$bin/ringfort" dev up --nodes 1 --threads 1 --port "$port" >"$work/env"
# shellcheck source=/dev/null
. "$work/env"
mkdir "$work/nginx"
cat >"$work/nginx/conf" <<CONF
worker_processes 1;
daemon off;
pid $work/nginx/pid;
error_log $work/nginx/log;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $work/nginx/body; proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi; uwsgi_temp_path $work/nginx/uwsgi; scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$((port + 30)) ssl;
        ssl_certificate $RINGFORT_DEV_DIR/n1/node.crt; ssl_certificate_key $RINGFORT_DEV_DIR/n1/node.key;
        ssl_protocols TLSv1.3;
        location / { default_type application/json; return 200 '{"status":"ok"}'; }
    }
}
CONF
if command -v nginx >/dev/null; then
    nginx -c "$work/nginx/conf" -e "$work/nginx/log" &
    nginx=$!
    for _ in $(seq 100); do
        ! curl -s --cacert "$RINGFORT_CA" "https://127.0.0.1:$((port + 30))/" >/dev/null || break
        sleep 0.1
    done
fi
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
