#!/usr/bin/env bash
# Line coverage per room: unit tests, simulator and cluster tests of the coverage build.
# Usage: tools/coverage.sh BIN [--json FILE]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
bin=$1; shift
build=$(dirname "$bin")
json= failed=0
[ "${1:-}" != --json ] || json=$2
find "$build" -name '*.gcda' -delete
for test in "$bin"/test_*; do
    "$test" >"$build/$(basename "$test").log" 2>&1 || { echo "failed: $test (see its log in $build)"; exit 1; }
done
"$bin/ringfort-sim" --seeds 100 >"$build/sim.log"
"$bin/ringfort-sim" --engine --seeds 40 >>"$build/sim.log"
for group in cluster fault; do # a process that a test kills counts nothing
    RINGFORT_BIN=$bin timeout -k 10 900 /usr/bin/python3 -m pytest -q -p no:cacheprovider "tests/$group" ||
        { echo "some tests of $group failed; what they ran counts all the same"; failed=1; }
done
gcovr --root . --gcov-ignore-parse-errors --object-directory "$build" --filter 'src/' --json-summary "$build/coverage.json" >/dev/null
[ -z "$json" ] || cp "$build/coverage.json" "$json"
/usr/bin/python3 - "$build/coverage.json" <<'PY'
import collections, json, sys
rooms = collections.defaultdict(lambda: [0, 0])
files = json.load(open(sys.argv[1]))["files"]
for file in files:
    room = rooms[file["filename"].split("/")[1]]
    room[0] += file["line_covered"]
    room[1] += file["line_total"]
for name, (covered, total) in sorted(rooms.items()):
    print(f"{name:10} {100 * covered / total:5.1f} %  of {total} lines")
print("\nbelow 85 %:")
for file in sorted(files, key=lambda one: one["line_percent"]):
    if file["line_percent"] < 85:
        print(f"  {file['line_percent']:5.1f} %  {file['filename']}")
PY
exit $failed
