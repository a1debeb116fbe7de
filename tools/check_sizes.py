#!/usr/bin/env python3
"""Fails when a function of src/, plugins/ or include/ is longer than 70 lines, or a file than 1,000.
A function starts at a line that begins in the first column and ends with the `}` in the first column
(the style of .clang-format). Tests and benches are not looked at: their tables may be long."""
import pathlib
import re
import sys

FUNCTION_MAX, FILE_MAX = 70, 1000
root = pathlib.Path(__file__).resolve().parent.parent
start = re.compile(r"^[a-zA-Z_].*\(")
lengths, problems, files = [], [], 0
for room in ("src", "plugins", "include"):
    for path in sorted((root / room).rglob("*.[ch]")):
        lines = path.read_text().splitlines()
        name = path.relative_to(root)
        files += 1
        if len(lines) > FILE_MAX:
            problems.append(f"{name}: {len(lines)} lines; a file has at most {FILE_MAX}")
        head = None
        for number, line in enumerate(lines, 1):
            if start.match(line) and not line.startswith("#") and not line.rstrip().endswith(";"):
                head = (number, line)
            elif line == "}" and head:
                length = number - head[0] + 1
                lengths.append(length)
                if length > FUNCTION_MAX:
                    problems.append(f"{name}:{head[0]}: {length} lines; a function has at most {FUNCTION_MAX}: {head[1]}")
                head = None
lengths.sort()
print("\n".join(problems) if problems else
      f"sizes: {files} files, {len(lengths)} functions, median {lengths[len(lengths) // 2]} lines, longest {lengths[-1]}")
sys.exit(bool(problems))
