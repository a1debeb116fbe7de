/* Operations whose blocks are not in memory: their look-up goes on in a thread that may wait for the
 * disk, and later operations on the same key wait for it, so that each key's operations keep their
 * order. Files that a look-up asks stay open until its end. */
#include "base/mem.h"
#include "storage/engine_private.h"

/* The row that a write brings, or that memtables and cached files had, is copied: memtables may be
 * flushed meanwhile. New rows of the key cannot come in, for its writes wait. */
struct rf_cold_read {
    struct rf_cold_read   *next;        /* in the queue, or among those who wait for a key */
    struct rf_cold_read   *same_bucket; /* of keys that are being read */
    struct rf_store_op     op;
    struct rf_table_policy policy; /* a copy: tables move */
    struct rf_search       search;
    struct rf_row          before; /* the best row before the disk was asked */
    struct rf_sst_block    blocks[2];
    struct rf_data_file  **files;
    uint32_t               n_files;
    struct rf_scan        *scan;
    struct rf_cold_read   *waiters, **waiters_end;
};

static bool is_same_key(const struct rf_store_op *a, const struct rf_store_op *b)
{
    return a->token == b->token && a->table == b->table && rf_slice_eq(a->row.key, b->row.key);
}

static struct rf_cold_read **bucket_of(struct rf_cold_queue *queue, uint64_t token)
{
    return &queue->buckets[(token >> 32) % RF_COLD_BUCKETS]; /* the low bits name the partition */
}

static struct rf_cold_read *find_key(const struct rf_store *store, const struct rf_store_op *op)
{
    struct rf_cold_queue *queue = (struct rf_cold_queue *)&store->cold;
    struct rf_cold_read  *at = *bucket_of(queue, op->token);
    while (at != NULL && !is_same_key(&at->op, op)) {
        at = at->same_bucket;
    }
    return at;
}

bool rf_cold_has(const struct rf_store *store, const struct rf_store_op *op)
{
    return store->cold.n != 0 && find_key(store, op) != NULL;
}

/* ---- Beginning ---------------------------------------------------------------------------- */

static struct rf_result new_read(struct rf_store *store, const struct rf_store_op *op,
                                 struct rf_cold_read **ret_read)
{
    if (store->cold.n == RF_COLD_MAX) {
        return rf_result(RF_LIMIT);
    }
    struct rf_cold_read *read = RF_NEW(struct rf_cold_read);
    if (read == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    read->op = *op;
    if (op->row.blob == NULL && op->row.key.size != 0 &&
        !rf_ok(rf_row_copy(&op->row, &read->op.row))) {
        rf_mem_free(read);
        return rf_result(RF_NO_MEMORY);
    }
    if (op->row.blob != NULL) {
        rf_blob_take(op->row.blob);
    }
    read->waiters_end = &read->waiters;
    store->cold.n++;
    *ret_read = read;
    return rf_result(RF_OK);
}

static void free_read(struct rf_store *store, struct rf_cold_read *read)
{
    for (uint32_t i = 0; i < read->n_files; i++) {
        rf_data_file_drop(read->files[i]);
    }
    rf_scan_free(read->scan);
    rf_sst_block_fini(&read->blocks[0]);
    rf_sst_block_fini(&read->blocks[1]);
    rf_blob_drop(read->before.blob);
    rf_blob_drop(read->op.row.blob);
    rf_mem_free(read->files);
    rf_assert(store->cold.n != 0);
    store->cold.n--;
    rf_mem_free(read);
}

static void enqueue(struct rf_store *store, struct rf_cold_read *read)
{
    read->next = NULL;
    *store->cold.end = read;
    store->cold.end = &read->next;
    store->stats.cold_reads++;
}

struct rf_result rf_cold_wait(struct rf_store *store, const struct rf_store_op *op)
{
    struct rf_cold_read *read = NULL;
    struct rf_cold_read *owner = find_key(store, op);
    rf_assert(owner != NULL);
    RF_TRY(new_read(store, op, &read));
    *owner->waiters_end = read;
    owner->waiters_end = &read->next;
    store->stats.cold_waits++;
    return rf_result(RF_PENDING);
}

/* The files that are left to ask, with a reference to each. */
static bool take_files(struct rf_cold_read *read, const struct rf_part *part, uint32_t from)
{
    rf_assert(from < part->n_files);
    read->files = RF_NEW_ARRAY(struct rf_data_file *, part->n_files - from);
    for (uint32_t i = from; i < part->n_files && read->files != NULL; i++) {
        part->files[i]->refs++;
        read->files[read->n_files++] = part->files[i];
    }
    return read->files != NULL;
}

struct rf_result rf_cold_start(struct rf_store *store, struct rf_store_table *table,
                               const struct rf_store_op *op, const struct rf_search *search,
                               uint32_t from)
{
    struct rf_cold_read *read = NULL;
    RF_TRY(new_read(store, op, &read));
    bool copied = !rf_row_exists(&search->best) || rf_ok(rf_row_copy(&search->best, &read->before));
    if (!copied ||
        !take_files(read, &table->parts[rf_partition_of(store->engine, op->token)], from)) {
        free_read(store, read);
        return rf_result(RF_NO_MEMORY);
    }
    read->policy = table->policy;
    read->search = *search;
    read->search.policy = &read->policy;
    read->search.blocks = read->blocks;
    read->search.key = read->op.row.key;
    read->search.best = read->before;
    struct rf_cold_read **bucket = bucket_of(&store->cold, op->token);
    read->same_bucket = *bucket;
    *bucket = read;
    enqueue(store, read);
    return rf_result(RF_PENDING);
}

struct rf_result rf_cold_start_scan(struct rf_store *store, const struct rf_store_op *op,
                                    struct rf_scan *scan)
{
    struct rf_cold_read *read = NULL;
    RF_TRY(new_read(store, op, &read));
    read->scan = scan;
    enqueue(store, read);
    return rf_result(RF_PENDING);
}

/* ---- Running ------------------------------------------------------------------------------ */

struct rf_cold_read *rf_store_cold_begin(struct rf_store *store)
{
    struct rf_cold_read *read = store->cold.first;
    if (read != NULL) {
        store->cold.first = read->next;
        store->cold.end = read->next == NULL ? &store->cold.first : store->cold.end;
        read->next = NULL;
    }
    return read;
}

void rf_cold_read_run(struct rf_cold_read *read)
{
    if (read->scan != NULL) {
        rf_scan_run(read->scan);
        return;
    }
    for (uint32_t i = 0; i < read->n_files; i++) {
        bool asked = rf_search_file(&read->search, read->files[i]);
        rf_assert(asked);
    }
}

/* ---- Ending ------------------------------------------------------------------------------- */

static void remove_key(struct rf_store *store, struct rf_cold_read *read)
{
    struct rf_cold_read **at = bucket_of(&store->cold, read->op.token);
    while (*at != read) {
        rf_assert(*at != NULL);
        at = &(*at)->same_bucket;
    }
    *at = read->same_bucket;
}

/* Those who waited for the key run in order, until one of them must ask the disk again: the rest
 * waits for that one. */
static void run_waiters(struct rf_store *store, struct rf_cold_read *waiter)
{
    while (waiter != NULL) {
        struct rf_cold_read *next = waiter->next;
        struct rf_store_done done;
        if (rf_ok(rf_store_start(store, &waiter->op, &done))) {
            rf_store_complete(store, &done);
        }
        free_read(store, waiter);
        waiter = next;
    }
}

static struct rf_result finish(struct rf_store *store, struct rf_cold_read *read,
                               struct rf_store_done *done)
{
    struct rf_store_table *table = rf_store_table_of(store, read->op.table);
    rf_assert(table != NULL);
    if (read->scan != NULL) {
        *done = (struct rf_store_done){.kind = read->op.kind, .tag = read->op.tag};
        return rf_scan_answer(store, read->scan, done);
    }
    remove_key(store, read);
    enum rf_find found = rf_store_judge(store, table, &read->search);
    if (table->id == RF_TABLE_HEALED) {
        return rf_result(RF_PENDING); /* our own question: now the answer is in memory */
    }
    return rf_store_finish(store, &read->op, found, &read->search, done);
}

void rf_store_cold_end(struct rf_store *store, struct rf_cold_read *read)
{
    struct rf_store_done done;
    struct rf_cold_read *waiters = read->waiters;
    if (rf_ok(finish(store, read, &done))) {
        rf_store_complete(store, &done);
    }
    free_read(store, read);
    run_waiters(store, waiters);
}

void rf_cold_fini(struct rf_store *store)
{
    struct rf_cold_read *read = NULL;
    while ((read = rf_store_cold_begin(store)) != NULL) {
        while (read->waiters != NULL) {
            struct rf_cold_read *waiter = read->waiters;
            read->waiters = waiter->next;
            free_read(store, waiter);
        }
        free_read(store, read);
    }
    rf_assert(store->cold.n == 0); /* none may be under way */
}
