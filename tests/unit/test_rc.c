/* The table of result codes: complete, without doubles, and what clients may rely on. */
#include "test_util.h"

#include <string.h>

#include "http/response.h"

static void complete(void **state)
{
    (void)state;
    for (int rc = 0; rc < RF_RC_COUNT; rc++) {
        enum rf_rc  one = (enum rf_rc)rc;
        const char *code = rf_rc_code(one);
        assert_int_equal(0, strncmp(code, "RF-", 3));
        assert_true(strlen(rf_rc_text(one)) >= 4);
        assert_true(rf_rc_http(one) >= 200 && rf_rc_http(one) < 600);
        assert_string_not_equal("Unknown", rf_http_status_text(rf_rc_http(one)));
        for (int other = 0; other < rc; other++) {
            assert_string_not_equal(code, rf_rc_code((enum rf_rc)other));
        }
        /* The client's mistakes do not get better by trying again; an overloaded server does. */
        uint16_t http = rf_rc_http(one);
        if (http == 503 || http == 504 || http == 429) {
            assert_true(rf_rc_retryable(one));
        }
        if (http >= 400 && http < 500 && http != 408 && http != 429) {
            assert_false(rf_rc_retryable(one));
        }
    }
}

static void pinned(void **state)
{
    (void)state;
    assert_int_equal(404, rf_rc_http(RF_ITEM_NOT_FOUND));
    assert_int_equal(422, rf_rc_http(RF_INVALID_VALUE));
    assert_int_equal(415, rf_rc_http(RF_UNSUPPORTED_MEDIA));
    assert_int_equal(507, rf_rc_http(RF_DISK_RESERVE));
    assert_int_equal(504, rf_rc_http(RF_REPLICA_TIMEOUT));
    assert_string_equal("RF-QUORUM-UNAVAILABLE", rf_rc_code(RF_QUORUM_UNAVAILABLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(complete), cmocka_unit_test(pinned)};
    return cmocka_run_group_tests_name("rc", tests, NULL, NULL);
}
