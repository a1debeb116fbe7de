"""Hinted handoff on real processes: S37, S40, S41, S42, S43, S44, S45, S46, S48, S49, S79."""
import time

from conftest import until


def write_while_down(cluster, victim, count):
    """Kills the victim and writes through the others; what was there before changes or goes."""
    others = [n for n in cluster.nodes if n is not victim]
    for i in range(count):
        assert others[0].put(f"h/{i}", "old").status_code == 201
    until(lambda: victim.value(f"h/{count - 1}", consistency="eventual") == b"old", "victim has the old ones")
    victim.kill()
    for i in range(count):
        node = others[i % 2]
        if i % 4 == 3:
            assert node.delete(f"h/{i}").status_code == 200
        else:
            assert node.put(f"h/{i}", f"new {i}").status_code == 201
    return others


def caught_up(victim, count):
    """Eventual reads on the victim itself read its own store (S79): nothing else could repair it."""
    for i in range(count):
        wanted = None if i % 4 == 3 else f"new {i}".encode()
        answer = victim.get(f"h/{i}", consistency="eventual")
        if answer.status_code != (404 if wanted is None else 200):
            return False
        if wanted is not None and victim.value(f"h/{i}", consistency="eventual") != wanted:
            return False
    return True


def test_a_returned_node_catches_up_from_hints(cluster):
    """S40, S42, S43, S45, S48: without any strong read the returned node gets what it missed."""
    victim, count = cluster.nodes[2], 60
    others = write_while_down(cluster, victim, count)
    until(lambda: sum(n.metric("ringfort_hints_stored_total") for n in others) >= count, "hints are kept")
    victim.start()
    until(lambda: caught_up(victim, count), "the victim has caught up")
    until(lambda: sum(n.metric("ringfort_hints_replayed_total") for n in others) >= count, "hints are removed")


def test_hints_expire(cluster):
    """S44, S49: what the target missed for longer than `repair.hint_window` is not replayed to it. The hints
    are counted and removed, and a strong read brings the target what it missed."""
    victim, count = cluster.nodes[2], 40
    for node in cluster.nodes:
        node.stop()
        config = node.dir / "ringfort.yaml"
        config.write_text(config.read_text() + "repair: {hint_window: 100ms}\n")
    for node in cluster.nodes:
        node.cluster.cli("dev", "start", node.name, check=False)
    until(lambda: all(n.alive() == {"n1", "n2", "n3"} for n in cluster.nodes), "all are back")
    others = write_while_down(cluster, victim, count)
    total = lambda name: sum(n.metric(f"ringfort_hints_{name}_total") for n in others)
    until(lambda: total("stored") >= count, "hints are kept")
    stored_at = time.monotonic()
    until(lambda: time.monotonic() > stored_at + 0.2, "the hints are older than their window")
    victim.start()
    until(lambda: total("expired") + total("replayed") >= count, "all hints are gone")
    assert total("expired") >= count and total("replayed") == 0
    missed = [i for i in range(count) if i % 4 != 3]
    for i in missed:
        assert victim.value(f"h/{i}", consistency="eventual") == b"old"
        assert victim.value(f"h/{i}", consistency="strong") == f"new {i}".encode()
    for i in missed:
        until(lambda: victim.value(f"h/{i}", consistency="eventual") == f"new {i}".encode(), "read repair")


def test_hints_survive_the_holders_restart(cluster):
    """S41, S46: the holders are killed and started again before the target returns."""
    victim, count = cluster.nodes[1], 40
    others = write_while_down(cluster, victim, count)
    until(lambda: sum(n.metric("ringfort_hints_stored_total") for n in others) >= count, "hints are kept")
    for node in others:
        node.kill()
    for node in others:
        node.cluster.cli("dev", "start", node.name, check=False)
    victim.start()
    until(lambda: caught_up(victim, count), "the victim has caught up")
