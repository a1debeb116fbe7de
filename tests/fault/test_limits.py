"""Limits of the machine: descriptors, disk. S141-S145, S157, and that every limit is an answer."""
import contextlib
import os
import resource
import socket
import ssl
import subprocess

import pytest
import requests
from cluster_conftest import until
from faultlib import ConfiguredCluster, ready, settled


def set_descriptors(node, count):
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(node.pid, resource.RLIMIT_NOFILE)[1]))


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def open_idle(node, count):
    """Connections that finish their handshake and say nothing; those that are refused are left out."""
    context = ssl.create_default_context(cafile=str(node.cluster.dir / "ca.crt"))
    made = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            raw = socket.create_connection(("127.0.0.1", node.port), timeout=5)
            made.append(raw)
            made[-1] = context.wrap_socket(raw, server_hostname="127.0.0.1")
    return made


def close_all(sockets):
    for one in sockets:
        one.close()


def can_connect(node):
    with contextlib.suppress(requests.exceptions.RequestException):
        return requests.get(node.url + "/health/ready", verify=str(node.cluster.dir / "ca.crt"),
                            timeout=5).status_code == 200
    return False


@pytest.mark.parametrize("spare", [3, 120])
def test_descriptors_run_out(cluster, spare):
    """Idle clients take all descriptors they can get. The node keeps answering whom it has, as a
    replica too, and takes new clients when the idle ones are gone. With few spare descriptors accept
    itself fails; with more the share for clients is used up first."""
    n1, n2, _ = cluster.nodes
    assert n1.put("k", "1").status_code == 201  # keeps its connection
    before = resource.prlimit(n1.pid, resource.RLIMIT_NOFILE)[0]
    set_descriptors(n1, descriptors(n1) + spare)
    idle = open_idle(n1, spare + 60)
    try:
        for i in range(20):
            assert n1.put("k", str(i)).status_code == 201
            assert n2.value("k", consistency="strong") == str(i).encode()
        assert cluster.nodes[2].alive() == {"n1", "n2", "n3"}
    finally:
        close_all(idle)
    until(lambda: can_connect(n1), "new clients are served again")
    set_descriptors(n1, before)
    assert n1.metric("ringfort_storage_read_only") == 0


def test_no_descriptor_at_all(cluster):
    """Not one descriptor can be opened any more, not even for a moment to refuse a client: the node
    goes on for those that it has, as coordinator and as replica, and serves the clients that waited
    as soon as it can."""
    n1, n2, _ = cluster.nodes
    assert n1.put("k", "1").status_code == 201  # keeps its connection
    before = resource.prlimit(n1.pid, resource.RLIMIT_NOFILE)[0]
    waiting = []
    set_descriptors(n1, 3)
    try:
        for i in range(20):
            waiting.append(socket.create_connection(("127.0.0.1", n1.port), timeout=30))
            assert n1.put("k", str(i)).status_code == 201
            assert n2.value("k", consistency="strong") == str(i).encode()
        assert cluster.nodes[2].alive() == {"n1", "n2", "n3"}
        set_descriptors(n1, before)
        context = ssl.create_default_context(cafile=str(cluster.dir / "ca.crt"))
        for i, raw in enumerate(waiting):
            waiting[i] = context.wrap_socket(raw, server_hostname="127.0.0.1")
    finally:
        close_all(waiting)
    assert can_connect(n1)
    assert n1.metric("ringfort_storage_read_only") == 0


def test_strangers_on_the_peer_port(cluster):
    """Connections to the peer port that never say hello are dropped after their time, and do not
    keep real peers out."""
    n1, n2, n3 = cluster.nodes
    strangers = [socket.create_connection(("127.0.0.1", n1.peer_port), timeout=5) for _ in range(1200)]
    try:
        n3.kill()
        n3.start()
        settled(cluster)
        assert n3.put("k", "v").status_code == 201
        for one in strangers:
            one.settimeout(30)
        # The end of the stream, or a reset: whichever it is, the node let go of it.
        for one in strangers:
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
    finally:
        close_all(strangers)
    n2.kill()
    until(lambda: n1.put("k", "w").status_code == 201, "n1 and n3 serve without n2")


@contextlib.contextmanager
def small_disks(names, size):
    """Data directories on a tmpfs of their own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    cluster = ConfiguredCluster(start=False)
    paths = [cluster.dir / name / "data" for name in names]
    mounted = []
    try:
        for path in paths:
            path.mkdir(exist_ok=True)
            mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False)
            if mount.returncode != 0:
                pytest.skip("mounting is not allowed here")
            mounted.append(path)
        cluster.start_all()
        yield cluster
        cluster.cli("dev", "down", "--keep")
    finally:
        cluster.cli("dev", "down", "--keep", check=False)
        for path in mounted:
            subprocess.run(["umount", path], check=True)
        cluster.close()


def fill(node, value=b"x" * 60_000, limit=400):
    """Writes until one fails; the keys acknowledged, and the failed answer."""
    acked = []
    for i in range(limit):
        answer = node.put(f"fill/{i}", value)
        if answer.status_code != 201:
            return acked, answer
        acked.append(f"fill/{i}")
    return acked, None


def test_one_disk_full(request):
    """The disk of one node is full: the others go on without a failed write, and the node recovers
    when there is space again."""
    with small_disks(["n3"], "4m") as cluster:
        n1, _, n3 = cluster.nodes
        acked, failed = fill(n1, limit=120)
        assert failed is None, failed.text
        pid = n3.pid
        assert n3.value(acked[0], consistency="strong") == b"x" * 60_000, "reads work"
        assert n3.pid == pid and n3.status(), "it did not crash"
        subprocess.run(["mount", "-o", "remount,size=64m", n3.dir / "data"], check=True)
        n3.stop()
        n3.start()
        settled(cluster)
        for key in acked:
            assert n3.value(key, consistency="strong") == b"x" * 60_000
        assert n3.put("after", "v").status_code == 201


def test_all_disks_full(request):
    """All disks are full: a write that fails says so truthfully, reads work, nothing crashes, and
    nothing that was acknowledged is lost over the restart with more space."""
    with small_disks(["n1", "n2", "n3"], "6m") as cluster:
        n1, n2, n3 = cluster.nodes
        acked, failed = fill(n1)
        assert failed is not None and failed.status_code in (503, 504, 507), failed
        assert failed.json()["write_outcome"] in ("unknown", "not_applied")
        assert len(acked) > 10
        pids = [node.pid for node in cluster.nodes]
        for node in cluster.nodes:
            assert node.value(acked[0], consistency="strong") == b"x" * 60_000
            assert node.value(acked[-1], consistency="strong") == b"x" * 60_000
            # Another shard's log may still have space that it took ahead: then it is stored.
            answer = node.put("more", b"y" * 60_000)
            assert answer.status_code in (201, 503, 504, 507), answer.text
            if answer.status_code == 201:
                assert node.value("more", consistency="strong") == b"y" * 60_000
        assert [node.pid for node in cluster.nodes] == pids
        if failed.json()["write_outcome"] == "not_applied":
            assert n2.get(f"fill/{len(acked)}", consistency="strong").status_code == 404
        for node in cluster.nodes:
            subprocess.run(["mount", "-o", "remount,size=64m", node.dir / "data"], check=True)
            node.kill()
        cluster.start_all()
        for key in acked:
            assert n3.value(key, consistency="strong") == b"x" * 60_000
        until(lambda: n1.put("after", "v").status_code == 201, "writes work again")
        assert ready(n2)
