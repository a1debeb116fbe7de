#include "storage/memtable.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/mem.h"

/* A B+ tree (Bayer and McCreight 1972; the form with all data in the leaves) whose nodes hold the
 * tokens side by side, with the leaves in a list in order. It is as fast for tokens of a few narrow
 * ranges, as a node of a large cluster has them, as for uniform ones, and for hostile keys it stays
 * O(log n). What costs time is memory that is in no cache: a node's lines are fetched all at once when
 * it is entered, so that a search waits once per level, and the upper levels are in the caches.
 *
 * Nodes never lose entries, and everything lives in the arena until the table is freed. */
#define FANOUT 48u
#define HALF (FANOUT / 2)
#define HEIGHT_MAX 14u /* 24^14 rows */
#define LINE 64u       /* bytes of a cache line */
#define AHEAD 4u       /* rows that a walk fetches before it gets there */
#define MEMTABLE_MAGIC 0x4d454d54u
#define FIRST_CHUNK 1024u

/* A row; its key lies right behind it, and there its value, unless a longer one took its place. */
struct cell {
    uint64_t       seq;
    uint64_t       hlc, writer, expiry_ms;
    const uint8_t *value;
    uint32_t       value_size;
    uint16_t       key_size;
    uint8_t        flags;
};

/* Entry i of a leaf is a row. Entry i of an inner node stands for the rows at or after it and before
 * entry i + 1; entry 0 also for all before it. Entries are told apart by token, ties by the key. */
struct node {
    uint32_t     n;
    uint32_t     height; /* 0: a leaf */
    struct node *next;   /* of a leaf: the next one, in order */
    uint64_t     tokens[FANOUT];
    struct cell *cells[FANOUT];
    struct node *children[]; /* FANOUT of an inner node, none of a leaf */
};

struct rf_memtable {
    uint32_t        magic;
    struct rf_arena arena;
    struct node    *root; /* NULL while empty */
    uint64_t        rows;
    uint64_t        first_seq;
};

struct rf_memtable *rf_memtable_new(void)
{
    struct rf_memtable *table = RF_NEW(struct rf_memtable);
    if (table != NULL) {
        table->magic = MEMTABLE_MAGIC;
        table->first_seq = UINT64_MAX;
        rf_arena_init(&table->arena, FIRST_CHUNK);
    }
    return table;
}

void rf_memtable_free(struct rf_memtable *table)
{
    if (table == NULL) {
        return;
    }
    rf_assert(table->magic == MEMTABLE_MAGIC);
    rf_arena_fini(&table->arena);
    table->magic = 0;
    rf_mem_free(table);
}

/* ---- Searching ---------------------------------------------------------------------------- */

static struct rf_slice key_of(const struct cell *cell)
{
    return rf_slice((const uint8_t *)(cell + 1), cell->key_size);
}

static void row_of(const struct cell *cell, struct rf_row *ret_row)
{
    *ret_row = (struct rf_row){
        .version = {.hlc = cell->hlc, .writer = cell->writer},
        .expiry_ms = cell->expiry_ms,
        .flags = cell->flags,
        .key = key_of(cell),
        .value = rf_slice(cell->value, cell->value_size),
    };
}

/* Asks for memory that will be read soon. */
static void fetch(const void *at, size_t size)
{
    for (size_t done = 0; done < size; done += LINE) {
        __builtin_prefetch((const uint8_t *)at + done);
    }
}

/* The first entry from `from` < n on whose token is not below; n when there is none. Without branches
 * that depend on tokens: they are random, half of the guesses would be wrong. */
static uint32_t find_token(const struct node *node, uint32_t from, uint64_t token)
{
    const uint64_t *base = node->tokens + from;
    uint32_t        n = node->n - from;
    rf_slow_assert(from < node->n && node->n <= FANOUT);
    while (n > 1) {
        uint32_t half = n / 2;
        base += base[half - 1] < token ? half : 0;
        n -= half;
    }
    return (uint32_t)(base - node->tokens) + (*base < token);
}

/* The first entry from `from` on that is not before (token, key), or with `above`, that is after it. */
static uint32_t find_entry(const struct node *node, uint32_t from, uint64_t token,
                           struct rf_slice key, bool above)
{
    uint32_t low = find_token(node, from, token);
    if (low == node->n || node->tokens[low] != token) {
        return low;
    }
    uint32_t high = token == UINT64_MAX ? node->n : find_token(node, from, token + 1);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int      order = rf_slice_cmp(key_of(node->cells[middle]), key);
        bool     before = order < 0 || (above && order == 0);
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low;
}

/* The child of an inner node that (token, key) belongs to. What entry 0 says does not matter, it stands
 * for all before entry 1, also for what came later than itself. */
static uint32_t child_for(const struct node *node, uint64_t token, struct rf_slice key)
{
    return node->n == 1 ? 0 : find_entry(node, 1, token, key, true) - 1;
}

/* The leaf that (token, key) belongs to; NULL while the table is empty. */
static const struct node *find_leaf(const struct rf_memtable *table, uint64_t token,
                                    struct rf_slice key)
{
    const struct node *node = table->root;
    while (node != NULL && node->height != 0) {
        node = node->children[child_for(node, token, key)];
        fetch(node, sizeof(*node));
    }
    return node;
}

/* Is (token, key) the leaf's entry `at`? Looks at the cell only when the token is the same. */
static bool is_at(const struct node *leaf, uint32_t at, uint64_t token, struct rf_slice key)
{
    if (at >= leaf->n || leaf->tokens[at] != token) {
        return false;
    }
    fetch(leaf->cells[at], sizeof(struct cell) + LINE); /* with its key and more */
    return rf_slice_eq(key_of(leaf->cells[at]), key);
}

/* ---- Growing ------------------------------------------------------------------------------ */

static struct node *new_node(struct rf_memtable *table, uint32_t height)
{
    size_t       children = height == 0 ? 0 : FANOUT * sizeof(struct node *);
    struct node *node = rf_arena_alloc(&table->arena, sizeof(*node) + children);
    rf_assert(height <= HEIGHT_MAX);
    if (node != NULL) {
        node->n = 0;
        node->height = height;
        node->next = NULL;
    }
    return node;
}

static void set_entry(struct node *node, uint32_t at, uint64_t token, struct cell *cell,
                      struct node *child)
{
    node->tokens[at] = token;
    node->cells[at] = cell;
    if (node->height != 0) {
        node->children[at] = child;
    }
}

static void insert_entry(struct node *node, uint32_t at, uint64_t token, struct cell *cell,
                         struct node *child)
{
    uint32_t behind = node->n - at;
    rf_assert(at <= node->n && node->n < FANOUT);
    memmove(&node->tokens[at + 1], &node->tokens[at], behind * sizeof(node->tokens[0]));
    memmove(&node->cells[at + 1], &node->cells[at], behind * sizeof(node->cells[0]));
    if (node->height != 0) {
        memmove(&node->children[at + 1], &node->children[at], behind * sizeof(node->children[0]));
    }
    set_entry(node, at, token, cell, child);
    node->n++;
}

/* Moves the upper half of a full child into a new node beside it. False without memory; the tree is
 * then as it was. */
static bool split_child(struct rf_memtable *table, struct node *parent, uint32_t at)
{
    struct node *child = parent->children[at];
    struct node *right = new_node(table, child->height);
    rf_assert(child->n == FANOUT && parent->height == child->height + 1);
    if (right == NULL) {
        return false;
    }
    for (uint32_t i = HALF; i < FANOUT; i++) {
        set_entry(right, i - HALF, child->tokens[i], child->cells[i],
                  child->height == 0 ? NULL : child->children[i]);
    }
    right->n = FANOUT - HALF;
    right->next = child->next;
    child->next = right;
    child->n = HALF;
    insert_entry(parent, at + 1, right->tokens[0], right->cells[0], right);
    return true;
}

/* A root with room for one more entry; NULL without memory. */
static struct node *roomy_root(struct rf_memtable *table)
{
    struct node *root = table->root;
    if (root == NULL) {
        table->root = new_node(table, 0);
        return table->root;
    }
    if (root->n < FANOUT) {
        return root;
    }
    struct node *above = new_node(table, root->height + 1);
    if (above == NULL) {
        return NULL;
    }
    insert_entry(above, 0, root->tokens[0], root->cells[0], root);
    if (!split_child(table, above, 0)) {
        return NULL; /* `above` stays unused in the arena */
    }
    table->root = above;
    return above;
}

/* The leaf for (token, key), with room; full nodes on the way are split before they are entered, so
 * that a split never has to go up again. NULL without memory. */
static struct node *roomy_leaf(struct rf_memtable *table, uint64_t token, struct rf_slice key)
{
    struct node *node = roomy_root(table);
    while (node != NULL && node->height != 0) {
        uint32_t at = child_for(node, token, key);
        fetch(node->children[at], sizeof(*node));
        if (node->children[at]->n == FANOUT) {
            if (!split_child(table, node, at)) {
                return NULL;
            }
            at = child_for(node, token, key);
        }
        node = node->children[at];
    }
    return node;
}

/* What of the row is no key and no place. */
static void set_cell(struct cell *cell, const struct rf_row *row, uint64_t seq)
{
    cell->seq = seq;
    cell->hlc = row->version.hlc;
    cell->writer = row->version.writer;
    cell->expiry_ms = row->expiry_ms;
    cell->value_size = (uint32_t)row->value.size;
    cell->flags = row->flags;
}

static void copy(uint8_t *to, struct rf_slice from)
{
    if (from.size != 0) {
        memcpy(to, from.data, from.size);
    }
}

/* A cell with copies of key and value behind it, in one piece. */
static struct cell *new_cell(struct rf_memtable *table, const struct rf_row *row, uint64_t seq)
{
    struct cell *cell =
        rf_arena_alloc(&table->arena, sizeof(*cell) + row->key.size + row->value.size);
    if (cell == NULL) {
        return NULL;
    }
    uint8_t *key = (uint8_t *)(cell + 1);
    *cell = (struct cell){.key_size = (uint16_t)row->key.size, .value = key + row->key.size};
    set_cell(cell, row, seq);
    copy(key, row->key);
    copy(key + row->key.size, row->value);
    return cell;
}

/* ---- Rows --------------------------------------------------------------------------------- */

/* The key has a row already: the new one takes its place, in the old value's bytes if they do. */
static struct rf_result replace_row(struct rf_memtable *table, struct cell *cell,
                                    const struct rf_row *row, uint64_t seq)
{
    uint8_t *to = (uint8_t *)(uintptr_t)cell->value;
    if (row->value.size > cell->value_size) {
        to = rf_arena_alloc(&table->arena, row->value.size);
        if (to == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
    }
    copy(to, row->value);
    cell->value = to;
    set_cell(cell, row, seq);
    return rf_result(RF_OK);
}

struct rf_result rf_memtable_put(struct rf_memtable *table, uint64_t token,
                                 const struct rf_row *row, uint64_t seq)
{
    rf_assert(table->magic == MEMTABLE_MAGIC);
    rf_assert(row->key.size >= 1 && row->key.size <= RF_ROW_KEY_MAX);
    rf_assert(row->value.size <= RF_VALUE_MAX);
    struct node *leaf = roomy_leaf(table, token, row->key);
    if (leaf == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    uint32_t at = leaf->n == 0 ? 0 : find_entry(leaf, 0, token, row->key, false);
    /* A row of this key can be in no other leaf: an entry above stands for all from its own on. */
    if (is_at(leaf, at, token, row->key)) {
        RF_TRY(replace_row(table, leaf->cells[at], row, seq));
    } else {
        struct cell *cell = new_cell(table, row, seq);
        if (cell == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        insert_entry(leaf, at, token, cell, NULL);
        table->rows++;
    }
    table->first_seq = seq < table->first_seq ? seq : table->first_seq;
    return rf_result(RF_OK);
}

bool rf_memtable_get(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                     struct rf_row *ret_row, uint64_t *ret_seq)
{
    rf_assert(table->magic == MEMTABLE_MAGIC);
    const struct node *leaf = find_leaf(table, token, key);
    uint32_t           at = leaf == NULL ? 0 : find_entry(leaf, 0, token, key, false);
    if (leaf == NULL || !is_at(leaf, at, token, key)) {
        return false;
    }
    row_of(leaf->cells[at], ret_row);
    *ret_seq = leaf->cells[at]->seq;
    return true;
}

size_t rf_memtable_bytes(const struct rf_memtable *table)
{
    return sizeof(*table) + table->arena.total;
}

uint64_t rf_memtable_rows(const struct rf_memtable *table)
{
    return table->rows;
}

uint64_t rf_memtable_first_seq(const struct rf_memtable *table)
{
    return table->first_seq;
}

/* To the next leaf when this one is used up. */
static void settle(struct rf_memtable_iter *iter)
{
    const struct node *leaf = iter->leaf;
    if (leaf != NULL && iter->at == leaf->n) {
        iter->leaf = leaf->next;
        iter->at = 0;
        if (leaf->next != NULL) {
            fetch(leaf->next->next, sizeof(*leaf));
        }
    }
}

void rf_memtable_seek(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                      struct rf_memtable_iter *ret_iter)
{
    rf_assert(table->magic == MEMTABLE_MAGIC);
    const struct node *leaf = find_leaf(table, token, key);
    *ret_iter = (struct rf_memtable_iter){
        .leaf = leaf, .at = leaf == NULL ? 0 : find_entry(leaf, 0, token, key, false)};
    settle(ret_iter);
}

bool rf_memtable_iter_row(const struct rf_memtable_iter *iter, uint64_t *ret_token,
                          struct rf_row *ret_row)
{
    const struct node *leaf = iter->leaf;
    if (leaf == NULL) {
        return false;
    }
    *ret_token = leaf->tokens[iter->at];
    row_of(leaf->cells[iter->at], ret_row);
    return true;
}

uint64_t rf_memtable_iter_seq(const struct rf_memtable_iter *iter)
{
    const struct node *leaf = iter->leaf;
    rf_assert(leaf != NULL);
    return leaf->cells[iter->at]->seq;
}

void rf_memtable_iter_next(struct rf_memtable_iter *iter)
{
    const struct node *leaf = iter->leaf;
    rf_assert(leaf != NULL && iter->at < leaf->n);
    iter->at++;
    if (iter->at + AHEAD < leaf->n) {
        fetch(leaf->cells[iter->at + AHEAD], sizeof(struct cell) + 2 * LINE);
    }
    settle(iter);
}
