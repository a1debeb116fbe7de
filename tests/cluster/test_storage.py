"""Flush, files and compaction of real nodes: S30, S51, S53, S56, S62, S74."""
import pytest
from conftest import until
from edge import one_node, reconfigure


def fill(node, prefix, n, value="x" * 200):
    for i in range(n):
        assert node.put(f"{prefix}/{i}", f"{value}{i}").status_code == 201


def check(node, prefix, n, value="x" * 200):
    for i in range(n):
        assert node.value(f"{prefix}/{i}", consistency="strong") == f"{value}{i}".encode()


def work(node, what):
    answer = node.request("POST", f"/admin/v1/{what}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"state": "done"}


def files(node):
    """SSTables in the data directory."""
    return sorted(node.dir.rglob("*.sst"))


def test_flush_and_compaction_keep_everything(cluster):
    """S51, S56, S62: what was flushed and merged is read from files; merging gives space back."""
    n1 = cluster.nodes[0]
    for round in range(3):
        fill(n1, "k", 60, f"round {round} ")
        for node in cluster.nodes:
            work(node, "flush")
    assert n1.metric("ringfort_flushes_total") > 0
    assert n1.metric("ringfort_memtable_rows") < 20  # the node's own rows go on coming
    before = n1.metric("ringfort_sstable_files")
    work(n1, "compactions")
    after = n1.metric("ringfort_sstable_files")
    assert 0 < after < before
    assert n1.metric("ringfort_compactions_total") > 0
    until(lambda: len(files(n1)) == n1.metric("ringfort_sstable_files"), "merged files are deleted")
    for node in cluster.nodes:
        check(node, "k", 60, "round 2 ")
    assert n1.metric("ringfort_sstable_reads_total") > 0
    assert n1.request("GET", "/admin/v1/flush").status_code == 405


def test_flushed_data_survives_everything(cluster):
    """S30: files, log and a kill -9 in between; then a clean stop, which leaves files only."""
    n1, n2, n3 = cluster.nodes
    fill(n1, "flushed", 40)
    for node in cluster.nodes:
        work(node, "flush")
    fill(n2, "logged", 40)
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.cluster.cli("dev", "start", node.name, check=False)
    ready = lambda: all(n.request("GET", "/health/ready").status_code == 200 for n in cluster.nodes)
    until(ready, "all ready")
    check(n3, "flushed", 40)
    check(n3, "logged", 40)
    for node in cluster.nodes:
        node.stop()
    for node in cluster.nodes:
        assert files(node), "a clean stop flushes"
        node.cluster.cli("dev", "start", node.name, check=False)
    until(ready, "all ready again")
    check(n2, "flushed", 40)
    check(n2, "logged", 40)


def test_paced_merge_leaves_room_for_flushes_and_a_stop():
    """S53, S132: merges rest when `storage.compaction_bandwidth` is used up; flushes pass them, and a stop gives them
    up. What they were about is still there, and merged after the next start."""
    cluster = one_node()
    try:
        node = cluster.nodes[0]
        reconfigure(node, lambda text: text + "storage: {compaction_bandwidth: 1MiB/s}\n")
        for round in range(8):  # the eighth flush makes merges due
            for i in range(40):
                assert node.put(f"big/{i}", f"{round}" * 50_000).status_code == 201
            work(node, "flush")
        assert node.put("small", "x").status_code == 201
        work(node, "flush")
        node.stop()
        node.start()
        for i in range(40):
            assert node.value(f"big/{i}") == b"7" * 50_000
        assert node.value("small") == b"x"
        work(node, "compactions")
        assert node.metric("ringfort_background_failures_total") == 0
        for i in range(40):
            assert node.value(f"big/{i}") == b"7" * 50_000
    finally:
        cluster.close()
