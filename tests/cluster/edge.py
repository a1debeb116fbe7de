"""Helpers of the edge tests: raw TLS connections, certificates made with openssl, own processes."""
import json
import os
import signal
import socket
import ssl
import struct
import subprocess

import conftest
from conftest import until


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def make_ca(folder):
    """A certificate authority that nobody knows; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=foreign CA", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    return folder


def make_cert(ca, uri, out, days=2):
    """Certificate and key with the SAN URI, signed by the CA in that folder; returns both paths."""
    crt, key = out.with_suffix(".crt"), out.with_suffix(".key")
    names = out.with_suffix(".ext")
    names.write_text(f"subjectAltName=URI:{uri},DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test",
        "-keyout", key, "-out", out.with_suffix(".csr"))
    run("openssl", "x509", "-req", "-in", out.with_suffix(".csr"), "-CA", ca / "ca.crt", "-CAkey", ca / "ca.key",
        "-set_serial", str(int.from_bytes(os.urandom(8), "big") >> 1), "-days", str(days), "-extfile", names, "-out", crt)
    return crt, key


class Raw:
    """A TLS connection on which every byte is ours."""

    def __init__(self, port, ca, cert=None, version=None):
        context = ssl.create_default_context(cafile=str(ca))
        context.check_hostname = False
        if cert:
            context.load_cert_chain(*map(str, cert))
        if version:
            context.maximum_version = version
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30))
        self.kept = b""

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def more(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.kept += data
        return bool(data)

    def response(self, head=False):
        """(status, headers, body) of the next response; None when the connection ends before it."""
        while b"\r\n\r\n" not in self.kept:
            if not self.more():
                return None
        top, self.kept = self.kept.split(b"\r\n\r\n", 1)
        first, *lines = top.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        size = 0 if head else int(headers["content-length"])
        while len(self.kept) < size:
            if not self.more():
                return None
        body, self.kept = self.kept[:size], self.kept[size:]
        return int(first.split()[1]), headers, json.loads(body) if body.startswith(b"{") else body

    def closed(self):
        """Does the other side close without saying more?"""
        while self.more():
            pass
        return self.kept == b""

    def close(self):
        self.socket.close()


# ---- Peer frames by hand ---------------------------------------------------------------------

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind, body):
    rest = struct.pack("<BBBBQQQQ", 2, kind, 0, 0, 0, 0, 0, 0) + body
    return struct.pack("<II", len(rest) + 8, crc32c(rest)) + rest


def hello(name, cluster="dev", node=0x7700):
    name, cluster = name.encode(), cluster.encode()
    return frame(1, struct.pack("<QQ", node, 1) + struct.pack("<H", len(name)) + name
                 + struct.pack("<H", len(cluster)) + cluster)


# ---- Own processes ---------------------------------------------------------------------------

class Process:
    """A ringfortd of our own; ends with the block."""

    def __init__(self, config, log):
        self.log_path = log
        self.process = subprocess.Popen([conftest.BIN / "ringfortd", "--config", config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(log, "wb"))

    def __enter__(self):
        return self

    def log(self):
        return self.log_path.read_text()

    def wait_log(self, text):
        return until(lambda: text in self.log(), f"'{text}' in {self.log_path}:\n{self.log()}")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_fails(config):
    """Runs ringfortd until it ends by itself; returns (exit code, what it printed)."""
    done = subprocess.run([conftest.BIN / "ringfortd", "--config", config], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def reconfigure(node, change):
    """Stops the node, passes its configuration through change(text), starts it again."""
    config = node.dir / "ringfort.yaml"
    node.stop()
    config.write_text(change(config.read_text()))
    node.start()


def one_node():
    return conftest.Cluster(nodes=1)
