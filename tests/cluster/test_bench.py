"""`ringfort bench`: what it says it did has been done, and failures are told."""
import json
import subprocess

from conftest import BIN, free_ports


def run(cluster, *options, check=True):
    nodes = [option for node in cluster.nodes for option in ("--url", node.url)]
    return subprocess.run(
        [BIN / "ringfort", "bench", *nodes, "--ca", cluster.dir / "ca.crt", "--token", cluster.token,
         "--connections", "6", *options], check=check, capture_output=True, text=True)


def test_counts_and_row(shared, tmp_path):
    """Every requested operation was made, once: the values are there, with the size asked for, and
    the row of JSON has the fields that comparisons read."""
    rows = tmp_path / "rows.json"
    pids = ",".join(str(node.pid) for node in shared.nodes)
    run(shared, "--fill", "--keys", "50", "--value-bytes", "101", "--json", rows, "--pids", pids,
        "--threads", "2")
    for key in (0, 17, 49):
        assert len(shared.nodes[0].value(f"bench{key:011}", consistency="strong")) == 101
    assert shared.nodes[0].value("bench00000000050", consistency="strong") is None
    run(shared, "--mix", "100:0", "--strong", "--keys", "50", "--requests", "200", "--zipf",
        "--pipeline", "8", "--json", rows)
    fill, get = [json.loads(line) for line in rows.read_text().splitlines()]
    assert (fill["workload"], fill["value_bytes"], fill["threads"]) == ("fill", 101, 2)
    assert (get["workload"], get["errors"], fill["errors"]) == ("get-strong", 0, 0)
    assert fill["ops_per_s"] > 0 and 0 < get["p50_us"] <= get["p99_us"]
    assert fill["cpu_us_per_op"] >= 0 and get["cpu_us_per_op"] is None


def test_open_loop_keeps_its_rate(shared):
    """At a rate the client never sends more than is due, however fast answers come."""
    told = run(shared, "--rate", "200", "--requests", "100", "--keys", "10", "--mix", "0:100")
    assert float(told.stdout.splitlines()[1].split()[3]) <= 220


def test_failures_are_told(shared):
    """Answers that say failure are counted and the first is shown; no server is exit code 69."""
    missing = run(shared, "--mix", "100:0", "--requests", "20", "--table", "nowhere", check=False)
    assert missing.returncode == 1
    assert "20 requests failed" in missing.stderr and "nowhere" in missing.stderr
    nobody = subprocess.run([BIN / "ringfort", "bench", "--url", f"https://127.0.0.1:{free_ports(1)}",
                             "--requests", "1"], capture_output=True, text=True)
    assert nobody.returncode == 69 and "refused" in nobody.stderr
    assert run(shared, "--mix", "60:60", check=False).returncode == 64
