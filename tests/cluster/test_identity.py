"""Two processes of one node, and a data directory from the past: S24, D10, C7."""
import shutil

from conftest import free_ports, until
from edge import Process


def copy_node(node, folder):
    """A copy of a node's folder for a process at other ports; returns its configuration."""
    shutil.copytree(node.dir, folder, ignore=shutil.ignore_patterns("log", "pid"))
    config = (folder / "ringfort.yaml").read_text()
    port = free_ports(2)
    config = config.replace(f':{node.port}"', f':{port}"').replace(f':{node.peer_port}"', f':{port + 1}"')
    config = config.replace(' ../', f" {node.cluster.dir}/")
    config = config.replace(str(node.dir / "data"), str(folder / "data"))
    (folder / "ringfort.yaml").write_text(config)
    return folder / "ringfort.yaml"


def all_alive(cluster):
    return all(node.alive() == {"n1", "n2", "n3"} for node in cluster.nodes)


def put_all(node, keys, value):
    for key in keys:
        until(lambda: node.put(key, value).status_code == 201, f"{key} is stored")


def test_copied_directory(cluster):
    """A copy of n3's directory started at other ports beside the running n3: it ends before it serves or
    is heard of, both say why, and n3 goes on."""
    n1, _, n3 = cluster.nodes
    put_all(n1, ["k"], "before")
    config = copy_node(n3, cluster.dir.parent / "twin")
    with Process(config, cluster.dir.parent / "twin.log") as twin:
        assert twin.process.wait(timeout=60) == 1, twin.log()
        assert "event=twin " in twin.log() and f"127.0.0.1:{n3.peer_port}" in twin.log()
        assert "event=ring " not in twin.log(), "it never served"
    assert "event=twin_refused" in n3.log()
    assert all_alive(cluster)
    assert "event=node_moved" not in n1.log()
    put_all(n3, ["k"], "after")
    assert n1.value("k", consistency="strong") == b"after"


def test_copy_that_the_cluster_knows(cluster):
    """The copy runs while n3 is stopped and is taken for n3, moved; n3 started again is the second, and
    refused. When the copy has ended, n3 starts and is alive for all."""
    n1, n2, n3 = cluster.nodes
    config = copy_node(n3, cluster.dir.parent / "twin")
    n3.stop()
    with Process(config, cluster.dir.parent / "twin.log") as twin:
        twin.wait_log("event=ring ")
        until(lambda: "event=node_moved" in n1.log() and "event=node_moved" in n2.log(), "n1 and n2 say it")
        with Process(n3.dir / "ringfort.yaml", cluster.dir.parent / "second.log") as second:
            assert second.process.wait(timeout=60) == 1, second.log()
            assert "event=twin " in second.log()
        assert twin.process.poll() is None
        assert "event=twin_refused" in twin.log()
    n3.start()
    until(lambda: all_alive(cluster), "n3 is back")
    put_all(n3, ["k"], "after")


def test_restored_directory(cluster):
    """n3's directory is put back from a backup: n3 says so, comes back above the generation that the
    cluster knows, and never answers from data that it may have lost (D10)."""
    n1, n2, n3 = cluster.nodes
    keys = [f"k{i}" for i in range(20)]
    put_all(n1, keys, "old")
    n3.stop()
    shutil.copytree(n3.dir / "data", cluster.dir.parent / "backup")
    for _ in range(3):
        n3.start()
        n3.stop()
    # Only when it was dead and lives again have the others heard of its generation.
    until(lambda: all("n3" not in node.alive() for node in (n1, n2)), "n3 is dead")
    n3.start()
    until(lambda: all_alive(cluster), "n3 is back")
    put_all(n1, keys, "new")
    n3.stop()
    shutil.rmtree(n3.dir / "data")
    shutil.copytree(cluster.dir.parent / "backup", n3.dir / "data")
    before = len(n3.log())
    n3.start()
    until(lambda: "event=data_from_the_past" in n3.log()[before:], "n3 says it")
    until(lambda: n3.log()[before:].count("event=started") == 2, "n3 begins anew")
    until(lambda: n3.request("GET", "/health/ready").status_code == 200, "n3 is ready")
    until(lambda: all_alive(cluster), "n3 is alive for all")
    assert all(n3.value(key, consistency="eventual") == b"new" for key in keys)
    assert all(n3.value(key, consistency="strong") == b"new" for key in keys)
    put_all(n3, keys, "newest")
    n1.kill()
    until(lambda: "n1" not in n2.alive(), "n1 is dead")
    assert all(n2.value(key, consistency="strong") == b"newest" for key in keys)
