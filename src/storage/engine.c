#include "storage/engine.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
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

#define CACHE_MIN (64u * 1024) /* bytes of a row cache: less is not worth its bookkeeping */

/* ---- Directory and identity --------------------------------------------------------------- */

/* A new directory's own name must be durable too. Its parent may belong to somebody else and not be
 * readable; then it was there before us, and there is nothing to do. */
static void sync_parent(struct rf_fs fs, const char *dir)
{
    char        parent[RF_PATH_SIZE];
    const char *slash = strrchr(dir, '/');
    if (slash != NULL && strlen(dir) < sizeof(parent)) {
        size_t n = slash == dir ? 1 : (size_t)(slash - dir);
        memcpy(parent, dir, n);
        parent[n] = 0;
        (void)fs.ops->sync_dir(fs.context, parent).rc;
    }
}

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
    sync_parent(fs, config->dir);
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
    if (engine->identity.log_secret == 0) {
        engine->identity.log_secret = config->secret | 1; /* 0 means none */
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

#define LOGS_MAX 256u

/* The log of one shard, of this run or an earlier one. */
struct replay_log {
    struct rf_wal_history history;
    uint64_t              last_segment;
    bool                  torn_start; /* its last segment holds a torn group and nothing else */
};

struct replay {
    struct rf_engine *engine;
    char              dir[RF_PATH_SIZE];
    struct rf_result  result;
    struct replay_log logs[LOGS_MAX];
    bool              damaged;
};

static void replay_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    struct replay    *replay = argument;
    struct rf_engine *engine = replay->engine;
    (void)seq;
    if (!rf_ok(replay->result)) {
        return;
    }
    struct rf_store *store = rf_store_of_partition(engine, rf_partition_of(engine, record->token));
    replay->result = rf_store_merge_row(store, record->table, record->token, &record->row);
    engine->recovery.records++;
}

/* The shard's last segment so far ends too early. */
static void mark_last_segment(struct rf_engine *engine, uint32_t shard)
{
    for (uint32_t i = engine->n_old_segments; i-- > 0;) {
        uint32_t of_shard = 0;
        uint64_t segment = 0;
        bool     parsed = rf_wal_segment_parse(engine->old_segments[i].name, &of_shard, &segment);
        rf_assert(parsed);
        if (of_shard == shard) {
            engine->old_segments[i].damaged = true;
            return;
        }
    }
}

/* Segments of a shard come in order. Is this one to be put aside? */
static bool note_segment(struct replay *replay, uint32_t shard, uint64_t segment,
                         const struct rf_wal_info *info)
{
    struct rf_recovery *found = &replay->engine->recovery;
    bool                damaged = info->damages != 0 || info->gap;
    found->segments++;
    found->torn_tails += info->torn;
    found->damaged_segments += damaged;
    replay->damaged = replay->damaged || damaged;
    replay->logs[shard].last_segment = segment;
    replay->logs[shard].torn_start = info->torn && info->torn_at == 0;
    if (info->gap) {
        mark_last_segment(replay->engine, shard);
    }
    return damaged;
}

static uint64_t number_of(const char *name)
{
    uint32_t shard = 0;
    uint64_t segment = 0;
    bool     parsed = rf_wal_segment_parse(name, &shard, &segment);
    rf_assert(parsed);
    return segment;
}

/* Keeps the names in the order of their numbers, which is the order of runs: a key may have been
 * logged by another shard in each, and its older rows must be deleted first. */
static struct rf_result keep_name(struct rf_engine *engine, const char *name, bool damaged)
{
    if (engine->n_old_segments == engine->cap_old_segments) {
        uint32_t cap = engine->cap_old_segments == 0 ? 16 : engine->cap_old_segments * 2;
        struct rf_old_segment *grown = rf_mem_realloc(engine->old_segments, sizeof(*grown) * cap);
        if (grown == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        engine->old_segments = grown;
        engine->cap_old_segments = cap;
    }
    uint32_t at = engine->n_old_segments++;
    while (at != 0 && number_of(engine->old_segments[at - 1].name) > number_of(name)) {
        engine->old_segments[at] = engine->old_segments[at - 1];
        at--;
    }
    snprintf(engine->old_segments[at].name, sizeof(engine->old_segments[at].name), "%s", name);
    engine->old_segments[at].damaged = damaged;
    return rf_result(RF_OK);
}

static void replay_segment(void *argument, const char *name)
{
    struct replay     *replay = argument;
    struct rf_engine  *engine = replay->engine;
    uint32_t           shard = 0;
    uint64_t           segment = 0;
    struct rf_wal_info info = {0};
    char               path[RF_PATH_SIZE + RF_WAL_NAME_SIZE];
    if (!rf_ok(replay->result) || !rf_wal_segment_parse(name, &shard, &segment)) {
        return;
    }
    snprintf(path, sizeof(path), "%s/%s", replay->dir, name);
    struct rf_result read = rf_wal_read(engine->config.fs, path, segment,
                                        &replay->logs[shard].history, replay_record, replay, &info);
    bool             aside = note_segment(replay, shard, segment, &info);
    atomic_fetch_add(&engine->old_bytes, info.size);
    if (rf_ok(replay->result)) {
        replay->result = read.rc == RF_CORRUPT ? rf_result(RF_OK) : read;
    }
    if (rf_ok(replay->result)) {
        replay->result = keep_name(engine, name, aside);
    }
}

/* Damage below the durable mark: the partitions that lost records cannot say for sure (S31). The log
 * goes on with the records that are fine. */
static struct rf_result quarantine_lost(struct rf_engine *engine, const struct replay *replay)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < engine->identity.n_partitions; p++) {
        bool lost = false;
        for (uint32_t s = 0; s < LOGS_MAX; s++) {
            lost = lost || replay->logs[s].history.lost[p];
        }
        n += lost;
        RF_TRY(lost ? rf_partition_quarantine(engine, p) : rf_result(RF_OK));
    }
    rf_log(
        RF_LOG_ERROR, "wal_damaged",
        "segments=%llu partitions=%u text=\"the write-ahead log has lost acknowledged writes; this "
        "replica does not answer for what it may have lost until it is repaired from its peers. "
        "Check the disk; the damaged segments stay in the directory wal as *.damaged, and can be "
        "deleted when the replica is repaired\"",
        (unsigned long long)engine->recovery.damaged_segments, n);
    return rf_result(RF_OK);
}

/* What reading has left open. */
static struct rf_result end_histories(struct rf_engine *engine, struct replay *replay)
{
    char name[RF_WAL_NAME_SIZE];
    char path[RF_PATH_SIZE + RF_WAL_NAME_SIZE];
    for (uint32_t s = 0; s < LOGS_MAX; s++) {
        struct replay_log *log = &replay->logs[s];
        rf_wal_history_end(&log->history);
        engine->recovery.unclean_logs += log->history.met && !log->history.closed;
        if (log->torn_start) {
            rf_wal_segment_name(s, log->last_segment, name);
            snprintf(path, sizeof(path), "%s/%s", replay->dir, name);
            RF_TRY(rf_wal_cut(engine->config.fs, path));
        }
    }
    return replay->damaged ? quarantine_lost(engine, replay) : rf_result(RF_OK);
}

/* The logs of this run. */
static struct rf_result begin_logs(struct rf_engine *engine, const struct replay *replay)
{
    const struct rf_engine_config *config = &engine->config;
    uint64_t last = 0; /* all shards go on above it, so that numbers follow the order of runs */
    for (uint32_t s = 0; s < LOGS_MAX; s++) {
        last = replay->logs[s].last_segment > last ? replay->logs[s].last_segment : last;
    }
    for (uint32_t s = 0; s < config->n_shards; s++) {
        const struct rf_wal_history *history = &replay->logs[s].history;
        struct rf_wal_config         wal = {
                    .fs = config->fs,
                    .dir = replay->dir,
                    .shard = s,
                    .n_shards = config->n_shards,
                    .n_partitions = engine->identity.n_partitions,
                    .secret = engine->identity.log_secret,
                    .segment = last + 1,
                    .next_seq = history->next_seq == 0 ? 1 : history->next_seq,
                    .segment_max = config->segment_max,
                    .allocate = config->wal_allocate,
                    .part_seq = history->part_seq,
        };
        RF_TRY(rf_wal_new(&wal, &engine->stores[s].wal));
    }
    return rf_result(RF_OK);
}

static struct rf_result replay_all(struct rf_engine *engine, struct replay *replay)
{
    const struct rf_engine_config *config = &engine->config;
    struct rf_fs                   fs = config->fs;
    RF_TRY(fs.ops->mkdir(fs.context, replay->dir));
    RF_TRY(fs.ops->sync_dir(fs.context, config->dir));
    RF_TRY(fs.ops->sync_dir(fs.context, replay->dir));
    RF_TRY(rf_partitions_open(engine));
    for (uint32_t s = 0; s < LOGS_MAX; s++) {
        replay->logs[s].history.secret = engine->identity.log_secret;
    }
    RF_TRY(fs.ops->list(fs.context, replay->dir, replay_segment, replay));
    RF_TRY(replay->result);
    RF_TRY(end_histories(engine, replay));
    return begin_logs(engine, replay);
}

/* After damage the absence of a cluster's state proves nothing, at later starts neither. */
static struct rf_result note_doubt(struct rf_engine *engine)
{
    const struct rf_recovery *found = &engine->recovery;
    if (engine->identity.cluster != 0 || engine->identity.unsure ||
        found->damaged_segments + found->damaged_files + found->quarantined_partitions == 0) {
        return rf_result(RF_OK);
    }
    engine->identity.unsure = true;
    return rf_identity_write(engine->config.fs, engine->config.dir, &engine->identity);
}

static struct rf_result recover(struct rf_engine *engine, struct rf_engine_error *error)
{
    struct replay *replay = RF_NEW(struct replay);
    if (replay == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    replay->engine = engine;
    snprintf(replay->dir, sizeof(replay->dir), "%s/wal", engine->config.dir);
    struct rf_result result = replay_all(engine, replay);
    if (!rf_ok(result)) {
        result = fail(error, result, "recovery from %s failed: %s", engine->config.dir,
                      rf_rc_text(result.rc));
    }
    rf_mem_free(replay);
    if (rf_ok(result)) {
        result = note_doubt(engine);
    }
    atomic_store(&engine->old_gone, engine->n_old_segments == 0);
    if (engine->n_old_segments != 0 && atomic_load(&engine->old_pins) == 0) {
        engine->stores[0].trim_old = true; /* everything is in files already */
        engine->stores[0].trim_due = true;
    }
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
    rf_space_start(engine);
    *ret_engine = engine;
    return rf_result(RF_OK);
}

void rf_engine_close(struct rf_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    for (uint32_t s = 0; engine->stores != NULL && s < engine->config.n_shards; s++) {
        if (engine->stores[s].magic == RF_STORE_MAGIC) {
            rf_store_fini(&engine->stores[s]);
        }
    }
    rf_partitions_close(engine);
    for (uint32_t i = 0; i < engine->n_meta; i++) {
        rf_blob_drop(engine->meta[i]);
    }
    rf_mem_free(engine->meta);
    rf_mem_free(engine->old_segments);
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

uint64_t rf_engine_cluster(const struct rf_engine *engine)
{
    return engine->identity.cluster;
}

bool rf_engine_cluster_unsure(const struct rf_engine *engine)
{
    return engine->identity.unsure;
}

struct rf_result rf_engine_keep_cluster(struct rf_engine *engine, uint64_t cluster)
{
    struct rf_identity identity = engine->identity;
    rf_assert(cluster != 0);
    if (identity.cluster == cluster) {
        return rf_result(RF_OK);
    }
    if (identity.cluster != 0) {
        return rf_result(RF_CONFLICT);
    }
    identity.cluster = cluster;
    identity.unsure = false;
    RF_TRY(rf_identity_write(engine->config.fs, engine->config.dir, &identity));
    engine->identity.cluster = cluster; /* the other members are read by other threads */
    engine->identity.unsure = false;
    return rf_result(RF_OK);
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
        uint64_t bytes = policy->row_cache_bytes / engine->config.n_shards;
        if (bytes != 0 && table->cache == NULL) {
            table->cache = rf_row_cache_new(bytes < CACHE_MIN ? CACHE_MIN : (size_t)bytes);
            RF_TRY(rf_result(table->cache == NULL ? RF_NO_MEMORY : RF_OK));
        }
    }
    return rf_result(RF_OK);
}

struct rf_store *rf_engine_store(struct rf_engine *engine, uint32_t shard)
{
    rf_assert(shard < engine->config.n_shards);
    return &engine->stores[shard];
}

/* Keeps the blob as long as the engine. */
static bool keep_meta(struct rf_engine *engine, struct rf_blob *blob)
{
    if (engine->n_meta == engine->cap_meta) {
        uint32_t         cap = engine->cap_meta == 0 ? 8 : engine->cap_meta * 2;
        struct rf_blob **grown = rf_mem_realloc(engine->meta, sizeof(struct rf_blob *) * cap);
        if (grown == NULL) {
            return false;
        }
        engine->meta = grown;
        engine->cap_meta = cap;
    }
    engine->meta[engine->n_meta++] = blob;
    return true;
}

bool rf_engine_meta(struct rf_engine *engine, const char *key, struct rf_row *ret_row)
{
    struct rf_slice        name = rf_slice_str(key);
    uint64_t               token = rf_hash64(name, 0);
    struct rf_store       *store = rf_store_of_partition(engine, rf_partition_of(engine, token));
    struct rf_store_table *table = rf_store_table_of(store, RF_TABLE_META);
    struct rf_search       search = {0};
    struct rf_row          copy;
    if (table != NULL) {
        rf_search_init(&search, &table->policy, token, name, NULL);
        (void)rf_store_find(store, table, &search, false, NULL);
    }
    if (!rf_row_exists(&search.best) || !rf_ok(rf_row_copy(&search.best, &copy))) {
        return false;
    }
    if (!keep_meta(engine, copy.blob)) {
        rf_blob_drop(copy.blob);
        return false;
    }
    *ret_row = copy;
    ret_row->blob = NULL; /* the engine holds it */
    return true;
}

struct rf_recovery rf_engine_recovery(const struct rf_engine *engine)
{
    return engine->recovery;
}
