/* HTTP requests: whatever is ambiguous is refused (S4, S10, the error table of the API). */
#include "test_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/request.h"
#include "http/response.h"

#define HOST "Host: a\r\n"

static enum rf_rc parse(const char *text, size_t size, struct rf_http_request *ret_request)
{
    /* An exact copy on the heap: reading beyond it is found by the sanitizer. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    memcpy(copy, text, size);
    enum rf_rc rc = rf_http_parse(rf_slice(copy, size), ret_request).rc;
    free(copy);
    return rc;
}

/* The verdict when bytes come one at a time: of the first prefix that gets one. */
static enum rf_rc verdict_bytewise(const char *text, size_t size)
{
    struct rf_http_request request;
    for (size_t n = 0; n <= size; n++) {
        enum rf_rc rc = parse(text, n, &request);
        if (rc != RF_MORE) {
            return rc;
        }
    }
    return RF_MORE;
}

static void expect(enum rf_rc expected, const char *text, size_t size)
{
    struct rf_http_request request;
    enum rf_rc             whole = parse(text, size, &request);
    enum rf_rc             bytewise = verdict_bytewise(text, size);
    if (whole != expected || bytewise != expected) {
        fail_msg("%.80s: expected %s, whole %s, byte by byte %s", text, rf_rc_code(expected),
                 rf_rc_code(whole), rf_rc_code(bytewise));
    }
}

#define EXPECT(rc, text) expect(rc, text, sizeof(text) - 1)

/* Goal: what RFC 9112 allows and clients send is understood. */
static void valid_forms(void **state)
{
    (void)state;
    struct rf_http_request request;
    static const char      post[] = "POST /a/b%20c?x=1&y HTTP/1.1\r\n" HOST
                               "content-LENGTH:  3 \r\nX: \t y z\t\r\nEmpty:\r\n\r\nabc";
    EXPECT(RF_OK, post);
    assert_int_equal(RF_OK, rf_http_parse(rf_slice(post, sizeof(post) - 1), &request).rc);
    assert_int_equal(RF_HTTP_POST, request.method);
    assert_slice(request.path, "/a/b%20c");
    assert_slice(request.query, "x=1&y");
    assert_int_equal(3, request.content_length);
    assert_true(request.has_length && request.keep_alive && !request.expect_continue);
    assert_int_equal(sizeof(post) - 1 - 3, request.head_size);
    assert_slice(rf_http_header(&request, "x"), "y z");
    assert_int_equal(0, rf_http_header(&request, "empty").size);
    assert_non_null(rf_http_header(&request, "empty").data);
    assert_null(rf_http_header(&request, "nothing").data);
    EXPECT(RF_OK, "GET / HTTP/1.0\r\n\r\n");
    EXPECT(RF_OK, "HEAD /? HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_OK, "BREW /pot HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_OK, "GET / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n");
    EXPECT(RF_MORE, "GET / HTTP/1.1\r\n" HOST);
    EXPECT(RF_MORE, "");
}

static void has_path(const char *target, const char *path, const char *query)
{
    struct rf_http_request request;
    char                   text[200];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", target);
    assert_int_equal(RF_OK, rf_http_parse(rf_slice_str(text), &request).rc);
    assert_slice(request.path, path);
    assert_slice(request.query, query);
}

/* Goal: a target with scheme and host is the same request (RFC 9112, 3.2.2). */
static void absolute_form(void **state)
{
    (void)state;
    has_path("http://a/b?c=d", "/b", "c=d");
    has_path("HTTPS://a:7443/b@c", "/b@c", "");
    has_path("https://[::1]:7443", "/", "");
    has_path("https://a?x=/y", "/", "x=/y");
}

static void peeked(const char *bytes, enum rf_http_method method, const char *path)
{
    struct rf_http_request request;
    uint8_t               *copy = malloc(strlen(bytes) + 1);
    memcpy(copy, bytes, strlen(bytes));
    rf_http_peek(rf_slice(copy, strlen(bytes)), &request);
    assert_int_equal(method, request.method);
    assert_slice(request.path, path);
    free(copy);
}

/* Goal: what a refused or cut head was about, as far as it can be told. */
static void peeking(void **state)
{
    (void)state;
    peeked("", RF_HTTP_OTHER, "");
    peeked("POST", RF_HTTP_OTHER, "");
    peeked("POST ", RF_HTTP_POST, "");
    peeked("POST /a", RF_HTTP_POST, "/a");
    peeked("PUT https://h/a?b", RF_HTTP_PUT, "/a");
    peeked("DELETE /a HTTP/7", RF_HTTP_DELETE, "/a");
    peeked("\x16\x03", RF_HTTP_OTHER, "");
}

static bool keeps_alive(const char *text)
{
    struct rf_http_request request;
    assert_int_equal(RF_OK, rf_http_parse(rf_slice_str(text), &request).rc);
    return request.keep_alive;
}

/* Goal: which connections stay open. */
static void keep_alive(void **state)
{
    (void)state;
    assert_true(keeps_alive("GET / HTTP/1.1\r\n" HOST "\r\n"));
    assert_false(keeps_alive("GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n"));
    assert_false(keeps_alive("GET / HTTP/1.0\r\n\r\n"));
    assert_true(keeps_alive("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    struct rf_http_request request;
    assert_rc_ok(rf_http_parse(
        rf_slice_str("PUT / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n"),
        &request));
    assert_true(request.expect_continue);
}

/* Goal: two readers of one request can never disagree on where it ends (request smuggling). */
static void ambiguous_forms(void **state)
{
    (void)state;
    EXPECT(RF_BAD_REQUEST,
           "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    EXPECT(RF_BAD_REQUEST,
           "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST,
           "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n");
    EXPECT(RF_BAD_REQUEST,
           "POST / HTTP/1.1\r\n" HOST "Content-Length: 9999999999999999999\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "X: 1\r\n Content-Length: 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST "X: 1\r\n\tY: 5\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "POST / HTTP/1.1\r\n" HOST
                           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    EXPECT(RF_LENGTH_REQUIRED, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    EXPECT(RF_NOT_IMPLEMENTED,
           "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n");
    EXPECT(RF_NOT_IMPLEMENTED, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\n" HOST "\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\nHost: a\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET /\0 HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\nHost: \x7f\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\n" HOST HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\n" HOST "NoColon\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1\r\n" HOST "X(y): x\r\n\r\n");
}

/* Goal: request lines of proxies, other protocols and other versions. */
static void request_lines(void **state)
{
    (void)state;
    EXPECT(RF_BAD_REQUEST, "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET http:///x HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET http:/a HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET  / HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/1.1 \r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, " GET / HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "\r\nGET / HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET /#f HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET /\r\n\r\n");
    EXPECT(RF_BAD_REQUEST, "G@T / HTTP/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / http/1.1\r\n" HOST "\r\n");
    EXPECT(RF_BAD_REQUEST, "GET / HTTP/11\r\n" HOST "\r\n");
    EXPECT(RF_HTTP_VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    EXPECT(RF_HTTP_VERSION, "GET / HTTP/1.2\r\n" HOST "\r\n");
    EXPECT(RF_HTTP_VERSION, "GET / HTTP/3.0\r\n" HOST "\r\n");
}

/* Fills text with a repeated byte between two pieces; returns its size. */
static size_t make_long(char *text, const char *head, size_t n, char fill, const char *tail)
{
    size_t at = strlen(head);
    memcpy(text, head, at);
    memset(text + at, fill, n);
    memcpy(text + at + n, tail, strlen(tail));
    return at + n + strlen(tail);
}

/* Goal: sizes have limits, the same for slow and fast senders. */
static void limits(void **state)
{
    (void)state;
    char  *text = malloc(64 * 1024);
    size_t size =
        make_long(text, "GET /", RF_HTTP_TARGET_MAX - 1, 'x', " HTTP/1.1\r\n" HOST "\r\n");
    expect(RF_OK, text, size);
    size = make_long(text, "GET /", RF_HTTP_TARGET_MAX, 'x', " HTTP/1.1\r\n" HOST "\r\n");
    expect(RF_URI_TOO_LONG, text, size);
    size = make_long(text, "GET /", 20000, 'x', " HTTP/1.1\r\n" HOST "\r\n");
    expect(RF_URI_TOO_LONG, text, size);
    size = make_long(text, "G", 9000, 'E', " / HTTP/1.1\r\n" HOST "\r\n");
    expect(RF_URI_TOO_LONG, text, size);
    size = make_long(text, "GET /", 8400, 'x', "\n");
    expect(RF_URI_TOO_LONG, text, size);
    size = make_long(text, "GET / HTTP/1.1\r\n" HOST "X: ", 15000, 'y', "\r\n\r\n");
    expect(RF_OK, text, size);
    size = make_long(text, "GET / HTTP/1.1\r\n" HOST "X: ", RF_HTTP_HEAD_MAX, 'y', "\r\n\r\n");
    expect(RF_HEADER_TOO_LARGE, text, size);
    size_t at = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" HOST);
    for (unsigned i = 0; i < RF_HTTP_HEADERS_MAX; i++) {
        at += (size_t)sprintf(text + at, "X%u: y\r\n", i);
    }
    at += (size_t)sprintf(text + at, "\r\n");
    expect(RF_HEADER_TOO_LARGE, text, at);
    free(text);
}

/* ---- Decoding ----------------------------------------------------------------------------- */

static void decodes(const char *text, bool plus, const char *expected, size_t size)
{
    struct rf_buf buf = {0};
    assert_rc_ok(rf_http_decode(rf_slice_str(text), plus, &buf));
    assert_true(rf_slice_eq(rf_buf_slice(&buf), rf_slice(expected, size)));
    rf_buf_fini(&buf);
}

/* Goal: percent-encoding of any key is exact (S10). */
static void percent_decoding(void **state)
{
    (void)state;
    struct rf_buf buf = {0};
    decodes("a%20b%00%ff+c", false, "a b\0\xff+c", 7);
    decodes("a+b%2B", true, "a b+", 4);
    decodes("", true, "", 0);
    decodes("%41%4a%4A", true, "AJJ", 3);
    static const char *const broken[] = {"%", "%4", "%zz", "%4z", "a%", "%%41"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        assert_rc(RF_BAD_QUERY, rf_http_decode(rf_slice_str(broken[i]), true, &buf));
    }
    rf_buf_fini(&buf);
}

/* Goal: names and values of a query; forms without a meaning are refused. */
static void queries(void **state)
{
    (void)state;
    struct rf_slice query = rf_slice_str("key=a%26b&x=&y=1=2");
    struct rf_buf   name = {0};
    struct rf_buf   value = {0};
    assert_rc_ok(rf_http_query_next(&query, &name, &value));
    assert_slice(rf_buf_slice(&name), "key");
    assert_slice(rf_buf_slice(&value), "a&b");
    assert_rc_ok(rf_http_query_next(&query, &name, &value));
    assert_int_equal(0, value.size);
    assert_rc_ok(rf_http_query_next(&query, &name, &value));
    assert_slice(rf_buf_slice(&value), "1=2");
    assert_rc(RF_NOT_FOUND, rf_http_query_next(&query, &name, &value));
    static const char *const broken[] = {"key", "&a=b", "a=%", "a&b=c"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        query = rf_slice_str(broken[i]);
        assert_rc(RF_BAD_QUERY, rf_http_query_next(&query, &name, &value));
    }
    rf_buf_fini(&name);
    rf_buf_fini(&value);
}

/* Goal: one value has one base64, and every byte string has one (S3, S4). */
static void base64(void **state)
{
    (void)state;
    uint8_t back[64];
    size_t  size = 0;
    for (size_t n = 0; n < 33; n++) {
        uint8_t       bytes[33];
        struct rf_buf text = {0};
        for (size_t i = 0; i < n; i++) {
            bytes[i] = (uint8_t)(i * 37 + n);
        }
        rf_base64_encode(&text, rf_slice(bytes, n));
        assert_rc_ok(rf_base64_decode(rf_buf_slice(&text), back, &size));
        assert_true(rf_slice_eq(rf_slice(bytes, n), rf_slice(back, size)));
        rf_buf_fini(&text);
    }
    static const char *const wrong[] = {
        "A",    "AA",    "AAA",  "AA=",  "A===", "====",  "QQ=Q", "QR==",
        "QUJ=", "QQ== ", " QQ=", "Q Q=", "QQ-_", "QUI\n", "=QQQ", "QQ==QQ=="};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (rf_ok(rf_base64_decode(rf_slice_str(wrong[i]), back, &size))) {
            fail_msg("'%s' was taken for base64", wrong[i]);
        }
    }
    assert_rc(RF_INVALID_VALUE, rf_base64_decode(rf_slice("QQ\0=", 4), back, &size));
}

static void writes(const char *text, size_t size, const char *expected)
{
    struct rf_buf buf = {0};
    rf_json_string(&buf, rf_slice(text, size));
    if (!rf_slice_is(rf_buf_slice(&buf), expected)) {
        fail_msg("expected %s, got %.*s", expected, (int)buf.size, (const char *)buf.data);
    }
    rf_buf_fini(&buf);
}

/* Goal: what the JSON writer writes is JSON, whatever goes in. */
static void json_strings(void **state)
{
    (void)state;
    writes("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    writes("\0\n\x1f\x7f", 4, "\"\\u0000\\u000a\\u001f\\u007f\"");
    writes("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    writes("\xff", 1, "\"\\ufffd\"");
    writes("a\xc3", 2, "\"a\\ufffd\"");
    writes("\xc0\x80", 2, "\"\\ufffd\\ufffd\"");            /* overlong */
    writes("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""); /* surrogate */
    writes("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    writes("", 0, "\"\"");
    assert_true(rf_utf8_valid(rf_slice_str("a\xc3\xa4")));
    assert_true(rf_utf8_valid(rf_slice("\0", 1)));
    assert_false(rf_utf8_valid(rf_slice_str("a\xc3")));
    assert_false(rf_utf8_valid(rf_slice_str("\xed\xa0\x80")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_forms),     cmocka_unit_test(absolute_form),
        cmocka_unit_test(peeking),         cmocka_unit_test(keep_alive),
        cmocka_unit_test(ambiguous_forms), cmocka_unit_test(request_lines),
        cmocka_unit_test(limits),          cmocka_unit_test(percent_decoding),
        cmocka_unit_test(queries),         cmocka_unit_test(base64),
        cmocka_unit_test(json_strings),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
