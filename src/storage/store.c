/* Operations of one shard's store: apply (log, memtable, acknowledgement after the sync), read. */
#include "base/log.h"
#include "base/mem.h"
#include "storage/engine_private.h"

#define RETRY_MS 200u /* a group that found no space or descriptor is written again after this */
#define IDLE_US                                                                                    \
    1000000u /* after so long without a group, a mark tells that the last one was durable */

/* ---- Tables ------------------------------------------------------------------------------- */

struct rf_store_table *rf_store_table_of(struct rf_store *store, uint64_t id)
{
    uint32_t low = 0;
    uint32_t high = store->n_tables;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (store->tables[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < store->n_tables && store->tables[low].id == id) {
        return &store->tables[low];
    }
    if (store->n_tables == store->cap_tables) {
        uint32_t               cap = store->cap_tables == 0 ? 4 : store->cap_tables * 2;
        struct rf_store_table *grown = rf_mem_realloc(store->tables, sizeof(*grown) * cap);
        if (grown == NULL) {
            return NULL;
        }
        store->tables = grown;
        store->cap_tables = cap;
    }
    struct rf_part *parts = RF_NEW_ARRAY(struct rf_part, store->engine->identity.n_partitions);
    if (parts == NULL) {
        return NULL;
    }
    memmove(&store->tables[low + 1], &store->tables[low],
            sizeof(*store->tables) * (store->n_tables - low));
    store->n_tables++;
    store->tables[low] = (struct rf_store_table){.id = id, .policy = {.id = id}, .parts = parts};
    return &store->tables[low];
}

struct rf_result rf_store_init(struct rf_store *store, struct rf_engine *engine, uint32_t shard)
{
    *store = (struct rf_store){.magic = RF_STORE_MAGIC, .engine = engine, .shard = shard};
    store->sync_open_us = UINT64_MAX;
    store->sync_written_us = UINT64_MAX;
    store->cold.end = &store->cold.first;
    bool made = rf_store_table_of(store, RF_TABLE_META) != NULL &&
                rf_store_table_of(store, RF_TABLE_HINTS) != NULL &&
                rf_store_table_of(store, RF_TABLE_HEALED) != NULL;
    for (uint32_t t = 0; t < store->n_tables; t++) {
        store->tables[t].policy.bloom_bits_per_key = 10;
    }
    return rf_result(made ? RF_OK : RF_NO_MEMORY);
}

static void done_list_fini(struct rf_done_list *done)
{
    for (uint32_t i = 0; i < done->n; i++) {
        rf_blob_drop(done->list[i].row.blob);
    }
    rf_mem_free(done->list);
}

static void fini_part(struct rf_part *part)
{
    rf_memtable_free(part->active);
    rf_memtable_free(part->frozen);
    for (uint32_t i = 0; i < part->n_files; i++) {
        rf_data_file_drop(part->files[i]);
    }
    rf_mem_free(part->files);
    rf_mem_free(part->damages);
}

void rf_store_fini(struct rf_store *store)
{
    rf_assert(!store->flushing && store->merges == 0 && !store->trimming && !store->recording);
    rf_cold_fini(store);
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = 0; p < store->engine->identity.n_partitions; p++) {
            fini_part(&store->tables[t].parts[p]);
        }
        rf_row_cache_free(store->tables[t].cache);
        rf_mem_free(store->tables[t].parts);
    }
    rf_mem_free(store->tables);
    rf_mem_free(store->garbage);
    for (uint32_t i = 0; i < store->ready_at; i++) {
        store->ready.list[i].row.blob = NULL; /* went out through poll */
    }
    done_list_fini(&store->waiting_open);
    done_list_fini(&store->waiting_writing);
    done_list_fini(&store->ready);
    rf_sst_block_fini(&store->blocks[0]);
    rf_sst_block_fini(&store->blocks[1]);
    rf_sst_block_fini(&store->healed_blocks[0]);
    rf_sst_block_fini(&store->healed_blocks[1]);
    rf_wal_free(store->wal);
    *store = (struct rf_store){0};
}

/* ---- Completions -------------------------------------------------------------------------- */

static bool done_push(struct rf_done_list *done, const struct rf_store_done *item)
{
    if (done->n == done->cap) {
        uint32_t              cap = done->cap == 0 ? 64 : done->cap * 2;
        struct rf_store_done *grown = rf_mem_realloc(done->list, sizeof(*grown) * cap);
        if (grown == NULL) {
            return false;
        }
        done->list = grown;
        done->cap = cap;
    }
    done->list[done->n++] = *item;
    return true;
}

struct rf_result rf_store_wait_durable(struct rf_store *store, enum rf_sync_mode mode, uint64_t seq,
                                       struct rf_store_done *done)
{
    const struct rf_wal *wal = store->wal;
    bool                 synced = mode == RF_SYNC_GROUP;
    if (seq <= (synced ? rf_wal_durable_seq(wal) : rf_wal_written_seq(wal))) {
        return rf_result(RF_OK);
    }
    bool writing = seq <= rf_wal_writing_seq(wal) && (!synced || rf_wal_syncing(wal));
    if (!rf_wal_broken(wal) &&
        done_push(writing ? &store->waiting_writing : &store->waiting_open, done)) {
        store->sync_open = store->sync_open || (synced && !writing);
        return rf_result(RF_PENDING);
    }
    rf_blob_drop(done->row.blob);
    done->row = (struct rf_row){0};
    done->status = RF_STORE_FAILED;
    return rf_result(RF_OK);
}

void rf_store_complete(struct rf_store *store, struct rf_store_done *done)
{
    if (!done_push(&store->ready, done)) {
        rf_blob_drop(done->row.blob);
    }
}

static uint32_t store_poll(void *argument, struct rf_store_done *ret_done, uint32_t max)
{
    struct rf_store *store = argument;
    uint32_t         n = store->ready.n - store->ready_at;
    n = n < max ? n : max;
    if (n != 0) {
        memcpy(ret_done, store->ready.list + store->ready_at, sizeof(*ret_done) * n);
    }
    store->ready_at += n;
    rf_assert(store->ready_at <= store->ready.n);
    if (store->ready_at == store->ready.n) {
        store->ready.n = 0;
        store->ready_at = 0;
    }
    return n;
}

/* ---- Apply and read ----------------------------------------------------------------------- */

static struct rf_result put_row(struct rf_store *store, struct rf_store_table *table,
                                uint64_t token, const struct rf_row *row, uint64_t seq)
{
    struct rf_part *part = &table->parts[rf_partition_of(store->engine, token)];
    rf_assert(rf_row_exists(row));
    if (table->cache != NULL) {
        rf_row_cache_remove(table->cache, token,
                            row->key); /* every write comes through here (D18) */
    }
    size_t before = part->active == NULL ? 0 : rf_memtable_bytes(part->active);
    if (part->active == NULL) {
        part->active = rf_memtable_new();
        if (part->active == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
    }
    struct rf_result put = rf_memtable_put(part->active, token, row, seq);
    size_t           grown = rf_memtable_bytes(part->active) - before;
    table->active_bytes += grown;
    store->memory += grown;
    return put;
}

struct rf_result rf_store_merge_row(struct rf_store *store, uint64_t table_id, uint64_t token,
                                    const struct rf_row *row)
{
    struct rf_search       search;
    struct rf_store_table *table = rf_store_table_of(store, table_id);
    if (table == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_search_init(&search, &table->policy, token, row->key, row);
    (void)rf_store_find(store, table, &search, false, NULL);
    if (rf_row_exists(&search.best) && rf_table_resolve(&table->policy, row, &search.best) <= 0) {
        return rf_result(RF_OK);
    }
    struct rf_part *part = &table->parts[rf_partition_of(store->engine, token)];
    RF_TRY(put_row(store, table, token, row, 0));
    if (!part->active_recovered) {
        part->active_recovered = true;
        atomic_fetch_add(&store->engine->old_pins, 1);
    }
    return rf_result(RF_OK);
}

/* A record of the table is in the open group: when must that be synced? */
static void want_sync(struct rf_store *store, const struct rf_table_policy *policy)
{
    uint64_t due = store->log_us + (uint64_t)policy->sync_interval_ms * 1000;
    store->sync_open = store->sync_open || policy->sync == RF_SYNC_GROUP;
    if (policy->sync == RF_SYNC_INTERVAL && due < store->sync_open_us) {
        store->sync_open_us = due;
    }
}

/* Logs the row and puts it into the memtable. */
static enum rf_store_status store_row(struct rf_store *store, struct rf_store_table *table,
                                      const struct rf_store_op *op, uint64_t *ret_seq)
{
    struct rf_wal_record record = {op->table, rf_partition_of(store->engine, op->token), op->token,
                                   op->row};
    if (rf_space_refuses(store, op)) {
        return RF_STORE_FULL;
    }
    if (!rf_store_has_room(store)) {
        return RF_STORE_FAILED;
    }
    struct rf_result logged = rf_wal_append(store->wal, &record, ret_seq);
    if (rf_ok(logged)) {
        want_sync(store, &table->policy);
        logged = put_row(store, table, op->token, &op->row, *ret_seq);
    }
    rf_store_check_limits(store, table);
    return rf_ok(logged) ? RF_STORE_STORED : RF_STORE_FAILED;
}

/* The key's row is what a quorum of the other replicas has: it does not matter any more what was lost
 * (D10). Waits with the row itself. */
static enum rf_store_status note_healed(struct rf_store *store, const struct rf_store_table *table,
                                        const struct rf_store_op *op, uint64_t *seq)
{
    uint8_t            key[RF_ROW_KEY_MAX];
    struct rf_store_op note = {.table = RF_TABLE_HEALED, .token = op->token};
    if (!rf_damage_heal(store, table, op, key, &note.row)) {
        return RF_STORE_STORED;
    }
    store->stats.healed_keys++;
    return store_row(store, rf_store_table_of(store, RF_TABLE_HEALED), &note, seq);
}

/* A damaged file hinders no write (D10): what can be read of it is compared. */
static struct rf_result finish_apply(struct rf_store *store, struct rf_store_table *table,
                                     const struct rf_store_op *op, const struct rf_search *search,
                                     struct rf_store_done *done)
{
    uint64_t seq = search->seq;
    bool     newer = true;
    done->row.version = op->row.version;
    if (rf_row_exists(&search->best)) {
        int order = rf_table_resolve(&table->policy, &op->row, &search->best);
        if (order < 0) {
            done->row.version = search->best.version;
        }
        if (order < 0 && op->mode == RF_APPLY_REFUSE_IF_NEWER) {
            store->stats.newer++;
            done->status = rf_repair_memo_refusal(&store->repairs, op->row.version);
            return done->status == RF_STORE_STORED
                       ? rf_store_wait_durable(store, table->policy.sync, seq, done)
                       : rf_result(RF_OK);
        }
        newer = order > 0;
    }
    /* When what we have wins, it is done once that is durable. */
    enum rf_store_status stored = newer ? store_row(store, table, op, &seq) : RF_STORE_STORED;
    if (stored == RF_STORE_STORED && op->heals != 0) {
        stored = note_healed(store, table, op, &seq);
    }
    done->status = stored;
    if (newer && op->mode == RF_APPLY_REPAIR && stored == RF_STORE_STORED) {
        rf_repair_memo_note(&store->repairs, op->row.version);
    }
    return done->status == RF_STORE_STORED
               ? rf_store_wait_durable(store, table->policy.sync, seq, done)
               : rf_result(RF_OK);
}

/* S89, S90: a hit touches nothing else. */
static bool read_cached(struct rf_store *store, struct rf_store_table *table,
                        const struct rf_store_op *op, struct rf_store_done *done,
                        struct rf_result *ret_result)
{
    uint64_t seq = 0;
    if (table->cache == NULL || op->kind != RF_STORE_READ ||
        !rf_row_cache_get(table->cache, op->token, op->row.key, store->wall_ms, &done->row, &seq)) {
        return false;
    }
    store->stats.reads++;
    rf_blob_take(done->row.blob);
    done->status = RF_STORE_FOUND;
    *ret_result = rf_store_wait_durable(store, table->policy.sync, seq, done);
    return true;
}

static struct rf_result finish_read(struct rf_store *store, struct rf_store_table *table,
                                    enum rf_find found, const struct rf_search *search,
                                    struct rf_store_done *done)
{
    if (found != RF_FIND_FOUND) {
        store->stats.cannot_say += found == RF_FIND_CANNOT_SAY;
        done->status = found == RF_FIND_ABSENT ? RF_STORE_ABSENT : RF_STORE_CANNOT_SAY;
        done->damage = found == RF_FIND_ABSENT ? 0 : search->damage;
        return rf_result(RF_OK);
    }
    store->stats.memtable_hits += search->seq != 0;
    if (!rf_ok(rf_row_copy(&search->best, &done->row))) {
        done->status = RF_STORE_FAILED;
        return rf_result(RF_OK);
    }
    if (table->cache != NULL && !rf_row_cache_has(table->cache, search->token, search->key)) {
        rf_row_cache_offer(table->cache, search->token, &done->row, search->seq);
    }
    done->status = RF_STORE_FOUND;
    /* What is not on disk yet may vanish in a power cut: nobody may have seen it, unless the table
     * takes that risk. */
    return rf_store_wait_durable(store, table->policy.sync, search->seq, done);
}

struct rf_result rf_store_finish(struct rf_store *store, const struct rf_store_op *op,
                                 enum rf_find found, const struct rf_search *search,
                                 struct rf_store_done *done)
{
    struct rf_store_table *table = rf_store_table_of(store, op->table);
    rf_assert(table != NULL);
    *done = (struct rf_store_done){.kind = op->kind, .tag = op->tag, .status = RF_STORE_FAILED};
    return op->kind == RF_STORE_APPLY ? finish_apply(store, table, op, search, done)
                                      : finish_read(store, table, found, search, done);
}

/* APPLY and READ: the look-up, and what follows unless the disk must be asked. */
static struct rf_result start_on_key(struct rf_store *store, struct rf_store_table *table,
                                     const struct rf_store_op *op, struct rf_store_done *done)
{
    struct rf_search search;
    uint32_t         from = 0;
    bool             apply = op->kind == RF_STORE_APPLY;
    store->stats.applies += apply;
    store->stats.reads += !apply;
    rf_search_init(&search, &table->policy, op->token, op->row.key, apply ? &op->row : NULL);
    enum rf_find found = rf_store_find(store, table, &search, true, &from);
    return found == RF_FIND_COLD ? rf_cold_start(store, table, op, &search, from)
                                 : rf_store_finish(store, op, found, &search, done);
}

struct rf_result rf_store_start(struct rf_store *store, const struct rf_store_op *op,
                                struct rf_store_done *done)
{
    struct rf_store_table *table = rf_store_table_of(store, op->table);
    struct rf_result       result = rf_result(RF_NO_MEMORY);
    *done = (struct rf_store_done){.kind = op->kind, .tag = op->tag, .status = RF_STORE_FAILED};
    if (table != NULL && op->kind == RF_STORE_SCAN) {
        result = rf_store_scan(store, table, op, done);
    } else if (table != NULL && read_cached(store, table, op, done, &result)) {
        return result;
    } else if (table != NULL && rf_cold_has(store, op)) {
        result = rf_cold_wait(store, op);
    } else if (table != NULL) {
        result = start_on_key(store, table, op, done);
    }
    if (rf_ok(result) || result.rc == RF_PENDING) {
        return result;
    }
    return rf_result(RF_OK); /* a limit is reached, or there is no memory: FAILED */
}

static struct rf_result store_submit(void *argument, struct rf_store_op *op,
                                     struct rf_store_done *ret_done)
{
    struct rf_store *store = argument;
    rf_assert(store->magic == RF_STORE_MAGIC);
    struct rf_store_done done;
    struct rf_result     result = rf_store_start(store, op, &done);
    rf_blob_drop(op->row.blob);
    op->row.blob = NULL;
    if (rf_ok(result)) {
        *ret_done = done;
    }
    return result;
}

const struct rf_store_ops rf_lsm_ops = {.submit = store_submit, .poll = store_poll};

/* ---- The log ------------------------------------------------------------------------------ */

static bool sync_is_due(const struct rf_store *store)
{
    return store->log_us != 0 &&
           (store->sync_open_us <= store->log_us || store->sync_written_us <= store->log_us);
}

/* Tells in the log that the last group was durable, once nothing followed it for a while. */
static bool begin_idle_mark(struct rf_store *store)
{
    if (store->group_us == 0 || store->log_us < store->group_us + IDLE_US ||
        rf_wal_waits(store->wal)) {
        return false;
    }
    store->group_us = 0;
    return rf_wal_begin_mark(store->wal, false);
}

bool rf_store_log_begin(struct rf_store *store)
{
    bool again = rf_wal_waits(store->wal);
    if (again && store->wall_ms != 0 && store->wall_ms < store->log_retry_at_ms) {
        return false; /* not with every turn of the loop */
    }
    if (!rf_wal_begin(store->wal, store->sync_open || sync_is_due(store))) {
        return begin_idle_mark(store);
    }
    rf_space_begin_group(store);
    if (again) {
        return true; /* the same group: who waits for it goes on waiting */
    }
    rf_assert(store->waiting_writing.n == 0);
    struct rf_done_list spare = store->waiting_writing;
    store->waiting_writing = store->waiting_open;
    store->waiting_open = spare;
    store->sync_open = false;
    if (store->sync_open_us < store->sync_written_us) {
        store->sync_written_us = store->sync_open_us;
    }
    store->sync_open_us = UINT64_MAX;
    store->group_us = store->log_us;
    return true;
}

void rf_store_set_log_time(struct rf_store *store, uint64_t mono_us)
{
    store->log_us = mono_us;
}

uint64_t rf_store_log_wake_us(const struct rf_store *store)
{
    uint64_t sync_us =
        store->sync_open_us < store->sync_written_us ? store->sync_open_us : store->sync_written_us;
    uint64_t mark_us = store->group_us == 0 ? UINT64_MAX : store->group_us + IDLE_US;
    if (rf_wal_broken(store->wal) || rf_wal_waits(store->wal)) {
        return UINT64_MAX;
    }
    return sync_us < mark_us ? sync_us : mark_us;
}

void rf_store_log_close(struct rf_store *store)
{
    if (rf_wal_begin_mark(store->wal, true)) {
        rf_wal_run(store->wal);
        rf_store_log_end(store);
    }
}

void rf_store_log_run(struct rf_store *store)
{
    rf_wal_run(store->wal);
    if (store->measure) {
        rf_space_measure(store->engine);
    }
}

static void fail_all(struct rf_done_list *waiting)
{
    for (uint32_t i = 0; i < waiting->n; i++) {
        rf_blob_drop(waiting->list[i].row.blob);
        waiting->list[i].row = (struct rf_row){0};
        waiting->list[i].status = RF_STORE_FAILED;
    }
}

static void release_all(struct rf_store *store, struct rf_done_list *waiting)
{
    for (uint32_t i = 0; i < waiting->n; i++) {
        rf_store_complete(store, &waiting->list[i]);
    }
    waiting->n = 0;
}

/* The next segment cannot be opened: what was being written waits, and so does who waits for it. */
static void log_waits_for_descriptor(struct rf_store *store, bool waits)
{
    if (waits && !store->no_descriptor) {
        rf_log(RF_LOG_ERROR, "no_descriptor",
               "shard=%u text=\"the log's next segment cannot be opened for want of a file "
               "descriptor; writes wait until there is one. Raise the limit of open files\"",
               store->shard);
    } else if (!waits && store->no_descriptor) {
        rf_log(RF_LOG_INFO, "descriptor_again", "shard=%u text=\"the log goes on\"", store->shard);
    }
    store->no_descriptor = waits;
}

void rf_store_log_end(struct rf_store *store)
{
    struct rf_result written = rf_wal_end(store->wal);
    log_waits_for_descriptor(store, written.rc == RF_LIMIT);
    if (rf_wal_waits(store->wal)) {
        rf_space_found_none(store, RF_SPACE_LOG, written.rc == RF_DISK_RESERVE);
        store->log_retry_at_ms = store->wall_ms + RETRY_MS;
        return;
    }
    rf_space_found_none(store, RF_SPACE_LOG, false);
    if (!rf_ok(written)) {
        store->stats.read_only = 1;
        atomic_fetch_add(&store->engine->space.n_read_only, 1);
        fail_all(&store->waiting_writing);
        fail_all(&store->waiting_open);
        release_all(store, &store->waiting_writing);
        release_all(store, &store->waiting_open);
        return;
    }
    if (rf_wal_durable_seq(store->wal) == rf_wal_written_seq(store->wal)) {
        store->sync_written_us = UINT64_MAX;
    }
    release_all(store, &store->waiting_writing);
}

bool rf_store_read_only(const struct rf_store *store)
{
    return store->stats.read_only != 0;
}

static void add_part_stats(const struct rf_part *part, struct rf_store_stats *stats)
{
    const struct rf_memtable *memtables[2] = {part->active, part->frozen};
    for (int i = 0; i < 2; i++) {
        stats->memtable_bytes += memtables[i] == NULL ? 0 : rf_memtable_bytes(memtables[i]);
        stats->memtable_rows += memtables[i] == NULL ? 0 : rf_memtable_rows(memtables[i]);
    }
    stats->damages += part->n_damages;
    for (uint32_t i = 0; i < part->n_files; i++) {
        stats->files++;
        stats->file_bytes += rf_sst_info(part->files[i]->sst)->file_size;
        stats->file_memory += rf_sst_memory(part->files[i]->sst);
    }
}

static void add_cache_stats(const struct rf_row_cache *cache, struct rf_store_stats *stats)
{
    struct rf_row_cache_stats one = rf_row_cache_stats(cache);
    stats->cache_hits += one.hits;
    stats->cache_misses += one.misses;
    stats->cache_admitted += one.admitted;
    stats->cache_refused += one.refused;
    stats->cache_evicted += one.evicted;
    stats->cache_removed += one.removed;
    stats->cache_bytes += one.bytes;
    stats->cache_rows += one.rows;
}

struct rf_store_stats rf_store_stats(const struct rf_store *store)
{
    const struct rf_engine *engine = store->engine;
    struct rf_store_stats   stats = store->stats;
    struct rf_wal_stats     wal = rf_wal_stats(store->wal);
    stats.wal_groups = wal.groups;
    stats.wal_bytes = wal.bytes;
    stats.wal_records = wal.records;
    stats.wal_live_bytes =
        rf_wal_live_bytes(store->wal) + (store->shard == 0 ? atomic_load(&engine->old_bytes) : 0);
    for (uint32_t t = 0; t < store->n_tables; t++) {
        if (store->tables[t].cache != NULL) {
            add_cache_stats(store->tables[t].cache, &stats);
        }
    }
    for (uint32_t p = store->shard; p < engine->identity.n_partitions;
         p += engine->config.n_shards) {
        stats.quarantined_partitions += engine->partitions[p].quarantined;
        for (uint32_t t = 0; t < store->n_tables; t++) {
            add_part_stats(&store->tables[t].parts[p], &stats);
        }
    }
    return stats;
}
