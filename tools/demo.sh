#!/usr/bin/env bash
# The demonstration: tools/demo.sh BIN. Every step is a real request to real processes; a step that
# does not give what it should ends the script with an error.
set -euo pipefail
bin=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/ringfort-demo.XXXXXX")
rmdir "$dir"
port=${RINGFORT_DEMO_PORT:-17443}
ringfort() { "$bin/ringfort" "$@"; }
node_url() { echo "https://127.0.0.1:$((port + 2 * ($1 - 1)))"; }
end() { RINGFORT_DEV_DIR=$dir ringfort dev down >/dev/null 2>&1 || true; }
trap end EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '  $ %s\n' "$*"; }
expect() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || { printf 'the demo failed: %s: wanted "%s", got "%s"\n' "$1" "$2" "$3" >&2; exit 1; }
    printf '    %s: %s\n' "$1" "$3"
}

step "1. Three nodes with mutual TLS between them"
variables=$(ringfort dev up --dir "$dir" --port "$port")
eval "$variables"
ringfort status

step "2. Store through node 1, read through node 2 (eventual) and node 3 (strong)"
show ringfort put user:1 Ada
ringfort put user:1 Ada --url "$(node_url 1)" >/dev/null
expect "eventual read, node 2" Ada "$(ringfort get user:1 --url "$(node_url 2)")"
expect "strong read, node 3" Ada "$(ringfort get user:1 --strong --url "$(node_url 3)")"

step "3. Delete through node 3"
ringfort put user:2 Bob --url "$(node_url 1)" >/dev/null
ringfort del user:2 --url "$(node_url 3)" >/dev/null
code=0; ringfort get user:2 --strong --url "$(node_url 1)" >/dev/null 2>&1 || code=$?
expect "strong read after the delete (2 = not found)" 2 "$code"

step "4. kill -9 node 2; writes and strong reads go on"
ringfort dev kill n2
for i in $(seq 1 50); do
    ringfort put "order:$i" "value $i" --url "$(node_url $((i % 2 * 2 + 1)))" >/dev/null
done
lost=0
for i in $(seq 1 50); do
    [ "$(ringfort get "order:$i" --strong --url "$(node_url $(((i + 1) % 2 * 2 + 1)))")" = "value $i" ] || lost=$((lost + 1))
done
expect "writes lost of 50 acknowledged while a node was down" 0 "$lost"

step "5. Node 2 comes back"
ringfort dev start n2
# An eventual read through a replica answers from its own store: what it finds, it has itself.
missing=50
end=$((SECONDS + 60))
while [ "$missing" != 0 ] && [ "$SECONDS" -lt "$end" ]; do
    missing=0
    for i in $(seq 1 50); do
        [ "$(ringfort get "order:$i" --url "$(node_url 2)" 2>/dev/null || true)" = "value $i" ] || missing=$((missing + 1))
    done
done
expect "writes missing in node 2's own store" 0 "$missing"

step "Go on by hand"
cat <<TEXT
  $bin/ringfort dev          # a cluster until Ctrl-C; prints the variables below

  curl --cacert \$RINGFORT_CA -H "Authorization: Bearer \$RINGFORT_TOKEN" \\
       -d '{"key":"user:123","value":"SGVsbG8=","ttl":86400}' \$RINGFORT_URL/api/v1/item
  curl --cacert \$RINGFORT_CA -H "Authorization: Bearer \$RINGFORT_TOKEN" \\
       "\$RINGFORT_URL/api/v1/item?key=user:123&consistency=strong"
  curl --cacert \$RINGFORT_CA -H "Authorization: Bearer \$RINGFORT_TOKEN" -X DELETE \\
       "\$RINGFORT_URL/api/v1/item?key=user:123"
  curl --cacert \$RINGFORT_CA \$RINGFORT_URL/health/ready
  curl --cacert \$RINGFORT_CA -H "Authorization: Bearer \$RINGFORT_TOKEN" \$RINGFORT_URL/metrics
TEXT
printf '\nThe demo is over; everything went as promised.\n'
