#!/usr/bin/env bash
# The core is a state machine without I/O: linked on its own (base + format + ring + core), it may
# need no symbol from outside that docs/core-symbols.txt does not list.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Compiled anew without link-time optimization, so that the objects hold real symbols.
for file in src/base/*.c src/format/*.c src/ring/*.c src/core/*.c; do
    case "$file" in src/base/host_*) continue ;; esac
    gcc -std=c17 -O2 -fstack-protector-strong -Isrc -Iinclude -c "$file" -o "$work/$(echo "$file" | tr / _).o"
done
ld -r -o "$work/core.o" "$work"/*.c.o
nm -u "$work/core.o" | awk '{print $2}' | sort >"$work/needed"
grep -v '^#' docs/core-symbols.txt | sort >"$work/allowed"
extra=$(comm -23 "$work/needed" "$work/allowed")
if [ -n "$extra" ]; then
    printf 'the core needs symbols that docs/core-symbols.txt does not list:\n%s\n' "$extra" >&2
    exit 1
fi
echo "purity: the core needs $(wc -l <"$work/needed") symbols from outside, all of them listed"
