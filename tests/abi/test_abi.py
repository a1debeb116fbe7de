"""The plugin header stands alone, in C11 and C++17, and its layout is pinned: C4, C5, C10."""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
STRICT = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", f"-I{ROOT}/include"]
COMPILERS = {"gcc C11": ["gcc", "-std=c11", "-pedantic"], "clang C11": ["clang", "-std=c11", "-pedantic"],
             "clang C17": ["clang", "-std=c17"], "clang C++17": ["clang++", "-x", "c++", "-std=c++17"]}


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("source", ["layout.c", "placement_reverse.c"])
def test_header_alone(compiler, source, tmp_path):
    """Nothing else of this project is on the include path."""
    subprocess.run([*COMPILERS[compiler], *STRICT, "-fPIC", "-c", ROOT / "tests/abi" / source, "-o", tmp_path / "x.o"], check=True)


def test_header_includes_only_the_standard_library():
    text = (ROOT / "include/ringfort/plugin.h").read_text()
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        "#include <stddef.h>", "#include <stdint.h>"]


def test_symbols_of_shipped_plugins_are_listed():
    """docs/plugin-symbols.txt is sorted within its parts and without doubles."""
    names = [n for n in (ROOT / "docs/plugin-symbols.txt").read_text().splitlines() if n and not n.startswith("#")]
    assert len(names) == len(set(names)) and not {"malloc", "open", "time", "getenv", "pthread_create", "rand"} & set(names)
