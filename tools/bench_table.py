#!/usr/bin/env python3
"""Prints rows of JSON (one a line) as a table, each with its ratio to Ringfort's row of the same
bench, workload and value size: CPU of Ringfort / CPU of the other, below 1 when Ringfort is cheaper."""
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1]) if line.strip()]
groups = {}
for row in rows:
    groups.setdefault((row["bench"], row["value_bytes"], row["workload"]), []).append(row)
# A strong read stands beside the plain reads of the others: they have no other.
for (bench, size, workload), group in list(groups.items()):
    if workload == "get-strong":
        group += [r for r in groups.get((bench, size, "get"), []) if r["system"] != "ringfort"]


def show(value, form):
    return "-" if value is None else form.format(value)


print(f"\n{'workload':12} {'bytes':>5}  {'system':18} {'ops/s':>9} {'CPU us/op':>10} {'p50 us':>8} "
      f"{'p99 us':>8}   {'CPU ratio':>9} {'ops ratio':>9}")
for (bench, size, workload), group in groups.items():
    mine = next((r for r in group if r["system"] == "ringfort"), None)
    for row in group:
        cpu = ops = None
        if mine and row is not mine:
            if mine["cpu_us_per_op"] and row["cpu_us_per_op"]:
                cpu = mine["cpu_us_per_op"] / row["cpu_us_per_op"]
            ops = mine["ops_per_s"] / row["ops_per_s"] if row["ops_per_s"] else None
        print(f"{workload:12} {size:5}  {row['system']:18} {row['ops_per_s']:9.0f} "
              f"{show(row['cpu_us_per_op'], '{:10.2f}'):>10} {row['p50_us']:8.0f} {row['p99_us']:8.0f}   "
              f"{show(cpu, '{:.2f}'):>9} {show(ops, '{:.2f}'):>9}")
