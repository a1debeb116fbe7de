#!/usr/bin/env bash
# All tests, or the named groups: lint unit sim fuzz cluster fault; tsan (the cluster tests under the
# thread sanitizer, a few minutes) only when it is named. Exit code 0 only if all passed.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
groups=("$@")
((${#groups[@]})) || groups=(lint unit sim fuzz cluster fault)
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
failed=() passed=0

build() { printf '\n== building %s (build/%s.log)\n' "$1" "$1"; ./dev build "$1" || exit 1; }
check() { # NAME COMMAND...
    local name=$1 start=$SECONDS; shift
    if "$@"; then passed=$((passed + 1)); printf 'ok    %s (%d s)\n' "$name" $((SECONDS - start))
    else failed+=("$name"); printf 'FAIL  %s\n' "$name"; fi
}
wants() { local g; for g in "${groups[@]}"; do [ "$g" = "$1" ] && return 0; done; return 1; }

if wants lint; then
    build release
    check lint ./dev lint
    build clang
    passed=$((passed + 1))
fi
if wants unit || wants sim || wants cluster || wants fault; then build dev; fi
if wants unit; then
    for test in build/dev/bin/test_*; do check "$(basename "$test")" "$test"; done
fi
if wants unit; then check abi timeout -k 10 900 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/abi; fi
if wants sim; then check sim tools/test_sim.sh; fi
if wants fuzz; then check fuzz tools/test_fuzz.sh; fi
if wants cluster; then
    check cluster env RINGFORT_BIN="$PWD/build/dev/bin" timeout -k 10 900 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/cluster
fi
if wants fault; then
    check fault env RINGFORT_BIN="$PWD/build/dev/bin" timeout -k 10 900 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/fault
fi
if wants tsan; then
    build tsan
    check tsan env RINGFORT_BIN="$PWD/build/tsan/bin" TSAN_OPTIONS=exitcode=0 timeout -k 10 900 /usr/bin/python3 -m pytest -q \
        -p no:cacheprovider tests/cluster --ignore tests/cluster/test_bench.py
fi
printf '\n%d passed, %d failed\n' "$passed" "${#failed[@]}"
((${#failed[@]} == 0)) || { printf 'failed: %s\n' "${failed[*]}"; exit 1; }
