"""Nodes that stop, come back, move and lose their directory: S13, S105, S133, S151-S153, S160."""
import shutil
import subprocess
import threading
import time

from cluster_conftest import BIN, free_ports, until
from faultlib import Client, Load, check_history, final_reads, ready, replicas_equal, settled


def start_unready(node):
    """Starts the server without waiting until it is ready (`ringfort dev start` does)."""
    with open(node.dir / "log", "a") as log:
        process = subprocess.Popen([BIN / "ringfortd", "--config", node.dir / "ringfort.yaml"], stdout=log,
                                   stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (node.dir / "pid").write_text(f"{process.pid}\n")
    return process


class RetryLoad(Load):
    """Every request that fails is tried once more on the next node, which must serve it."""

    def loop(self, client, seed):
        run = client.run
        self.unserved = getattr(self, "unserved", [])

        def with_retry(kind, key, node):
            op = run(kind, key, node)
            if op.outcome != "ok":
                again = run(kind, key, client.nodes[(node.number + 1) % len(client.nodes)])
                if again.outcome != "ok":
                    self.unserved.append((op, again))
            return op

        client.run = with_retry
        super().loop(client, seed)


def test_rolling_restart(cluster):
    """Each node is stopped with SIGTERM and started under load. Only the node that restarts refuses
    (its connections, or with 503 draining and starting), and the next node serves what it refused."""
    windows = []
    with RetryLoad(cluster) as load:
        for node in cluster.nodes:
            load.progress(40)
            begin = time.monotonic()
            node.stop()
            down = time.monotonic()
            load.progress(40)
            node.start()
            windows.append((node.name, begin, time.monotonic(), f"down since {down}"))
            settled(cluster)
        load.progress(40)
    assert not load.unserved, load.unserved[:3]
    for op in load.history:
        if op.outcome != "ok":
            assert any(op.node == name and begin - 1 <= op.end and op.begin <= end + 1
                       for name, begin, end, _ in windows), op
            assert op.status == 0 or op.why in ("RF-DRAINING", "RF-STARTING"), (op, windows)
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
    until(replicas_equal(cluster, load.keys), "all replicas agree")


def test_new_address(cluster):
    """A node comes back with other ports in its configuration: the others learn them by gossip."""
    n1, n2, n3 = cluster.nodes
    n1.put("before", "v")
    n3.stop()
    base = free_ports(2)
    config = n3.dir / "ringfort.yaml"
    head, listen = config.read_text().split("listen:", 1)
    listen = listen.replace(f":{n3.port}", f":{base}").replace(f":{n3.peer_port}", f":{base + 1}")
    config.write_text(head + "listen:" + listen)
    n3.port, n3.peer_port, n3.url = base, base + 1, f"https://127.0.0.1:{base}"
    process = start_unready(n3)
    settled(cluster)
    n1.kill()  # now the quorum of the two others needs the new address, both ways
    until(lambda: n2.put("after", "v").status_code == 201, "n2 writes with n3")
    until(lambda: n3.put("after", "w").status_code == 201, "n3 writes with n2")
    assert n2.value("before", consistency="strong") == b"v"
    told = {node["name"]: node for node in n2.status()["nodes"]}
    assert str(base + 1) in str(told["n3"]), told["n3"]
    n3.stop()
    process.wait(60)
    n1.start()


def refused(node):
    """A node without its data is refused by the cluster: not ready, and the log says why."""
    process = start_unready(node)
    until(lambda: "cluster_refuses" in node.log(), f"{node.name} is refused")
    assert not ready(node)
    line = next(line for line in node.log().splitlines() if "cluster_refuses" in line)
    assert "name" in line and "data directory" in line, line
    assert node.put("k", "v").status_code == 503
    node.stop()
    process.wait(60)


def test_wiped_directories(cluster):
    """Two of three lose their directories: they must not come back as if they had had no data (a
    quorum of empty replicas would deny what was acknowledged). The third serves what it has, and a
    strong read is refused, never wrong."""
    n1, n2, n3 = cluster.nodes
    for i in range(20):
        assert n1.put(f"kept/{i}", str(i)).status_code == 201
    until(lambda: all(n1.value(f"kept/{i}", consistency="eventual") == str(i).encode() for i in range(20)),
          "n1 has all")
    for node in (n2, n3):
        node.stop()
    until(lambda: n1.alive() == {"n1"}, "n1 sees both gone")
    for node in (n2, n3):
        shutil.move(node.dir / "data", node.dir / "saved")
        refused(node)
        for i in range(20):
            assert n1.value(f"kept/{i}", consistency="eventual") == str(i).encode()
        assert n1.get("kept/0", consistency="strong").status_code == 503
        shutil.rmtree(node.dir / "data")
        shutil.move(node.dir / "saved", node.dir / "data")
    for node in (n2, n3):  # with their data restored they are members again
        node.start()
    settled(cluster)
    for i in range(20):
        assert n3.value(f"kept/{i}", consistency="strong") == str(i).encode()
