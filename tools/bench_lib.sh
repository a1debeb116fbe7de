# What the benches over HTTPS share; sourced by bench_cluster.sh and bench_http.sh.
# Sets: seconds, rows (file for figures or ''), only; here, work (a folder of its own), keep, port; started (pids).

# ARGS...: --json FILE, --seconds N, and, when `systems` is not empty, --only SYSTEM.
bench_options() {
    seconds=3 rows='' only=''
    while (($#)); do
        case $1 in
        --json) rows=$(realpath -m "$2"); shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        --only) [ -n "${systems:-}" ] || bench_usage; only=$2; shift 2 ;;
        *) bench_usage ;;
        esac
    done
}

bench_usage() {
    echo "usage: ./dev bench $bench [--json FILE] [--seconds N]${systems:+ [--only $systems]}" >&2
    exit 64
}

# A working folder; everything that was started ends, and the folder goes, with the script.
bench_begin() {
    here=$(dirname "$(readlink -f "$0")")
    work=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-bench.XXXXXX")
    keep=${rows:-$work/rows.json}
    : >"$keep"
    export RINGFORT_DEV_DIR=$work/cluster
    port=${RINGFORT_BENCH_PORT:-18400} started=()
    trap bench_end EXIT
}

bench_end() {
    for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2>/dev/null || true; done
    "$bin/ringfort" dev down >/dev/null 2>&1 || true
    rm -rf "$work"
}

# ARGS...: `ringfort dev up` on `port`; its settings become variables.
bench_up() {
    "$bin/ringfort" dev up --port "$port" "$@" >"$work/env"
    # shellcheck source=/dev/null
    . "$work/env"
}

# PORT BODY: starts nginx, which answers everything with BODY over TLS; sets nginx (its pid) and waits for it.
bench_nginx() {
    mkdir -p "$work/nginx"
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
        listen 127.0.0.1:$1 ssl;
        ssl_certificate $RINGFORT_DEV_DIR/n1/node.crt; ssl_certificate_key $RINGFORT_DEV_DIR/n1/node.key;
        ssl_protocols TLSv1.3;
        location / { default_type application/json; return 200 '$2'; }
    }
}
CONF
    nginx -c "$work/nginx/conf" -e "$work/nginx/log" &
    nginx=$!
    started+=("$nginx")
    for _ in $(seq 100); do
        ! curl -s --cacert "$RINGFORT_CA" "https://127.0.0.1:$1/" >/dev/null || break
        sleep 0.1
    done
}
