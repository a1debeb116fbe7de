"""`ringfort storage verify` and `dump` on the files of a real node: S137, S172; nothing is changed."""
import json
import struct
import subprocess

import pytest
from conftest import BIN
from edge import one_node


@pytest.fixture(scope="module")
def data():
    """The directory of a stopped node that has a log, table files and manifests."""
    one = one_node()
    node = one.nodes[0]
    for i in range(40):
        assert node.put(f"key/{i}", f"value {i}").status_code == 201
    assert node.request("POST", "/admin/v1/flush", json={}).status_code in (200, 202, 204)
    for i in range(40, 60):
        assert node.put(f"key/{i}", f"value {i}").status_code == 201
    running = run("storage", "verify", node.dir / "data")
    assert running.returncode == 1 and "a server uses this directory" in running.stderr
    node.kill()
    yield node.dir / "data"
    one.close()


def run(*words):
    return subprocess.run([BIN / "ringfort", *words], text=True, capture_output=True, timeout=60)


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def user_table(data):
    for path in sorted(data.rglob("*.sst")):
        content = path.read_bytes()
        if struct.unpack_from("<Q", content, len(content) - 192 + 24)[0] >= 16:
            return path
    raise AssertionError("no table file of users")


def test_verify_a_sound_directory(data):
    before = snapshot(data)
    text = run("storage", "verify", data)
    assert text.returncode == 0, text.stdout
    assert text.stdout.rstrip().endswith(": 0 damaged")
    told = json.loads(run("storage", "verify", data, "-o", "json").stdout)
    assert told["complete"] and told["damages"] == 0
    assert told["segments"] and told["records"] >= 20 and told["manifests"] and told["files"] and told["rows"] >= 40
    assert snapshot(data) == before


def places(data):
    """A byte of every kind of file and part, and a word that the finding has."""
    table = user_table(data)
    content = table.read_bytes()
    index, filter_at = (struct.unpack_from("<Q", content, len(content) - 192 + at)[0] for at in (112, 128))
    wal = max(data.rglob("*.wal"), key=lambda path: path.stat().st_size)
    return [(table, 30, "block"), (table, index + 20, "index"), (table, filter_at + 30, "filter"),
            (table, len(content) - 100, "footer"), (table.parent / "manifest", 60, "manifest"),
            (data / "identity", 20, "identity"), (wal, 100, "log")]


def test_verify_names_each_damage(data):
    for path, at, word in places(data):
        sound = path.read_bytes()
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1:])
        told = run("storage", "verify", data, "-o", "json")
        path.write_bytes(sound)
        found = [one for one in json.loads(told.stdout)["findings"] if one["damage"]]
        assert told.returncode == 1 and found, word
        assert found[0]["file"] == str(path) and word in found[0]["what"], found
        assert found[0]["offset"] <= at
    assert run("storage", "verify", data).returncode == 0


def test_missing_file_and_wrong_places(data, tmp_path):
    table = user_table(data)
    sound = table.read_bytes()
    table.unlink()
    told = run("storage", "verify", data)
    table.write_bytes(sound)
    assert told.returncode == 1 and f"DAMAGED {table}:0: the file is missing" in told.stdout
    assert run("storage", "verify", tmp_path).returncode != 0
    assert run("storage", "verify", tmp_path / "nowhere").returncode != 0
    assert run("storage", "dump", tmp_path / "x.txt").returncode == 64
    assert run("storage", "dump", tmp_path / "0000000000000001.sst").returncode == 2


def test_dump(data):
    keys = set()
    for path in [*data.rglob("*.wal"), *data.rglob("*.sst")]:
        done = run("storage", "dump", path, "-o", "json")
        assert done.returncode == 0, done.stderr
        keys |= {row["key"] for row in json.loads(done.stdout) if row.get("key", "").startswith("key/")}
    assert keys == {f"key/{i}" for i in range(60)}
    edits = json.loads(run("storage", "dump", user_table(data).parent / "manifest", "-o", "json").stdout)
    assert any(edit["edit"] == "add" for edit in edits)
    assert json.loads(run("storage", "dump", data / "identity", "-o", "json").stdout)[0]["partitions"] >= 1
    text = run("storage", "dump", user_table(data))
    assert text.returncode == 0 and " value expires_at=0 size=" in text.stdout
    assert "log_secret" not in run("storage", "dump", data / "identity").stdout
