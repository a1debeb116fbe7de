"""Nodes in network namespaces of their own, joined by a bridge: packets are really lost.

Each node keeps its files and certificates from `ringfort dev`, but listens on an address of the
bridge's network. The tests run in the namespace of the bridge and reach every node whatever is cut:
rules drop packets between nodes only. Needs root.
"""
import itertools
import os
import shutil
import signal
import subprocess

import pytest
from cluster_conftest import BIN, until
from faultlib import ConfiguredCluster, settled

_numbers = itertools.count(os.getpid() % 200)


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


def need_namespaces():
    """Skips the test, by name, where namespaces cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for network namespaces")
    probe = f"rf-probe-{os.getpid()}"
    if run("ip", "netns", "add", probe, check=False).returncode != 0:
        pytest.skip("network namespaces are not allowed here")
    run("ip", "netns", "del", probe)


def inside(namespace, *words):
    """The command line that runs `words` in a network namespace. Not `ip netns exec` nor `ip -n`: they
    also remount /sys, which a root directory that is no mount point (a chroot) does not allow."""
    return ["nsenter", f"--net=/run/netns/{namespace}", *words]


class PartitionedCluster(ConfiguredCluster):
    """Three nodes at 10.213.K.1 … .3, the tests' side of the bridge at 10.213.K.254."""

    def __init__(self, edit=None):
        self.k, self.bridge = self.make_bridge()
        self.processes, self.net = {}, f"10.213.{self.k}"
        try:
            super().__init__(self.readdress(edit), start=False)
            self.build_network()
        except Exception:
            self.remove_network()
            raise
        for i, node in enumerate(self.nodes):
            node.url = f"https://{self.net}.{i + 1}:{node.port}"
            node.session.verify = False
            self.launch(node)
        settled(self)

    @staticmethod
    def make_bridge():
        """A bridge with a number that nobody else on this machine has."""
        for k in itertools.islice(_numbers, 250):
            bridge = f"rfb{k % 250}"
            made = run("ip", "link", "add", bridge, "type", "bridge", check=False)
            if made.returncode == 0:
                return k % 250, bridge
            assert "exists" in made.stderr, made.stderr
        raise AssertionError("no free number for a bridge")

    def readdress(self, edit):
        def change(text, name):
            for i in range(3):
                for port in (self.port + 2 * i, self.port + 2 * i + 1):
                    text = text.replace(f"127.0.0.1:{port}", f"{self.net}.{i + 1}:{port}")
            return edit(text, name) if edit else text
        return change

    def namespace(self, i):
        return f"rf{self.k}n{i + 1}"

    def build_network(self):
        run("ip", "addr", "add", f"{self.net}.254/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for i in range(3):
            space, outer = self.namespace(i), f"rfv{self.k}n{i + 1}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "set", outer, "master", self.bridge, "up")
            run(*inside(space, "ip", "addr", "add", f"{self.net}.{i + 1}/24", "dev", "eth0"))
            run(*inside(space, "ip", "link", "set", "lo", "up"))
            run(*inside(space, "ip", "link", "set", "eth0", "up"))

    def launch(self, node):
        log = open(node.dir / "log", "a")
        self.processes[node.name] = subprocess.Popen(
            inside(self.namespace(node.number), str(BIN / "ringfortd"), "--config",
                   str(node.dir / "ringfort.yaml")), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    def cut(self, source, target):
        """What node `source` sends to node `target` goes to an address that no interface has: it is
        lost without a word, as behind a broken switch. The other way stays open."""
        run(*inside(self.namespace(source), "ip", "neigh", "replace", f"{self.net}.{target + 1}", "lladdr",
                    "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"))

    def isolate(self, i):
        for other in range(3):
            if other != i:
                self.cut(i, other)
                self.cut(other, i)

    def heal(self):
        for i in range(3):
            for other in range(3):
                run(*inside(self.namespace(i), "ip", "neigh", "del", f"{self.net}.{other + 1}", "dev",
                            "eth0"), check=False)

    def close(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)
        self.remove_network()
        super().close()

    def remove_network(self):
        for i in range(3):
            run("ip", "netns", "del", self.namespace(i), check=False)
        run("ip", "link", "del", self.bridge, check=False)


def alive_is(node, names):
    until(lambda: node.alive() == set(names), f"{node.name} believes {sorted(names)} alive")
