/* YAML trees: every problem has its place, what libyaml takes silently is refused (config errors of
 * operators, S131 and the configuration chapter). */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/tree.h"

static struct rf_problems problems;
static struct rf_document document;

static enum rf_rc parse(const char *text, size_t size)
{
    return rf_tree_parse("t.yaml", rf_slice(text, size), &document, &problems).rc;
}

static int fresh(void **state)
{
    (void)state;
    problems = (struct rf_problems){0};
    document = (struct rf_document){0};
    return 0;
}

static int clean(void **state)
{
    (void)state;
    rf_document_free(&document);
    rf_problems_fini(&problems);
    return 0;
}

/* A fresh start within a test. */
static void again(void)
{
    clean(NULL);
    fresh(NULL);
}

static void assert_problem(const char *expected)
{
    rf_buf_append(&problems.text, "", 1);
    if (strstr((const char *)problems.text.data, expected) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", expected, (const char *)problems.text.data);
    }
}

static void refused(const char *text, const char *expected)
{
    again();
    assert_int_equal(RF_CONFIG_INVALID, parse(text, strlen(text)));
    assert_problem(expected);
}

/* Goal: nodes know kind, text and place. */
static void places(void **state)
{
    (void)state;
    static const char text[] = "a: 1\nb:\n  c: [x, \"y z\"]\n  d: {e: f}\n";
    assert_int_equal(RF_OK, parse(text, strlen(text)));
    const struct rf_tree *b = rf_tree_get(&document.root, "b");
    const struct rf_tree *c = rf_tree_get(b, "c");
    assert_non_null(c);
    assert_int_equal(RF_TREE_LIST, c->kind);
    assert_int_equal(2, c->n_children);
    assert_string_equal("y z", c->children[1].text);
    assert_int_equal(3, c->children[1].line);
    assert_int_equal(10, c->children[1].column);
    assert_int_equal(3, c->key_line);
    assert_int_equal(3, c->key_column);
    assert_null(rf_tree_get(b, "nothing"));
    assert_null(rf_tree_get(c, "c")); /* a list has no keys */
}

/* Goal: file:line:column, the source line and a caret under the place. */
static void excerpt_and_caret(void **state)
{
    (void)state;
    static const char text[] = "a: 1\nb: 2\na: 3\n";
    assert_int_equal(RF_CONFIG_INVALID, parse(text, strlen(text)));
    assert_problem("t.yaml:3:1: error: duplicate key 'a' (first on line 1)\n    a: 3\n    ^\n");
}

/* Goal: what YAML allows and a configuration must not is refused, each with its own words. */
static void refused_forms(void **state)
{
    (void)state;
    refused("a: &x 1\n", "t.yaml:1:4: error: anchors, aliases and tags are not allowed");
    refused("a: 1\nb: *a\n", "anchors, aliases and tags are not allowed");
    refused("a: !!str 1\n", "anchors, aliases and tags are not allowed");
    refused("a: &x {b: 1}\n", "anchors, aliases and tags");
    refused("a: &x [1]\n", "anchors, aliases and tags");
    refused("a: 1\n---\nb: 2\n", "only one document is allowed");
    refused("- a\n- b\n", "the file must be a map of keys and values");
    refused("just text\n", "the file must be a map");
    refused("", "the file must be a map");
    refused("? [a]\n: 1\n", "a key must be plain text");
    refused("a: \"x\\0y\"\n", "NUL is not allowed");
    refused("a: [1, 2\n", "t.yaml:");
    refused("a: \"\\q\"\n", "t.yaml:1:");
    refused("\ta: 1\n", "t.yaml:1:");
    refused("a: \x01\n", "t.yaml:");
    refused("a: \xff\xfe\n", "t.yaml:");
}

/* Goal: depth, size and number of entries have limits. */
static void limits(void **state)
{
    (void)state;
    char deep[128] = "a: ";
    for (int i = 0; i < 15; i++) {
        strcat(deep, "[");
    }
    for (int i = 0; i < 15; i++) {
        strcat(deep, "]");
    }
    again();
    assert_int_equal(RF_OK, parse(deep, strlen(deep))); /* 16 levels with the root */
    refused("a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n", "nested too deeply (at most 16 levels)");
    again();
    char *large = rf_mem_alloc(RF_TREE_SIZE_MAX + 2);
    memset(large, ' ', RF_TREE_SIZE_MAX + 1);
    assert_int_equal(RF_CONFIG_INVALID, parse(large, RF_TREE_SIZE_MAX + 1));
    assert_problem("larger than 1 MiB");
    again();
    size_t at = 0;
    for (int i = 0; i < 20000; i++) {
        at += (size_t)snprintf(large + at, 32, "k%d: 1\n", i);
    }
    assert_int_equal(RF_CONFIG_INVALID, parse(large, at));
    assert_problem("too many entries");
    rf_mem_free(large);
}

/* Goal: text from a file cannot steer the terminal that shows the problem. */
static void no_control_characters_in_problems(void **state)
{
    (void)state;
    static const char text[] = "\"a\\e[2J\": 1\n\"a\\e[2J\": 2\n";
    assert_int_equal(RF_CONFIG_INVALID, parse(text, strlen(text)));
    assert_problem("duplicate key 'a?[2J'");
    assert_null(memchr(problems.text.data, 0x1b, problems.text.size));
}

/* Goal: a file that cannot be opened is a problem, not a crash. */
static void missing_file(void **state)
{
    (void)state;
    assert_rc(RF_CONFIG_INVALID, rf_tree_load("/nonexistent/x.yaml", &document, &problems));
    assert_problem("/nonexistent/x.yaml: error: cannot open the file: No such file or directory");
    assert_rc(RF_CONFIG_INVALID, rf_tree_load("/", &document, &problems));
    assert_int_equal(2, problems.count);
}

/* Goal: typing mistakes are guessed, distant words are not. */
static void did_you_mean(void **state)
{
    (void)state;
    static const char *const words[] = {"replication", "conflict", "ttl", "max_ttl"};
    assert_string_equal("replication", rf_did_you_mean("replicaton", words, 4));
    assert_string_equal("ttl", rf_did_you_mean("tll", words, 4));
    assert_string_equal("max_ttl", rf_did_you_mean("maxttl", words, 4));
    assert_null(rf_did_you_mean("zebra", words, 4));
    assert_null(rf_did_you_mean("x", NULL, 0));
    char endless[400];
    memset(endless, 'r', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = 0;
    assert_null(rf_did_you_mean(endless, words, 4));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(places),
        TEST(excerpt_and_caret),
        TEST(refused_forms),
        TEST(limits),
        TEST(no_control_characters_in_problems),
        TEST(missing_file),
        TEST(did_you_mean),
    };
    return cmocka_run_group_tests_name("config_tree", tests, NULL, NULL);
}
