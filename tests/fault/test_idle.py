"""Nothing to do: no log lines, no reconnecting, hardly any CPU (S117 without waste)."""
import os
import time

from cluster_conftest import until
from conftest import SECONDS
from faultlib import settled


def cpu_seconds(node):
    with open(f"/proc/{node.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_idle(cluster):
    """The bound is generous: gossip five times a second with sanitizers takes about 2 % of a core."""
    settled(cluster)
    for node in cluster.nodes:
        node.put("k", "v")
        node.session.close()
    lines = [len(node.log().splitlines()) for node in cluster.nodes]
    cpu = [cpu_seconds(node) for node in cluster.nodes]
    descriptors = [len(os.listdir(f"/proc/{node.pid}/fd")) for node in cluster.nodes]
    begin = time.monotonic()
    until(lambda: time.monotonic() > begin + SECONDS, "an idle while", SECONDS + 60)
    for i, node in enumerate(cluster.nodes):
        assert len(node.log().splitlines()) - lines[i] <= 2, node.log()[-2000:]
        assert cpu_seconds(node) - cpu[i] < 0.5 * (time.monotonic() - begin), f"{node.name} is busy"
        assert len(os.listdir(f"/proc/{node.pid}/fd")) <= descriptors[i] + 8, "descriptors grow"


def test_idle_alone(cluster):
    """The same while two nodes are gone: dialing them does not turn into a storm."""
    n1, n2, n3 = cluster.nodes
    n2.kill()
    n3.kill()
    until(lambda: n1.alive() == {"n1"}, "n1 sees both dead")
    n1.session.close()
    lines, cpu, begin = len(n1.log().splitlines()), cpu_seconds(n1), time.monotonic()
    until(lambda: time.monotonic() > begin + SECONDS, "an idle while", SECONDS + 60)
    assert len(n1.log().splitlines()) - lines <= 2 + SECONDS / 5, n1.log()[-2000:]
    assert cpu_seconds(n1) - cpu < 0.5 * (time.monotonic() - begin)
