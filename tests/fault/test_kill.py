"""kill -9 under load: S30, S36, S105, S106, S133, S151, D7, D9."""
import random
import time

from conftest import SECONDS
from faultlib import Load, check_history, final_reads, replicas_equal, settled
from cluster_conftest import until


def test_kill_loop(cluster):
    """Random nodes die at random moments while clients write, delete and read the same few keys;
    in the end all replicas say the same, and no promise was broken on the way."""
    rng = random.Random(20)
    end = time.monotonic() + SECONDS
    with Load(cluster) as load:
        kills = 0
        while time.monotonic() < end or kills < 3:
            load.progress(rng.randrange(5, 60))
            victim = rng.choice(cluster.nodes)
            victim.kill()
            kills += 1
            others = [node.name for node in cluster.nodes if node is not victim]
            load.progress(rng.randrange(5, 40), nodes=others)
            victim.start()
    settled(cluster)
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
    until(replicas_equal(cluster, load.keys), "all replicas agree")
    # A dead node refuses connections and a starting one says so. A request that was under way may
    # have met two deaths in a row; that is rare, or nodes take too long to find each other again.
    failed = [op for op in load.history if op.status >= 500 and op.why != "RF-STARTING"]
    assert len(failed) <= 0.02 * load.acked(), failed[:5]
    assert load.acked(kinds=("put",)) and load.acked(kinds=("get",)) and load.acked(kinds=("delete",))


def test_kill_two_at_once(cluster):
    """Without a quorum nothing is acknowledged; with it back, everything acknowledged is there."""
    with Load(cluster) as load:
        load.progress(50)
        for node in cluster.nodes[1:]:
            node.kill()
        first = cluster.nodes[0]
        until(lambda: first.alive() == {"n1"}, "n1 sees both dead")
        alone = time.monotonic()
        assert first.put("alone", "v").status_code == 503
        assert not load.acked(since=alone), "acknowledged without a quorum"
        for node in cluster.nodes[1:]:
            node.start()
        load.progress(50)
    settled(cluster)
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
