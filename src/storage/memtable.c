#include "storage/memtable.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/rng.h"

/* A skip list (Pugh 1990), branching 4: the plain form behind this header. */
#define LEVELS 12u
#define MEMTABLE_MAGIC 0x4d454d54u
#define FIRST_CHUNK 2048u

struct cell {
    struct rf_row row; /* key and value in the arena */
    uint64_t      token;
    uint64_t      seq;
    struct cell  *next[]; /* one per level of this cell */
};

struct rf_memtable {
    uint32_t        magic;
    uint32_t        levels; /* in use */
    struct rf_arena arena;
    struct rf_rng   rng;
    uint64_t        rows;
    uint64_t        first_seq;
    struct cell    *head[LEVELS];
};

struct rf_memtable *rf_memtable_new(void)
{
    struct rf_memtable *table = RF_NEW(struct rf_memtable);
    if (table != NULL) {
        table->magic = MEMTABLE_MAGIC;
        table->levels = 1;
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

static bool cell_before(const struct cell *cell, uint64_t token, struct rf_slice key)
{
    return cell->token != token ? cell->token < token : rf_slice_cmp(cell->row.key, key) < 0;
}

/* Per level, the link that points to the first cell not before (token, key). */
static struct cell *find_links(struct rf_memtable *table, uint64_t token, struct rf_slice key,
                               struct cell **links[LEVELS])
{
    struct cell **row = table->head;
    for (uint32_t level = table->levels; level-- > 0;) {
        while (row[level] != NULL && cell_before(row[level], token, key)) {
            row = row[level]->next;
        }
        links[level] = &row[level];
    }
    return *links[0];
}

static struct rf_slice copy_bytes(struct rf_memtable *table, struct rf_slice bytes)
{
    uint8_t *to = bytes.size == 0 ? NULL : rf_arena_alloc(&table->arena, bytes.size);
    if (to != NULL) {
        memcpy(to, bytes.data, bytes.size);
    }
    return rf_slice(to, bytes.size);
}

static struct rf_result insert_cell(struct rf_memtable *table, uint64_t token,
                                    const struct rf_row *row, uint64_t seq,
                                    struct cell **links[LEVELS])
{
    uint32_t height = 1;
    while (height < LEVELS && rf_rng_below(&table->rng, 4) == 0) {
        height++;
    }
    struct cell    *cell = rf_arena_alloc(&table->arena, sizeof(*cell) + height * sizeof(cell));
    struct rf_slice key = copy_bytes(table, row->key);
    struct rf_slice value = copy_bytes(table, row->value);
    if (cell == NULL || key.data == NULL || (value.data == NULL && value.size != 0)) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_assert(height >= 1 && height <= LEVELS);
    for (; table->levels < height; table->levels++) {
        links[table->levels] = &table->head[table->levels];
    }
    *cell = (struct cell){.row = *row, .token = token, .seq = seq};
    cell->row.key = key;
    cell->row.value = value;
    cell->row.blob = NULL;
    for (uint32_t level = 0; level < height; level++) {
        cell->next[level] = *links[level];
        *links[level] = cell;
    }
    table->rows++;
    return rf_result(RF_OK);
}

struct rf_result rf_memtable_put(struct rf_memtable *table, uint64_t token,
                                 const struct rf_row *row, uint64_t seq)
{
    rf_assert(table->magic == MEMTABLE_MAGIC);
    rf_assert(row->key.size >= 1);
    struct cell **links[LEVELS];
    struct cell  *cell = find_links(table, token, row->key, links);
    if (cell == NULL || cell->token != token || !rf_slice_eq(cell->row.key, row->key)) {
        RF_TRY(insert_cell(table, token, row, seq, links));
    } else {
        struct rf_slice value = row->value;
        if (value.size <= cell->row.value.size) {
            if (value.size != 0) {
                memcpy((void *)(uintptr_t)cell->row.value.data, value.data, value.size);
            }
            value.data = cell->row.value.data;
        } else {
            value = copy_bytes(table, value);
            if (value.data == NULL) {
                return rf_result(RF_NO_MEMORY);
            }
        }
        struct rf_slice key = cell->row.key;
        cell->row = *row;
        cell->row.key = key;
        cell->row.value = value;
        cell->row.blob = NULL;
        cell->seq = seq;
    }
    if (seq < table->first_seq) {
        table->first_seq = seq;
    }
    return rf_result(RF_OK);
}

bool rf_memtable_get(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                     struct rf_row *ret_row, uint64_t *ret_seq)
{
    struct rf_memtable_iter iter;
    rf_memtable_seek(table, token, key, &iter);
    const struct cell *cell = iter.at;
    if (cell == NULL || cell->token != token || !rf_slice_eq(cell->row.key, key)) {
        return false;
    }
    *ret_row = cell->row;
    *ret_seq = cell->seq;
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

void rf_memtable_seek(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                      struct rf_memtable_iter *ret_iter)
{
    rf_assert(table->magic == MEMTABLE_MAGIC);
    struct cell *const *row = table->head;
    for (uint32_t level = table->levels; level-- > 0;) {
        while (row[level] != NULL && cell_before(row[level], token, key)) {
            row = row[level]->next;
        }
    }
    *ret_iter = (struct rf_memtable_iter){table, row[0]};
}

bool rf_memtable_iter_row(const struct rf_memtable_iter *iter, uint64_t *ret_token,
                          struct rf_row *ret_row)
{
    const struct cell *cell = iter->at;
    if (cell == NULL) {
        return false;
    }
    *ret_token = cell->token;
    *ret_row = cell->row;
    return true;
}

uint64_t rf_memtable_iter_seq(const struct rf_memtable_iter *iter)
{
    const struct cell *cell = iter->at;
    rf_assert(cell != NULL);
    return cell->seq;
}

void rf_memtable_iter_next(struct rf_memtable_iter *iter)
{
    const struct cell *cell = iter->at;
    rf_assert(cell != NULL);
    iter->at = cell->next[0];
}
