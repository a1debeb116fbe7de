"""Start, reload, limits in time and number, and the end of a node (S15, the chapter on limits)."""
import hashlib
import os
import re
import signal
import socket
import ssl
import time

import pytest
import requests
from conftest import until
from edge import Process, Raw, make_cert, one_node, reconfigure, start_fails

LIMITS = "limits: {header_timeout: 300ms, body_timeout: 300ms, idle_timeout: 1s, max_connections: 8, drain_delay: 2s}\n"


@pytest.fixture(scope="module")
def lonely():
    """One node with short timeouts, for all tests of this module that leave it as they found it."""
    one = one_node()
    reconfigure(one.nodes[0], lambda text: text + LIMITS)
    yield one
    one.close()


@pytest.fixture
def own():
    one = one_node()
    yield one
    one.close()


def raw(cluster):
    return Raw(cluster.nodes[0].port, cluster.dir / "ca.crt")


# ---- Time and number -------------------------------------------------------------------------

def test_slow_head(lonely):
    """Slowloris: a byte now and then does not keep a request alive; it ends in 408."""
    one = raw(lonely)
    one.socket.settimeout(0.05)
    one.send("GET /health/live HTTP/1.1\r\nHost: a\r\n")
    status = None
    end = time.monotonic() + 60
    while status is None and time.monotonic() < end:
        try:
            one.send("X: y\r\n")
            one.kept += one.socket.recv(65536)
        except (TimeoutError, ssl.SSLError, ConnectionError):
            pass
        if b"\r\n\r\n" in one.kept:
            status = one.response()[0]
    assert status == 408


def test_slow_body(lonely):
    one = raw(lonely)
    one.send("POST /api/v1/item HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    status, _, body = one.response()
    assert status == 408 and body["write_outcome"] == "not_applied"
    assert one.closed()


def test_slow_handshake(lonely):
    """A connection that never speaks TLS is closed."""
    with socket.create_connection(("127.0.0.1", lonely.nodes[0].port), timeout=30) as plain:
        assert plain.recv(1) == b""


def test_idle_connection(lonely):
    one = raw(lonely)
    one.send("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert one.response()[0] == 200
    assert one.closed()


def test_too_many_connections(lonely):
    """limits.max_connections answers 503; when some go, others are served."""
    many = []

    def full():
        many.append(raw(lonely))
        many[-1].send("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = many[-1].response()
        return answer if answer and answer[0] == 503 else None

    status, headers, body = until(full, "a 503")
    assert body["code"] == "RF-OVERLOADED" and "limits.max_connections" in body["detail"]
    assert headers["retry-after"] and headers["connection"] == "close"
    for one in many:
        one.close()
    until(lambda: lonely.nodes[0].request("GET", "/health/live").status_code == 200, "room again")


# ---- The end ---------------------------------------------------------------------------------

def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat").read().split(")")[1]


def test_drain(own):
    """SIGTERM: first /health/ready turns 503 while the node still serves, then it ends with code 0."""
    node = own.nodes[0]
    reconfigure(node, lambda text: text + LIMITS)
    pid = node.pid
    os.kill(pid, signal.SIGTERM)
    until(lambda: requests.get(node.url + "/health/ready", verify=node.session.verify, timeout=30).status_code == 503,
          "not ready")
    answer = requests.get(node.url + "/health/ready", verify=node.session.verify, timeout=30)
    assert answer.json()["reason"] == "draining" and answer.headers["Connection"] == "close"
    assert node.put("late", "v").status_code == 201
    until(lambda: is_gone(pid), "gone")
    assert "event=stopped" in node.log()
    node.start()
    assert node.value("late") == b"v"


def test_drain_answers_what_is_under_way(cluster):
    """A write that waits for frozen replicas gets its answer although the node was told to stop."""
    n1, n2, n3 = cluster.nodes
    one = Raw(n1.port, cluster.dir / "ca.crt")
    body = '{"key":"k","value":""}'
    n1.put("warm", "v")  # links are up
    pids = [n.pid for n in (n2, n3)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        one.send(f"POST /api/v1/item HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {cluster.token}\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n{body}")
        until(lambda: in_flight(n1) >= 1, "the write is under way")
        os.kill(n1.pid, signal.SIGTERM)
        status, headers, told = one.response()
        assert status in (503, 504) and told["write_outcome"] in ("unknown", "not_applied")
        assert headers["connection"] == "close" and one.closed()
        until(lambda: "event=stopped" in n1.log(), "n1 ended")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_stop_answers_who_waits_for_a_merge(own):
    """Who waits for a merge when the node is told to stop hears that it stops, or that the merge is done;
    the stop does not wait for the merge."""
    node = own.nodes[0]
    for round in range(3):
        for i in range(40):
            assert node.put(f"big/{i}", os.urandom(500_000)).status_code == 201
        assert node.request("POST", "/admin/v1/flush").status_code == 200
    one = raw(own)
    one.send(f"POST /admin/v1/compactions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {own.token}\r\n\r\n")
    until(lambda: 'path="/admin/v1/compactions"' in node.log(), "the merge was asked for")
    pid = node.pid
    os.kill(pid, signal.SIGTERM)
    status, headers, told = one.response()
    assert (status, told.get("code")) in ((200, None), (503, "RF-DRAINING")), told
    assert status == 200 or headers["retry-after"]
    assert one.closed()
    until(lambda: is_gone(pid), "the node ended")
    node.start()
    assert len(node.value("big/0")) == 500_000


def in_flight(node):
    text = node.request("GET", "/metrics").text
    return sum(float(l.split()[-1]) for l in text.splitlines() if l.startswith("ringfort_requests_in_flight"))


# ---- Reload ----------------------------------------------------------------------------------

def add_token(cluster, token, **more):
    fields = "".join(f", {k}: {v}" for k, v in more.items())
    line = f"  - {{id: new, role: admin, sha256: {hashlib.sha256(token.encode()).hexdigest()}{fields}}}\n"
    path = cluster.dir / "tokens.yaml"
    path.write_text(path.read_text().rstrip("\n") + "\n" + line)


def with_token(node, token):
    return requests.get(node.url + "/admin/v1/status", headers={"Authorization": f"Bearer {token}"},
                        verify=node.session.verify, timeout=30).status_code


def test_reload_tokens(own):
    """SIGHUP takes new tokens without a restart; expired ones do not open; a broken file keeps the old."""
    node = own.nodes[0]
    add_token(own, "rft_second")
    add_token(own, "rft_expired", expires="2001-01-01T00:00:00Z")
    assert with_token(node, "rft_second") == 401
    os.kill(node.pid, signal.SIGHUP)
    until(lambda: with_token(node, "rft_second") == 200, "the new token works")
    assert with_token(node, "rft_expired") == 401
    tokens = own.dir / "tokens.yaml"
    before = tokens.read_text()
    tokens.write_text("tokens: [{id: x, role: king}]\n")
    os.kill(node.pid, signal.SIGHUP)
    until(lambda: "event=reload_failed" in node.log(), "the reason in the log")
    assert "tokens.yaml:1:10: error: the key 'sha256' is missing" in node.log()
    assert with_token(node, "rft_second") == 200
    answer = node.request("POST", "/admin/v1/config/reload")
    assert answer.status_code == 422 and "role: unknown role" in answer.json()["problems"]
    tokens.write_text(before.replace("id: new", "id: other"))
    assert node.request("POST", "/admin/v1/config/reload").status_code == 200


def serial(node):
    return ssl.get_server_certificate(("127.0.0.1", node.port), ca_certs=str(node.session.verify))


def test_reload_certificate(own, tmp_path):
    """New connections see the new certificate, old ones go on; a foreign or broken one is not taken."""
    node = own.nodes[0]
    old = Raw(node.port, own.dir / "ca.crt")
    before = serial(node)
    good = (node.dir / "node.crt").read_text(), (node.dir / "node.key").read_text()
    make_cert(own.dir, "ringfort://dev/node/n1", node.dir / "node")
    answer = node.request("POST", "/admin/v1/config/reload")
    assert answer.status_code == 200, answer.text
    until(lambda: serial(node) != before, "the new certificate")
    old.send(f"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert old.response()[0] == 200
    after = serial(node)
    for uri, days, reason in (("ringfort://dev/node/n2", 2, "is for node 'n2'"), ("ringfort://dev/role/admin", 2, "names no node"),
                              ("ringfort://dev/node/n1", -1, "expired")):
        make_cert(own.dir, uri, node.dir / "node", days)
        answer = node.request("POST", "/admin/v1/config/reload")
        assert answer.status_code == 422 and reason in answer.json()["problems"]
        assert serial(node) == after
    (node.dir / "node.crt").write_text(good[0])  # not the key's
    answer = node.request("POST", "/admin/v1/config/reload")
    assert answer.status_code == 422 and "tls" in answer.json()["problems"].lower() or "key" in answer.json()["problems"]
    assert serial(node) == after


def test_reload_settings(own):
    """What can change live does; the rest is named as needing a restart; a wrong file changes nothing."""
    node = own.nodes[0]
    config = node.dir / "ringfort.yaml"
    text = config.read_text()
    assert node.put("k", b"x" * 100).status_code == 201
    config.write_text(text + "limits: {max_value: 10B, max_requests: 7}\nlog: {level: debug}\n")
    answer = node.request("POST", "/admin/v1/config/reload")
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["reloaded"]) == {"limits.max_value", "log.level"}
    assert answer.json()["restart_needed"] == ["limits.max_requests"]
    until(lambda: node.put("k", b"x" * 100).status_code == 413, "the new limit")
    raw(own).close()
    until(lambda: "level=debug" in node.log(), "the new log level")
    config.write_text(text + "limits: {max_valu: 10B}\n")
    answer = node.request("POST", "/admin/v1/config/reload")
    assert answer.status_code == 422 and "did you mean 'max_value'?" in answer.json()["problems"]
    assert node.put("k", b"x" * 100).status_code == 413
    assert 'event=admin_call' in node.log() and 'path="/admin/v1/config/reload"' in node.log()


def test_reload_names_changes_of_tables(own):
    """Tables are not changed live: what a restart would change is named, and a wrong file is a problem now,
    not at the next start."""
    node = own.nodes[0]
    one = own.dir / "tables.d/default.yaml"
    before = one.read_text()

    def reload():
        answer = node.request("POST", "/admin/v1/config/reload")
        return answer.status_code, answer.json()["restart_needed"], answer.json()["problems"]

    assert reload() == (200, [], "")
    one.write_text(before + "ttl: 30d\ncompaction: {plugin: compaction-stl, options: {min_merge: 5}}\n")
    other = own.dir / "tables.d/other.yaml"
    other.write_text("version: 1\ntable: other\nreplication: {n: 1, write_quorum: 1, read_quorum: 1}\n")
    code, restart, problems = reload()
    assert (code, problems) == (200, "")
    assert set(restart) == {"table default: ttl", "table default: options of its plugins", "table other: new"}
    assert node.put("k", "v", table="other").status_code == 404
    one.unlink()
    assert set(reload()[1]) == {"table default: removed", "table other: new"}
    one.write_text("garbage: [\n")
    other.write_text("version: 1\ntable: other\nplacement: {plugin: placement-nowhere}\n")
    code, restart, problems = reload()
    assert code == 422 and "default.yaml:" in problems and "other.yaml:3:12: error: placement.plugin: cannot open" in problems
    assert not any("removed" in what for what in restart)
    assert own.cli("config", "reload", "--url", node.url, "--ca", str(own.dir / "ca.crt"), "--token", own.token, check=False).returncode == 2
    one.write_text(before)
    other.unlink()
    assert reload() == (200, [], "")


def not_ready(node):
    """(reason, detail) that /health/ready gives without a credential; None while nobody listens."""
    try:
        answer = requests.get(node.url + "/health/ready", verify=node.session.verify, timeout=30)
    except requests.exceptions.ConnectionError:
        return None
    assert answer.status_code in (200, 503)
    return (answer.json()["reason"], answer.json()["detail"]) if answer.status_code == 503 else (None, None)


def empty(folder, keep=()):
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name not in keep:
            path.rmdir() if path.is_dir() else path.unlink()


def test_ready_says_why_not(cluster):
    """S15: a node that waits for its seeds, and one that lost what it knew of its cluster, are not ready,
    and say which it is. The latter is ready again when a member has admitted it."""
    n1, n2, n3 = cluster.nodes
    for node in cluster.nodes:
        node.stop()
    data = n1.dir / "data"
    empty(data, keep=("identity", "LOCK"))
    with Process(n1.dir / "ringfort.yaml", cluster.dir / "own.log") as alone:
        reason, detail = until(lambda: not_ready(n1), "n1 answers")
        assert reason == "cluster_state_lost" and "cluster.seeds" in detail
        assert n1.request("GET", "/health/live").status_code == 200
        assert n1.put("k", "v").json()["code"] == "RF-STARTING"
        assert n1.status()["state"] == "cluster_state_lost"
        for node in (n2, n3):
            node.start()
        until(lambda: not_ready(n1) == (None, None), f"n1 is admitted again: {alone.log()}")
    empty(data)
    n2.stop()
    n3.stop()
    with Process(n1.dir / "ringfort.yaml", cluster.dir / "own.log"):
        assert until(lambda: not_ready(n1), "n1 answers")[0] == "starting"


# ---- Start -----------------------------------------------------------------------------------

def test_port_in_use(own, tmp_path):
    """Another process on the port is a start error, although sockets are shared between threads."""
    node = own.nodes[0]
    code, text = start_fails(clone(node, tmp_path))
    assert code == 1 and f"cannot listen on 127.0.0.1:{node.port}: bind: Address already in use" in text


def clone(node, folder, change=lambda text: text):
    """The node's configuration with a data directory of its own."""
    for name in ("node.crt", "node.key"):
        (folder / name).write_bytes((node.dir / name).read_bytes())
    config = folder / "ringfort.yaml"
    config.write_text(change((node.dir / "ringfort.yaml").read_text().replace("../", f"{node.cluster.dir}/")))
    return config


def test_config_errors(own, tmp_path):
    """Exit code 2 and every problem of every file at once, with file, line and column."""
    node = own.nodes[0]
    tables = tmp_path / "tables.d"
    tables.mkdir()
    (tables / "a.yaml").write_text("version: 1\ntable: a\nreplicaton: {n: 3}\n")
    (tables / "b.yaml").write_text("version: 1\ntable: b\nreplication: {write_quorum: 1, read_quorum: 1}\n")
    (tables / "c.yaml").write_text("version: 1\ntable: a&b\nttl: 10\n")
    config = clone(node, tmp_path, lambda text: text.replace(f"{own.dir}/tables.d", "tables.d")
                   .replace(f"bin/{own.dir}/lib", "bin/../lib"))
    (tables / "d.yaml").write_text("version: 1\ntable: x\n")
    (tables / "e.yaml").write_text("version: 1\ntable: x\n")
    (tmp_path / "node.crt").write_text("nonsense")
    code, text = start_fails(config)
    assert code == 2
    for expected in ("a.yaml:3:1: error: unknown key 'replicaton'; did you mean 'replication'?\n    replicaton: {n: 3}\n    ^",
                     "b.yaml:3:14: error: replication: read_quorum + write_quorum must be above n",
                     "c.yaml:2:8: error: table: expected a name", "c.yaml:3:6: error: ttl: the unit is missing",
                     "e.yaml:2:8: error: table 'x' is defined twice", "node.crt holds no certificate (PEM)"):
        assert expected in text, text
    (tmp_path / "tokens.yaml").write_text("tokens: [{id: x, rolle: admin}]\n")
    config.write_text(config.read_text().replace(f"{own.dir}/tokens.yaml", "tokens.yaml").replace("cluster: {", "cluster: {hash_secret_file: none, ")
                      + "limits: {max_value: 8}\nlimits: {}\nlog: {level: [x]}\n")
    everything = ("duplicate key 'limits'", "limits.max_value: the unit is missing", "log.level: expected one value",
                  "a.yaml:3:1: error: unknown key 'replicaton'", "e.yaml:2:8: error: table 'x' is defined twice",
                  "node.crt holds no certificate (PEM)", "tokens.yaml:1:18: error: unknown key 'rolle'",
                  "cluster.hash_secret_file: cannot open")
    code, text = start_fails(config)
    checked = own.cli("config", "check", str(config), check=False)
    assert code == 2 and checked.returncode == 2
    for expected in everything:
        assert expected in text, text
        assert expected in checked.stderr, checked.stderr
    number = r"(?m)^(\d+) problems"
    assert re.search(number, text)[1] == re.search(number, checked.stderr)[1], f"{text}\n----\n{checked.stderr}"
    code, text = start_fails(tmp_path / "absent.yaml")
    assert code == 2 and "cannot open" in text and "No such file" in text
