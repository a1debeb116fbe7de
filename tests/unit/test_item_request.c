/* Queries and bodies of item requests: S2, S4, S10, S11, D17. */
#include "test_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/item_request.h"

static struct rf_item_request item;

static void parse(enum rf_client_kind kind, const char *query, const char *body, size_t size)
{
    rf_item_fini(&item);
    item = (struct rf_item_request){.kind = kind, .max_value_bytes = 10};
    uint8_t *copy = malloc(size == 0 ? 1 : size); /* exact: the sanitizer sees a byte too many */
    memcpy(copy, body, size);
    rf_item_parse(&item, rf_slice_str(query), rf_slice(copy, size));
    free(copy);
}

static void put(const char *body)
{
    parse(RF_CLIENT_PUT, "", body, strlen(body));
}

static void assert_good(void)
{
    if (item.rc != RF_OK || item.errors.size != 0) {
        fail_msg("%s %s %.*s", rf_rc_code(item.rc), item.detail, (int)item.errors.size,
                 item.errors.data == NULL ? "" : (const char *)item.errors.data);
    }
}

static void assert_error(const char *pointer, const char *detail)
{
    char expected[300];
    snprintf(expected, sizeof(expected), "{\"pointer\":\"%s\",\"detail\":\"%s", pointer, detail);
    rf_buf_append(&item.errors, "", 1);
    item.errors.size--;
    if (strstr((const char *)item.errors.data, expected) == NULL) {
        fail_msg("expected %s in %s", expected, (const char *)item.errors.data);
    }
}

static void put_refused(const char *body, const char *pointer, const char *detail)
{
    put(body);
    assert_int_equal(RF_OK, item.rc);
    assert_error(pointer, detail);
}

static void put_bad(const char *body, enum rf_rc rc, const char *detail)
{
    put(body);
    assert_int_equal(rc, item.rc);
    if (strstr(item.detail, detail) == NULL) {
        fail_msg("expected %s in %s", detail, item.detail);
    }
}

static void good_bodies(void **state)
{
    (void)state;
    put("{\"key\":\"k\\u0000\xc3\xa4\",\"value\":\"AP8=\",\"ttl\":60,\"table\":\"t\",\"w\":3,"
        "\"timestamp\":1700000000000}");
    assert_good();
    assert_true(rf_slice_eq(rf_buf_slice(&item.key), rf_slice("k\0\xc3\xa4", 4)));
    assert_int_equal(2, item.value_size);
    assert_memory_equal("\0\xff", item.blob->data + RF_KEY_MAX, 2);
    assert_int_equal(60, item.ttl_s);
    assert_string_equal("t", item.table);
    assert_int_equal(3, item.quorum);
    assert_int_equal(INT64_C(1700000000000), item.timestamp_ms);
    put("{\"key_b64\":\"/wA=\",\"value\":\"\"}");
    assert_good();
    assert_true(rf_slice_eq(rf_buf_slice(&item.key), rf_slice("\xff\0", 2)));
    assert_int_equal(0, item.value_size);
    parse(RF_CLIENT_PUT, "table=t&w=1&explain=true", "{\"key\":\"k\",\"value\":\"\"}", 22);
    assert_good();
    assert_true(item.explain && item.quorum == 1);
}

/* Goal: a body that is no JSON object is 400 with a place, never a crash. */
static void bad_bodies(void **state)
{
    (void)state;
    put_bad("", RF_BAD_JSON, "at byte");
    put_bad("{\"key\":", RF_BAD_JSON, "at byte 7");
    put_bad("[]", RF_BAD_JSON, "must be a JSON object");
    put_bad("\"x\"", RF_BAD_JSON, "at byte");
    put_bad("{\"key\":\"a\",\"key\":\"b\"}", RF_BAD_JSON, "duplicate object key");
    put_bad("{} x", RF_BAD_JSON, "at byte");
    put_bad("{\"key\":\"\xff\"}", RF_BAD_JSON, "byte 0xff");
    put_bad("{\"key\":\"\\ud800\"}", RF_BAD_JSON, "at byte");
    put_bad("{\"ttl\":99999999999999999999}", RF_BAD_JSON, "too big integer");
    put_bad("{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", RF_BAD_JSON, "deeper than 16 levels");
    put_bad("{\"key\":\"k\",\"value\":\"AAAAAAAAAAAAAAAAAAAA\"}", RF_TOO_LARGE,
            "limits.max_value is 10");
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = 0;
    put_bad(deep, RF_BAD_JSON, "deeper than 16 levels");
    free(deep);
}

/* Goal: every wrong value is named, all of them in one answer. */
static void wrong_values(void **state)
{
    (void)state;
    put("{\"value\":\"*\",\"ttl\":0,\"zzzzzzzzz\":1}");
    assert_error("/key", "is missing");
    assert_error("/value", "must be standard base64");
    assert_error("/ttl", "must be a number of seconds from 1 to 315360000");
    assert_error("/zzzzzzzzz",
                 "unknown member; known are key, key_b64, table, value, ttl, w, timestamp");
    put_refused("{\"key\":\"\",\"value\":\"\"}", "/key", "a key has 1 to 2048 bytes");
    put_refused("{\"key\":1,\"value\":\"\"}", "/key", "must be a string");
    put_refused("{\"key\":\"a\",\"key_b64\":\"YQ==\",\"value\":\"\"}", "/key_b64",
                "key and key_b64");
    put_refused("{\"key_b64\":\"a\",\"value\":\"\"}", "/key_b64", "must be the standard base64");
    put_refused("{\"key\":\"a\"}", "/value", "is missing");
    put_refused("{\"key\":\"a\",\"value\":null}", "/value", "must be a string");
    put_refused("{\"key\":\"a\",\"value\":\"QQ=\"}", "/value", "must be standard base64");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"ttl\":\"60\"}", "/ttl", "must be a number");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"ttl\":1.5}", "/ttl", "must be a number");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"ttl\":-1}", "/ttl", "must be a number");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"ttl\":315360001}", "/ttl", "must be a number");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"w\":0}", "/w", "must be a number from 1");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"table\":\"\"}", "/table", "a table name");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"table\":\"a\\u0000\"}", "/table", "a table name");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"timestamp\":0}", "/timestamp", "must be a number");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"tll\":1}", "/tll",
                "unknown member; did you mean 'ttl'?");
    put_refused("{\"key\":\"a\",\"value\":\"\",\"a/b~c\":1}", "/a~1b~0c", "unknown member");
    char body[3000];
    snprintf(body, sizeof(body), "{\"key\":\"%02049d\",\"value\":\"\"}", 0);
    put_refused(body, "/key", "a key has 1 to 2048 bytes");
    snprintf(body, sizeof(body), "{\"key\":\"%02048d\",\"value\":\"\"}", 0);
    put(body);
    assert_good();
}

static void del(const char *query, const char *body)
{
    parse(RF_CLIENT_DELETE, query, body, strlen(body));
}

static void contradicts(enum rf_client_kind kind, const char *query, const char *body,
                        const char *detail)
{
    parse(kind, query, body, strlen(body));
    assert_int_equal(RF_BAD_REQUEST, item.rc);
    if (strstr(item.detail, detail) == NULL) {
        fail_msg("expected %s in %s", detail, item.detail);
    }
}

/* Goal: what the body of a DELETE says counts as if the query said it (the chapter on items): a delete
 * never goes to another table or key than the client named. */
static void bodies_of_deletes(void **state)
{
    (void)state;
    del("key=k", "{\"table\":\"t\",\"timestamp\":5,\"w\":1}");
    assert_good();
    assert_string_equal("t", item.table);
    assert_true(item.timestamp_ms == 5 && item.quorum == 1);
    del("", "{\"key\":\"k\"}");
    assert_good();
    assert_slice(rf_buf_slice(&item.key), "k");
    del("", "{\"key_b64\":\"aw==\"}");
    assert_good();
    assert_slice(rf_buf_slice(&item.key), "k");
    del("key=k", "{\"value\":\"\"}");
    assert_error("/value", "unknown member");
    del("key=k", "{\"tabel\":\"t\"}");
    assert_error("/tabel", "unknown member; did you mean 'table'?");
    del("key=k&table=t", "{\"table\":7}");
    assert_error("/table", "a table name");
    del("key=k", "[]");
    assert_int_equal(RF_BAD_JSON, item.rc);
    del("", "{}");
    assert_error("/key", "is missing");
}

/* Goal: query and body may say the same, never two things. */
static void query_and_body(void **state)
{
    (void)state;
    del("key=k&table=t&w=2&timestamp=5", "{\"key\":\"k\",\"table\":\"t\",\"w\":2,\"timestamp\":5}");
    assert_good();
    assert_slice(rf_buf_slice(&item.key), "k");
    assert_string_equal("t", item.table);
    contradicts(RF_CLIENT_DELETE, "key=k", "{\"key\":\"l\"}", "the key in the body");
    contradicts(RF_CLIENT_DELETE, "key=k&table=t", "{\"table\":\"u\"}", "the table in the body");
    contradicts(RF_CLIENT_DELETE, "key=k&timestamp=5", "{\"timestamp\":6}", "the timestamp");
    contradicts(RF_CLIENT_PUT, "table=t", "{\"key\":\"k\",\"value\":\"\",\"table\":\"u\"}",
                "the table in the body");
    contradicts(RF_CLIENT_PUT, "w=1", "{\"key\":\"k\",\"value\":\"\",\"w\":2}", "w in the body");
    static const char same[] = "{\"key\":\"k\",\"value\":\"\",\"table\":\"t\"}";
    parse(RF_CLIENT_PUT, "table=t", same, sizeof(same) - 1);
    assert_good();
}

static void get_refused(const char *query, enum rf_rc rc, const char *pointer, const char *detail)
{
    parse(RF_CLIENT_GET, query, "", 0);
    assert_int_equal(rc, item.rc);
    if (rc == RF_OK) {
        assert_error(pointer, detail);
    } else if (strstr(item.detail, detail) == NULL) {
        fail_msg("expected %s in %s", detail, item.detail);
    }
}

static void queries(void **state)
{
    (void)state;
    parse(RF_CLIENT_GET, "key=a%00%ff+b&consistency=strong&r=2&table=t", "", 0);
    assert_good();
    assert_true(rf_slice_eq(rf_buf_slice(&item.key), rf_slice("a\0\xff b", 5)));
    assert_true(item.strong && item.quorum == 2);
    assert_true(rf_item_given(&item, "consistency"));
    parse(RF_CLIENT_DELETE, "key_b64=YQ==&w=1&timestamp=5", "", 0);
    assert_good();
    assert_int_equal(5, item.timestamp_ms);
    get_refused("", RF_OK, "/key", "is missing");
    get_refused("key=", RF_OK, "/key", "a key has 1 to 2048 bytes");
    get_refused("key=a&key=b", RF_OK, "/key", "is given twice");
    get_refused("key=a&consistency=Strong", RF_OK, "/consistency",
                "must be 'eventual' or 'strong'");
    get_refused("key=a&r=x", RF_OK, "/r", "must be a number");
    get_refused("key=a&r=17", RF_OK, "/r", "must be a number");
    get_refused("key=a&explain=1", RF_OK, "/explain", "must be true or false");
    get_refused("key=%zz", RF_BAD_QUERY, "", "");
    get_refused("key", RF_BAD_QUERY, "", "");
    get_refused("key=a&consistancy=strong", RF_BAD_QUERY, "", "did you mean 'consistency'?");
    get_refused("key=a&w=1", RF_BAD_QUERY, "", "unknown parameter");
    get_refused("key=a&ttl%00x=1", RF_BAD_QUERY, "", "unknown parameter");
    rf_item_fini(&item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_bodies),    cmocka_unit_test(bad_bodies),
        cmocka_unit_test(wrong_values),   cmocka_unit_test(bodies_of_deletes),
        cmocka_unit_test(query_and_body), cmocka_unit_test(queries),
    };
    return cmocka_run_group_tests_name("item_request", tests, NULL, NULL);
}
