"""Who may be a peer: C7. The refusing side logs why, since the other only sees an alert."""
import shutil
import socket
import ssl

import pytest
from conftest import until
from edge import Process, Raw, frame, hello, make_ca, make_cert


def refused(shared, cert, say, reason, version=None):
    """Connects to a peer port, says it, and expects a closed connection and the reason in the log."""
    node = shared.nodes[0]
    before = len(node.log())
    try:
        raw = Raw(node.peer_port, shared.dir / "ca.crt", cert, version)
        raw.send(say)
        while raw.more():
            pass
        raw.close()
    except (ssl.SSLError, ConnectionError):
        pass
    until(lambda: reason in node.log()[before:], f"'{reason}' in the log")
    line = next(one for one in node.log()[before:].splitlines() if reason in one)
    assert "level=warn" in line and "remote=127.0.0.1:" in line
    assert node.alive() == {"n1", "n2", "n3"}


def test_wrong_ca(shared, tmp_path):
    """A certificate of another authority."""
    cert = make_cert(make_ca(tmp_path / "ca"), "ringfort://dev/node/n2", tmp_path / "leaf")
    refused(shared, cert, hello("n2"), "certificate verify failed")


def test_no_certificate(shared):
    refused(shared, None, hello("n2"), "peer did not return a certificate")


def test_client_certificate_is_no_peer(shared, tmp_path):
    """A role's certificate of the right authority can never act as a peer."""
    cert = make_cert(shared.dir, "ringfort://dev/role/admin", tmp_path / "leaf")
    refused(shared, cert, hello("n2"), "a client certificate cannot act as a peer")


def test_another_cluster(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://prod/node/n2", tmp_path / "leaf")
    refused(shared, cert, hello("n2", "prod"), "it belongs to a cluster of another name")
    refused(shared, cert, hello("n2", "dev"), "it belongs to a cluster of another name")


def test_hello_must_match_the_certificate(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf")
    refused(shared, cert, hello("n2"), "it calls itself by another name than its certificate does")


def node_id(shared, name):
    return next(int(n["id"], 16) for n in shared.nodes[0].status()["nodes"] if n["name"] == name)


def test_node_id_of_another(shared, tmp_path):
    """A certificate for n9 does not speak with n2's id, and a link keeps the id that it began with."""
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf")
    refused(shared, cert, hello("n9", node=node_id(shared, "n2")), "it speaks with the node id of another member")
    refused(shared, cert, hello("n9") + hello("n9"), "it says hello twice")


def test_expired_certificate(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf", days=-1)
    refused(shared, cert, hello("n9"), "certificate has expired")


def test_no_hello_first(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf")
    refused(shared, cert, frame(37, b""), "it did not begin with a hello")


def test_damaged_frame(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf")
    broken = bytearray(hello("n9"))
    broken[-1] ^= 1
    refused(shared, cert, bytes(broken), "a frame is damaged")
    refused(shared, cert, b"\xff" * 64, "a frame is damaged")


def test_tls_1_2_is_too_old(shared, tmp_path):
    cert = make_cert(shared.dir, "ringfort://dev/node/n9", tmp_path / "leaf")
    refused(shared, cert, hello("n9"), "unsupported protocol", ssl.TLSVersion.TLSv1_2)


def test_plain_text(shared):
    """Something that is no TLS at the peer port."""
    node = shared.nodes[0]
    before = len(node.log())
    with socket.create_connection(("127.0.0.1", node.peer_port), timeout=30) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while plain.recv(4096):
            pass
    until(lambda: "event=peer_rejected" in node.log()[before:], "the reason in the log")
    assert "this port speaks TLS between nodes" in node.log()[before:]


def test_two_nodes_of_one_name(shared, tmp_path):
    """A second n3 with an empty directory is refused while n3 lives, and says so."""
    n3 = shared.nodes[2]
    shutil.copytree(n3.dir, tmp_path / "n3", ignore=shutil.ignore_patterns("data", "log", "pid"))
    config = (tmp_path / "n3/ringfort.yaml").read_text()
    port = free_pair()
    config = config.replace(f':{n3.port}"', f':{port}"', 1).replace(
        f'peer: "127.0.0.1:{n3.peer_port}"', f'peer: "127.0.0.1:{port + 1}"')
    config = config.replace("../", f"{shared.dir}/")
    (tmp_path / "n3/ringfort.yaml").write_text(config)
    with Process(tmp_path / "n3/ringfort.yaml", tmp_path / "n3/log") as twin:
        twin.wait_log("event=cluster_refuses")
        assert "n3" in [line for line in twin.log().splitlines() if "cluster_refuses" in line][0]
    assert shared.nodes[0].alive() == {"n1", "n2", "n3"}
    assert len(shared.nodes[0].status()["nodes"]) == 3


def free_pair():
    from conftest import free_ports
    return free_ports(2)
