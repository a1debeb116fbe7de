"""Items through every node: S1-S9, S12, S13, S17, S115."""
import base64
import subprocess

import pytest
import requests
from conftest import until

VALUES = [b"", b"\0", b"hello", bytes(range(256)), b"x" * 100_000]


@pytest.mark.parametrize("value", VALUES, ids=len)
def test_round_trip_through_every_node(shared, value):
    """S3, S13: bytes come back exactly, whichever node stores and whichever reads."""
    for writer in shared.nodes:
        key = f"round/{len(value)}/{writer.name}"
        answer = writer.put(key, value)
        assert answer.status_code == 201, answer.text
        told = answer.json()
        assert told["key"] == key and told["timestamp"] > 0 and told["version"]
        for reader in shared.nodes:
            strong = reader.get(key, consistency="strong")
            assert base64.b64decode(strong.json()["value"]) == value
            assert strong.json()["timestamp"] == told["timestamp"]  # S17
            until(lambda: reader.value(key, consistency="eventual") == value, "eventual read agrees")


def test_delete(shared):
    """S9, S109, S110, S115: deleted is gone for everyone, twice is fine, a later write revives."""
    n1, n2, n3 = shared.nodes
    n1.put("gone", "v")
    for _ in range(2):
        answer = n2.delete("gone")
        assert answer.status_code == 200 and answer.json()["deleted"] is True
    assert n3.value("gone", consistency="strong") is None
    assert n1.delete("never-there").status_code == 200
    n3.put("gone", "again")
    assert n1.value("gone", consistency="strong") == b"again"


def test_absent_is_404(shared):
    answer = shared.nodes[0].get("no-such-key", consistency="strong")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "RF-ITEM-NOT-FOUND"


def test_ttl(shared):
    """S2, S8, S34: one absolute expiry; after it the item is gone for every reader."""
    n1, n2, _ = shared.nodes
    told = n1.put("short", "v", ttl=1).json()
    assert told["expires_at"] == told["timestamp"] + 1000
    found = n2.get("short", consistency="strong")
    if found.status_code == 200:  # a slow machine may be past the second already
        assert found.json()["expires_at"] == told["expires_at"]
    until(lambda: n2.value("short", consistency="strong") is None, "expired")


def test_needs_a_token(shared):
    node = shared.nodes[0]
    ca = str(shared.dir / "ca.crt")
    for headers in ({}, {"Authorization": "Bearer rft_wrong"}, {"Authorization": "Basic eDp5"}):
        answer = requests.get(node.url + "/api/v1/item", params={"key": "k"}, headers=headers, verify=ca, timeout=30)
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers


def test_plain_http_on_the_tls_port(shared):
    answer = requests.get(f"http://127.0.0.1:{shared.nodes[0].port}/", timeout=30)
    assert answer.status_code == 400
    assert answer.json()["reason"] == "tls_required"


def test_health_needs_no_token(shared):
    """S15."""
    for path in ("live", "ready", "cluster?for=write", "cluster?for=read", "cluster?for=strong"):
        answer = requests.get(f"{shared.nodes[0].url}/health/{path}", verify=str(shared.dir / "ca.crt"), timeout=30)
        assert answer.status_code == 200, path


def test_cli(shared):
    """put, get, del and status with their exit codes."""
    env = {"RINGFORT_URL": shared.nodes[1].url, "RINGFORT_CA": str(shared.dir / "ca.crt"), "RINGFORT_TOKEN": shared.token}

    def run(*words):
        import conftest
        return subprocess.run([conftest.BIN / "ringfort", *words], env=env, text=True, capture_output=True)

    assert run("put", "cli", "value").returncode == 0
    assert run("get", "cli", "--strong").stdout == "value\n"
    assert run("del", "cli").returncode == 0
    assert run("get", "cli", "--strong").returncode == 2
    assert "n3" in run("status").stdout
    assert run("frobnicate").returncode == 64
    assert run("status", "--url", "https://127.0.0.1:1").returncode == 69
