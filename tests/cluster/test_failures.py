"""A node dies: S30, S36, S105, S121, S133."""
import threading

import pytest
from conftest import Cluster, until


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_kill_during_writes_loses_nothing(cluster, victim):
    """S30, S105, S133: kill -9 of any node while clients write; every acknowledged write is there."""
    acked, stop = {}, threading.Event()
    writers = [node for i, node in enumerate(cluster.nodes) if i != victim]

    def write(node, part):
        i = 0
        while not stop.is_set():
            key = f"{part}/{i}"
            if node.put(key, key).status_code == 201:
                acked[key] = key.encode()
            i += 1

    threads = [threading.Thread(target=write, args=(node, n)) for n, node in enumerate(writers)]
    for thread in threads:
        thread.start()
    until(lambda: len(acked) > 50, "writes before the kill")
    cluster.nodes[victim].kill()
    before = len(acked)
    until(lambda: len(acked) > before + 50, "writes go on after the kill")
    stop.set()
    for thread in threads:
        thread.join()
    for key, value in acked.items():
        assert writers[0].value(key, consistency="strong") == value
    cluster.nodes[victim].start()
    back = cluster.nodes[victim]
    for key, value in acked.items():
        # An eventual read through a replica answers from its own store (S79): nothing else repairs it.
        until(lambda: back.value(key, consistency="eventual") == value, f"the victim has {key} itself")
    for key, value in acked.items():
        assert back.value(key, consistency="strong") == value


def test_restart_of_all_keeps_everything(cluster):
    """S30: what was acknowledged survives kill -9 of the whole cluster."""
    for i in range(100):
        assert cluster.nodes[i % 3].put(f"all/{i}", str(i)).status_code == 201
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.cluster.cli("dev", "start", node.name, check=False)
    until(lambda: all(n.request("GET", "/health/ready").status_code == 200 for n in cluster.nodes), "all ready")
    for i in range(100):
        assert cluster.nodes[(i + 1) % 3].value(f"all/{i}", consistency="strong") == str(i).encode()


def test_without_quorum_nothing_is_promised(cluster):
    """S36, S77, S106: one of three left: no write, no strong read, but eventual reads work."""
    n1, n2, n3 = cluster.nodes
    n1.put("k", "v")
    n2.kill()
    n3.kill()
    until(lambda: n1.alive() == {"n1"}, "n1 sees both dead")
    write = n1.put("k", "other")
    assert write.status_code == 503 and write.json()["code"] == "RF-QUORUM-UNAVAILABLE"
    assert write.json()["write_outcome"] == "not_applied"
    assert n1.get("k", consistency="strong").status_code == 503
    assert n1.value("k", consistency="eventual") == b"v"
    assert n1.request("GET", "/health/cluster?for=write").status_code == 503


def test_single_node():
    """S30: a node whose only seed is itself makes a cluster of one, and is the same one after a
    restart."""
    one = Cluster(nodes=1)
    try:
        node = one.nodes[0]
        assert node.put("alone", "v").status_code == 201
        node.kill()
        node.start()
        assert node.value("alone", consistency="strong") == b"v"
    finally:
        one.close()
