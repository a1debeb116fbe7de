/* What unit tests share. Each tests/unit/test_NAME.c is one program with a cmocka group. */
#ifndef RF_TEST_UTIL_H
#define RF_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rc.h"
#include "base/slice.h"

/* Fails the test with the code's name when a call does not give the expected result. */
#define assert_rc(expected, call)                                                                  \
    do {                                                                                           \
        enum rf_rc rc_ = (call).rc;                                                                \
        if (rc_ != (expected)) {                                                                   \
            fail_msg("%s: expected %s, got %s", #call, rf_rc_code(expected), rf_rc_code(rc_));     \
        }                                                                                          \
    } while (0)
#define assert_rc_ok(call) assert_rc(RF_OK, call)
#define assert_slice(slice, text) assert_true(rf_slice_is(slice, text))

#endif
