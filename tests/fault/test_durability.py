"""Modes of durability, and a log that cannot be written, on real processes: S30, S31, S36, D5."""
import itertools
import resource

import pytest

from cluster_conftest import until
from faultlib import Load, check_history, final_reads, ready, replicas_equal, settled


def with_mode(mode):
    """Every table of the cluster acknowledges in this mode."""
    def edit(text, name):
        assert "\nstorage:" not in text
        return text + f"storage: {{durability: {mode}}}\n"
    return edit


@pytest.mark.parametrize("mode", ["{interval: 60s}", "none"])
def test_kill_loses_nothing_unsynced(configured, mode):
    """All three nodes die by kill -9 one right after the other, long before the sync is due: every acknowledged write
    is in the file, so it is there again; that the logs did not end in order is told."""
    cluster = configured(with_mode(mode))
    tables = cluster.nodes[0].request("GET", "/admin/v1/status").json()["tables"]
    assert all(table["durability"] == ("none" if mode == "none" else "interval") for table in tables)
    for round in range(2):
        with Load(cluster, prefix=f"round{round}") as load:
            load.progress(150)
            for node in cluster.nodes:
                node.kill()
        cluster.start_all()
        for node in cluster.nodes:
            line = [line for line in node.log().splitlines() if "event=recovered" in line][-1]
            assert "damaged_segments=0" in line and "unclean_logs=0" not in line
        final_reads(cluster, load.history, load.keys)
        check_history(load.history)
        until(replicas_equal(cluster, load.keys), "all replicas agree")


def test_clean_stop_is_told(configured):
    """After an orderly stop the log ends with a closing mark, also when nothing was written since."""
    cluster = configured(with_mode("{interval: 60s}"), nodes=1)
    node = cluster.nodes[0]
    assert node.put("k", "v").status_code == 201
    for _ in range(2):
        node.stop()
        node.start()
        until(lambda: ready(node), "ready")
        assert "unclean_logs=0" in [line for line in node.log().splitlines() if "event=recovered" in line][-1]
        assert node.value("k", consistency="strong") == b"v"


def test_failed_log_write(configured):
    """The log of one node cannot be written any more (its files may not grow): that node acknowledges
    nothing, says so in its log once per shard, by a metric and to load balancers, does not try again, and
    the cluster goes on without it. Started again on a sound disk it serves everything."""
    cluster = configured()
    n1, _, n3 = cluster.nodes
    for i in range(20):
        assert n1.put(f"before/{i}", "v" * 500).status_code == 201
    resource.prlimit(n3.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    done = itertools.count()

    def write():
        assert n1.put(f"after/{next(done)}", "v" * 500).status_code == 201
        return n3.metric("ringfort_storage_read_only") == 1

    until(write, "n3 tells that it is read-only")
    told = n3.request("GET", "/health/ready")
    assert told.status_code == 503 and told.json()["reason"] == "read_only"
    failed = n3.log().count("event=wal_failed")
    for i in range(20):
        assert n1.put(f"later/{i}", "v").status_code == 201
    assert n1.value("before/3", consistency="strong") == b"v" * 500
    assert failed >= 1
    shards = {line.split("shard=")[1].split()[0] for line in n3.log().splitlines() if "event=wal_failed" in line}
    assert n3.log().count("event=wal_failed") == len(shards)
    n3.kill()
    n3.start()
    settled(cluster)
    for i in range(20):
        assert n3.value(f"later/{i}", consistency="strong") == b"v"
        assert n3.value(f"before/{i}", consistency="strong") == b"v" * 500
