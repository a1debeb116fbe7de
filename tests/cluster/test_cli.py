"""The command line: exit codes, JSON, help from the one table of commands."""
import json
import pathlib
import re
import socket
import subprocess

import pytest
from conftest import BIN, free_ports
from edge import make_cert, one_node

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lonely():
    one = one_node()
    yield one
    one.close()


@pytest.fixture
def run(lonely):
    env = {"RINGFORT_URL": lonely.nodes[0].url, "RINGFORT_CA": str(lonely.dir / "ca.crt"),
           "RINGFORT_TOKEN": lonely.token, "RINGFORT_DEV_DIR": str(lonely.dir)}

    def call(*words, stdin=None, text=True, **more):
        return subprocess.run([BIN / "ringfort", *words], env={**env, **more}, text=text, capture_output=True, input=stdin,
                              timeout=60)
    return call


def test_help_lists_every_command(run):
    """What the table of commands has, help shows; the environment and exit codes, too."""
    table = re.findall(r'^    \{"([a-z ]+)", "', (ROOT / "src/cli/commands.c").read_text(), re.M)
    assert len(table) > 15
    for words in (("--help",), ("help",), ("-h",)):
        done = run(*words)
        assert done.returncode == 0
        for name in table:
            assert re.search(rf"^  {name}\b", done.stdout, re.M), name
        for name in ("RINGFORT_URL", "RINGFORT_CA", "RINGFORT_TOKEN", "RINGFORT_DEV_DIR", "exit codes:"):
            assert name in done.stdout
    assert run("--version").stdout.startswith("ringfort ")
    assert run().returncode == 64


def test_usage_errors(run):
    for words in (("frobnicate",), ("get",), ("get", "a", "b"), ("put", "a"), ("config",), ("ring", "x"), ("--nonsense",),
                  ("put", "a", "b", "--ttl", "0"), ("put", "a", "b", "--ttl", "soon"), ("status", "-o", "xml"),
                  ("dev", "cert", "king", "x"), ("dev", "cert", "node", "../x")):
        done = run(*words)
        assert done.returncode == 64 and done.stderr, words


def test_unknown_commands_are_told(run):
    """Which word is wrong, what is near, and what there is."""
    done = run("dev", "dwon")
    assert "unknown command 'dev dwon'; did you mean 'dev down'?" in done.stderr and "dev start NODE" in done.stderr
    assert "unknown command 'config'" in run("config").stderr and "config explain KEY" in run("config").stderr
    assert "unknown command 'statsu'; did you mean 'status'?" in run("statsu").stderr
    assert all(run(*words).returncode == 64 for words in (("dev", "dwon"), ("config",), ("statsu",)))


def test_help_of_a_group(run):
    for words in (("dev", "--help"), ("help", "dev")):
        done = run(*words)
        assert done.returncode == 0
        for said in ("dev up", "dev down", "dev kill NODE", "dev cert KIND NAME", "--nodes N", "--port PORT", "--keep"):
            assert said in done.stdout, said
        assert "ring locate" not in done.stdout
    assert "config check FILE" in run("config", "--help").stdout
    assert run("dev", "kill", "--help").stdout.startswith("usage: ringfort dev kill NODE")


def test_items(run):
    assert run("put", "k", "v", "--ttl", "3600").returncode == 0
    told = json.loads(run("get", "k", "--strong", "-o", "json").stdout)
    assert told["value"] == "dg==" and told["expires_at"] == told["timestamp"] + 3_600_000
    assert json.loads(run("put", "k", "w", "-o", "json").stdout)["key"] == "k"
    assert run("put", "bytes", "-", stdin=b"\0\xff\n\n", text=False).returncode == 0
    assert run("get", "bytes", "--raw", text=False).stdout == b"\0\xff\n\n"
    assert run("del", "k").stdout == "deleted\n"
    missing = run("get", "k", "-o", "json")
    assert missing.returncode == 2 and json.loads(missing.stdout)["code"] == "RF-ITEM-NOT-FOUND"
    assert "no such item" in missing.stderr
    none = run("put", "k", "v", "--table", "defalt")
    assert none.returncode == 2 and "did you mean 'default'?" in none.stderr
    wrong = run("put", "", "v")
    assert wrong.returncode == 1 and "/key: a key has 1 to 2048 bytes" in wrong.stderr


def test_unreachable_and_unauthorized(run):
    assert run("status", RINGFORT_URL="https://127.0.0.1:1").returncode == 69
    told = run("status", "-o", "json", RINGFORT_URL="https://127.0.0.1:1")
    assert told.returncode == 69 and json.loads(told.stdout)["detail"] in told.stderr
    done = run("status", RINGFORT_TOKEN="rft_wrong")
    assert done.returncode == 1 and "RF-UNAUTHENTICATED" in done.stderr
    assert run("status", RINGFORT_URL="http://127.0.0.1:1").returncode == 64


def test_admin(run):
    assert json.loads(run("status", "-o", "json").stdout)["node"] == "n1"
    located = run("ring", "locate", "some key/ä")
    assert located.returncode == 0 and "n1" in located.stdout
    assert len(json.loads(run("ring", "locate", "k", "-o", "json").stdout)["replicas"]) == 1
    assert run("ring", "locate", "k", "--table", "none").returncode == 2
    assert json.loads(run("ring", "-o", "json").stdout)["tokens"]
    assert run("config", "reload").returncode == 0


def test_config_explain_and_defaults(run):
    one = run("config", "explain", "limits.max_value")
    assert one.returncode == 0 and "default: 8MiB" in one.stdout and "takes effect on `config reload`" in one.stdout
    section = run("config", "explain", "limits")
    assert section.stdout.count("default: ") >= 6
    for key in ("replication.write_quorum", "log.level"):  # both forms say the same
        shown = run("config", "explain", key).stdout
        live = json.loads(run("config", "explain", key, "-o", "json").stdout)[0]["live"]
        assert ("takes effect on `config reload`" in shown) == live == (key == "log.level")
    assert "placement.plugin (table file)" in run("config", "explain", "placement").stdout
    wrong = run("config", "explain", "limits.max_valu")
    assert wrong.returncode == 2 and "did you mean 'limits.max_value'?" in wrong.stderr
    assert "did you mean 'limits'?" in run("config", "explain", "limts").stderr
    rows = json.loads(run("config", "defaults", "-o", "json").stdout)
    text = run("config", "defaults").stdout
    assert len(rows) > 50 and all(row["key"] in text and row["doc"] in text for row in rows)


def check(run, folder):
    done = run("config", "check", str(folder / "ringfort.yaml"))
    assert json.loads(run("config", "check", str(folder / "ringfort.yaml"), "-o", "json").stdout)["valid"] == (done.returncode == 0)
    return done


def test_config_check(run, lonely, tmp_path):
    """The node's file, its tables, their plugins' options, tokens and certificate: all in one run."""
    node = lonely.nodes[0].dir
    text = (node / "ringfort.yaml").read_text()
    assert "good" in check(run, node).stdout
    (tmp_path / "tables.d").mkdir()
    for name, content in (("a", "version: 1\ntable: a\nconflict: {plugin: conflict-lww, options: {x: 1}}\n"),
                          ("b", "version: 1\ntable: b\nplacement: {plugin: placement-nowhere}\n"),
                          ("c", "version: 1\ntable: c\nttl: soon\n")):
        (tmp_path / f"tables.d/{name}.yaml").write_text(content)
    (tmp_path / "tokens.yaml").write_text("tokens: [{id: a}]\n")
    make_cert(lonely.dir, "ringfort://dev/node/n9", tmp_path / "node")
    text = text.replace("../tables.d", "tables.d").replace("../tokens.yaml", "tokens.yaml").replace("../ca.crt", f"{lonely.dir}/ca.crt")
    (tmp_path / "ringfort.yaml").write_text(text)
    bad = check(run, tmp_path)
    assert bad.returncode == 2
    for expected in ("a.yaml:3:44: error: conflict-lww has no option 'x'", "b.yaml:3:12: error: placement.plugin: cannot open",
                     "c.yaml:3:6: error: ttl: expected a number with a unit", "tokens.yaml:1:10: error: the key 'sha256' is missing", "tokens.yaml:1:10: error: the key 'role' is missing",
                     "is for node 'n9' of cluster 'dev', this is node 'n1'", "6 problems"):
        assert expected in bad.stderr, bad.stderr
    for name in "abc":
        (tmp_path / f"tables.d/{name}.yaml").unlink()
    (tmp_path / "tokens.yaml").write_text("tokens: [{id: a}, 7]\n")
    make_cert(lonely.dir, "ringfort://dev/node/n1", tmp_path / "node")
    assert check(run, tmp_path).stderr.endswith("\n3 problems\n")
    (tmp_path / "tokens.yaml").write_text("tokens: 7\n")
    assert check(run, tmp_path).stderr.endswith("\n1 problem\n")
    assert run("config", "check", str(tmp_path / "absent.yaml")).returncode == 2


def test_settings_without_effect(run, lonely, tmp_path):
    """What is accepted and does nothing yet is a warning at its place, in the check, at the start and at a
    reload; explain and defaults say it, too. The file is good all the same."""
    node = lonely.nodes[0]
    config = node.dir / "ringfort.yaml"
    before = config.read_text()
    lines = before.count("\n")
    config.write_text(before + "repair: {interval: 1h}\nlimits: {drain_delay: 1ms}\n")
    warning = f"{config}:{lines + 1}:10: warning: repair.interval has no effect yet\n    repair: {{interval: 1h}}\n             ^\n"
    try:
        done = run("config", "check", str(config))
        assert done.returncode == 0 and warning in done.stderr
        told = json.loads(run("config", "check", str(config), "-o", "json").stdout)
        assert told["valid"] and warning in told["warnings"]
        done = run("config", "reload")
        assert done.returncode == 0 and "warning: repair.interval has no effect yet" in done.stderr
        node.stop()
        node.start()
        assert "warning: repair.interval has no effect yet" in node.log()
    finally:
        config.write_text(before)
    assert "has no effect yet" in run("config", "explain", "repair.bandwidth").stdout
    rows = {row["key"]: row["effect"] for row in json.loads(run("config", "defaults", "-o", "json").stdout)}
    assert not rows["repair.interval"] and not rows["replication.sloppy"] and rows["storage.disk_reserve"]


def test_dev_conveniences(run, lonely):
    cert, key = run("dev", "cert", "role", "app").stdout.split()
    shown = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-ext", "subjectAltName"], capture_output=True, text=True)
    assert "URI:ringfort://dev/role/app" in shown.stdout
    assert pathlib.Path(key).stat().st_mode & 0o077 == 0
    assert f"export RINGFORT_URL={lonely.nodes[0].url}" in run("dev", "env").stdout
    assert run("dev", "kill", "n7").returncode == 2
    assert run("dev", "start", "n1").returncode == 1
    assert run("dev", "env", RINGFORT_DEV_DIR="/nonexistent").returncode == 2


def dev_up(folder, *more):
    return subprocess.run([BIN / "ringfort", "dev", "up", "--dir", str(folder), *more], text=True, capture_output=True, timeout=120)


def test_dev_up_with_a_taken_port(tmp_path):
    """The node whose port is taken is the one that is named, with the reason; nothing is left behind."""
    port, folder = free_ports(6), tmp_path / "dev"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 2))
        taken.listen()
        failed = dev_up(folder, "--port", str(port))
    assert failed.returncode == 1 and "node n2 ended:" in failed.stderr and "Address already in use" in failed.stderr
    assert not folder.exists()
    try:
        done = dev_up(folder, "--port", str(port))
        assert done.returncode == 0, done.stderr
        for i in range(3):
            assert f"n{i + 1}   https://127.0.0.1:{port + 2 * i}\n" in done.stderr
        assert done.stdout.count("\n") == 4, "standard output is for eval"
    finally:
        subprocess.run([BIN / "ringfort", "dev", "down", "--dir", str(folder)], capture_output=True, timeout=120)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    assert dev_up(kept, "--port", str(port)).returncode == 1 and (kept / "file").read_text() == "mine"


def test_wrong_options_are_named(shared):
    """A mistyped option, a wrong value and a missing one are each told in a sentence with the option's name."""
    for words, said in ((("get", "k", "--tabel", "x"), "did you mean --table?"), (("put", "k", "v", "--ttl", "abc"), "'abc' is not a value for --ttl"),
                        (("put", "k", "v", "--ttl=abc"), "--ttl"), (("get", "k", "--url"), "--url needs a value")):
        done = shared.cli(*words, check=False)
        assert done.returncode == 64 and said in done.stderr, (words, done.stderr)
    for words in (("put", "--help"), ("help", "put")):
        done = shared.cli(*words)
        assert done.stdout.startswith("usage: ringfort put KEY VALUE")
