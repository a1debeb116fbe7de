/* The memtable: S32, S33, S39. */
#include "store_util.h"

#include "base/hash.h"
#include "base/rng.h"
#include "storage/memtable.h"

/* Goal: newest put wins, rows come in (token, key) order, seek finds the first at or after.
 * Method: 2,000 random puts over 300 keys with colliding tokens against an array. */
static void sorted_and_exact(void **state)
{
    (void)state;
    struct rf_memtable *table = rf_memtable_new();
    struct rf_rng       rng = {5};
    uint64_t            hlc_of[300] = {0};
    char                keys[300][8];
    char                value[64];
    assert_true(rf_memtable_bytes(table) < 4096);
    assert_int_equal(UINT64_MAX, rf_memtable_first_seq(table));
    for (uint64_t i = 1; i <= 2000; i++) {
        unsigned k = (unsigned)rf_rng_below(&rng, 300);
        snprintf(keys[k], sizeof(keys[k]), "k%u", k);
        snprintf(value, sizeof(value), "%.*s%u", (int)rf_rng_below(&rng, 50),
                 "..................................................", k);
        struct rf_row row = row_of(keys[k], i, value);
        assert_rc_ok(rf_memtable_put(table, k / 3, &row, i));
        hlc_of[k] = i;
    }
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                token = 0, seq = 0, n = 0;
    for (unsigned k = 0; k < 300; k++) {
        bool found = rf_memtable_get(table, k / 3, rf_slice_str(keys[k]), &row, &seq);
        assert_int_equal(hlc_of[k] != 0, found);
        assert_true(!found || (row.version.hlc == hlc_of[k] && seq == hlc_of[k]));
        n += found;
    }
    assert_int_equal(n, rf_memtable_rows(table));
    assert_int_equal(1, rf_memtable_first_seq(table));
    uint64_t last_token = 0, walked = 0;
    rf_memtable_seek(table, 0, rf_slice(NULL, 0), &iter);
    for (; rf_memtable_iter_row(&iter, &token, &row); rf_memtable_iter_next(&iter)) {
        assert_true(token >= last_token);
        assert_int_equal(row.version.hlc, rf_memtable_iter_seq(&iter));
        last_token = token;
        walked++;
    }
    assert_int_equal(n, walked);
    rf_memtable_seek(table, 1000, rf_slice(NULL, 0), &iter);
    assert_false(rf_memtable_iter_row(&iter, &token, &row));
    rf_memtable_free(table);
    rf_memtable_free(NULL);
}

/* Puts `n` rows whose tokens the order decides, checks each after every thousandth put and at the
 * end: found, in order, none twice. */
static void fill_and_check(uint64_t n, uint64_t (*token_of_row)(uint64_t i))
{
    struct rf_memtable *table = rf_memtable_new();
    char                key[24];
    for (uint64_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key%08u", (unsigned)(i * 7919 % n));
        struct rf_row row = row_of(key, i + 1, "v");
        assert_rc_ok(rf_memtable_put(table, token_of_row(i * 7919 % n), &row, i + 1));
        assert_int_equal(i + 1, rf_memtable_rows(table));
    }
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                token = 0, last_token = 0, seq = 0, walked = 0;
    char                    last[24] = "";
    rf_memtable_seek(table, 0, rf_slice(NULL, 0), &iter);
    for (; rf_memtable_iter_row(&iter, &token, &row); rf_memtable_iter_next(&iter), walked++) {
        struct rf_slice before = rf_slice_str(last);
        assert_true(walked == 0 || token > last_token ||
                    (token == last_token && rf_slice_cmp(before, row.key) < 0));
        struct rf_row found;
        assert_true(rf_memtable_get(table, token, row.key, &found, &seq));
        assert_ptr_equal(found.key.data, row.key.data);
        memcpy(last, row.key.data, row.key.size);
        last[row.key.size] = 0;
        last_token = token;
    }
    assert_int_equal(n, walked);
    for (uint64_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key%08u", (unsigned)i);
        assert_true(rf_memtable_get(table, token_of_row(i), rf_slice_str(key), &row, &seq));
        snprintf(key, sizeof(key), "kez%08u", (unsigned)i);
        assert_false(rf_memtable_get(table, token_of_row(i), rf_slice_str(key), &row, &seq));
    }
    rf_memtable_free(table);
}

static uint64_t spread(uint64_t i)
{
    return rf_hash64(rf_slice(&i, sizeof(i)), 1);
}

static uint64_t narrow(uint64_t i)
{
    return (i % 7 << 60) + i / 7; /* a few narrow ranges, as a node of a large cluster has */
}

static uint64_t same(uint64_t i)
{
    (void)i;
    return 42; /* hostile: every token equal */
}

static uint64_t down(uint64_t i)
{
    return UINT64_MAX - i;
}

/* Goal: splits keep every row and the order, up to three levels, whatever the tokens look like.
 * Method: 20,000 rows of each kind, in a shuffled order. */
static void splits_keep_everything(void **state)
{
    (void)state;
    fill_and_check(20000, spread);
    fill_and_check(20000, narrow);
    fill_and_check(5000, same);
    fill_and_check(20000, down);
    fill_and_check(1, spread);
    fill_and_check(64, spread);
    fill_and_check(65, spread);
}

/* ---- Against a sorted reference ----------------------------------------------------------- */

#define MODEL_ROWS 3000u
#define MODEL_KEYS 1200u

struct model_row {
    uint64_t token, hlc, seq;
    char     key[40];
    unsigned value_size;
};

struct model {
    struct model_row rows[MODEL_KEYS]; /* sorted by (token, key) */
    unsigned         n;
};

static int compare_to(const struct model_row *row, uint64_t token, const char *key)
{
    if (row->token != token) {
        return row->token < token ? -1 : 1;
    }
    return rf_slice_cmp(rf_slice_str(row->key), rf_slice_str(key));
}

/* The first row that is not before (token, key). */
static unsigned model_find(const struct model *model, uint64_t token, const char *key)
{
    unsigned at = 0;
    while (at < model->n && compare_to(&model->rows[at], token, key) < 0) {
        at++;
    }
    return at;
}

static struct model_row *model_put(struct model *model, uint64_t token, const char *key)
{
    unsigned at = model_find(model, token, key);
    if (at == model->n || compare_to(&model->rows[at], token, key) != 0) {
        memmove(&model->rows[at + 1], &model->rows[at], (model->n - at) * sizeof(model->rows[0]));
        model->rows[at] = (struct model_row){.token = token};
        snprintf(model->rows[at].key, sizeof(model->rows[at].key), "%s", key);
        model->n++;
    }
    return &model->rows[at];
}

/* A key and its token of one of the kinds that a memtable meets. */
static uint64_t pick_key(struct rf_rng *rng, unsigned kind, char key[40])
{
    unsigned k = (unsigned)rf_rng_below(rng, MODEL_KEYS);
    uint64_t hash = rf_hash64(rf_slice(&k, sizeof(k)), 1);
    bool     long_prefix = kind == 2 || kind == 4;
    snprintf(key, 40, long_prefix ? "the/same/prefix/for/all/%05u" : "%05u", k);
    switch (kind) {
    case 0:
        return hash; /* uniform */
    case 1:
        return (hash >> 60 << 60) + k; /* a few narrow ranges */
    case 2:
        return 42; /* hostile: one token, keys that differ at their ends */
    case 3:
        return k % 3 == 0 ? 0 : UINT64_MAX - k % 3; /* the ends of the ring */
    default:
        return UINT64_C(1) << (k % 64); /* each range twice as wide as the one before */
    }
}

static void check_row(const struct model_row *want, uint64_t token, const struct rf_row *row,
                      uint64_t seq)
{
    assert_int_equal(want->token, token);
    assert_true(rf_slice_eq(rf_slice_str(want->key), row->key));
    assert_int_equal(want->hlc, row->version.hlc);
    assert_int_equal(want->hlc * 3, row->version.writer);
    assert_int_equal(want->hlc % 5, row->expiry_ms);
    assert_int_equal(want->seq, seq);
    assert_int_equal(want->value_size, row->value.size);
    for (unsigned i = 0; i < want->value_size; i++) {
        assert_int_equal((uint8_t)(want->hlc + i), row->value.data[i]);
    }
}

static void check_walk(const struct model *model, const struct rf_memtable *table, uint64_t token,
                       const char *key)
{
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                at_token = 0;
    unsigned                at = model_find(model, token, key);
    rf_memtable_seek(table, token, rf_slice_str(key), &iter);
    for (; at < model->n; at++, rf_memtable_iter_next(&iter)) {
        assert_true(rf_memtable_iter_row(&iter, &at_token, &row));
        check_row(&model->rows[at], at_token, &row, rf_memtable_iter_seq(&iter));
    }
    assert_false(rf_memtable_iter_row(&iter, &at_token, &row));
}

/* Goal: at any time the memtable is exactly its reference: every key, every neighbour that is not
 * there, every seek, the counts, and never more memory than what it was given explains (S32, S33,
 * S39). Method: random puts, longer and shorter values over old ones, for five kinds of tokens and
 * ten seeds each, against a sorted array. */
static void same_as_a_sorted_array(void **state)
{
    (void)state;
    struct model *model = malloc(sizeof(*model));
    for (unsigned round = 0; round < 50; round++) {
        unsigned            kind = round % 5;
        struct rf_memtable *table = rf_memtable_new();
        struct rf_rng       rng = {round + 1};
        uint64_t            lowest = UINT64_MAX, given = 0;
        model->n = 0;
        for (unsigned i = 0; i < MODEL_ROWS; i++) {
            char     key[40];
            uint8_t  value[300];
            uint64_t token = pick_key(&rng, kind, key);
            uint64_t seq = 1 + rf_rng_below(&rng, 100000), hlc = 1 + i, found_seq = 0;
            size_t   size = rf_rng_below(&rng, round % 2 == 0 ? 10 : sizeof(value));
            for (size_t b = 0; b < size; b++) {
                value[b] = (uint8_t)(hlc + b);
            }
            struct rf_row row = {.version = {hlc, hlc * 3},
                                 .expiry_ms = hlc % 5,
                                 .key = rf_slice_str(key),
                                 .value = rf_slice(value, size)};
            struct rf_row found;
            assert_rc_ok(rf_memtable_put(table, token, &row, seq));
            struct model_row *want = model_put(model, token, key);
            want->hlc = hlc;
            want->seq = seq;
            want->value_size = (unsigned)size;
            lowest = seq < lowest ? seq : lowest;
            given += 200 + sizeof(key) + size;
            assert_int_equal(lowest, rf_memtable_first_seq(table));
            assert_int_equal(model->n, rf_memtable_rows(table));
            assert_true(rf_memtable_bytes(table) < 4096 + given * 2);
            token = pick_key(&rng, kind, key);
            unsigned at = model_find(model, token, key);
            bool     there = at < model->n && compare_to(&model->rows[at], token, key) == 0;
            assert_int_equal(there,
                             rf_memtable_get(table, token, rf_slice_str(key), &found, &found_seq));
            if (there) {
                check_row(&model->rows[at], token, &found, found_seq);
            }
            if (i % 300 == 0) {
                check_walk(model, table, token, key);
            }
        }
        check_walk(model, table, 0, "");
        check_walk(model, table, UINT64_MAX, "~");
        rf_memtable_free(table);
    }
    free(model);
}

/* Goal: hostile keys do not make the tree grow: nodes stay as full as with others, so that its height,
 * which bounds the work of a search, does too. Method: memory of 40,000 rows of one token against
 * uniform ones. */
static void hostile_keys_cost_no_more(void **state)
{
    (void)state;
    size_t bytes[2];
    for (int hostile = 0; hostile < 2; hostile++) {
        struct rf_memtable *table = rf_memtable_new();
        char                key[24];
        for (uint64_t i = 0; i < 40000; i++) {
            snprintf(key, sizeof(key), "key%08u", (unsigned)(i * 7919 % 40000));
            struct rf_row row = row_of(key, i + 1, "v");
            assert_rc_ok(rf_memtable_put(table, hostile ? 42 : spread(i), &row, i + 1));
        }
        bytes[hostile] = rf_memtable_bytes(table);
        rf_memtable_free(table);
    }
    assert_true(bytes[1] < bytes[0] * 3 / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted_and_exact), cmocka_unit_test(splits_keep_everything),
        cmocka_unit_test(same_as_a_sorted_array), cmocka_unit_test(hostile_keys_cost_no_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
