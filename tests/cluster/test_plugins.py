"""A bad plugin is refused before its code runs, with a sentence that says what differs; it cannot stop
other tables (C1, C3, C4, C6)."""
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import BIN, until
from edge import one_node, start_fails

ROOT = pathlib.Path(__file__).parents[2]
PLUGINS = BIN.parent / "lib/ringfort/plugins"
CONFLICT = """
#include <ringfort/plugin.h>
%(more)s
static int32_t merge(const struct rf_host *h, const void *o, const struct rf_item *i, uint32_t s, uint32_t n,
                     uint32_t *r, uint32_t *rn)
{ (void)h; (void)o; (void)i; (void)s; (void)n; r[0] = 0; *rn = 1; return %(result)s; }
static const struct rf_conflict_ops ops = { .size = sizeof(ops), .capabilities = %(capabilities)s, .merge = %(merge)s };
RF_PLUGIN(%(kind)s, "%(name)s", "1", ops);
"""


class World:
    """One node with a plugin directory of its own and a table `bad` beside `default`."""

    def __init__(self):
        self.cluster = one_node()
        self.node = self.cluster.nodes[0]
        self.node.stop()
        self.plugins = self.cluster.dir / "plugins"
        self.plugins.mkdir(mode=0o755)
        for shipped in PLUGINS.glob("*.so"):
            shutil.copy(shipped, self.plugins)
        config = self.node.dir / "ringfort.yaml"
        text = config.read_text()
        config.write_text("\n".join(f'plugins: {{dir: "{self.plugins}"}}' if line.startswith("plugins:") else line
                                    for line in text.splitlines()) + "\n")

    def build(self, file, header=None, **fields):
        """One gcc line, as a plugin's author would write it."""
        source = self.cluster.dir / f"{file}.c"
        fields = {"more": "", "kind": "RF_KIND_CONFLICT", "name": file, "merge": "merge", "result": "RF_PLUGIN_OK",
                  "capabilities": "RF_NEWEST_WINS", **fields}
        source.write_text(CONFLICT % fields)
        include = header or ROOT / "include"
        subprocess.run(["gcc", "-std=c11", "-O1", "-shared", "-fPIC", f"-I{include}", "-o", self.plugins / f"{file}.so", source],
                       check=True)

    def start(self, table):
        (self.cluster.dir / "tables.d/bad.yaml").write_text("version: 1\ntable: bad\nreplication: {n: 1, write_quorum: 1, read_quorum: 1}\n" + table)
        self.node.start()

    def problem(self):
        return {t["name"]: t.get("problem") for t in self.node.status()["tables"]}["bad"]

    def only_bad_suffers(self, *sentences):
        """`status`, log and answers name the reason; the other table works."""
        for sentence in sentences:
            assert sentence in self.problem(), self.problem()
        assert sentences[-1] in self.node.log()
        assert "event=plugin_refused" in self.node.log()
        answer = self.node.put("k", "v", table="bad")
        assert answer.status_code == 503 and sentences[0] in answer.json()["detail"]
        assert answer.json()["write_outcome"] == "not_applied"
        assert self.node.put("k", "v").status_code == 201 and self.node.value("k", consistency="strong") == b"v"


@pytest.fixture
def world():
    one = World()
    yield one
    one.cluster.close()


def test_missing(world):
    world.start("conflict: {plugin: conflict-nowhere}\n")
    world.only_bad_suffers("plugin 'conflict-nowhere' was refused", "No such file or directory")


def test_foreign_abi_runs_no_code(world):
    """Built with the header of another major version; its constructor must not have run."""
    header = world.cluster.dir / "include/ringfort"
    header.mkdir(parents=True)
    text = (ROOT / "include/ringfort/plugin.h").read_text()
    (header / "plugin.h").write_text(text.replace("#define RF_ABI_MAJOR 1u", "#define RF_ABI_MAJOR 2u"))
    witness = world.cluster.dir / "witness"
    world.build("conflict-alien", header.parent, more=f"""
#include <fcntl.h>
__attribute__((constructor)) static void run(void) {{ (void)open("{witness}", O_CREAT | O_WRONLY, 0600); }}
""")
    world.start("conflict: {plugin: conflict-alien}\n")
    world.only_bad_suffers("it was built for plugin ABI 2.0, this server speaks 1.0", "use a newer server")
    assert not witness.exists()


def test_forbidden_import_runs_no_code(world):
    """A policy may not open files; found in its symbols before dlopen."""
    witness = world.cluster.dir / "witness"
    world.build("conflict-writer", more=f"""
#include <fcntl.h>
__attribute__((constructor)) static void run(void) {{ (void)open("{witness}", O_CREAT | O_WRONLY, 0600); }}
""")
    world.start("conflict: {plugin: conflict-writer}\n")
    world.only_bad_suffers("it imports 'open'; a policy plugin may import only")
    assert not witness.exists()


def test_no_note(world):
    (world.cluster.dir / "x.c").write_text("int x;\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", world.plugins / "conflict-blank.so", world.cluster.dir / "x.c"], check=True)
    world.start("conflict: {plugin: conflict-blank}\n")
    world.only_bad_suffers("it carries no Ringfort note")


def test_no_elf(world):
    (world.plugins / "conflict-text.so").write_text("#!/bin/sh\n")
    world.start("conflict: {plugin: conflict-text}\n")
    world.only_bad_suffers("it is not an ELF file")


def test_wrong_kind(world):
    world.start("conflict: {plugin: placement-simple}\n")
    world.only_bad_suffers("'placement-simple' is a placement plugin, a conflict plugin is needed here")


def test_wrong_name(world):
    world.build("conflict-a", name="conflict-b")
    world.start("conflict: {plugin: conflict-a}\n")
    world.only_bad_suffers("calls itself 'conflict-b'; a plugin's file is named after it")


def test_missing_operation(world):
    world.build("conflict-lazy", merge="NULL")
    world.start("conflict: {plugin: conflict-lazy}\n")
    world.only_bad_suffers("its main operation (merge) is missing")


def test_writable_file(world):
    world.build("conflict-open")
    os.chmod(world.plugins / "conflict-open.so", 0o666)
    world.start("conflict: {plugin: conflict-open}\n")
    world.only_bad_suffers("may be written by others; chmod go-w it")


def test_symbolic_link(world):
    world.build("conflict-real")
    (world.plugins / "conflict-link.so").symlink_to(world.plugins / "conflict-real.so")
    world.start("conflict: {plugin: conflict-link}\n")
    world.only_bad_suffers("cannot open")


def test_writable_directory(world):
    """Whoever may write there may run code here: no plugin is loaded, no table works, the node says why."""
    os.chmod(world.plugins, 0o777)
    world.start("")
    assert "the plugin directory" in world.problem() and "may be written by others" in world.problem()
    assert world.node.put("k", "v").status_code == 503
    assert world.node.request("GET", "/health/live").status_code == 200


def test_out_of_tree_plugin(world):
    """One compiler line, no part of this tree but the header; its options are checked before it runs."""
    def build():
        subprocess.run(["gcc", "-shared", "-fPIC", f"-I{ROOT}/include", "-o", world.plugins / "placement-reverse.so",
                        ROOT / "tests/abi/placement_reverse.c"], check=True)
    build()
    world.start("placement: {plugin: placement-reverse, options: {skip: 3, strict: true}}\n")
    assert world.problem() is None
    assert world.node.put("k", "v", table="bad").status_code == 201
    loaded = {p["name"]: p for p in world.node.status()["plugins"]}["placement-reverse"]
    assert loaded["version"] == "0.1.0"
    # Replacing the file does not touch the running server.
    (world.plugins / "placement-reverse.so").write_bytes(b"")
    assert world.node.put("k", "w", table="bad").status_code == 201
    build()
    world.node.stop()
    table = world.cluster.dir / "tables.d/bad.yaml"
    good = table.read_text()
    for options, expected in (("{skp: 3}", "placement-reverse has no option 'skp'; did you mean 'skip'?"),
                              ("{skip: 10}", "placement-reverse.skip: 10 is above the allowed 9"),
                              ("{strict: maybe}", "placement-reverse.strict: "), ("[1]", "options: expected a map"),
                              ("{skip: 7, strict: true}", "placement-reverse refuses its options")):
        table.write_text(good.replace("{skip: 3, strict: true}", options))
        code, text = start_fails(world.node.dir / "ringfort.yaml")
        assert code == 2 and expected in text, text
    assert "skip: 7 and strict: true exclude each other" in text


def test_leveled_table_beside_a_size_tiered_one(world):
    """S58, S64, C3: a table chooses compaction-leveled with options of its own; flushes and merges keep everything."""
    world.start("compaction: {plugin: compaction-leveled, options: {fanout: 4, table_size: 8MiB, level0_files: 2}}\n")
    node = world.node
    assert world.problem() is None
    for round in range(5):
        for i in range(20):
            assert node.put(f"k{i}", f"{round}/{i}", table="bad").status_code == 201
        assert node.request("POST", "/admin/v1/flush").status_code == 200
    until(lambda: node.metric("ringfort_compactions_total") > 0, "level 0 was merged")
    for i in range(20):
        assert node.value(f"k{i}", table="bad") == f"4/{i}".encode()


def test_leveled_options_are_checked(world):
    """S58, S64: what the plugin's option table does not allow stops the start, with the place."""
    bad = world.cluster.dir / "tables.d/bad.yaml"
    bad.write_text("version: 1\ntable: bad\nreplication: {n: 1, write_quorum: 1, read_quorum: 1}\n"
                   "compaction: {plugin: compaction-leveled, options: {fanout: 1, tablesize: 8MiB}}\n")
    code, output = start_fails(world.node.dir / "ringfort.yaml")
    assert code == 2 and "bad.yaml:4:60: error: compaction-leveled.fanout: 1 is below" in output, output
    assert "table_size" in output
