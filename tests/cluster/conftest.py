"""Real clusters for the tests: `ringfort dev` with processes, TLS and files on loopback.

Every cluster gets ports of its own, so that tests never meet each other's servers. Conditions are
waited for with `until`; nothing sleeps for a fixed time.
"""
import base64
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import requests

BIN = pathlib.Path(os.environ.get("RINGFORT_BIN", pathlib.Path(__file__).parents[2] / "build/dev/bin"))


def until(condition, what, seconds=60):
    """Waits until condition() is true; the limit only ends a test that would never end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not in {seconds} s: {what}")


def free_ports(count):
    """First of `count` ports in a row that are free now."""
    for base in range(20000 + os.getpid() % 8000, 60000, count + 7):
        sockets = []
        try:
            for port in range(base, base + count):
                one = socket.socket()
                sockets.append(one)
                one.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("no free ports")


class Node:
    def __init__(self, cluster, number):
        self.cluster, self.number, self.name = cluster, number, f"n{number + 1}"
        self.port = cluster.port + 2 * number
        self.peer_port = self.port + 1
        self.url = f"https://127.0.0.1:{self.port}"
        self.dir = cluster.dir / self.name
        self.session = requests.Session()
        self.session.trust_env = False  # proxies and CA bundles of the environment are not ours
        self.session.verify = str(cluster.dir / "ca.crt")
        self.session.headers["Authorization"] = f"Bearer {cluster.token}"

    def request(self, method, path, **kwargs):
        kwargs.setdefault("timeout", 30)
        return self.session.request(method, self.url + path, **kwargs)

    def put(self, key, value, **members):
        value = value.encode() if isinstance(value, str) else value
        body = {"key": key, "value": base64.b64encode(value).decode(), **members}
        return self.request("POST", "/api/v1/item", json=body)

    def get(self, key, **params):
        return self.request("GET", "/api/v1/item", params={"key": key, **params})

    def value(self, key, **params):
        """The value as bytes; None when there is no such item."""
        answer = self.get(key, **params)
        assert answer.status_code in (200, 404), answer.text
        return base64.b64decode(answer.json()["value"]) if answer.status_code == 200 else None

    def delete(self, key, **params):
        return self.request("DELETE", "/api/v1/item", params={"key": key, **params})

    def status(self):
        return self.request("GET", "/admin/v1/status").json()

    def alive(self):
        """Names of the members that this node believes alive."""
        return {n["name"] for n in self.status()["nodes"] if n["alive"]}

    def metric(self, name):
        text = self.request("GET", "/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.split("{")[0].split(" ")[0] == name)

    def log(self):
        return (self.dir / "log").read_text()

    @property
    def pid(self):
        return int((self.dir / "pid").read_text())

    def kill(self):
        self.cluster.cli("dev", "kill", self.name)
        self.session.close()

    def stop(self):
        self.cluster.cli("dev", "stop", self.name)
        self.session.close()

    def start(self):
        self.cluster.cli("dev", "start", self.name)


class Cluster:
    def __init__(self, nodes=3):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ringfort-test-")) / "cluster"
        self.port = free_ports(2 * nodes)
        self.cli("dev", "up", "--nodes", str(nodes), "--port", str(self.port))
        self.token = (self.dir / "token").read_text().strip()
        self.nodes = [Node(self, i) for i in range(nodes)]

    def cli(self, *words, check=True, **kwargs):
        env = {**os.environ, "RINGFORT_DEV_DIR": str(self.dir)}
        return subprocess.run([BIN / "ringfort", *words], check=check, env=env, text=True,
                              capture_output=True, **kwargs)

    def close(self):
        """Stops all nodes; a node that ended badly (a sanitizer's report, a panic) fails the test."""
        self.cli("dev", "down", "--keep")
        logs = {path.parent.name: path.read_text(errors="replace") for path in self.dir.glob("n*/log")}
        shutil.rmtree(self.dir.parent)
        for name, log in logs.items():
            for bad in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "panic:",
                        "WARNING: ThreadSanitizer"):
                assert bad not in log, f"{name}: {log[log.index(bad):][:4000]}"


@pytest.fixture
def cluster():
    one = Cluster()
    yield one
    one.close()


@pytest.fixture(scope="module")
def shared():
    """A cluster for all tests of a module that leave it as they found it."""
    one = Cluster()
    yield one
    one.close()
