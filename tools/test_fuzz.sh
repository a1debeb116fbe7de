#!/usr/bin/env bash
# Fuzz targets: tools/test_fuzz.sh [NAME|all] [SECONDS]. Without arguments each target gets its seeds
# and a few thousand fixed-seed runs, the same in every test run. With SECONDS it is a campaign from
# fresh randomness; what it finds new stays in build/fuzz/corpus/NAME, crashes in build/fuzz/crashes.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
name=${1:-all} seconds=${2:-}
./dev build fuzz || exit 1
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
failed=0
mkdir -p build/fuzz/crashes
for target in build/fuzz/bin/fuzz_*; do
    [ -x "$target" ] || continue
    this=${target##*/fuzz_}
    [ "$name" = all ] || [ "$name" = "$this" ] || continue
    found=build/fuzz/corpus/$this
    mkdir -p "$found"
    if [ -n "$seconds" ]; then
        options=(-max_total_time="$seconds" "$found" "tests/fuzz/corpus/$this")
    else
        options=(-seed=1 -runs=20000 -max_total_time=10 "tests/fuzz/corpus/$this")
        scratch=$(mktemp -d) && options=("${options[@]:0:3}" "$scratch" "tests/fuzz/corpus/$this")
    fi
    log=build/fuzz/$this.log
    if "$target" -timeout=5 -rss_limit_mb=1024 -max_len=16384 -artifact_prefix="build/fuzz/crashes/$this-" \
        "${options[@]}" >"$log" 2>&1; then
        printf '  %-10s %s\n' "$this" "$(grep -o 'Done .*' "$log")"
    else
        failed=1
        printf '  %-10s FAILED (build/fuzz/%s.log)\n' "$this" "$this"
        grep -m 12 -E 'ERROR|SUMMARY|#[0-9]+ .*src/|Test unit written' "$log"
    fi
    [ -z "${scratch:-}" ] || rm -rf "$scratch"
done
exit $failed
