"""HTTP at its edges: malformed requests over raw TLS, limits, errors (S4, S10, S11, D9, D17 and the error
table). Every refused request leaves the data as it was and a connection in a known state."""
import base64
import json
import time

import pytest
import requests
from conftest import until
from edge import Raw, one_node


@pytest.fixture
def raw(shared):
    node = shared.nodes[0]
    one = Raw(node.port, shared.dir / "ca.crt")
    one.auth = f"Authorization: Bearer {shared.token}\r\n"
    yield one
    one.close()


def ask(raw, method="GET", path="/health/live", headers="", body=""):
    return raw.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{raw.auth}{headers}\r\n{body}")


def usable(raw):
    """The connection goes on."""
    return ask(raw).response()[0] == 200


GOOD = '{"key":"smuggled","value":"eA=="}'
AMBIGUOUS = {
    "length and coding": (f"Content-Length: {len(GOOD)}\r\nTransfer-Encoding: chunked\r\n", 400),
    "coding and length": (f"Transfer-Encoding: chunked\r\nContent-Length: {len(GOOD)}\r\n", 400),
    "two lengths": (f"Content-Length: {len(GOOD)}\r\nContent-Length: {len(GOOD)}\r\n", 400),
    "list of lengths": (f"Content-Length: {len(GOOD)}, {len(GOOD)}\r\n", 400),
    "signed length": (f"Content-Length: +{len(GOOD)}\r\n", 400),
    "obs-fold": (f"X: a\r\n b\r\nContent-Length: {len(GOOD)}\r\n", 400),
    "bare LF": (f"X: a\nContent-Length: {len(GOOD)}\r\n", 400),
    "bare CR": (f"X: a\rContent-Length: {len(GOOD)}\r\n", 400),
    "NUL": (f"X: a\0\r\nContent-Length: {len(GOOD)}\r\n", 400),
    "space before colon": (f"Content-Length : {len(GOOD)}\r\n", 400),
    "two hosts": (f"Host: b\r\nContent-Length: {len(GOOD)}\r\n", 400),
    "chunked": ("Transfer-Encoding: chunked\r\n", 411),
    "unknown coding": ("Transfer-Encoding: gzip\r\n", 501),
    "large head": ("X: " + "y" * 17000 + "\r\n", 431),
    "many headers": ("X: y\r\n" * 65, 431),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_requests(shared, raw, name):
    """Refused, the connection is closed, nothing is stored, and nothing behind it is taken for a request."""
    headers, status = AMBIGUOUS[name]
    ask(raw, "POST", "/api/v1/item", headers, GOOD + "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    got, told, body = raw.response()
    assert got == status and told["connection"] == "close"
    assert told["content-type"] == "application/problem+json" and body["status"] == status
    assert raw.closed()
    assert shared.nodes[1].value("smuggled", consistency="strong") is None


LINES = {"GET / HTTP/1.1\r\n\r\n": 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n": 400,
         "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n": 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n": 400,
         "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n": 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n": 400,
         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505, "GET / HTTP/1.9\r\nHost: a\r\n\r\n": 505,
         "GET /" + "x" * 9000 + " HTTP/1.1\r\nHost: a\r\n\r\n": 414, "\x16\x03\x01": 400, "\r\n\r\n": 400}


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:30]))
def test_request_lines(raw, line):
    status, headers, _ = raw.send(line).response()
    assert status == LINES[line] and headers["connection"] == "close"
    assert raw.closed()


def test_absolute_form(shared, raw):
    """RFC 9112, 3.2.2: a target with scheme and host is served like one without."""
    for target in ("http://a/health/live", "HTTPS://a:7443/health/live", "https://[::1]:1/health/live"):
        assert raw.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").response()[0] == 200, target
    assert raw.send("GET https://a?x=/ HTTP/1.1\r\nHost: a\r\n\r\n").response()[2]["detail"].startswith("no route '/'")
    assert shared.nodes[0].put("absolute", "v").status_code == 201
    status, _, body = ask(raw, "GET", "https://a/api/v1/item?key=absolute&consistency=strong").response()
    assert status == 200 and body["key"] == "absolute"


def test_case_of_the_scheme(shared):
    """RFC 9110, 11.1: the name of the scheme has no case; the token has."""
    node = shared.nodes[0]
    for header, status in ((f"bearer {shared.token}", 200), (f"BEARER {shared.token}", 200),
                           (f"Bearer {shared.token.upper()}", 401), (f"Bearer{shared.token}", 401), ("bearer ", 401)):
        assert node.request("GET", "/admin/v1/status", headers={"Authorization": header}).status_code == status, header


OUTCOMES = {
    401: "POST /api/v1/item HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    411: "PUT /api/v1/item HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    413: f"POST /api/v1/item HTTP/1.1\r\nHost: a\r\nContent-Length: {64 << 20}\r\n\r\n",
    414: "DELETE /api/v1/item?key=" + "x" * 9000 + " HTTP/1.1\r\nHost: a\r\n\r\n",
    431: "DELETE https://a/api/v1/item?key=x HTTP/1.1\r\nHost: a\r\nX: " + "y" * 17000 + "\r\n\r\n",
    400: "POST /api/v1/item HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
}


@pytest.mark.parametrize("status", OUTCOMES)
def test_refused_writes_say_so(raw, status):
    """Each refusal of a write says what became of it, also where the request was never read in full."""
    got, _, body = raw.send(OUTCOMES[status]).response()
    assert got == status and body["write_outcome"] == "not_applied"


@pytest.mark.parametrize("status", (401, 413, 414, 431))
def test_refused_reads_have_no_outcome(raw, status):
    line = OUTCOMES[status].replace("POST", "GET").replace("DELETE", "GET")
    got, _, body = raw.send(line).response()
    assert got == status and "write_outcome" not in body


def test_byte_by_byte(raw):
    """A slow but honest sender is served."""
    text = f"POST /api/v1/item HTTP/1.1\r\nHost: a\r\n{raw.auth}Content-Length: 30\r\n\r\n" + '{"key":"slow","value":"eA=="} '
    for byte in text.encode():
        raw.send(bytes([byte]))
    assert raw.response()[0] == 201
    assert usable(raw)


def test_pipelining(shared, raw):
    """200 requests in one write are answered in order."""
    for i in range(10):
        assert shared.nodes[0].put(f"pipe/{i}", str(i)).status_code == 201
    raw.send("".join(f"GET /api/v1/item?key=pipe/{i % 10}&consistency=strong HTTP/1.1\r\nHost: a\r\n{raw.auth}\r\n"
                     for i in range(200)))
    for i in range(200):
        status, _, body = raw.response()
        assert status == 200 and body["key"] == f"pipe/{i % 10}"
    assert usable(raw)


def test_pipelined_writes_and_a_bad_end(shared, raw):
    """What came before a malformed request is answered and stored; the malformed one ends it."""
    body = '{"key":"before","value":"eA=="}'
    one = f"POST /api/v1/item HTTP/1.1\r\nHost: a\r\n{raw.auth}Content-Length: {len(body)}\r\n\r\n{body}"
    raw.send(one + "GET / HTTP/1.1\nHost: a\r\n\r\n" + one.replace("before", "behind"))
    assert raw.response()[0] == 201
    assert raw.response()[0] == 400
    assert raw.closed()
    assert shared.nodes[0].value("before", consistency="strong") == b"x"
    assert shared.nodes[0].value("behind", consistency="strong") is None


def test_head(shared, raw):
    """HEAD answers like GET, without the body."""
    shared.nodes[0].put("head", "v")
    for path in ("/api/v1/item?key=head&consistency=strong", "/api/v1/item?key=never", "/health/ready"):
        status, headers, _ = ask(raw, "HEAD", path).response(head=True)
        got, full, _ = ask(raw, "GET", path).response()
        assert status == got and headers["content-type"] == full["content-type"]
        if got == 200:  # request ids of problems differ, lengths do not
            assert headers["content-length"] == full["content-length"]
    assert usable(raw)


def test_expect_continue(raw):
    body = '{"key":"continue","value":""}'
    ask(raw, "POST", "/api/v1/item", f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n")
    while b"100 Continue\r\n\r\n" not in raw.kept:
        assert raw.more()
    raw.kept = b""
    assert raw.send(body).response()[0] == 201


def test_methods(shared, raw):
    """405 names what is allowed; the connection goes on."""
    for method, path, allow in (("PATCH", "/api/v1/item", {"GET", "HEAD", "POST", "PUT", "DELETE"}),
                                ("OPTIONS", "/api/v1/item", {"GET", "HEAD", "POST", "PUT", "DELETE"}),
                                ("POST", "/health/live", {"GET", "HEAD"}), ("DELETE", "/admin/v1/status", {"GET", "HEAD"}),
                                ("GET", "/admin/v1/config/reload", {"POST"}), ("PUT", "/metrics", {"GET", "HEAD"})):
        status, headers, _ = ask(raw, method, path).response()
        assert status == 405 and set(headers["allow"].split(", ")) == allow, path
    assert usable(raw)


def test_body_above_the_limit(shared, raw):
    """413 names the limit, even while the client goes on sending."""
    ask(raw, "POST", "/api/v1/item", f"Content-Length: {64 << 20}\r\n", "{" + " " * 100000)
    status, headers, body = raw.response()
    assert status == 413 and headers["connection"] == "close" and str((8 << 20) * 4 // 3 + 4096) in body["detail"]
    value = base64.b64encode(b"x" * ((8 << 20) + 1)).decode()
    answer = shared.nodes[0].request("POST", "/api/v1/item", json={"key": "big", "value": value})
    assert answer.status_code == 413 and "limits.max_value is 8388608" in answer.json()["detail"]
    assert answer.json()["write_outcome"] == "not_applied"
    assert shared.nodes[0].value("big", consistency="strong") is None


def test_media_types(shared):
    node = shared.nodes[0]
    for kind, status in (("application/json", 201), ("application/json; charset=utf-8", 201), (None, 201),
                         ("APPLICATION/JSON", 201), ("text/plain", 415), ("application/jsonx", 415),
                         ("application/x-www-form-urlencoded", 201)):  # what curl -d says
        answer = node.request("POST", "/api/v1/item", data='{"key":"media","value":""}',
                              headers={"Content-Type": kind})
        assert answer.status_code == status, kind


def test_not_found_guesses(shared):
    """404 says what may have been meant."""
    node = shared.nodes[0]
    for path, meant in (("/api/v1/itm?key=a", "/api/v1/item"), ("/admin/v1/statsu", "/admin/v1/status"),
                        ("/health/redy", "/health/ready"), ("/metric", "/metrics"), ("/admin/v1/flsh", "/admin/v1/flush")):
        answer = node.request("GET", path)
        assert answer.status_code == 404 and answer.json()["code"] == "RF-ROUTE-NOT-FOUND"
        assert f"did you mean '{meant}'?" in answer.json()["detail"]
    answer = node.get("k", table="defualt")
    assert answer.status_code == 404 and answer.json()["code"] == "RF-TABLE-NOT-FOUND"
    assert "did you mean 'default'?" in answer.json()["detail"]
    for distant in ("/zzzzzzzzzzzzzzzzzzzzzzzz", "/admin/v1/zzzzz", "/admin/v1/plan", "/health/status"):
        assert "did you mean" not in node.request("GET", distant).json()["detail"], distant


def test_wrong_values(shared, raw):
    """422 with a JSON pointer for each value that is wrong, all at once; nothing is stored."""
    node = shared.nodes[0]
    answer = node.request("POST", "/api/v1/item", json={"key": "wrong", "value": "***", "ttl": 0, "w": 99, "x": 1})
    assert answer.status_code == 422 and answer.json()["write_outcome"] == "not_applied"
    assert {e["pointer"] for e in answer.json()["errors"]} == {"/value", "/ttl", "/w", "/x"}
    assert node.value("wrong", consistency="strong") is None
    for params, pointer in (({"key": ""}, "/key"), ({}, "/key"), ({"key": "a", "consistency": "maybe"}, "/consistency"),
                            ({"key": "a", "r": "4"}, "/r"), ({"key": "a" * 2049}, "/key"), ({"key_b64": "a"}, "/key_b64")):
        answer = node.request("GET", "/api/v1/item", params=params)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer, params
    for query in ("key", "key=%zz", "key=a&nonsense=1", "&key=a"):
        assert ask(raw, "GET", "/api/v1/item?" + query).response()[0] == 400, query
    assert usable(raw)


def test_bad_json(shared, raw):
    """400 with the place; the connection goes on."""
    for body, detail in (("{", "at byte"), ('{"key":"a","key":"b","value":""}', "duplicate"), ("[]", "object"),
                         ("[" * 1000, "16 levels"), ('{"key":"\\ud800","value":""}', "at byte")):
        status, _, told = ask(raw, "POST", "/api/v1/item", f"Content-Length: {len(body)}\r\n", body).response()
        assert status == 400 and told["code"] == "RF-BAD-JSON" and detail in told["detail"], body
    assert usable(raw)


KEYS = [b"\0", b"\xff\xfe", b"a\x01b\x7f", "ä€😀".encode(), b"a/b?c&d=e+f%20 ", b"\xed\xa0\x80", b"k" * 2048]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_any_key(shared, key):
    """S10: any bytes are a key; answers name it exactly: as text when it is UTF-8, else as key_b64."""
    node = shared.nodes[0]
    answer = node.request("POST", "/api/v1/item", json={"key_b64": base64.b64encode(key).decode(), "value": "eA=="})
    assert answer.status_code == 201, answer.text

    def named(body):
        return base64.b64decode(body["key_b64"]) if "key_b64" in body else body["key"].encode()

    escaped = "".join(f"%{byte:02x}" for byte in key)
    for told in (answer.json(), node.request("GET", f"/api/v1/item?key={escaped}&consistency=strong").json(),
                 node.request("GET", "/api/v1/item", params={"key_b64": base64.b64encode(key), "consistency": "strong"}).json()):
        assert named(told) == key
    assert node.request("DELETE", f"/api/v1/item?key={escaped}").status_code == 200


def test_client_timestamps(shared):
    """D17: the same write wherever it is retried; superseded by newer ones; too new or too old is 422."""
    n1, n2, _ = shared.nodes
    now = int(time.time() * 1000)
    first = n1.put("stamped", "v", timestamp=now, ttl=100)
    again = n2.put("stamped", "v", timestamp=now, ttl=100)
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert first.json()["timestamp"] == now and first.json()["expires_at"] == now + 100_000
    n1.put("stamped", "newer")
    late = n2.put("stamped", "older", timestamp=now + 1)
    assert late.status_code == 201 and late.json()["superseded"] is True
    assert n1.value("stamped", consistency="strong") == b"newer"
    for wrong in (now + 60_000, now - 11 * 86_400_000 // 2, 1):
        answer = n1.put("stamped", "x", timestamp=wrong)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/timestamp"
        answer = n1.delete("stamped", timestamp=wrong)
        assert answer.status_code == 422
    assert n1.value("stamped", consistency="strong") == b"newer"


def test_weak_quorums_say_so(shared):
    """D9: r= or w= below the table's quorum gives up the guarantee, and the answer says it."""
    node = shared.nodes[0]
    assert "guarantee" not in node.put("weak", "v").json()
    assert node.put("weak", "v", w=1).json()["guarantee"] == "eventual"
    assert "guarantee" not in node.put("weak", "v", w=3).json()
    assert node.get("weak", r=1).json()["guarantee"] == "eventual"
    assert "guarantee" not in node.get("weak", r=2).json()
    assert node.delete("weak", w=1).json()["guarantee"] == "eventual"


def test_explain_and_replicas(shared):
    """The answer tells where the item lives; clients can route by it (D21)."""
    node = shared.nodes[0]
    answer = node.request("POST", "/api/v1/item?explain=true", json={"key": "why", "value": ""})
    explain = answer.json()["explain"]
    assert {r["node"] for r in explain["replicas"]} == {"n1", "n2", "n3"} and all(r["alive"] for r in explain["replicas"])
    assert explain["coordinator"] == "n1" and explain["required"] == 2 and explain["answered"] >= 2
    located = node.request("GET", "/admin/v1/ring/locate", params={"key": "why"}).json()
    assert located["token"] == explain["token"]
    order = ",".join(r["node"] for r in located["replicas"])
    assert answer.headers["Ringfort-Replicas"] == order
    missing = node.get("never-there", explain="true", consistency="strong")
    assert missing.status_code == 404 and "Ringfort-Replicas" in missing.headers
    assert missing.json()["explain"]["required"] == 2
    assert not {"acknowledged", "required"} & set(missing.json()), "a read acknowledges nothing"
    assert node.get("why", explain="yes").status_code == 422
    assert node.request("GET", "/admin/v1/ring/locate").status_code == 400
    assert node.request("GET", "/admin/v1/ring/locate?key=a&table=none").status_code == 404


def test_table_in_query_or_body(shared):
    node = shared.nodes[0]
    assert node.request("POST", "/api/v1/item?table=default", json={"key": "t", "value": ""}).status_code == 201
    assert node.request("POST", "/api/v1/item?table=none", json={"key": "t", "value": ""}).status_code == 404
    body = {"key": "t", "value": "", "table": "default"}
    assert node.request("POST", "/api/v1/item?table=default", json=body).status_code == 201
    other = node.request("POST", "/api/v1/item?table=none", json=body)
    assert other.status_code == 400 and other.json()["write_outcome"] == "not_applied"


def test_body_of_a_delete(shared):
    """A delete goes to the table and key that its body names, never silently to the default table."""
    node = shared.nodes[0]
    node.put("kept", "v")
    wrong = node.request("DELETE", "/api/v1/item", params={"key": "kept"}, json={"table": "other"})
    assert wrong.status_code == 404 and wrong.json()["code"] == "RF-TABLE-NOT-FOUND"
    wrong = node.request("DELETE", "/api/v1/item", params={"key": "kept"}, json={"key": "another"})
    assert wrong.status_code == 400 and wrong.json()["write_outcome"] == "not_applied"
    wrong = node.request("DELETE", "/api/v1/item", params={"key": "kept"}, data="{}", headers={"Content-Type": "text/plain"})
    assert wrong.status_code == 415
    assert node.value("kept", consistency="strong") == b"v"
    gone = node.request("DELETE", "/api/v1/item", json={"key": "kept", "table": "default"})
    assert gone.status_code == 200 and node.value("kept", consistency="strong") is None


def test_idempotency_key(shared):
    """D17: a client that relies on Idempotency-Key must hear that this server does not honour it."""
    node = shared.nodes[0]
    for method, body in (("POST", {"key": "once", "value": ""}), ("DELETE", {"key": "once"})):
        answer = node.request(method, "/api/v1/item", json=body, headers={"Idempotency-Key": "a"})
        assert answer.status_code == 501 and "Idempotency-Key" in answer.json()["detail"]
        assert answer.json()["write_outcome"] == "not_applied" and not answer.json()["retryable"]
    assert node.value("once", consistency="strong") is None


def test_request_ids_and_shape_of_problems(shared):
    """RFC 9457: every error has the same members, and an id of its own."""
    seen = set()
    for answer in (shared.nodes[0].get("absent"), shared.nodes[0].request("GET", "/x"), shared.nodes[0].get("")):
        body = answer.json()
        assert {"type", "title", "status", "detail", "code", "request_id", "retryable"} <= set(body)
        assert body["status"] == answer.status_code and body["code"].startswith("RF-")
        seen.add(body["request_id"])
    assert len(seen) == 3


def test_request_ids_are_unique(own):
    """No two requests share an id, on whichever node and after whichever restart; the log names it."""
    n1 = own.nodes[0]
    ids = {n1.get("absent").json()["request_id"] for _ in range(3)}
    n1.stop()
    n1.start()
    ids |= {n1.get("absent").json()["request_id"] for _ in range(3)}
    assert len(ids) == 6
    answer = n1.request("POST", '/admin/v1/x"level=error').json()
    lines = [line for line in n1.log().splitlines() if answer["request_id"] in line]
    assert any("event=admin_call" in line for line in lines)
    assert not any(" level=error" in line or '"level=error' in line.replace('\\"', "") for line in lines)


@pytest.fixture
def own():
    one = one_node()
    yield one
    one.close()
