#!/usr/bin/env python3
"""Fails when an include crosses a boundary that docs/layers.txt does not allow, or when the rooms
form a cycle. Every `#include "room/file.h"` in src/ is looked at."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
allowed = {}
for line in (root / "docs/layers.txt").read_text().splitlines():
    line = line.split("#")[0].strip()
    if line:
        room, uses = line.split(":")
        allowed[room.strip()] = set(uses.split())

problems = []
for room, uses in allowed.items():
    for used in uses:
        if used not in allowed:
            problems.append(f"docs/layers.txt: {room} uses an unknown room '{used}'")


def reaches(start, goal, seen):
    return any(n == goal or (n not in seen and reaches(n, goal, seen | {n})) for n in allowed.get(start, ()))


problems += [f"docs/layers.txt: {room} is part of a cycle" for room in allowed if reaches(room, room, {room})]
include = re.compile(r'^\s*#\s*include\s+"([^"/]+)/')
for path in sorted((root / "src").rglob("*.[ch]")):
    room = path.relative_to(root / "src").parts[0]
    if room not in allowed:
        problems.append(f"{path.relative_to(root)}: docs/layers.txt does not know the room '{room}'")
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = include.match(line)
        if match and match[1] not in ({room, "ringfort"} | allowed[room]):
            problems.append(f"{path.relative_to(root)}:{number}: {room} may not include {match[1]}/")
print("\n".join(problems) if problems else f"layers: {len(allowed)} rooms, no include crosses a boundary")
sys.exit(bool(problems))
