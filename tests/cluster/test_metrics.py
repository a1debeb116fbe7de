"""/metrics is what Prometheus takes: the text format is parsed strictly, and every family says what it is."""
import re

import pytest

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
VALUE = re.compile(r"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|Inf)|NaN")
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")


def parse_labels(text):
    """'{a="b",c="d"}' as a sorted tuple; what is no such list is an error."""
    labels, at = [], 1
    assert text[0] == "{" and text[-1] == "}", text
    while at < len(text) - 1:
        found = LABEL.match(text, at)
        assert found, f"no label: {text[at:]!r}"
        labels.append(found.groups())
        at = found.end()
        assert text[at] in ",}", text
        at += text[at] == ","
    assert len({name for name, _ in labels}) == len(labels), f"a label twice: {text}"
    return tuple(sorted(labels))


def parse(text):
    """{family: {"help", "type", "samples": {labels: value}}} of the text exposition format 0.0.4; asserts what
    it demands: HELP and TYPE once and before the samples, families in one piece, no sample twice."""
    assert text.endswith("\n") and "\r" not in text
    families, now = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            _, kind, name, rest = line.split(" ", 3)
            assert kind in ("HELP", "TYPE") and NAME.fullmatch(name), line
            if kind == "HELP":
                assert name not in families, f"{name} in two pieces"
                assert rest.strip() == rest != "" and "\\" not in rest, line
                now = families[name] = {"name": name, "help": rest, "type": None, "samples": {}}
            else:
                assert now and now["name"] == name and now["type"] is None and not now["samples"], line
                assert rest in TYPES, line
                now["type"] = rest
            continue
        found = re.fullmatch(r"([^ {]+)(\{.*\})? ([^ ]+)", line)
        assert found and NAME.fullmatch(found[1]) and VALUE.fullmatch(found[3]), f"no sample: {line!r}"
        assert now and now["type"] and found[1] == now["name"], f"outside of its family: {line}"
        labels = parse_labels(found[2]) if found[2] else ()
        assert labels not in now["samples"], f"twice: {line}"
        now["samples"][labels] = float(found[3])
    return families


def scrape(node):
    answer = node.request("GET", "/metrics")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.text)


@pytest.mark.parametrize("text", ("a 1\n", "# HELP a b\na 1\n", "# HELP a b\n# TYPE a gauge\na 1", "# HELP a b\n# TYPE a gage\na 1\n",
                                  "# HELP a b\n# TYPE a gauge\na 1\na 2\n", "# HELP a b\n# TYPE a gauge\na x\n", "# HELP a b\n# TYPE a gauge\nb 1\n",
                                  "# HELP a b\n# TYPE a gauge\na{x=y} 1\n", '# HELP a b\n# TYPE a gauge\na{x="y" z="u"} 1\n',
                                  "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\na 1\n", "# HELP a b\n# TYPE a gauge\n\na 1\n"))
def test_the_parser_is_strict(text):
    with pytest.raises(AssertionError):
        parse(text)


def test_families(shared):
    """Twenty families and more; types and names agree as Prometheus' rules for names have it."""
    for node in shared.nodes:
        families = scrape(node)
        assert len(families) >= 20
        for name, family in families.items():
            assert name.startswith("ringfort_") and family["samples"], name
            assert (family["type"] == "counter") == name.endswith("_total"), f"{name} is a {family['type']}"
            assert all(value >= 0 for value in family["samples"].values()), name


def test_counters_count(shared):
    """Counters only grow, by what was done."""
    node = shared.nodes[0]
    before = scrape(node)
    for i in range(5):
        assert node.put(f"metrics/{i}", "v").status_code == 201
    assert node.get("metrics/0", consistency="strong").status_code == 200
    assert node.delete("metrics/0").status_code == 200
    after = scrape(node)
    done = {op: after["ringfort_coordinated_requests_total"]["samples"][(("op", op),)]
            - before["ringfort_coordinated_requests_total"]["samples"][(("op", op),)] for op in ("put", "get", "delete")}
    assert done == {"put": 5, "get": 1, "delete": 1}
    assert set(before) == set(after)
    for name, family in before.items():
        if family["type"] == "counter":
            assert all(after[name]["samples"][labels] >= value for labels, value in family["samples"].items()), name
