#include "sim/store.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "sim/disk.h"
#include "sim/model_store.h"
#include "storage/engine.h"

#define SHARDS_MAX 8u
/* Small, so that a short simulation rotates logs, flushes and merges. */
#define SEGMENT_BYTES (32u * 1024)
#define MEMTABLE_BYTES (64u * 1024)
#define WAL_BYTES (256u * 1024)
#define COLD_ONE_IN 3u                /* reads of files that must wait for the disk */
#define ROW_CACHE_BYTES (128u * 1024) /* on every second node */
#define READS_MAX 8u                  /* that a shard has under way */

struct rf_sim_store {
    struct rf_sim_store_config config;
    struct rf_model_store     *models[SHARDS_MAX]; /* without engine */
    struct rf_disk            *disk;
    struct rf_engine          *engine; /* NULL while the node is down */
    bool                       syncing[SHARDS_MAX];
    struct rf_job             *jobs[SHARDS_MAX];
    struct rf_cold_read       *reads[SHARDS_MAX][READS_MAX];
    uint32_t                   n_reads[SHARDS_MAX];
    uint64_t                   flushes, cold_reads;
};

/* ---- Life --------------------------------------------------------------------------------- */

struct rf_sim_store *rf_sim_store_new(const struct rf_sim_store_config *config)
{
    struct rf_sim_store *store = RF_NEW(struct rf_sim_store);
    rf_assert(store != NULL);
    rf_assert(config->n_shards <= SHARDS_MAX);
    store->config = *config;
    if (config->engine) {
        store->disk = rf_disk_new(config->seed);
        rf_assert(store->disk != NULL);
        rf_disk_cold_one_in(store->disk, COLD_ONE_IN);
        return store;
    }
    for (uint32_t s = 0; s < config->n_shards; s++) {
        store->models[s] = rf_model_new(config->n_partitions - 1);
        rf_assert(store->models[s] != NULL);
    }
    return store;
}

static void end_read(struct rf_sim_store *store, uint32_t shard, uint32_t number)
{
    struct rf_cold_read *read = store->reads[shard][number];
    store->reads[shard][number] = store->reads[shard][--store->n_reads[shard]];
    rf_cold_read_run(read);
    rf_store_cold_end(rf_engine_store(store->engine, shard), read);
}

static void end_reads(struct rf_sim_store *store, uint32_t shard)
{
    while (store->n_reads[shard] != 0) {
        end_read(store, shard, 0);
    }
}

/* Lets go of the engine: whatever was under way is ended or given up first. */
static void close_engine(struct rf_sim_store *store)
{
    struct rf_store_done done[16];
    for (uint32_t s = 0; s < store->config.n_shards && store->engine != NULL; s++) {
        struct rf_store *one = rf_engine_store(store->engine, s);
        uint32_t         n = 0;
        store->flushes += rf_store_stats(one).flushes;
        store->cold_reads += rf_store_stats(one).cold_reads;
        end_reads(store, s);
        if (store->jobs[s] != NULL) {
            (void)rf_store_job_end(one, store->jobs[s]).rc;
            store->jobs[s] = NULL;
        }
        if (store->syncing[s]) {
            rf_store_log_run(one);
            rf_store_log_end(one);
            store->syncing[s] = false;
        }
        while ((n = rf_lsm_ops.poll(one, done, 16)) != 0) {
            for (uint32_t i = 0; i < n; i++) {
                rf_blob_drop(done[i].row.blob);
            }
        }
    }
    rf_engine_close(store->engine);
    store->engine = NULL;
}

void rf_sim_store_free(struct rf_sim_store *store)
{
    if (store == NULL) {
        return;
    }
    close_engine(store);
    rf_disk_free(store->disk);
    for (uint32_t s = 0; s < store->config.n_shards; s++) {
        rf_model_free(store->models[s]);
    }
    rf_mem_free(store);
}

bool rf_sim_store_open(struct rf_sim_store *store, char why[512])
{
    struct rf_engine_error error = {{0}};
    if (!store->config.engine) {
        return true;
    }
    rf_assert(store->engine == NULL);
    struct rf_engine_config config = {
        .fs = rf_disk_fs(store->disk),
        .dir = "/data",
        .n_partitions = store->config.n_partitions,
        .n_shards = store->config.n_shards,
        .segment_max = SEGMENT_BYTES,
        .wal_allocate = SEGMENT_BYTES / 4,
        .random = store->config.node,
        .secret = store->config.seed,
        .memtable_max = MEMTABLE_BYTES,
        .wal_max = WAL_BYTES,
    };
    struct rf_table_policy policy = {.id = store->config.table,
                                     .bloom_bits_per_key = 10,
                                     .lz4 = true,
                                     .row_cache_bytes =
                                         store->config.seed % 2 == 0 ? 0 : ROW_CACHE_BYTES,
                                     .host = rf_registry_host()};
    if (store->config.compaction != NULL) {
        policy.compaction = &store->config.compaction->ops.compaction;
        policy.compaction_options = store->config.compaction_options;
    }
    if (!rf_ok(rf_engine_open(&config, &store->engine, &error)) ||
        !rf_ok(rf_engine_add_table(store->engine, &policy))) {
        snprintf(why, 512, "the engine does not open: %.480s", error.text);
        return false;
    }
    if (rf_engine_node(store->engine) != store->config.node) {
        snprintf(why, 512, "the engine has lost its identity");
        return false;
    }
    return true;
}

void rf_sim_store_crash(struct rf_sim_store *store, struct rf_rng *rng, bool power_cut)
{
    for (uint32_t s = 0; s < store->config.n_shards && !store->config.engine; s++) {
        rf_model_crash(store->models[s], rng);
    }
    if (!store->config.engine) {
        return;
    }
    /* What is under way goes on for a few more calls of the disk, then everything stands still. */
    rf_disk_stop_after(store->disk, 1 + rf_rng_below(rng, 12));
    for (uint32_t s = 0; s < store->config.n_shards; s++) {
        if (store->jobs[s] != NULL) {
            (void)rf_job_step(store->jobs[s]);
        }
        if (store->syncing[s]) {
            rf_store_log_run(rf_engine_store(store->engine, s));
            rf_store_log_end(rf_engine_store(store->engine, s));
            store->syncing[s] = false;
        }
    }
    rf_disk_stop_after(store->disk, 1);
    close_engine(store);
    if (power_cut) {
        rf_disk_crash(store->disk);
    } else {
        rf_disk_kill(store->disk);
    }
}

/* ---- Operations --------------------------------------------------------------------------- */

struct rf_result rf_sim_store_submit(struct rf_sim_store *store, uint32_t shard,
                                     struct rf_store_op *op, struct rf_store_done *ret_done)
{
    return store->config.engine
               ? rf_lsm_ops.submit(rf_engine_store(store->engine, shard), op, ret_done)
               : rf_model_ops.submit(store->models[shard], op, ret_done);
}

uint32_t rf_sim_store_poll(struct rf_sim_store *store, uint32_t shard,
                           struct rf_store_done *ret_done, uint32_t max)
{
    return store->config.engine
               ? rf_lsm_ops.poll(rf_engine_store(store->engine, shard), ret_done, max)
               : rf_model_ops.poll(store->models[shard], ret_done, max);
}

bool rf_sim_store_sync_begin(struct rf_sim_store *store, uint32_t shard, uint64_t mono_us)
{
    if (!store->config.engine) {
        return rf_model_sync_begin(store->models[shard]);
    }
    rf_store_set_log_time(rf_engine_store(store->engine, shard), mono_us);
    store->syncing[shard] = rf_store_log_begin(rf_engine_store(store->engine, shard));
    return store->syncing[shard];
}

void rf_sim_store_sync_end(struct rf_sim_store *store, uint32_t shard)
{
    if (!store->config.engine) {
        rf_model_sync_end(store->models[shard]);
        return;
    }
    rf_store_log_run(rf_engine_store(store->engine, shard));
    rf_store_log_end(rf_engine_store(store->engine, shard));
    store->syncing[shard] = false;
}

bool rf_sim_store_read_begin(struct rf_sim_store *store, uint32_t shard)
{
    if (!store->config.engine || store->n_reads[shard] == READS_MAX) {
        return false;
    }
    struct rf_cold_read *read = rf_store_cold_begin(rf_engine_store(store->engine, shard));
    if (read != NULL) {
        store->reads[shard][store->n_reads[shard]++] = read;
    }
    return read != NULL;
}

void rf_sim_store_read_end(struct rf_sim_store *store, uint32_t shard, struct rf_rng *rng)
{
    rf_assert(store->n_reads[shard] != 0);
    end_read(store, shard, (uint32_t)rf_rng_below(rng, store->n_reads[shard]));
}

void rf_sim_store_work(struct rf_sim_store *store, uint32_t shard, uint64_t wall_ms)
{
    if (!store->config.engine) {
        return;
    }
    struct rf_store *one = rf_engine_store(store->engine, shard);
    rf_store_set_time(one, wall_ms);
    if (store->jobs[shard] == NULL) {
        store->jobs[shard] = rf_store_job_begin(one);
    } else if (rf_job_step(store->jobs[shard])) {
        (void)rf_store_job_end(one, store->jobs[shard]).rc; /* a failed one is tried again */
        store->jobs[shard] = NULL;
    }
}

/* ---- Looking inside ----------------------------------------------------------------------- */

void rf_sim_store_set_full(struct rf_sim_store *store, bool full)
{
    for (uint32_t s = 0; s < store->config.n_shards && !store->config.engine; s++) {
        rf_model_set_full(store->models[s], full);
    }
}

static uint32_t shard_of(const struct rf_sim_store *store, uint64_t token)
{
    return (uint32_t)((token & (store->config.n_partitions - 1)) % store->config.n_shards);
}

bool rf_sim_store_get(struct rf_sim_store *store, uint64_t table, struct rf_slice key,
                      uint64_t token, struct rf_row *ret_row)
{
    if (!store->config.engine) {
        const struct rf_row *row =
            rf_model_find(store->models[shard_of(store, token)], table, token, key);
        if (row != NULL) {
            *ret_row = *row;
            rf_blob_take(row->blob);
        }
        return row != NULL;
    }
    struct rf_store_done done = {0};
    struct rf_store_op op = {.kind = RF_STORE_READ, .table = table, .token = token, .row.key = key};
    struct rf_store   *one = rf_engine_store(store->engine, shard_of(store, token));
    /* A look from outside, when nothing is under way: the disk answers at once. */
    rf_disk_cold_one_in(store->disk, 0);
    bool answered = rf_ok(rf_lsm_ops.submit(one, &op, &done));
    rf_disk_cold_one_in(store->disk, COLD_ONE_IN);
    if (!answered || done.status != RF_STORE_FOUND) {
        rf_blob_drop(done.row.blob);
        return false;
    }
    *ret_row = done.row;
    return true;
}

uint64_t rf_sim_store_digest(const struct rf_sim_store *store)
{
    uint64_t digest =
        store->disk == NULL ? 0 : rf_disk_calls(store->disk) ^ rf_disk_used(store->disk);
    for (uint32_t s = 0; s < store->config.n_shards && !store->config.engine; s++) {
        digest ^= rf_model_digest(store->models[s]);
    }
    return digest;
}

uint64_t rf_sim_store_flushes(const struct rf_sim_store *store)
{
    uint64_t flushes = store->flushes;
    for (uint32_t s = 0; s < store->config.n_shards && store->engine != NULL; s++) {
        flushes += rf_store_stats(rf_engine_store(store->engine, s)).flushes;
    }
    return flushes;
}

uint64_t rf_sim_store_cold_reads(const struct rf_sim_store *store)
{
    uint64_t reads = store->cold_reads;
    for (uint32_t s = 0; s < store->config.n_shards && store->engine != NULL; s++) {
        reads += rf_store_stats(rf_engine_store(store->engine, s)).cold_reads;
    }
    return reads;
}
