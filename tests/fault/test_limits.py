"""Limits of the machine: descriptors, disk. S141-S145, S157, and that every limit is an answer."""
import contextlib
import os
import random
import resource
import socket
import ssl
import subprocess

import pytest
import requests
from cluster_conftest import BIN, until
from faultlib import ConfiguredCluster, ready, settled


def set_descriptors(node, count):
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(node.pid, resource.RLIMIT_NOFILE)[1]))


def descriptors(node):
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def open_idle(node, count):
    """Connections that finish their handshake and say nothing; those that are refused are left out. One
    that is not even accepted says that all descriptors are taken: then it is enough."""
    context = ssl.create_default_context(cafile=str(node.cluster.dir / "ca.crt"))
    made = []
    for _ in range(count):
        try:
            made.append(socket.create_connection(("127.0.0.1", node.port), timeout=5))
            made[-1] = context.wrap_socket(made[-1], server_hostname="127.0.0.1")
        except TimeoutError:
            break
        except OSError:
            pass
    return made


def close_all(sockets):
    for one in sockets:
        one.close()


def noise(size, seed=1):
    """Bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


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


def test_segment_without_descriptor(cluster):
    """S145: the log of one node cannot open its next segment for want of a descriptor: its writes wait,
    the cluster's go on, nothing turns read-only, and when there are descriptors again it has all."""
    n1, n2, _ = cluster.nodes
    for node in cluster.nodes:
        assert node.put("k", "1", w=3).status_code == 201  # all links are up, n1 keeps its client's connection
    before = resource.prlimit(n1.pid, resource.RLIMIT_NOFILE)[0]
    set_descriptors(n1, 3)
    value, keys = noise(1 << 20), [f"big/{i}" for i in range(40)]  # 40 MiB over the logs of two threads
    for key in keys:
        assert n2.put(key, value).status_code == 201
    until(lambda: "event=no_descriptor" in n1.log(), "n1 says what it lacks")
    assert n1.metric("ringfort_storage_read_only") == 0
    assert n1.value("k", consistency="strong") == b"1"
    set_descriptors(n1, before)
    until(lambda: "event=descriptor_again" in n1.log(), "the log goes on")
    for key in keys:
        until(lambda: n1.value(key) == value, "n1's own copy")
    assert n1.put("after", "v", w=3).status_code == 201


def test_log_that_cannot_grow(cluster):
    """S50, S141-S145: a write of the log fails (the largest file size is reached, EFBIG; any error that is
    not want of space or descriptors is the same): the node acknowledges nothing any more, says so, and
    everybody knows; the cluster goes on, and a restart makes it good."""
    n1, n2, n3 = cluster.nodes
    for i in range(10):
        assert n1.put(f"before/{i}", "v", w=3).status_code == 201
    limits = resource.prlimit(n3.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(n3.pid, resource.RLIMIT_FSIZE, (100_000, limits[1]))
    pid = n3.pid
    for i in range(40):
        assert n1.put(f"big/{i}", noise(20_000, i)).status_code == 201
    full_everywhere(cluster, "n3", "read_only")
    assert n3.pid == pid and n3.metric("ringfort_storage_read_only") == 1
    answer = n3.request("GET", "/health/ready")
    assert answer.status_code == 503 and answer.json()["reason"] == "read_only"
    assert "READ-ONLY" in cli_status(n3)
    refused = n1.put("all", "v", w=3)
    assert refused.status_code == 503 and refused.json()["write_outcome"] == "not_applied", refused.text
    assert n1.delete("before/0", w=3).status_code == 503
    for i in range(10):
        assert n3.value(f"before/{i}", consistency="strong") == b"v"
        assert n3.value(f"before/{i}") == b"v"
    n3.stop()
    n3.start()
    settled(cluster)
    full_everywhere(cluster, "n3", "ok")
    assert n1.put("all", "v", w=3).status_code == 201
    for i in range(40):
        assert n3.value(f"big/{i}", consistency="strong") == noise(20_000, i)


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


def fill(node, value, limit=150):
    """Writes until one fails; the keys acknowledged, and the failed answer."""
    acked = []
    for i in range(limit):
        answer = node.put(f"fill/{i}", value)
        if answer.status_code != 201:
            return acked, answer
        acked.append(f"fill/{i}")
    return acked, None


def ballast(node, leave):
    """Fills the node's disk with a file that is not its own, until `leave` bytes are free."""
    path = node.dir / "data" / "ballast"
    fs = os.statvfs(node.dir / "data")
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, fs.f_bavail * fs.f_frsize - leave)
    return path


def storage_states(node):
    """What the node believes of all storages, by name."""
    return {one["name"]: one["storage"] for one in node.status()["nodes"]}


def cli_status(node):
    env = {"RINGFORT_URL": node.url, "RINGFORT_CA": str(node.cluster.dir / "ca.crt"),
           "RINGFORT_TOKEN": node.cluster.token}
    return subprocess.run([BIN / "ringfort", "status"], env=env, check=True, capture_output=True, text=True).stdout


def full_everywhere(cluster, name, state="full"):
    for node in cluster.nodes:
        until(lambda: storage_states(node)[name] == state, f"{node.name} knows that {name} is {state}")


def test_alarm_refusal_recovery():
    """S141-S145: the disk of one node fills up: first an alarm, then the node refuses new values and
    goes on with reads and deletes; the others know, and the cluster's writes do not fail. With space
    again, everything works again, without a restart."""
    with small_disks(["n3"], "64m") as cluster:
        n1, _, n3 = cluster.nodes
        pid = n3.pid
        for i in range(20):
            assert n1.put(f"before/{i}", "v").status_code == 201
        total = n3.metric("ringfort_disk_total_bytes")
        assert 60 << 20 < total <= 64 << 20
        assert n3.metric("ringfort_storage_disk_low") == 0
        needed = int(n3.metric("ringfort_disk_needed_bytes"))
        assert needed >= total / 20  # 5 %
        path = ballast(n3, needed + needed // 2)
        until(lambda: n3.metric("ringfort_storage_disk_low") == 1, "the alarm")
        assert "event=disk_low" in n3.log() and "event=disk_full" not in n3.log()
        assert n3.metric("ringfort_storage_disk_full") == 0
        assert "LOW: make room" in cli_status(n3)
        path.unlink()
        path = ballast(n3, needed * 3 // 4)
        full_everywhere(cluster, "n3")
        assert n3.metric("ringfort_storage_disk_full") == 1
        assert "event=disk_full" in n3.log()
        status = cli_status(n3)
        assert "FULL: new values are refused" in status
        assert [line.split()[3] for line in status.splitlines() if line[:2] in ("n1", "n2", "n3")] == ["ok", "ok", "full"]
        assert n1.put("with one full", "v").status_code == 201
        assert n3.put("through the full one", "v").status_code == 201, "it coordinates for the others"
        refused = n1.put("all three", "v", w=3)
        assert refused.status_code == 507 and refused.json()["write_outcome"] == "not_applied", refused.text
        assert refused.json()["with_space"] == 2 and refused.json()["required"] == 3
        assert n1.delete("before/0", w=3).status_code == 200, "deletes may use the reserve"
        for i in range(1, 20):
            assert n3.value(f"before/{i}", consistency="strong") == b"v", "reads go on"
        assert n3.request("POST", "/admin/v1/compactions").status_code == 200, "merges may use the reserve"
        assert ready(n3), "it serves reads and deletes"
        path.unlink()
        full_everywhere(cluster, "n3", "ok")
        assert n1.put("all three", "v", w=3).status_code == 201
        assert "event=disk_not_full" in n3.log()
        assert n3.pid == pid, "no restart"


def test_two_disks_full():
    """S141-S145: W cannot be met any more: 507 before anything is sent, through every node; nothing of
    it is stored. When one disk has space again, writes work, without a restart."""
    with small_disks(["n2", "n3"], "64m") as cluster:
        pids = [node.pid for node in cluster.nodes]
        assert cluster.nodes[0].put("k", "old").status_code == 201
        paths = [ballast(node, 1 << 20) for node in cluster.nodes[1:]]
        full_everywhere(cluster, "n2")
        full_everywhere(cluster, "n3")
        for node in cluster.nodes:
            answer = node.put("k", "new")
            assert answer.status_code == 507 and answer.json()["write_outcome"] == "not_applied", answer.text
            assert answer.json()["code"] == "RF-DISK-RESERVE" and answer.json()["retryable"]
            assert node.metric("ringfort_full_refusals_total") == 1
            assert node.value("k", consistency="strong") == b"old"
            assert node.delete(f"absent/{node.name}").status_code == 200
            assert node.put("weak", "v", w=1).status_code == 201
        paths[0].unlink()
        full_everywhere(cluster, "n2", "ok")
        for node in cluster.nodes:
            assert node.put("k", "new").status_code == 201
        assert [node.pid for node in cluster.nodes] == pids


def test_start_on_a_full_disk():
    """A node that starts below its reserve is full from its first answer on, and serves reads."""
    with small_disks(["n3"], "64m") as cluster:
        n1, _, n3 = cluster.nodes
        assert n1.put("k", "v", w=3).status_code == 201
        path = ballast(n3, 1 << 20)
        n3.stop()
        n3.start()
        settled(cluster)
        full_everywhere(cluster, "n3")
        assert n1.put("k", "w", w=3).status_code == 507
        assert n3.value("k", consistency="strong") == b"v"
        path.unlink()
        full_everywhere(cluster, "n3", "ok")
        assert n1.put("k", "w", w=3).status_code == 201


def test_one_disk_full_by_writes():
    """Clients fill the disk of one node: the others go on without a failed write, and it takes part
    again when there is space, without a restart."""
    with small_disks(["n3"], "24m") as cluster:
        n1, _, n3 = cluster.nodes
        pid, value = n3.pid, noise(300_000)
        acked, failed = fill(n1, value)
        assert failed is None, failed.text
        full_everywhere(cluster, "n3")
        assert n3.metric("ringfort_disk_free_bytes") > 0
        assert n3.value(acked[0], consistency="strong") == value, "reads work"
        subprocess.run(["mount", "-o", "remount,size=256m", n3.dir / "data"], check=True)
        full_everywhere(cluster, "n3", "ok")
        assert n1.put("after", "v", w=3).status_code == 201
        for key in acked:
            assert n3.value(key, consistency="strong") == value
        assert n3.pid == pid and n3.metric("ringfort_storage_read_only") == 0


def test_all_disks_full_by_writes():
    """Clients fill all disks: a write that fails says so truthfully, reads and deletes work, nothing
    crashes, what was acknowledged is there, also over a restart, and writes work again by themselves
    when there is more space. A refused write may work a moment later: full nodes flush and merge."""
    with small_disks(["n1", "n2", "n3"], "24m") as cluster:
        n1, n2, n3 = cluster.nodes
        pids, value = [node.pid for node in cluster.nodes], noise(300_000)
        acked, failed = fill(n1, value)
        assert failed is not None and failed.status_code in (504, 507), failed
        assert failed.json()["write_outcome"] == ("unknown" if failed.status_code == 504 else "not_applied")
        assert len(acked) > 10
        if failed.status_code == 507:
            assert n2.get(f"fill/{len(acked)}", consistency="strong").status_code == 404
        for i in range(60):
            answer = cluster.nodes[i % 3].put(f"more/{i}", value)
            assert answer.status_code in (201, 504, 507), answer.text
            if answer.status_code == 201:
                acked.append(f"more/{i}")
        for node in cluster.nodes:
            assert node.value(acked[-1], consistency="strong") == value
            assert node.metric("ringfort_storage_read_only") == 0
        assert n1.delete(acked.pop(0), w=3).status_code == 200
        for node in cluster.nodes:
            subprocess.run(["mount", "-o", "remount,size=256m", node.dir / "data"], check=True)
        until(lambda: n1.put("after", "v", w=3).status_code == 201, "writes work again")
        assert [node.pid for node in cluster.nodes] == pids
        for node in cluster.nodes:
            node.kill()
        cluster.start_all()
        assert n2.value("fill/0", consistency="strong") is None
        for key in acked:
            assert n3.value(key, consistency="strong") == value


def test_read_only_file_system():
    """A node does not start on a file system that takes no writes, and says why."""
    with small_disks(["n3"], "64m") as cluster:
        n1, _, n3 = cluster.nodes
        assert n1.put("k", "v", w=3).status_code == 201
        n3.stop()
        subprocess.run(["mount", "-o", "remount,ro", n3.dir / "data"], check=True)
        done = subprocess.run([BIN / "ringfortd", "--config", n3.dir / "ringfort.yaml"], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 1 and "event=storage_failed" in done.stderr, done.stderr
        subprocess.run(["mount", "-o", "remount,rw", n3.dir / "data"], check=True)
        n3.start()
        settled(cluster)
        assert n3.value("k") == b"v"
