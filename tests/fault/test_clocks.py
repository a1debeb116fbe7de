"""Clocks that disagree: D7, S168, S169."""
import random

import pytest
from cluster_conftest import until
from faultlib import Load, check_history, final_reads, rank, replicas_equal, settled


def offsets(**ms):
    """An edit that shifts the clocks of the named nodes."""
    def edit(text, name):
        return text + (f"clock: {{test_offset: {ms[name]}ms}}\n" if name in ms else "")
    return edit


def test_versions_order_writes_that_follow_each_other(configured):
    """n1 is 300 ms ahead, n3 300 ms behind: a write acknowledged later wins, whichever node
    coordinates it, and every read sees the last one."""
    cluster = configured(offsets(n1=300, n3=-300))
    rng, last = random.Random(7), ""
    for i in range(60):
        node = cluster.nodes[(0, 2, 1, 2)[i % 4]]
        answer = node.put("key", str(i)) if i % 7 else node.delete("key")
        assert answer.status_code in (200, 201), answer.text
        version = rank(answer.json()["version"], i % 7 == 0)
        assert version > last, f"write {i} through {node.name} is older than the one before"
        last = version
        value = rng.choice(cluster.nodes).value("key", consistency="strong")
        assert value == (str(i).encode() if i % 7 else None)


def test_load_and_kill_with_wrong_clocks(configured):
    """The promises under load hold with clocks 600 ms apart, also over kill -9 of the node that is
    ahead and of the one that is behind: its clock never goes back."""
    cluster = configured(offsets(n1=300, n3=-300))
    with Load(cluster) as load:
        for victim in (0, 2, 0):
            load.progress(60)
            cluster.nodes[victim].kill()
            load.progress(30, nodes=[n.name for n in cluster.nodes if n is not cluster.nodes[victim]])
            cluster.nodes[victim].start()
        load.progress(60)
    settled(cluster)
    final_reads(cluster, load.history, load.keys)
    check_history(load.history)
    offset = [op for op in load.history if op.why == "RF-CLOCK-OFFSET"]
    assert not offset, f"{len(offset)} writes refused, as {offset[0]}"


def test_clock_never_goes_back_over_a_restart(configured):
    """The node's wall clock is set back by 900 ms while it is down: versions still grow."""
    cluster = configured(offsets(n1=450))
    n1 = cluster.nodes[0]
    last = rank(n1.put("key", "0").json()["version"], False)
    for i in range(1, 4):
        n1.kill()
        config = n1.dir / "ringfort.yaml"
        config.write_text(config.read_text().replace(": 450ms", ": -450ms"))
        n1.start()
        answer = until(lambda: (lambda a: a if a.status_code == 201 else None)(n1.put("key", str(i))),
                       "n1 writes again")
        version = rank(answer.json()["version"], False)
        assert version > last
        last = version
        assert cluster.nodes[1].value("key", consistency="strong") == str(i).encode()


@pytest.mark.parametrize("offset_ms", [10_000, -10_000])
def test_far_off_clock_stamps_nothing(configured, offset_ms):
    """n1's clock is ten seconds off and both others agree on that: it refuses to stamp (alarm in log
    and metric) but serves as a replica and coordinates reads; with the clock put right it writes."""
    cluster = configured(offsets(n1=offset_ms))
    n1, n2, n3 = cluster.nodes
    until(lambda: "event=clock_offset" in n1.log(), "n1 notices")
    until(lambda: n1.put("off", "v").status_code == 503, "n1 refuses")
    answer = n1.put("off", "v")
    assert answer.json()["code"] == "RF-CLOCK-OFFSET" and answer.json()["write_outcome"] == "not_applied"
    assert n1.metric("ringfort_clock_off") == 1
    assert n2.metric("ringfort_clock_off") == n3.metric("ringfort_clock_off") == 0
    assert "event=clock_offset" not in n2.log() + n3.log()
    n3.kill()  # the quorum of n2 needs n1 as a replica now
    until(lambda: n2.put("key", "1").status_code == 201, "n2 writes with n1")
    assert n1.value("key", consistency="strong") == b"1"
    n3.start()
    n1.stop()
    config = n1.dir / "ringfort.yaml"
    config.write_text(config.read_text().replace(f": {offset_ms}ms", ": 0ms"))
    n1.start()
    until(lambda: n1.put("key", "2").status_code == 201, "n1 writes with a right clock")
    assert n2.value("key", consistency="strong") == b"2"
