#include "storage/engine.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "storage/engine_private.h"

static struct rf_result fail(struct rf_engine_error *error, struct rf_result result,
                             const char *format, ...) __attribute__((format(printf, 3, 4)));

static struct rf_result fail(struct rf_engine_error *error, struct rf_result result,
                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return result;
}

/* ---- Directory and identity --------------------------------------------------------------- */

static struct rf_result lock_directory(struct rf_engine *engine, struct rf_engine_error *error)
{
    const struct rf_engine_config *config = &engine->config;
    char                           path[RF_PATH_SIZE];
    struct rf_fs                   fs = config->fs;
    struct rf_result               made = fs.ops->mkdir(fs.context, config->dir);
    if (!rf_ok(made)) {
        return fail(error, made, "cannot make the data directory %s: %s", config->dir,
                    rf_rc_text(made.rc));
    }
    snprintf(path, sizeof(path), "%s/LOCK", config->dir);
    struct rf_result opened = fs.ops->open(fs.context, path, RF_OPEN_WRITE, &engine->lock);
    if (opened.rc == RF_NOT_FOUND) {
        opened = fs.ops->open(fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &engine->lock);
    }
    if (!rf_ok(opened)) {
        return fail(error, opened, "cannot open %s: %s", path, rf_rc_text(opened.rc));
    }
    engine->locked = true;
    struct rf_result locked = fs.ops->lock(fs.context, engine->lock);
    if (!rf_ok(locked)) {
        return fail(error, locked,
                    "another process uses the data directory %s; stop it, or give this node a "
                    "directory of its own",
                    config->dir);
    }
    return rf_result(RF_OK);
}

static struct rf_result take_identity(struct rf_engine *engine, struct rf_engine_error *error)
{
    const struct rf_engine_config *config = &engine->config;
    struct rf_result read = rf_identity_read(config->fs, config->dir, &engine->identity);
    if (read.rc == RF_NOT_FOUND) {
        engine->identity = (struct rf_identity){
            .node = (config->random | (UINT64_C(1) << 63)) & ~UINT64_C(0xff),
            .n_partitions = config->n_partitions,
        };
    } else if (!rf_ok(read)) {
        return fail(error, read, "the file %s/identity cannot be used: %s", config->dir,
                    rf_rc_text(read.rc));
    }
    engine->identity.generation++;
    struct rf_result written = rf_identity_write(config->fs, config->dir, &engine->identity);
    if (!rf_ok(written)) {
        return fail(error, written, "cannot write %s/identity: %s", config->dir,
                    rf_rc_text(written.rc));
    }
    return rf_result(RF_OK);
}

/* ---- Recovery ----------------------------------------------------------------------------- */

struct replay {
    struct rf_engine *engine;
    char              dir[RF_PATH_SIZE];
    struct rf_result  result;
    uint64_t          last_segment[256]; /* per shard that ever wrote */
    uint64_t          last_seq[256];
    uint32_t          shard; /* of the segment being read */
};

static void replay_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    struct replay    *replay = argument;
    struct rf_engine *engine = replay->engine;
    (void)seq;
    if (!rf_ok(replay->result)) {
        return;
    }
    struct rf_store *store =
        &engine->stores[rf_partition_of(engine, record->token) % engine->config.n_shards];
    struct rf_store_table *table = rf_store_table_of(store, record->table);
    replay->result = table == NULL ? rf_result(RF_NO_MEMORY)
                                   : rf_store_merge_row(store, table, record->token, &record->row, 0);
    engine->recovery.records++;
}

static void replay_segment(void *argument, const char *name)
{
    struct replay     *replay = argument;
    struct rf_engine  *engine = replay->engine;
    uint32_t           shard = 0;
    uint64_t           segment = 0;
    struct rf_wal_info info;
    char               path[RF_PATH_SIZE + RF_WAL_NAME_SIZE];
    if (!rf_ok(replay->result) || !rf_wal_segment_parse(name, &shard, &segment)) {
        return;
    }
    snprintf(path, sizeof(path), "%s/%s", replay->dir, name);
    replay->shard = shard;
    struct rf_result read =
        rf_wal_read(engine->config.fs, path, segment, replay_record, replay, &info);
    engine->recovery.segments++;
    engine->recovery.torn_tails += info.torn_at != 0;
    engine->recovery.damaged_segments += read.rc == RF_CORRUPT;
    if (rf_ok(replay->result) && !rf_ok(read)) {
        replay->result = read;
    }
    if (segment > replay->last_segment[shard]) {
        replay->last_segment[shard] = segment;
    }
    if (info.last_seq > replay->last_seq[shard]) {
        replay->last_seq[shard] = info.last_seq;
    }
}

static struct rf_result recover(struct rf_engine *engine, struct rf_engine_error *error)
{
    const struct rf_engine_config *config = &engine->config;
    struct rf_fs                   fs = config->fs;
    struct replay                 *replay = RF_NEW(struct replay);
    if (replay == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    replay->engine = engine;
    snprintf(replay->dir, sizeof(replay->dir), "%s/wal", config->dir);
    struct rf_result result = fs.ops->mkdir(fs.context, replay->dir);
    if (rf_ok(result)) {
        result = fs.ops->sync_dir(fs.context, config->dir);
    }
    if (rf_ok(result)) {
        result = fs.ops->list(fs.context, replay->dir, replay_segment, replay);
    }
    if (rf_ok(result)) {
        result = replay->result;
    }
    for (uint32_t s = 0; rf_ok(result) && s < config->n_shards; s++) {
        result = rf_wal_new(fs, replay->dir, s, replay->last_segment[s] + 1,
                            replay->last_seq[s] + 1, config->segment_max, &engine->stores[s].wal);
    }
    if (!rf_ok(result)) {
        result = fail(error, result, "recovery from %s failed: %s", replay->dir,
                      rf_rc_text(result.rc));
    }
    rf_mem_free(replay);
    return result;
}

/* ---- Life --------------------------------------------------------------------------------- */

static struct rf_result open_engine(struct rf_engine *engine, struct rf_engine_error *error)
{
    RF_TRY(lock_directory(engine, error));
    RF_TRY(take_identity(engine, error));
    engine->stores = RF_NEW_ARRAY(struct rf_store, engine->config.n_shards);
    if (engine->stores == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t s = 0; s < engine->config.n_shards; s++) {
        RF_TRY(rf_store_init(&engine->stores[s], engine, s));
    }
    return recover(engine, error);
}

struct rf_result rf_engine_open(const struct rf_engine_config *config,
                                struct rf_engine **ret_engine, struct rf_engine_error *ret_error)
{
    rf_assert(config->n_partitions >= 1 && config->n_partitions <= 256);
    rf_assert((config->n_partitions & (config->n_partitions - 1)) == 0);
    rf_assert(config->n_shards >= 1 && config->n_shards <= 254);
    struct rf_engine *engine = RF_NEW(struct rf_engine);
    if (engine == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    ret_error->text[0] = 0;
    engine->config = *config;
    struct rf_result opened = open_engine(engine, ret_error);
    if (!rf_ok(opened)) {
        if (ret_error->text[0] == 0) {
            snprintf(ret_error->text, sizeof(ret_error->text), "%s", rf_rc_text(opened.rc));
        }
        rf_engine_close(engine);
        return opened;
    }
    *ret_engine = engine;
    return rf_result(RF_OK);
}

void rf_engine_close(struct rf_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    for (uint32_t s = 0; engine->stores != NULL && s < engine->config.n_shards; s++) {
        rf_store_fini(&engine->stores[s]);
    }
    if (engine->locked) {
        engine->config.fs.ops->close(engine->config.fs.context, engine->lock);
    }
    rf_mem_free(engine->stores);
    rf_mem_free(engine);
}

uint64_t rf_engine_node(const struct rf_engine *engine)
{
    return engine->identity.node;
}

uint64_t rf_engine_generation(const struct rf_engine *engine)
{
    return engine->identity.generation;
}

uint32_t rf_engine_n_partitions(const struct rf_engine *engine)
{
    return engine->identity.n_partitions;
}

uint32_t rf_engine_shard_of(const struct rf_engine *engine, uint64_t token)
{
    return rf_partition_of(engine, token) % engine->config.n_shards;
}

uint32_t rf_engine_op_shard(const struct rf_engine *engine, const struct rf_store_op *op)
{
    return op->kind == RF_STORE_SCAN ? op->partition % engine->config.n_shards
                                     : rf_engine_shard_of(engine, op->token);
}

struct rf_result rf_engine_add_table(struct rf_engine *engine, const struct rf_table_policy *policy)
{
    for (uint32_t s = 0; s < engine->config.n_shards; s++) {
        struct rf_store_table *table = rf_store_table_of(&engine->stores[s], policy->id);
        if (table == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        table->policy = *policy;
    }
    return rf_result(RF_OK);
}

struct rf_store *rf_engine_store(struct rf_engine *engine, uint32_t shard)
{
    rf_assert(shard < engine->config.n_shards);
    return &engine->stores[shard];
}

bool rf_engine_meta(const struct rf_engine *engine, const char *key, struct rf_row *ret_row)
{
    struct rf_slice        name = rf_slice_str(key);
    uint64_t               token = rf_hash64(name, 0);
    uint32_t               partition = rf_partition_of(engine, token);
    struct rf_store       *store = &engine->stores[partition % engine->config.n_shards];
    struct rf_store_table *table = rf_store_table_of(store, RF_TABLE_META);
    uint64_t               seq = 0;
    return table != NULL && table->parts[partition].active != NULL &&
           rf_memtable_get(table->parts[partition].active, token, name, ret_row, &seq);
}

struct rf_recovery rf_engine_recovery(const struct rf_engine *engine)
{
    return engine->recovery;
}
