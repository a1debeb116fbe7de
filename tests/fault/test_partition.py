"""The network is cut, with packets lost in silence: S146-S150, S106, S77, S160."""
import pytest
from cluster_conftest import until
from faultlib import Client, Load, check_history, replicas_equal, settled
from netlib import PartitionedCluster, alive_is, need_namespaces

pytestmark = pytest.mark.filterwarnings(  # the certificates name 127.0.0.1
    "ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture
def net():
    need_namespaces()
    one = PartitionedCluster()
    yield one
    one.close()


class NetLoad(Load):
    """Clients that reach the nodes by their addresses on the bridge."""

    def __init__(self, cluster, **kwargs):
        super().__init__(cluster, **kwargs)
        self.cluster = cluster

    def loop(self, client, seed):
        readdress(client, self.cluster)
        super().loop(client, seed)


def readdress(client, cluster):
    for mine, theirs in zip(client.nodes, cluster.nodes):
        mine.url = theirs.url
        mine.session.verify = False


def finish(cluster, load):
    """Everything converges alone after healing; then the history is judged."""
    settled(cluster)
    until(replicas_equal(cluster, load.keys), "all replicas agree without a strong read")
    client = Client(cluster, load.history, "final")
    readdress(client, cluster)
    for key in load.keys:
        for node in client.nodes:
            assert client.run("get", key, node).outcome == "ok"
    check_history(load.history)


def test_one_cut_off(net):
    """One node alone: it refuses strong requests, the two others go on, all of them answer eventual
    reads, and after healing everything converges alone."""
    n1, n2, n3 = net.nodes
    n1.put("before", "v")
    until(lambda: all(n.value("before", consistency="eventual") == b"v" for n in net.nodes), "on all three")
    with NetLoad(net) as load:
        load.progress(50)
        net.isolate(2)
        load.progress(50, nodes=["n1", "n2"])
        alive_is(n3, ["n3"])
        alive_is(n1, ["n1", "n2"])
        assert n3.put("minority", "v").json()["code"] == "RF-QUORUM-UNAVAILABLE"
        assert n3.get("before", consistency="strong").status_code == 503
        for node in net.nodes:
            assert node.value("before", consistency="eventual") == b"v"
        assert n3.request("GET", "/health/cluster?for=write").status_code == 503
        assert n1.put("majority", "v").status_code == 201
        assert n2.value("majority", consistency="strong") == b"v"
        load.progress(50, nodes=["n1", "n2"])
        net.heal()
        load.progress(50, nodes=["n3"])
    finish(net, load)
    until(lambda: n3.value("majority", consistency="eventual") == b"v", "n3 has what it missed")


def test_one_way(net):
    """What n1 sends to n3 is lost, everything else arrives: no request hangs, none is answered
    wrongly, and after healing everything converges."""
    with NetLoad(net) as load:
        load.progress(50)
        net.cut(0, 2)
        load.progress(100, nodes=["n2"])
        load.progress(30, nodes=["n1"])
        net.heal()
        load.progress(50, nodes=["n1"])
        load.progress(50, nodes=["n3"])
    finish(net, load)


def test_everyone_alone(net):
    """All links cut: no node acknowledges anything; after healing all serve again."""
    with NetLoad(net) as load:
        load.progress(50)
        for i in range(3):
            net.isolate(i)
        for node in net.nodes:
            alive_is(node, [node.name])
            assert node.put("k", "v").status_code == 503
        net.heal()
        for node in net.nodes:
            load.progress(20, nodes=[node.name])
    finish(net, load)
