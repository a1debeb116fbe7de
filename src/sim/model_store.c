#include "sim/model_store.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/repair_memo.h"

#define MODEL_MAGIC 0x4d4f444cu

/* A sorted array is enough: simulated nodes hold hundreds of rows. */
struct map {
    struct rf_model_row *rows;
    uint32_t             n, cap;
};

/* An apply that is not durable yet, or an answer that waits for one. */
struct pending {
    uint64_t             seq;
    bool                 is_row; /* a change of the map; else only an answer */
    struct rf_model_row  row;
    struct rf_store_done done;
};

struct rf_model_store {
    uint32_t              magic;
    bool                  full;
    uint64_t              partition_mask;
    struct map            live;    /* what operations see */
    struct map            durable; /* what a crash leaves, with a prefix of `waiting` */
    struct pending       *waiting; /* in seq order */
    uint32_t              n_waiting, cap_waiting;
    uint64_t              seq;     /* of the last append */
    uint64_t              writing; /* a sync up to here is under way; 0: none */
    uint64_t              synced;
    struct rf_repair_memo repairs;
    struct rf_store_done *ready;
    uint32_t              n_ready, cap_ready;
};

/* ---- Map ---------------------------------------------------------------------------------- */

static int compare_place(const struct rf_model_row *a, uint64_t table, uint64_t token,
                         struct rf_slice key)
{
    if (a->table != table) {
        return a->table < table ? -1 : 1;
    }
    if (a->token != token) {
        return a->token < token ? -1 : 1;
    }
    return rf_slice_cmp(a->row.key, key);
}

static uint32_t map_seek(const struct map *map, uint64_t table, uint64_t token, struct rf_slice key)
{
    uint32_t low = 0;
    uint32_t high = map->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_place(&map->rows[middle], table, token, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct rf_model_row *map_find(const struct map *map, uint64_t table, uint64_t token,
                                     struct rf_slice key)
{
    uint32_t at = map_seek(map, table, token, key);
    bool     found = at < map->n && compare_place(&map->rows[at], table, token, key) == 0;
    return found ? &map->rows[at] : NULL;
}

/* Keeps the newest; takes a reference of its own. */
static void map_merge(struct map *map, const struct rf_model_row *row)
{
    struct rf_model_row *old = map_find(map, row->table, row->token, row->row.key);
    if (old != NULL) {
        if (rf_row_compare(&row->row, &old->row) > 0) {
            struct rf_blob *before = old->row.blob;
            *old = *row;
            rf_blob_take(row->row.blob);
            rf_blob_drop(before);
        }
        return;
    }
    if (map->n == map->cap) {
        map->cap = map->cap == 0 ? 16 : map->cap * 2;
        map->rows = rf_mem_realloc(map->rows, sizeof(*map->rows) * map->cap);
        rf_assert(map->rows != NULL);
    }
    uint32_t at = map_seek(map, row->table, row->token, row->row.key);
    memmove(&map->rows[at + 1], &map->rows[at], sizeof(*map->rows) * (map->n - at));
    map->rows[at] = *row;
    rf_blob_take(row->row.blob);
    map->n++;
}

static void map_clear(struct map *map)
{
    for (uint32_t i = 0; i < map->n; i++) {
        rf_blob_drop(map->rows[i].row.blob);
    }
    map->n = 0;
}

/* ---- Life --------------------------------------------------------------------------------- */

struct rf_model_store *rf_model_new(uint64_t partition_mask)
{
    struct rf_model_store *store = RF_NEW(struct rf_model_store);
    if (store != NULL) {
        store->magic = MODEL_MAGIC;
        store->partition_mask = partition_mask;
    }
    return store;
}

static void drop_waiting(struct rf_model_store *store)
{
    for (uint32_t i = 0; i < store->n_waiting; i++) {
        rf_blob_drop(store->waiting[i].row.row.blob);
        rf_blob_drop(store->waiting[i].done.row.blob);
    }
    for (uint32_t i = 0; i < store->n_ready; i++) {
        rf_blob_drop(store->ready[i].row.blob);
    }
    store->n_waiting = 0;
    store->n_ready = 0;
    store->writing = 0;
}

void rf_model_free(struct rf_model_store *store)
{
    if (store == NULL) {
        return;
    }
    drop_waiting(store);
    map_clear(&store->live);
    map_clear(&store->durable);
    rf_mem_free(store->live.rows);
    rf_mem_free(store->durable.rows);
    rf_mem_free(store->waiting);
    rf_mem_free(store->ready);
    store->magic = 0;
    rf_mem_free(store);
}

void rf_model_set_full(struct rf_model_store *store, bool full)
{
    store->full = full;
}

/* ---- Operations --------------------------------------------------------------------------- */

static void push_waiting(struct rf_model_store *store, const struct pending *pending)
{
    if (store->n_waiting == store->cap_waiting) {
        store->cap_waiting = store->cap_waiting == 0 ? 16 : store->cap_waiting * 2;
        store->waiting =
            rf_mem_realloc(store->waiting, sizeof(*store->waiting) * store->cap_waiting);
        rf_assert(store->waiting != NULL);
    }
    store->waiting[store->n_waiting++] = *pending;
}

/* Which append last changed this key, 0 when that is durable: whoever sees the row waits for it. */
static uint64_t pending_seq(const struct rf_model_store *store, const struct rf_model_row *row)
{
    for (uint32_t i = store->n_waiting; i-- > 0;) {
        const struct pending *pending = &store->waiting[i];
        if (pending->is_row &&
            compare_place(&pending->row, row->table, row->token, row->row.key) == 0) {
            return pending->seq;
        }
    }
    return 0;
}

/* The answer goes out at once, or with the sync that makes `seq` durable. */
static struct rf_result answer_after(struct rf_model_store *store, uint64_t seq,
                                     const struct rf_store_done *done)
{
    if (seq == 0) {
        return rf_result(RF_OK);
    }
    push_waiting(store,
                 &(struct pending){.seq = store->seq > seq ? store->seq : seq, .done = *done});
    return rf_result(RF_PENDING);
}

static struct rf_result apply(struct rf_model_store *store, const struct rf_store_op *op,
                              struct rf_store_done *done)
{
    const struct rf_model_row *old = map_find(&store->live, op->table, op->token, op->row.key);
    done->row.version = op->row.version;
    done->status = RF_STORE_STORED;
    if (old != NULL) {
        int order = rf_row_compare(&op->row, &old->row);
        if (order < 0) {
            done->row.version = old->row.version;
        }
        if (order < 0 && op->mode == RF_APPLY_REFUSE_IF_NEWER) {
            done->status = rf_repair_memo_refusal(&store->repairs, op->row.version);
            if (done->status != RF_STORE_STORED) {
                return rf_result(RF_OK);
            }
        }
        if (order <= 0) {
            return answer_after(store, pending_seq(store, old), done);
        }
    }
    if (store->full && op->table >= RF_TABLE_FIRST_USER && op->mode != RF_APPLY_REPAIR &&
        (op->row.flags & RF_ROW_TOMBSTONE) == 0) {
        done->status = RF_STORE_FULL;
        return rf_result(RF_OK);
    }
    if (op->mode == RF_APPLY_REPAIR) {
        rf_repair_memo_note(&store->repairs, op->row.version);
    }
    struct pending pending = {.seq = ++store->seq, .is_row = true, .done = *done};
    pending.row = (struct rf_model_row){.table = op->table, .token = op->token};
    rf_assert(rf_ok(rf_row_copy(&op->row, &pending.row.row)));
    map_merge(&store->live, &pending.row);
    push_waiting(store, &pending);
    return rf_result(RF_PENDING);
}

static struct rf_result read_row(struct rf_model_store *store, const struct rf_store_op *op,
                                 struct rf_store_done *done)
{
    const struct rf_model_row *found = map_find(&store->live, op->table, op->token, op->row.key);
    if (found == NULL) {
        done->status = RF_STORE_ABSENT;
        return rf_result(RF_OK);
    }
    done->status = RF_STORE_FOUND;
    done->row = found->row;
    rf_blob_take(found->row.blob);
    return answer_after(store, pending_seq(store, found), done);
}

static struct rf_result scan(struct rf_model_store *store, const struct rf_store_op *op,
                             struct rf_store_done *done)
{
    struct rf_buf buf = {0};
    uint32_t      at = map_seek(&store->durable, op->table, op->token, op->row.key);
    for (; at < store->durable.n; at++) {
        const struct rf_model_row *row = &store->durable.rows[at];
        if (row->table != op->table || row->token > op->token_last) {
            break;
        }
        bool resumed = op->row.key.size != 0 && row->token == op->token &&
                       rf_slice_eq(row->row.key, op->row.key);
        if (resumed || (row->token & store->partition_mask) != op->partition) {
            continue;
        }
        if (buf.size != 0 && buf.size + rf_row_size(&row->row) > op->max_bytes) {
            done->more = true;
            break;
        }
        rf_row_encode(&buf, &row->row);
        done->token = row->token;
    }
    done->status = buf.size == 0 ? RF_STORE_ABSENT : RF_STORE_FOUND;
    if (buf.size != 0) {
        done->row.blob = rf_blob_copy(rf_buf_slice(&buf));
        rf_assert(done->row.blob != NULL);
        done->row.value = rf_slice(done->row.blob->data, done->row.blob->size);
    }
    rf_buf_fini(&buf);
    return rf_result(RF_OK);
}

static struct rf_result submit(void *argument, struct rf_store_op *op,
                               struct rf_store_done *ret_done)
{
    struct rf_model_store *store = argument;
    rf_assert(store->magic == MODEL_MAGIC);
    struct rf_store_done done = {.kind = op->kind, .tag = op->tag, .status = RF_STORE_FAILED};
    struct rf_result     result = rf_result(RF_OK);
    switch (op->kind) {
    case RF_STORE_APPLY:
        result = apply(store, op, &done);
        break;
    case RF_STORE_READ:
        result = read_row(store, op, &done);
        break;
    case RF_STORE_SCAN:
        result = scan(store, op, &done);
        break;
    default:
        break;
    }
    rf_blob_drop(op->row.blob);
    op->row.blob = NULL;
    if (rf_ok(result)) {
        *ret_done = done;
    }
    return result;
}

static uint32_t poll_ready(void *argument, struct rf_store_done *ret_done, uint32_t max)
{
    struct rf_model_store *store = argument;
    uint32_t               n = store->n_ready < max ? store->n_ready : max;
    if (n == 0) {
        return 0;
    }
    memcpy(ret_done, store->ready, sizeof(*ret_done) * n);
    memmove(store->ready, store->ready + n, sizeof(*ret_done) * (store->n_ready - n));
    store->n_ready -= n;
    return n;
}

const struct rf_store_ops rf_model_ops = {.submit = submit, .poll = poll_ready};

/* ---- Sync and crash ----------------------------------------------------------------------- */

bool rf_model_sync_begin(struct rf_model_store *store)
{
    if (store->writing != 0 || store->n_waiting == 0) {
        return false;
    }
    store->writing = store->seq;
    return true;
}

static void push_ready(struct rf_model_store *store, const struct rf_store_done *done)
{
    if (store->n_ready == store->cap_ready) {
        store->cap_ready = store->cap_ready == 0 ? 16 : store->cap_ready * 2;
        store->ready = rf_mem_realloc(store->ready, sizeof(*store->ready) * store->cap_ready);
        rf_assert(store->ready != NULL);
    }
    store->ready[store->n_ready++] = *done;
}

/* Takes the changes up to `seq` into the durable map; the rest of `waiting` moves to the front. */
static void settle(struct rf_model_store *store, uint64_t seq, bool answers)
{
    uint32_t done = 0;
    for (; done < store->n_waiting && store->waiting[done].seq <= seq; done++) {
        struct pending *pending = &store->waiting[done];
        if (pending->is_row) {
            map_merge(&store->durable, &pending->row);
            rf_blob_drop(pending->row.row.blob);
        }
        if (answers) {
            push_ready(store, &pending->done);
        } else {
            rf_blob_drop(pending->done.row.blob);
        }
    }
    if (done != 0 && done != store->n_waiting) {
        memmove(store->waiting, store->waiting + done,
                sizeof(*store->waiting) * (store->n_waiting - done));
    }
    store->n_waiting -= done;
}

void rf_model_sync_end(struct rf_model_store *store)
{
    rf_assert(store->writing >= store->synced);
    settle(store, store->writing, true);
    store->synced = store->writing;
    store->writing = 0;
}

void rf_model_crash(struct rf_model_store *store, struct rf_rng *rng)
{
    uint64_t open = store->seq - store->synced;
    settle(store, store->synced + rf_rng_below(rng, open + 1), false);
    drop_waiting(store);
    store->synced = store->seq;
    store->repairs = (struct rf_repair_memo){0};
    map_clear(&store->live);
    for (uint32_t i = 0; i < store->durable.n; i++) {
        map_merge(&store->live, &store->durable.rows[i]);
    }
}

/* ---- Looking inside ----------------------------------------------------------------------- */

uint32_t rf_model_count(const struct rf_model_store *store)
{
    return store->durable.n;
}

const struct rf_model_row *rf_model_at(const struct rf_model_store *store, uint32_t index)
{
    rf_assert(index < store->durable.n);
    return &store->durable.rows[index];
}

const struct rf_row *rf_model_find(const struct rf_model_store *store, uint64_t table,
                                   uint64_t token, struct rf_slice key)
{
    const struct rf_model_row *found = map_find(&store->durable, table, token, key);
    return found == NULL ? NULL : &found->row;
}

uint64_t rf_model_digest(const struct rf_model_store *store)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i < store->durable.n; i++) {
        const struct rf_model_row *row = &store->durable.rows[i];
        uint64_t                   facts[6] = {row->table,           row->token,
                                               row->row.version.hlc, row->row.version.writer,
                                               row->row.expiry_ms,   row->row.flags};
        digest = rf_hash64(rf_slice(facts, sizeof(facts)), digest);
        digest = rf_hash64(row->row.key, digest);
        digest = rf_hash64(row->row.value, digest);
    }
    return digest;
}
