/* Free space of the disk: what is kept back for merges, when new values are refused, and the alarm
 * before. Any thread measures; the verdict belongs to the whole node. */
#include "base/log.h"
#include "storage/engine_private.h"

#define SANE_BYTES (UINT64_C(1) << 60) /* what a disk says is cut to this: sums must not overflow */
#define STEP_MAX (4u << 20)
#define STEP_MIN 4096u

/* What must stay free: the reserve, and room for the files that the memtables will become, so that a
 * flush never needs the part of the disk that is kept for merges. */
static uint64_t unflushed_bytes(struct rf_engine *engine)
{
    uint64_t bytes = 0;
    for (uint32_t s = 0; s < engine->config.n_shards; s++) {
        bytes += atomic_load_explicit(&engine->stores[s].unflushed, memory_order_relaxed);
    }
    return bytes;
}

/* An eighth of the reserve must be free on top before a level is left again: a disk at its edge
 * would change its state with every file. */
static enum rf_space_level level_of(enum rf_space_level now, uint64_t free_bytes, uint64_t reserve,
                                    uint64_t unflushed)
{
    const uint64_t bounds[] = {
        [RF_SPACE_LOW] = unflushed + 2 * reserve,
        [RF_SPACE_FULL] = unflushed + reserve,
        [RF_SPACE_CRITICAL] = unflushed + reserve / 4,
    };
    enum rf_space_level level = RF_SPACE_OK;
    for (unsigned i = RF_SPACE_LOW; i <= RF_SPACE_CRITICAL; i++) {
        uint64_t bound = bounds[i] + (now >= i ? reserve / 8 : 0);
        level = free_bytes < bound ? (enum rf_space_level)i : level;
    }
    return level;
}

static void tell_level(enum rf_space_level before, enum rf_space_level level, uint64_t free_bytes,
                       uint64_t total, uint64_t needed)
{
    unsigned long long numbers[3] = {free_bytes, total, needed};
    if (level >= RF_SPACE_FULL && before < RF_SPACE_FULL) {
        rf_log(RF_LOG_ERROR, "disk_full",
               "free_bytes=%llu total_bytes=%llu needed_bytes=%llu text=\"the disk's reserve is "
               "reached: this node refuses new values; reads, deletes and merges go on. Make room "
               "or add space; no restart is needed\"",
               numbers[0], numbers[1], numbers[2]);
    } else if (level == RF_SPACE_LOW && before == RF_SPACE_OK) {
        rf_log(RF_LOG_WARN, "disk_low",
               "free_bytes=%llu total_bytes=%llu needed_bytes=%llu text=\"the disk is nearly full: "
               "below needed_bytes this node refuses new values\"",
               numbers[0], numbers[1], numbers[2]);
    } else if (level < RF_SPACE_FULL && before >= RF_SPACE_FULL) {
        rf_log(RF_LOG_INFO, "disk_not_full",
               "free_bytes=%llu total_bytes=%llu needed_bytes=%llu text=\"there is space again: "
               "new values are taken\"",
               numbers[0], numbers[1], numbers[2]);
    }
}

void rf_space_measure(struct rf_engine *engine)
{
    const struct rf_engine_config *config = &engine->config;
    struct rf_space               *space = &engine->space;
    uint64_t                       free_bytes = 0;
    uint64_t                       total = 0;
    if (!rf_ok(config->fs.ops->free_space(config->fs.context, config->dir, &free_bytes, &total))) {
        return; /* not known: writing will tell */
    }
    total = total < SANE_BYTES ? total : SANE_BYTES;
    free_bytes = free_bytes < SANE_BYTES ? free_bytes : SANE_BYTES;
    uint64_t reserve = total / 10000 * config->disk_reserve;
    uint64_t unflushed = unflushed_bytes(engine);
    uint64_t step = reserve / 16;
    step = step > STEP_MAX ? STEP_MAX : step < STEP_MIN ? STEP_MIN : step;
    atomic_store_explicit(&space->free_bytes, free_bytes, memory_order_relaxed);
    atomic_store_explicit(&space->total_bytes, total, memory_order_relaxed);
    atomic_store_explicit(&space->needed_bytes, unflushed + reserve, memory_order_relaxed);
    atomic_store_explicit(&space->step_bytes, step, memory_order_relaxed);
    if (reserve == 0) {
        return; /* nothing is kept back */
    }
    uint32_t            before = atomic_load_explicit(&space->level, memory_order_relaxed);
    enum rf_space_level level =
        level_of((enum rf_space_level)before, free_bytes, reserve, unflushed);
    if (level != before && atomic_compare_exchange_strong(&space->level, &before, level)) {
        tell_level((enum rf_space_level)before, level, free_bytes, total, unflushed + reserve);
    }
}

void rf_space_start(struct rf_engine *engine)
{
    for (uint32_t s = 0; s < engine->config.n_shards; s++) {
        atomic_store(&engine->stores[s].unflushed, engine->stores[s].memory);
    }
    rf_space_measure(engine);
}

/* ---- Stores ------------------------------------------------------------------------------- */

void rf_space_begin_group(struct rf_store *store)
{
    uint64_t written = rf_wal_stats(store->wal).bytes;
    uint64_t step = atomic_load_explicit(&store->engine->space.step_bytes, memory_order_relaxed);
    atomic_store_explicit(&store->unflushed, store->memory, memory_order_relaxed);
    store->measure = store->engine->config.disk_reserve != 0 &&
                     (written - store->measured_at >= step || store->measured_at == 0);
    store->measured_at = store->measure ? written : store->measured_at;
}

void rf_space_found_none(struct rf_store *store, enum rf_space_writer writer, bool none)
{
    unsigned before = store->no_space;
    store->no_space = none ? before | writer : before & ~(unsigned)writer;
    if ((before != 0) == (store->no_space != 0)) {
        return;
    }
    if (none) {
        rf_log(RF_LOG_ERROR, "no_space",
               "shard=%u text=\"the disk took no more: what was being written is tried again until "
               "there is space; new values are refused\"",
               store->shard);
        atomic_fetch_add(&store->engine->space.n_without, 1);
    } else {
        rf_log(RF_LOG_INFO, "space_again", "shard=%u text=\"the disk takes writes again\"",
               store->shard);
        atomic_fetch_sub(&store->engine->space.n_without, 1);
    }
}

bool rf_space_is_full(const struct rf_engine *engine)
{
    return atomic_load_explicit(&engine->space.level, memory_order_relaxed) >= RF_SPACE_FULL ||
           atomic_load_explicit(&engine->space.n_without, memory_order_relaxed) != 0;
}

/* Does the disk's reserve stand in the way? It is there for deletes, for what was acknowledged before
 * (repairs, delivered hints) and for the node's own tables: hints, clock ceilings, members. The last
 * quarter is for what brings space back, and for what a node cannot do without. */
bool rf_space_refuses(const struct rf_store *store, const struct rf_store_op *op)
{
    const struct rf_engine *engine = store->engine;
    if ((op->row.flags & RF_ROW_TOMBSTONE) != 0 || op->table == RF_TABLE_META ||
        !rf_space_is_full(engine)) {
        return false;
    }
    bool critical =
        atomic_load_explicit(&engine->space.level, memory_order_relaxed) == RF_SPACE_CRITICAL ||
        atomic_load_explicit(&engine->space.n_without, memory_order_relaxed) != 0;
    return critical || (op->mode != RF_APPLY_REPAIR && op->table >= RF_TABLE_FIRST_USER);
}

/* ---- What others may know ----------------------------------------------------------------- */

struct rf_disk_space rf_engine_disk(const struct rf_engine *engine)
{
    const struct rf_space *space = &engine->space;
    return (struct rf_disk_space){
        .free_bytes = atomic_load_explicit(&space->free_bytes, memory_order_relaxed),
        .total_bytes = atomic_load_explicit(&space->total_bytes, memory_order_relaxed),
        .needed_bytes = atomic_load_explicit(&space->needed_bytes, memory_order_relaxed),
        .low = atomic_load_explicit(&space->level, memory_order_relaxed) >= RF_SPACE_LOW,
        .full = rf_space_is_full(engine),
    };
}

enum rf_storage_state rf_engine_storage_state(const struct rf_engine *engine)
{
    if (atomic_load_explicit(&engine->space.n_read_only, memory_order_relaxed) != 0) {
        return RF_STORAGE_READ_ONLY;
    }
    return rf_space_is_full(engine) ? RF_STORAGE_FULL : RF_STORAGE_OK;
}
