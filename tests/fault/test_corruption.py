"""Bytes change on disk under a stopped node: S30, S31, S103, S137-S140, S172, S173."""
import os
import struct

import pytest

from cluster_conftest import until
from faultlib import ready, settled


def written(cluster, count=60):
    """Writes one after the other, so that every write is a group of the log, then kills n3."""
    n1, _, n3 = cluster.nodes
    for i in range(count):
        assert n1.put(f"key/{i}", f"value {i}").status_code == 201
    until(lambda: all(n3.get(f"key/{i}", consistency="eventual").status_code == 200 for i in range(count)),
          "n3 has all")
    n3.kill()
    return sorted((n3.dir / "data").rglob("*.wal"), key=lambda path: len(groups(path)))[-1]


def groups(path):
    """Where the groups with records begin (docs/formats/wal.md)."""
    data, found, at = path.read_bytes(), [], 0
    while (at := data.find(b"RFW2", at)) >= 0:
        if struct.unpack_from("<I", data, at + 56)[0] != 0:
            found.append(at)
        at += 8
    return found


def end_of(path):
    """Where the last group or mark ends; behind it there are zeros."""
    size = len(path.read_bytes().rstrip(b"\0"))
    return size + -size % 8


def check_all(cluster, count=60):
    """Every acknowledged value through every node: strong, and eventual without a wrong `absent`."""
    settled(cluster)
    for node in cluster.nodes:
        for i in range(count):
            assert node.value(f"key/{i}", consistency="strong") == f"value {i}".encode()
            assert node.value(f"key/{i}", consistency="eventual") == f"value {i}".encode()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def recovered(node):
    return [line for line in node.log().splitlines() if "event=recovered" in line][-1]


def test_torn_tail(cluster):
    """A half-written group at the end is cut off, and nothing acknowledged is missing."""
    wal = written(cluster)
    end = end_of(wal)
    with open(wal, "r+b") as file:
        file.seek(end)
        file.write(os.urandom(700))
    cluster.nodes[2].start()
    assert "torn_tails=1" in recovered(cluster.nodes[2])
    check_all(cluster)


def test_cut_inside_the_last_group(cluster):
    """The file ends within its last group: that one is cut; the others hold what was acknowledged."""
    wal = written(cluster)
    os.truncate(wal, groups(wal)[-1] + 120)
    cluster.nodes[2].start()
    settled(cluster)
    for node in cluster.nodes:
        for i in range(60):
            assert node.value(f"key/{i}", consistency="strong") == f"value {i}".encode()


def test_damage_in_the_middle(cluster):
    """A bad byte before groups that were durable is damage: the node says so, answers no `absent`
    from what it cannot know, and the others serve every value."""
    wal = written(cluster)
    middle = groups(wal)[len(groups(wal)) // 2]
    partitions = struct.unpack_from("<H", wal.read_bytes(), middle + 70)[0]
    flip(wal, middle + 80 + 16 * partitions)  # its records: the header says whose they were
    n3 = cluster.nodes[2]
    n3.start()
    assert "event=wal_damaged" in n3.log()
    assert "damaged_segments=1" in recovered(n3)
    assert f"quarantined_partitions={partitions} " in recovered(n3)
    check_all(cluster)
    assert n3.put("later", "v").status_code == 201
    assert cluster.nodes[0].value("later", consistency="strong") == b"v"


def test_damaged_identity(cluster):
    """Without knowing who it is a node does not start, and says why; the others go on."""
    written(cluster)
    n3 = cluster.nodes[2]
    flip(n3.dir / "data" / "identity", 12)
    answer = cluster.cli("dev", "start", "n3", check=False)
    assert answer.returncode != 0
    assert "event=storage_failed" in n3.log() and "identity" in n3.log()
    assert cluster.nodes[0].put("k", "v").status_code == 201
    assert cluster.nodes[1].value("key/1", consistency="strong") == b"value 1"


def table_files(node):
    """The files with users' rows of a stopped node (docs/formats/sstable.md)."""
    files = []
    for path in sorted((node.dir / "data").rglob("*.sst")):
        data = path.read_bytes()
        if struct.unpack_from("<Q", data, len(data) - 192 + 24)[0] >= 16:
            files.append(path)
    return files


@pytest.mark.parametrize("place", ["block", "footer", "index", "filter"])
def test_damaged_table_files(cluster, place):
    """S137-S140: bad bytes in all table files of n3. Every client gets every value at every level
    of consistency; strong reads heal n3, which then answers alone; the damage is on record and counted."""
    n1, n2, n3 = cluster.nodes
    for i in range(60):
        assert n1.put(f"key/{i}", f"value {i}").status_code == 201
    until(lambda: all(n3.get(f"key/{i}", consistency="eventual").status_code == 200 for i in range(60)),
          "n3 has all")
    n3.stop()
    files = table_files(n3)
    assert files
    for path in files:
        size = path.stat().st_size
        footer = path.read_bytes()[size - 192:]
        index, filter_at = struct.unpack_from("<Q", footer, 112)[0], struct.unpack_from("<Q", footer, 128)[0]
        flip(path, {"block": 40, "footer": size - 100, "index": index + 20, "filter": filter_at + 40}[place])
    n3.start()
    check_all(cluster)  # through every node, strong and eventual: the strong ones repair
    if place == "filter":
        assert "event=filter_damaged" in n3.log()
        assert n3.metric("ringfort_cannot_say_total") == 0
    else:
        assert n3.log().count("event=block_damaged" if place == "block" else "event=file_damaged") == len(files)
        assert n3.metric("ringfort_damaged_ranges") == len(files)
        until(lambda: n3.metric("ringfort_healed_keys_total") == 60, "all keys are healed")
    n3.stop()
    n3.start()
    settled(cluster)
    n1.kill()
    n2.kill()
    for i in range(60):
        assert n3.value(f"key/{i}", consistency="eventual") == f"value {i}".encode()


def cluster_id(node):
    """What the identity file says (docs/formats/identity.md)."""
    data = (node.dir / "data" / "identity").read_bytes()
    assert len(data) == 56
    return struct.unpack_from("<Q", data, 32)[0]


@pytest.mark.parametrize("nodes", [1, 3])
def test_damage_never_founds_a_new_cluster(configured, nodes):
    """A bad byte in the first group of every log of a node, where the member table is: after the start
    the node is in its old cluster, or not ready and says what to do; it never makes a new one."""
    cluster = configured(nodes=nodes)
    node = cluster.nodes[0]
    for i in range(20):
        assert node.put(f"key/{i}", f"value {i}").status_code == 201
    until(lambda: cluster_id(node) != 0, "the identity names the cluster")
    before = cluster_id(node)
    node.kill()
    for wal in (node.dir / "data").rglob("*.wal"):
        flip(wal, 20)
    started = node.log().count("event=recovered")
    cluster.cli("dev", "start", node.name, check=False)
    until(lambda: node.log().count("event=recovered") > started, "the node recovered")
    until(lambda: ready(node) or "event=cluster_state_lost" in node.log(), "ready, or told why not")
    assert cluster_id(node) == before
    if nodes == 3:
        check_all_of(cluster, 20)
    elif ready(node):
        for i in range(20):  # the only replica: the value, or "cannot say", never "absent"
            assert node.get(f"key/{i}", consistency="strong").status_code in (200, 503)


def check_all_of(cluster, count):
    settled(cluster)
    for node in cluster.nodes:
        for i in range(count):
            assert node.value(f"key/{i}", consistency="strong") == f"value {i}".encode()
