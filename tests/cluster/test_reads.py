"""Tiers of a read on a real node: files that are not in the page cache, and the row cache.
S82, S85, S88-S92, D18."""
import os
import threading

from conftest import until
from edge import one_node


def drop_pages(node):
    """Nothing of the node's table files stays in the page cache."""
    for path in (node.dir / "data").rglob("*.sst"):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def test_cold_blocks_are_read_in_other_threads():
    """Reads of blocks that are not in memory are answered rightly, many at a time, with writes of the same
    keys between them; the metric says that they went through the threads for that."""
    one = one_node()
    try:
        node = one.nodes[0]
        for i in range(100):
            assert node.put(f"key/{i}", f"value {i}" + "x" * 2000).status_code == 201
        assert node.request("POST", "/admin/v1/flush", json={}).status_code in (200, 202, 204)
        problems = []

        def load(first):
            for i in range(first, 100, 4):
                drop_pages(node)
                wanted = f"value {i}" + "x" * 2000
                if node.value(f"key/{i}", consistency="eventual") != wanted.encode():
                    problems.append(i)
                if i % 3 == 0 and node.put(f"key/{i}", wanted).status_code != 201:
                    problems.append(i)

        threads = [threading.Thread(target=load, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        until(lambda: node.metric("ringfort_storage_cold_reads_total") > 0, "some reads were cold")
        node.stop()  # with reads that may still be under way
        node.start()
        assert node.value("key/99", consistency="strong") == ("value 99" + "x" * 2000).encode()
    finally:
        one.close()


def test_row_cache_is_opt_in_and_never_stale():
    one = one_node()
    try:
        node = one.nodes[0]
        assert node.put("k", "0").status_code == 201
        for _ in range(5):
            assert node.value("k", consistency="eventual") == b"0"
        until(lambda: node.metric("ringfort_storage_reads_total") >= 5, "counters are published")
        assert node.metric("ringfort_row_cache_hits_total") == 0
        node.stop()
        for path in (one.dir / "tables.d").glob("*.yaml"):
            path.write_text(path.read_text() + "row_cache: 1MiB\n")
        node.start()
        for i in range(50):
            assert node.put("k", str(i)).status_code == 201
            for _ in range(3):
                assert node.value("k", consistency="eventual") == str(i).encode()
        until(lambda: node.metric("ringfort_row_cache_hits_total") >= 50, "hits")
        until(lambda: node.metric("ringfort_row_cache_removed_total") >= 49, "every write removes")
        assert node.delete("k").status_code in (200, 204)
        assert node.get("k", consistency="eventual").status_code == 404
        until(lambda: 0 < node.metric("ringfort_row_cache_bytes") <= 1 << 20, "bounded")
    finally:
        one.close()
