"""A process that stands still with its sockets open (SIGSTOP): S133, S160, S177, D22."""
import time

import pytest
from cluster_conftest import until
from conftest import SECONDS
from faultlib import Load, add_lines, check_history, final_reads, freeze, replicas_equal, settled, thaw


@pytest.mark.parametrize("victim", [0, 2])
def test_frozen_node(configured, victim):
    """Writes and strong reads go on through the other two at full speed, also before the frozen node
    is declared dead: it must not use up the table of requests (64 entries here, and requests that
    end only at their 2 s deadline would allow 32 a second)."""
    cluster = configured(add_lines("limits: {max_requests: 64}"))
    others = [i for i in range(3) if i != victim]
    names = [cluster.nodes[i].name for i in others]
    with Load(cluster, clients=4, keys=20, nodes=others) as load:
        load.progress(50)
        freeze(cluster.nodes[victim])
        try:
            begin = time.monotonic()
            load.progress(400, nodes=names)
            until(lambda: cluster.nodes[victim].name not in cluster.nodes[others[0]].alive(), "declared dead")
            until(lambda: time.monotonic() > begin + min(SECONDS, 3), "some time passes")
            load.progress(100, nodes=names)
        finally:
            thaw(cluster.nodes[victim])
        settled(cluster)
        thawed = cluster.nodes[victim]
        until(lambda: thawed.put("after", "thaw").status_code == 201, "the thawed node writes")
        assert thawed.value("after", consistency="strong") == b"thaw"
        load.progress(50)
    bad = [op for op in load.history if op.outcome != "ok"]
    assert not bad, f"{len(bad)} requests failed, as {bad[0]}"
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
    until(replicas_equal(cluster, load.keys), "all replicas agree")


def test_frozen_twice_quickly(cluster):
    """Pauses shorter than the failure detector's patience: nothing fails on the others, and the
    node serves right after each pause."""
    with Load(cluster, nodes=[0, 1]) as load:
        for _ in range(4):
            freeze(cluster.nodes[2])
            try:
                load.progress(60)
            finally:
                thaw(cluster.nodes[2])
            until(lambda: cluster.nodes[2].put("pause", "v").status_code == 201, "n3 writes again")
    bad = [op for op in load.history if op.outcome != "ok"]
    assert not bad, f"{len(bad)} requests failed, as {bad[0]}"
    check_history(load.history)
