/* The log's lines are logfmt whatever their values hold: nobody outside forges a field or a line. */
#include "test_util.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static char line[4096];
static int  saved, file;

static void begin(void)
{
    char path[] = "/tmp/rf-log-XXXXXX";
    file = mkstemp(path);
    assert_true(file >= 0);
    unlink(path);
    saved = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
}

/* What was written since begin(), from the field after `event=e ` on. */
static const char *end(void)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, line, sizeof(line) - 1, 0);
    close(file);
    assert_true(n >= 0);
    line[n] = 0;
    const char *fields = strstr(line, " event=e ");
    return fields == NULL ? line : fields + strlen(" event=e ");
}

#define LOGGED(expected, ...)                                                                      \
    do {                                                                                           \
        begin();                                                                                   \
        rf_log(RF_LOG_WARN, "e", __VA_ARGS__);                                                     \
        assert_string_equal(expected "\n", end());                                                 \
    } while (0)

/* Goal: values are what printf would make of them. */
static void values(void **state)
{
    (void)state;
    LOGGED("a=1 b=-2 c=3", "a=%u b=%d c=%llu", 1u, -2, 3ull);
    LOGGED("a=-9223372036854775808 b=18446744073709551615", "a=%lld b=%llu", (long long)INT64_MIN,
           (unsigned long long)UINT64_MAX);
    LOGGED("a=00000000000000ff b=ff c=07 d=12", "a=%016llx b=%x c=%02x d=%zu", 255ull, 255u, 7u,
           (size_t)12);
    LOGGED("a=5% b=c", "a=%d%% b=%c", 5, 'c');
    LOGGED("a=abc b=ab c=a", "a=%s b=%.*s c=%.1s", "abc", 2, "abc", "abc");
}

/* Goal: quotes, blanks and newlines in a value stay in it. */
static void forged_values(void **state)
{
    (void)state;
    LOGGED("path=\"/x\\\"level=error\" n=1", "path=\"%s\" n=%d", "/x\"level=error", 1);
    LOGGED("path=\"/x\\\"l\" n=1", "path=\"%.*s\" n=%d", 4, "/x\"level=error", 1);
    LOGGED("a=\"two words\" b=\"x\\\"y\" c=\"\" d=\"k=v\"", "a=%s b=%s c=%s d=%s", "two words",
           "x\"y", "", "k=v");
    LOGGED("a=\"x\\\\\" b=\"x\\ny?\"", "a=\"%s\" b=\"%s\"", "x\\", "x\ny\x1b");
    LOGGED("a=x/y", "a=%s/%s", "x", "y");
}

/* Goal: a long value is cut, its quote and line are closed. */
static void long_values(void **state)
{
    (void)state;
    char text[5000];
    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    begin();
    rf_log(RF_LOG_WARN, "e", "a=\"%s\" b=%d", text, 1);
    const char *fields = end();
    size_t      n = strlen(fields);
    assert_true(strlen(line) <= 2048);
    assert_true(n % 2 == 1 && n > 1900); /* a="…" and a newline, whole escapes between */
    assert_memory_equal("\\\"\"\n", fields + n - 4, 4);
}

/* Goal: levels below the set one are silent, the node is named. */
static void levels(void **state)
{
    (void)state;
    begin();
    rf_log(RF_LOG_DEBUG, "e", "a=%d", 1);
    assert_string_equal("", end());
    rf_log_setup(RF_LOG_DEBUG, "n1");
    begin();
    rf_log(RF_LOG_DEBUG, "e", "a=%d", 1);
    assert_string_equal("a=1\n", end());
    assert_non_null(strstr(line, "Z level=debug node=n1 event=e "));
    rf_log_setup(RF_LOG_INFO, NULL);
    assert_int_equal(RF_LOG_ERROR, rf_log_level_parse("error"));
    assert_int_equal(-1, rf_log_level_parse("loud"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(forged_values),
        cmocka_unit_test(long_values),
        cmocka_unit_test(levels),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
