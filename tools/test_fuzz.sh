#!/usr/bin/env bash
# Fuzz targets: tools/test_fuzz.sh [NAME|all] [SECONDS]. Without SECONDS each target gets its seeds and a few
# seconds of new inputs, all targets together about half a minute. They come from a seed that is another one in
# every run and is printed; RF_FUZZ_SEED=SEED repeats a run. With SECONDS it is a campaign; what it finds new stays in build/fuzz/corpus/NAME, crashes in build/fuzz/crashes.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
name=${1:-all} seconds=${2:-}
./dev build fuzz || exit 1
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
failed=0
seed=${RF_FUZZ_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
targets=(build/fuzz/bin/fuzz_*)
each=$((30 / ${#targets[@]} > 1 ? 30 / ${#targets[@]} : 1)) # seconds
printf '  seed %s\n' "$seed"
mkdir -p build/fuzz/crashes
for target in "${targets[@]}"; do
    [ -x "$target" ] || continue
    this=${target##*/fuzz_}
    [ "$name" = all ] || [ "$name" = "$this" ] || continue
    found=build/fuzz/corpus/$this
    mkdir -p "$found"
    if [ -n "$seconds" ]; then
        options=(-max_total_time="$seconds" "$found" "tests/fuzz/corpus/$this")
    else
        scratch=$(mktemp -d)
        options=(-seed="$seed" -max_total_time="$each" "$scratch" "tests/fuzz/corpus/$this")
    fi
    log=build/fuzz/$this.log
    if "$target" -timeout=5 -rss_limit_mb=1024 -max_len=16384 -artifact_prefix="build/fuzz/crashes/$this-" \
        "${options[@]}" >"$log" 2>&1; then
        printf '  %-10s %s\n' "$this" "$(grep -o 'Done .*' "$log")"
    else
        failed=1
        printf '  %-10s FAILED (build/fuzz/%s.log; again with RF_FUZZ_SEED=%s)\n' "$this" "$this" "$seed"
        grep -m 12 -E 'ERROR|SUMMARY|#[0-9]+ .*src/|Test unit written' "$log"
    fi
    [ -z "${scratch:-}" ] || rm -rf "$scratch"
done
exit $failed
