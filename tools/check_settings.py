#!/usr/bin/env python3
"""Fails when a setting is accepted without doing anything: every row of the two schema tables names a field
that the server reads somewhere, or says NOT_YET, so that whoever sets it is warned. And the reverse: what is
read is not NOT_YET any more. The command line does not count: it only checks files."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
ROW = re.compile(r'\{"(?P<path>[a-z_.]+)",\s*RF_SET_(?P<type>\w+),\s*AT\((?P<field>[\w.]+)\)(?P<rest>.*?)\b'
                 r'(?P<effect>START|LIVE|NOT_YET),\s*"', re.S)
LEFT_OUT = {"row_cache"}  # not looked at until the cache is there
rooms = [p for p in (root / "src").rglob("*.c") if p.parent.name != "cli"]
code = "\n".join(re.sub(r'^.*\bAT\(.*$', "", p.read_text(), flags=re.M) for p in rooms)


def is_read(field):
    """`config->storage.memtable_bytes`, `table->config.n`, …; a policy's plugin and options go as a whole."""
    if field.endswith((".plugin", ".options")):
        policy, member = field.split(".")
        return is_read(policy) and re.search(rf"\bpolicy->{member}\b", code)
    return re.search(rf"\b(?:config|node)(?:->|\.){re.escape(field)}\b", code)


problems, count = [], 0
for name in ("node_config", "table_config"):
    text = (root / "src/config" / f"{name}.c").read_text()
    rows = list(ROW.finditer(text))
    if len(rows) != text.count("AT(") - 1:  # the macro itself
        problems.append(f"src/config/{name}.c: a row that this check cannot read")
    for row in rows:
        count += 1
        # A format's version and a choice of one need no reader: nothing else can be said.
        choices = row["type"] == "CHOICE" and "|" not in row["rest"]
        if row["type"] == "VERSION" or choices or row["path"] in LEFT_OUT:
            continue
        read = bool(is_read(row["field"]))
        if read == (row["effect"] == "NOT_YET"):
            problems.append(f"src/config/{name}.c: {row['path']} " +
                            ("has an effect, but says NOT_YET" if read else "is read nowhere: mark it NOT_YET"))
print("\n".join(problems) if problems else f"settings: {count} keys, each has an effect or says that it has none")
sys.exit(bool(problems))
