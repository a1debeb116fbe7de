#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: corpus/NAME/*, small and readable here. Run it after a format
has changed; the results are committed. Binary formats start from what the code itself writes
(tests/unit), so a few of their seeds are made by hand below."""
import pathlib
import struct

here = pathlib.Path(__file__).parent / "corpus"


def seeds(name, *items):
    folder = here / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(items):
        (folder / f"seed{number}").write_bytes(item if isinstance(item, bytes) else item.encode())


seeds("http",
      "GET /api/v1/item?key=a%20b&consistency=strong HTTP/1.1\r\nHost: a\r\n\r\n",
      "POST /api/v1/item HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
      "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n")
seeds("item", b"\0key=a&consistency=strong&r=2&table=t&explain=true",
      b"\1table=t\0{\"key\":\"k\\u0000\",\"value\":\"AP8=\",\"ttl\":60,\"w\":2,\"timestamp\":1700000000000}",
      b"\1\0{\"key_b64\":\"/wA=\",\"value\":\"\",\"a/b~c\":[[[]]]}", b"\2key_b64=YQ==&w=1&timestamp=5",
      b"\1\0{\"key\":\"\\ud83d\\ude00\",\"value\":\"QQ==\",\"ttl\":1.5e3}")
node = """version: 1
node: {name: n1, data_dir: /d}
cluster: {name: c, seeds: ["127.0.0.1:1"]}
listen: {peer: "127.0.0.1:1"}
tls: {ca: ca.crt, cert: a.crt, key: a.key}
auth: none
limits: {max_value: 8MiB, request_timeout: 2s}
storage: {disk_reserve: 2.5%}
repair: {bandwidth: 50MiB/s}
"""
table = """version: 1
table: carts
replication: {n: 3, write_quorum: 2, read_quorum: 2, sloppy: false}
conflict: {plugin: conflict-siblings, options: {max_siblings: 100}}
ttl: 30d
row_cache: off
"""
seeds("yaml", "\0" + node, "\1" + table, "\0a: &x 1\nb: *x\n", "\1a: [[[[1]]]]\n? k\n: v\n", "\0\"\\x1b\": |\n  x\n")
def row(key, value):
    return struct.pack("<BBHI", 1, 0, len(key), len(value)) + struct.pack("<QQQ", 1 << 40, 9, 0) + key + value
seeds("row", row(b"k", b"value"), row(b"k\0", b""), b"\1" + bytes(31))
def wal_group(seq, records):  # offsets and checks are left to the fuzz target
    body = b"".join(records)
    size = len(body)
    return (struct.pack("<IIQQQQQQIIIBBHQ", 0x32574652, 96, 0, 8, 0, seq, seq - 1, 1, len(records), size, 0, 0, 1, 1, 0)
            + struct.pack("<QII", seq - 1, 6, 0) + body + bytes(-size % 8))
record = struct.pack("<QQI", 5, 7, 6) + row(b"k", b"v")
seeds("wal_group", wal_group(1, [record]), wal_group(1, [record]) + wal_group(2, [record, record]) + wal_group(4, []),
      wal_group(1, [record]) + b"\xff" * 104 + wal_group(3, [record]), bytes(128))
head = struct.pack("<IIBBBB", 0, 0, 1, 2, 1, 0) + struct.pack("<QQQ", 1, 2, 3)
data = head + struct.pack("<IQQQQQQB", 100, 1, 2, 3, 4, 5, 6, 1) + row(b"k", b"v")
hello = (struct.pack("<IIBBBB", 0, 0, 1, 1, 0, 0) + struct.pack("<QQQQ", 0, 0, 0, 0) + struct.pack("<QQ", 256, 1)
         + struct.pack("<H", 2) + b"n1" + struct.pack("<H", 1) + b"c")
gossip = struct.pack("<IIBBBB", 0, 0, 1, 32, 0, 0) + struct.pack("<QQQQ", 1, 2, 3, 4) + b"body"
seeds("message", data, hello, gossip)
elf = (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
       + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, 12 + 12 + 124, 12 + 12 + 124, 4))
note = struct.pack("<QHHHHII", 0x74726F6674676E69, 1, 0, 2, 0, 56, 376) + b"x".ljust(64, b"\0") + b"1".ljust(32, b"\0")
seeds("elf_note", elf + struct.pack("<III", 9, len(note), 0x52460001) + b"Ringfort\0\0\0\0" + note, elf)
edit = struct.pack("<II7Q", 1, 0, 1, 100, 4096, 5, 9, 77, 0)
seeds("manifest", struct.pack("<IIIIHHIQQQ", 0x524D4652, 0, 112, 1, 2, 1, 0, 1, 0, 2) + edit,
      struct.pack("<IIIIHHIQQQ", 0x524D4652, 0, 176, 2, 2, 0, 0, 1, 1, 9) + edit
      + struct.pack("<II7Q", 4, 0, 1, 100, 0, 5, 9, 77, 1))


def sst(rows, bloom):
    """One block per row; checksums are left to the fuzz target."""
    def block(kind, payload, at):
        return struct.pack("<IIIBBH", 0, len(payload), len(payload), kind, 0, 0) + payload
    body, index = b"", b""
    for token, key, value in rows:
        payload = struct.pack("<I4BQQQ", 1, 2 << 4, 1, 0, 1, token, 1 << 40, 9)
        payload += struct.pack("<HB", len(key + value), len(key)) + key + value
        index += struct.pack("<QQ", token, len(body))
        body += block(1, payload, len(body))
    at = len(body)
    body += block(2, index, at)
    filter_at = len(body)
    filter_size = 0
    if bloom:
        body += block(3, b"\xff" * 64, filter_at)
        filter_size = 80
    fields = [len(rows), 0, 0, 1, 2, 0, rows[0][0], rows[-1][0], 100, at, 16 + len(index), filter_at, filter_size, 5,
              len(rows), len(body) + 192]
    footer = struct.pack("<IIHHIQQII", 0x53544652, 0, 3, 192, 0, 1, 100, 0, 0) + struct.pack("<16Q", *fields)
    return body + footer.ljust(192, b"\0")


seeds("sst", sst([(5, b"key00001", b"value")], False),
      sst([(5, b"key00001", b"v"), (5, b"key00002", b"w"), (9, b"k", b"x" * 300)], True))
