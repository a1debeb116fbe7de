"""What the fault tests share: clusters with configurations of their own, client threads that
record everything they did, and the checker of such a history."""
import base64
import itertools
import random
import signal
import threading
import time

import requests
from cluster_conftest import BIN, Cluster, Node, until

TIMEOUT = 20  # of a client; far above the server's deadline, so that only a hang meets it


class ConfiguredCluster(Cluster):
    """A development cluster whose files are changed before it serves: made by `dev up`, stopped at
    once, and begun anew with empty data directories and the changed configuration."""

    def __init__(self, edit=None, nodes=3, start=True):
        super().__init__(nodes)
        self.cli("dev", "down", "--keep")
        for node in self.nodes:
            for path in sorted((node.dir / "data").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (node.dir / "log").unlink()
            if edit is not None:
                config = node.dir / "ringfort.yaml"
                config.write_text(edit(config.read_text(), node.name))
        if start:
            self.start_all()

    def start_all(self):
        """All at once: an empty node waits for its seeds."""
        threads = [threading.Thread(target=node.start) for node in self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        settled(self)


def add_lines(*lines):
    """An edit that appends sections to a configuration."""
    return lambda text, name: text + "".join(line + "\n" for line in lines)


def settled(cluster):
    """Waits until all nodes serve and see each other alive."""
    everyone = {node.name for node in cluster.nodes}
    for node in cluster.nodes:
        until(lambda: ready(node) and node.alive() == everyone, f"{node.name} sees all alive")


def ready(node):
    try:
        return node.request("GET", "/health/ready").status_code == 200
    except requests.exceptions.RequestException:
        return False


def freeze(node):
    os_kill(node.pid, signal.SIGSTOP)


def thaw(node):
    os_kill(node.pid, signal.SIGCONT)


def os_kill(pid, number):
    import os
    os.kill(pid, number)


# ---- Histories ------------------------------------------------------------------------------


class Op:
    """One operation of one client: when it began and ended, and how."""
    __slots__ = ("kind", "key", "value", "begin", "end", "status", "version", "outcome", "node", "why")

    def __init__(self, kind, key, value, node):
        self.kind, self.key, self.value, self.node = kind, key, value, node
        self.begin = time.monotonic()
        self.end = self.version = self.status = self.why = None
        self.outcome = "unknown"

    def __repr__(self):
        return (f"{self.kind} {self.key}={self.value} by {self.node} [{self.begin:.4f} {self.end:.4f}] "
                f"{self.status} {self.outcome} version={self.version} {self.why or ''}")


def rank(version, tombstone):
    """A string that sorts as versions do (D7): clock, then tombstone over value, then writer."""
    clock, writer = version.split("-")
    return f"{clock}-{int(tombstone)}-{writer}"


class Client:
    """A thread's own connections to all nodes; records what it does."""

    def __init__(self, cluster, history, name):
        self.nodes = [Node(cluster, i) for i in range(len(cluster.nodes))]
        self.history, self.name, self.counter = history, name, itertools.count()

    def run(self, kind, key, node):
        value = f"{self.name}-{next(self.counter)}" if kind == "put" else None
        op = Op(kind, key, value, node.name)
        try:
            answer = self.send(op, node)
            op.status = answer.status_code
            self.judge(op, answer)
        except requests.exceptions.RequestException as error:
            op.status, op.why = 0, repr(error)[:200]
            node.session.close()
        op.end = time.monotonic()
        self.history.append(op)
        return op

    @staticmethod
    def send(op, node):
        if op.kind == "put":
            body = {"key": op.key, "value": base64.b64encode(op.value.encode()).decode()}
            return node.request("POST", "/api/v1/item", json=body, timeout=TIMEOUT)
        if op.kind == "delete":
            return node.request("DELETE", "/api/v1/item", params={"key": op.key}, timeout=TIMEOUT)
        return node.request("GET", "/api/v1/item", params={"key": op.key, "consistency": "strong"},
                            timeout=TIMEOUT)

    @staticmethod
    def judge(op, answer):
        body = answer.json()
        if answer.status_code in (200, 201):
            op.outcome, op.version = "ok", rank(body["version"], op.kind == "delete")
            if op.kind == "get":
                op.value = base64.b64decode(body["value"]).decode()
        elif op.kind == "get" and answer.status_code == 404:
            op.outcome, op.value = "ok", None
        else:
            op.outcome, op.why = body.get("write_outcome", "failed"), body["code"]


class Load:
    """Client threads on a small key space until `stop`; `with Load(cluster) as load: …`."""

    def __init__(self, cluster, clients=4, keys=6, nodes=None, kinds=("put", "put", "get", "get", "delete"),
                 prefix="key"):
        self.history, self.stopping, self.failure = [], threading.Event(), None
        self.nodes = list(range(len(cluster.nodes))) if nodes is None else nodes
        self.keys, self.kinds = [f"{prefix}/{i}" for i in range(keys)], kinds
        clients = [Client(cluster, self.history, f"c{c}") for c in range(clients)]
        self.threads = [threading.Thread(target=self.loop, args=(one, c)) for c, one in enumerate(clients)]

    def loop(self, client, seed):
        rng = random.Random(seed)
        try:
            while not self.stopping.is_set():
                node = client.nodes[rng.choice(self.nodes)]
                op = client.run(rng.choice(self.kinds), rng.choice(self.keys), node)
                if op.status == 0:
                    self.stopping.wait(0.02)  # a dead node refuses at once: do not spin
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def acked(self, since=0, kinds=("put", "delete", "get"), nodes=None):
        return sum(op.outcome == "ok" and op.begin >= since and op.kind in kinds and
                   (nodes is None or op.node in nodes) for op in list(self.history))

    def progress(self, count=30, seconds=60, **kwargs):
        """Waits for `count` operations that began after now and succeeded."""
        now = time.monotonic()
        until(lambda: self.failure or self.acked(now, **kwargs) >= count, f"{count} operations more", seconds)


def check_history(history):
    """Promises of quorum reads and writes (S35, S36, S102, S105, S106, D7, D9) over what happened:
    1. a value read was written, by a write that was not told to be not applied;
    2. an acknowledged write has a higher version than every write acknowledged before it began;
    3. a strong read is never older than a write acknowledged, or a version read, before it began;
    4. what is absent was deleted, by a delete not older than the writes acknowledged before."""
    by_key = {}
    for op in history:
        by_key.setdefault(op.key, []).append(op)
    for ops in by_key.values():
        check_values(ops)
        check_order(ops)
        check_absent(ops)


def check_values(ops):
    writers = {op.value: op for op in ops if op.kind == "put"}
    for op in ops:
        if op.kind == "get" and op.outcome == "ok" and op.value is not None:
            writer = writers.get(op.value)
            assert writer is not None, f"nobody wrote what was read: {op}"
            assert writer.outcome in ("ok", "unknown"), f"not applied, but read:\n{writer}\n{op}"
            assert writer.begin <= op.end, f"read before it was written:\n{writer}\n{op}"
            # A write that was stamped again is visible under its first stamp while it is under way.
            first = writer.version is not None and op.version < writer.version and op.begin <= writer.end
            assert first or writer.version in (None, op.version), f"another version was told:\n{writer}\n{op}"


def check_order(ops):
    """By time of beginning, against the highest version known to be acknowledged by then."""
    known = sorted((op for op in ops if op.outcome == "ok" and op.version), key=lambda op: op.end)
    highest, at = None, 0
    for op in sorted((op for op in ops if op.outcome == "ok" and op.version), key=lambda op: op.begin):
        while at < len(known) and known[at].end < op.begin:
            if highest is None or known[at].version > highest.version:
                highest = known[at]
            at += 1
        if highest is not None and op.kind == "get":
            assert op.version >= highest.version, f"a strong read went back:\n{highest}\n{op}\n{around(ops, op)}"
        elif highest is not None:
            assert op.version > highest.version, f"a later write has an older version:\n{highest}\n{op}\n{around(ops, op)}"


def around(ops, op, count=12):
    """The operations on the key that began last before this one ended, for a failure's message."""
    last = sorted((one for one in ops if one.begin <= op.end), key=lambda one: one.begin)[-count:]
    return "the last operations on the key:\n" + "\n".join(map(repr, last))


def check_absent(ops):
    reads = [op for op in ops if op.kind == "get" and op.outcome == "ok" and op.value is None]
    deletes = [op for op in ops if op.kind == "delete"]
    versions = [op for op in ops if op.outcome == "ok" and op.version]
    for read in reads:
        before = [op for op in versions if op.end < read.begin]
        if not before:
            continue
        highest = max(before, key=lambda op: op.version)
        possible = [op for op in deletes if op.begin < read.end and
                    (op.outcome == "unknown" or (op.outcome == "ok" and op.version >= highest.version))]
        assert possible, f"lost: absent after\n{highest}\n{read}"


def final_reads(cluster, history, keys):
    """One strong read of every key through every node, as the end of a history."""
    client = Client(cluster, history, "final")
    for key in keys:
        for node in client.nodes:
            op = until(lambda: (lambda one: one if one.outcome == "ok" else None)(
                client.run("get", key, node)), f"{key} can be read through {node.name}")
            assert op.status in (200, 404)


def replicas_equal(cluster, keys):
    """Eventual reads are served by the node itself (n = number of nodes): all must agree."""
    def same():
        for key in keys:
            answers = {(a.status_code, a.json().get("version")) for a in
                       (node.get(key, consistency="eventual") for node in cluster.nodes)}
            if len(answers) != 1:
                return False
        return True
    return same
