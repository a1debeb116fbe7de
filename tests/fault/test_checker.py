"""The checker itself: it must see each kind of broken promise, or the other tests prove nothing."""
import pytest
from faultlib import Op, check_history


def op(kind, begin, end, value=None, version=None, outcome="ok"):
    one = Op(kind, "k", value, "n1")
    one.begin, one.end, one.version, one.outcome, one.status = begin, end, version, outcome, 0
    return one


BROKEN = {
    "lost write": [op("put", 0, 1, "a", "1"), op("put", 2, 3, "b", "2"), op("get", 4, 5, "a", "1")],
    "reads go back": [op("put", 0, 9, "b", "2", "unknown"), op("put", 0, 1, "a", "1"),
                      op("get", 2, 3, "b", "2"), op("get", 4, 5, "a", "1")],
    "lost, absent": [op("put", 0, 1, "a", "1"), op("get", 2, 3)],
    "resurrection": [op("put", 0, 1, "a", "1"), op("delete", 2, 3, None, "2"), op("get", 4, 5, "a", "1")],
    "never written": [op("get", 4, 5, "x", "1")],
    "not applied, but read": [op("put", 0, 1, "a", None, "not_applied"), op("get", 2, 3, "a", "1")],
    "later write is older": [op("put", 0, 1, "a", "2"), op("put", 2, 3, "b", "1")],
    "two versions of one write": [op("put", 0, 1, "a", "1"), op("get", 2, 3, "a", "2")],
    "old delete hides": [op("delete", 0, 1, None, "1"), op("put", 2, 3, "a", "2"), op("get", 4, 5)],
}
FINE = [op("put", 0, 1, "a", "1"), op("put", 0, 5, "b", None, "unknown"), op("get", 2, 3, "b", "2"),
        op("get", 2, 3, "a", "1"), op("delete", 6, 7, None, "3"), op("get", 8, 9), op("put", 8, 9, "c", "4"),
        op("get", 8.5, 9, "c", "4")]


@pytest.mark.parametrize("name", BROKEN)
def test_sees(name):
    with pytest.raises(AssertionError):
        check_history(BROKEN[name])


def test_accepts_what_is_allowed():
    check_history(FINE)
