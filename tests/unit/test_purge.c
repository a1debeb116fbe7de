/* Compaction and purge against a plain map with time, with each of the shipped strategies: S55, S59,
 * S60, S61, S62, S63, S114, D2, D13.
 *
 * Method: puts, deletes and TTLs (also ones that come late), the clock, flushes, single steps of
 * merges, kills and power cuts between any two calls of a simulated disk, in an order made from a
 * seed. The map remembers every version that was offered for a key and which ones were acknowledged;
 * a read must give the newest of them. When it may be gone instead is stated here once more, in
 * may_be_gone, independent of the engine:
 *
 *  - plain table: never; there is no repair yet, so nothing proves that all replicas have it (D13).
 *    An expired value may become a marker (D2);
 *  - table with max_ttl: a dead row, once version + max_ttl (a tombstone: also its grace period) +
 *    max_ahead has passed, for then all older versions have expired as well;
 *  - the node's own hints: any dead row, since no other node has an older version.
 *
 * And never may something older show up alive. RINGFORT_SEED=n runs one seed, RINGFORT_SEEDS=n many. */
#include "store_util.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "plugins/loader.h"
#include "sim/disk.h"
#include "storage/purge.h"

#define N_KEYS 20u
#define VERSIONS_MAX 200u
#define MAX_TTL 20000u
#define GRACE 30000u
#define MAX_AHEAD 500u
#define BOUNDED_TABLE (TEST_TABLE + 1)

enum kind { PLAIN, BOUNDED, OWN, N_KINDS };
static const uint64_t ids[N_KINDS] = {TEST_TABLE, BOUNDED_TABLE, RF_TABLE_HINTS};

struct version {
    uint64_t hlc, expiry_ms;
    bool     tombstone, acked;
};

struct cell {
    struct version list[VERSIONS_MAX];
    uint32_t       n;
};

struct strategy {
    const char             *name;
    const struct rf_plugin *plugin;
    int64_t                 options[8]; /* of plugins built from this tree: their fields in order */
};

struct world {
    uint64_t         seed;
    struct rf_rng    rng;
    struct strategy *strategy;
    struct rf_disk  *disk;
    struct rf_fs     inner;
    struct rf_fs_ops outer; /* watches that table files are only written from front to back */
    uint64_t         sizes[256];
    bool             tables[256]; /* by handle: a table file that is being written */
    struct rf_engine_config config;
    struct rf_engine       *engine;
    struct rf_job          *jobs[4];
    uint64_t                wall_ms, clock;
    struct cell             cells[N_KINDS][N_KEYS];
    uint64_t                crashes, flushes, merges, purged, dropped_files;
};

#define demand(world, condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("seed %llu, %s: %s (line %d)", (unsigned long long)(world)->seed,             \
                     (world)->strategy->name, #condition, __LINE__);                               \
        }                                                                                          \
    } while (0)

static uint64_t below(struct world *world, uint64_t n)
{
    return rf_rng_below(&world->rng, n);
}

/* ---- The map ------------------------------------------------------------------------------ */

static bool is_dead(const struct version *version, uint64_t wall_ms)
{
    return version->tombstone || (version->expiry_ms != 0 && version->expiry_ms <= wall_ms);
}

static bool may_be_gone(const struct version *version, enum kind kind, uint64_t wall_ms)
{
    uint64_t life_ms = version->tombstone && GRACE > MAX_TTL ? GRACE : MAX_TTL;
    bool     old = (version->hlc >> 16) + life_ms + MAX_AHEAD < wall_ms;
    return is_dead(version, wall_ms) && (kind == OWN || (kind == BOUNDED && old));
}

static struct version *newest_acked(struct cell *cell)
{
    struct version *newest = NULL;
    for (uint32_t i = 0; i < cell->n; i++) {
        struct version *version = &cell->list[i];
        if (version->acked && (newest == NULL || version->hlc > newest->hlc)) {
            newest = version;
        }
    }
    return newest;
}

static struct version *find_version(struct cell *cell, uint64_t hlc)
{
    for (uint32_t i = 0; i < cell->n; i++) {
        if (cell->list[i].hlc == hlc) {
            return &cell->list[i];
        }
    }
    return NULL;
}

static size_t make_value(uint64_t hlc, char value[256])
{
    size_t n = (hlc >> 3) % 200;
    memset(value, (int)('a' + hlc % 26), n);
    return n;
}

/* ---- The disk: table files never change in place (S63) ------------------------------------ */

static struct rf_result watch_open(void *context, const char *path, unsigned flags,
                                   struct rf_file *ret_file)
{
    struct world *world = context;
    size_t        n = strlen(path);
    bool          table = n > 4 && strcmp(path + n - 4, ".sst") == 0;
    demand(world, !table || (flags & RF_OPEN_WRITE) == 0 || (flags & RF_OPEN_CREATE) != 0);
    struct rf_result opened = world->inner.ops->open(world->inner.context, path, flags, ret_file);
    if (rf_ok(opened)) {
        demand(world, ret_file->handle < 256);
        world->tables[ret_file->handle] = table;
        world->sizes[ret_file->handle] = 0;
    }
    return opened;
}

static struct rf_result watch_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                     uint64_t offset)
{
    struct world *world = context;
    demand(world, !world->tables[file.handle] || world->sizes[file.handle] == offset);
    world->sizes[file.handle] = offset + bytes.size;
    return world->inner.ops->pwrite(world->inner.context, file, bytes, offset);
}

static struct rf_result watch_sync(void *context, struct rf_file file)
{
    struct world *world = context;
    if (world->tables[file.handle]) {
        world->sizes[file.handle] = UINT64_MAX; /* complete: no write may follow */
    }
    return world->inner.ops->sync(world->inner.context, file);
}

/* The other calls go straight to the disk. */
#define PASS(name, args, ...)                                                                      \
    static struct rf_result watch_##name args {                                                    \
        struct rf_fs fs = ((struct world *)context)->inner;                                        \
        return fs.ops->name(fs.context, __VA_ARGS__);                                              \
    }
PASS(pread, (void *context, struct rf_file file, void *to, size_t size, uint64_t offset), file, to,
     size, offset)
PASS(push_out, (void *context, struct rf_file file, uint64_t offset, uint64_t size), file, offset,
     size)
PASS(size, (void *context, struct rf_file file, uint64_t *ret), file, ret)
PASS(truncate, (void *context, struct rf_file file, uint64_t size), file, size)
PASS(rename, (void *context, const char *from, const char *to), from, to)
PASS(unlink, (void *context, const char *path), path)
PASS(mkdir, (void *context, const char *path), path)
PASS(sync_dir, (void *context, const char *path), path)
PASS(list,
     (void *context, const char *path, void (*each)(void *argument, const char *name),
      void *argument),
     path, each, argument)
PASS(lock, (void *context, struct rf_file file), file)
PASS(free_space, (void *context, const char *path, uint64_t *ret_free, uint64_t *ret_total), path,
     ret_free, ret_total)

static void watch_close(void *context, struct rf_file file)
{
    struct rf_fs fs = ((struct world *)context)->inner;
    fs.ops->close(fs.context, file);
}

static struct rf_fs watched_fs(struct world *world)
{
    world->inner = rf_disk_fs(world->disk);
    world->outer = (struct rf_fs_ops){
        .open = watch_open,
        .close = watch_close,
        .pread = watch_pread,
        .pwrite = watch_pwrite,
        .sync = watch_sync,
        .push_out = watch_push_out,
        .size = watch_size,
        .truncate = watch_truncate,
        .rename = watch_rename,
        .unlink = watch_unlink,
        .mkdir = watch_mkdir,
        .sync_dir = watch_sync_dir,
        .list = watch_list,
        .lock = watch_lock,
        .free_space = watch_free_space,
    };
    return (struct rf_fs){&world->outer, world};
}

/* ---- Life --------------------------------------------------------------------------------- */

static void open_world(struct world *world)
{
    struct rf_engine_error error;
    struct rf_table_policy policy = {.host = rf_registry_host(),
                                     .compaction = &world->strategy->plugin->ops.compaction,
                                     .compaction_options = world->strategy->options,
                                     .bloom_bits_per_key = (uint32_t)(world->seed % 2) * 10,
                                     .lz4 = world->seed % 3 == 0,
                                     .tombstone_grace_ms = GRACE,
                                     .max_ahead_ms = MAX_AHEAD};
    struct rf_result       opened = rf_engine_open(&world->config, &world->engine, &error);
    demand(world, rf_ok(opened));
    demand(world, rf_engine_recovery(world->engine).damaged_files == 0);
    policy.id = TEST_TABLE;
    assert_rc_ok(rf_engine_add_table(world->engine, &policy));
    policy.id = BOUNDED_TABLE;
    policy.max_ttl_ms = MAX_TTL;
    assert_rc_ok(rf_engine_add_table(world->engine, &policy));
}

static struct rf_store *store_of(struct world *world)
{
    return rf_engine_store(world->engine, 0);
}

static void close_world(struct world *world)
{
    struct rf_store_stats stats = rf_store_stats(store_of(world));
    for (int j = 0; j < 4; j++) {
        if (world->jobs[j] != NULL) {
            (void)rf_store_job_end(store_of(world), world->jobs[j]).rc;
            world->jobs[j] = NULL;
        }
    }
    world->flushes += stats.flushes;
    world->merges += stats.compactions;
    world->purged += stats.dropped_rows;
    world->dropped_files += stats.dropped_files;
    rf_engine_close(world->engine);
}

static void crash_world(struct world *world)
{
    close_world(world);
    world->crashes++;
    if (below(world, 2) == 0) {
        rf_disk_crash(world->disk);
    } else {
        rf_disk_kill(world->disk);
    }
    open_world(world);
}

/* ---- Operations --------------------------------------------------------------------------- */

static void run_log(struct world *world)
{
    struct rf_store     *store = store_of(world);
    struct rf_store_done done;
    rf_store_set_time(store, world->wall_ms);
    if (rf_store_log_begin(store)) {
        rf_store_log_run(store);
        rf_store_log_end(store);
    }
    while (rf_lsm_ops.poll(store, &done, 1) != 0) {
        if (done.kind == RF_STORE_APPLY && done.status == RF_STORE_STORED) {
            world->cells[done.tag >> 16][done.tag >> 8 & 0xff].list[done.tag & 0xff].acked = true;
        }
        rf_blob_drop(done.row.blob);
    }
}

/* A new version: mostly of now, on users' tables sometimes of some time ago. */
static struct version make_version(struct world *world, enum kind kind)
{
    struct version version = {.tombstone = below(world, 4) == 0};
    uint64_t       now = world->wall_ms << 16;
    world->clock = world->clock >= now ? world->clock + 1 : now;
    version.hlc = world->clock;
    if (kind != OWN && below(world, 5) == 0) {
        version.hlc =
            (world->wall_ms - below(world, 2 * MAX_TTL)) << 16 | (1 + below(world, 0xfff));
    }
    bool expires = kind == BOUNDED || below(world, 2) == 0;
    if (!version.tombstone && expires) {
        version.expiry_ms = (version.hlc >> 16) + 1 + below(world, MAX_TTL);
    }
    return version;
}

static void do_apply(struct world *world)
{
    enum kind    kind = (enum kind)below(world, N_KINDS);
    unsigned     k = (unsigned)below(world, N_KEYS);
    struct cell *cell = &world->cells[kind][k];
    char         key[16], value[256];
    snprintf(key, sizeof(key), "key%u", k);
    struct version version = make_version(world, kind);
    if (cell->n == VERSIONS_MAX || find_version(cell, version.hlc) != NULL) {
        return;
    }
    struct rf_row row = row_of(key, version.hlc, "");
    row.expiry_ms = version.expiry_ms;
    row.flags = version.tombstone ? RF_ROW_TOMBSTONE : 0;
    row.value = rf_slice(value, version.tombstone ? 0 : make_value(version.hlc, value));
    struct rf_store_done done;
    struct rf_store_op   op = {.kind = RF_STORE_APPLY,
                               .mode = RF_APPLY_MERGE,
                               .tag = (uint64_t)kind << 16 | k << 8 | cell->n,
                               .table = ids[kind],
                               .token = token_of(key)};
    assert_rc_ok(rf_row_copy(&row, &op.row));
    cell->list[cell->n++] = version;
    struct rf_result result = rf_lsm_ops.submit(store_of(world), &op, &done);
    if (rf_ok(result) && done.status == RF_STORE_STORED) {
        cell->list[cell->n - 1].acked = true;
    }
    if (below(world, 3) != 0) {
        run_log(world);
    }
}

static void check_content(struct world *world, const struct version *version,
                          const struct rf_row *row)
{
    char   value[256];
    size_t n = make_value(version->hlc, value);
    if (row->flags == RF_ROW_MARKER) {
        demand(world, !version->tombstone && is_dead(version, world->wall_ms));
        demand(world, row->value.size == 0 && row->expiry_ms == version->expiry_ms);
        return;
    }
    demand(world, row->flags == (version->tombstone ? RF_ROW_TOMBSTONE : 0));
    demand(world, rf_slice_eq(row->value, rf_slice(value, version->tombstone ? 0 : n)));
}

static void check_key(struct world *world, enum kind kind, unsigned k)
{
    struct cell *cell = &world->cells[kind][k];
    char         key[16];
    snprintf(key, sizeof(key), "key%u", k);
    run_log(world);
    struct rf_store_done done = read_key(store_of(world), ids[kind], rf_slice_str(key));
    struct version      *newest = newest_acked(cell);
    if (rf_disk_stopped(world->disk)) {
        rf_blob_drop(done.row.blob);
        return;
    }
    if (done.status == RF_STORE_ABSENT) {
        demand(world, newest == NULL || may_be_gone(newest, kind, world->wall_ms));
        return;
    }
    demand(world, done.status == RF_STORE_FOUND);
    struct version *found = find_version(cell, done.row.version.hlc);
    demand(world, found != NULL);
    check_content(world, found, &done.row);
    if (newest == NULL || found->hlc >= newest->hlc) {
        found->acked = true; /* somebody has seen it */
    } else {
        demand(world, may_be_gone(newest, kind, world->wall_ms));
        demand(world, is_dead(found, world->wall_ms));
    }
    rf_blob_drop(done.row.blob);
}

static void do_job(struct world *world)
{
    struct rf_store *store = store_of(world);
    unsigned         j = (unsigned)below(world, 4);
    rf_store_set_time(store, world->wall_ms);
    if (world->jobs[j] == NULL) {
        world->jobs[j] = rf_store_job_begin(store);
    } else if (rf_job_step(world->jobs[j])) {
        struct rf_result ended = rf_store_job_end(store, world->jobs[j]);
        world->jobs[j] = NULL;
        demand(world, rf_ok(ended) || rf_disk_stopped(world->disk));
    }
}

static void do_something(struct world *world)
{
    uint64_t what = below(world, 40);
    if (what == 0) {
        rf_store_request_flush(store_of(world));
    } else if (what == 1) {
        rf_store_request_compaction(store_of(world));
    } else if (what == 2) {
        world->wall_ms += below(world, 8000);
    } else if (what < 8) {
        world->wall_ms += below(world, 200);
    } else if (what < 10) {
        check_key(world, (enum kind)below(world, N_KINDS), (unsigned)below(world, N_KEYS));
    } else if (what < 24) {
        do_job(world);
    } else {
        do_apply(world);
    }
}

/* ---- The end: only what must be there is there -------------------------------------------- */

/* Runs all jobs that are due, and those that they make due. */
static void finish_jobs(struct world *world)
{
    struct rf_store *store = store_of(world);
    for (unsigned idle = 0; idle < 3;) {
        world->wall_ms += 6000;
        run_log(world);
        rf_store_set_time(store, world->wall_ms);
        struct rf_job *job = world->jobs[0] != NULL ? world->jobs[0] : rf_store_job_begin(store);
        for (int j = 1; world->jobs[0] == NULL && job == NULL && j < 4; j++) {
            job = world->jobs[j];
            world->jobs[j] = NULL;
        }
        world->jobs[0] = NULL;
        idle = job == NULL ? idle + 1 : 0;
        while (job != NULL && !rf_job_step(job)) {
        }
        demand(world, job == NULL || rf_ok(rf_store_job_end(store, job)));
    }
}

struct census {
    struct world *world;
    uint64_t      table_files;
};

static void count_file(void *argument, const char *name)
{
    struct census *census = argument;
    size_t         n = strlen(name);
    census->table_files += n > 4 && strcmp(name + n - 4, ".sst") == 0;
}

/* Scans a table: its rows by kind. */
static void count_rows(struct world *world, enum kind kind, uint64_t *ret_live, uint64_t *ret_dead)
{
    for (uint32_t p = 0; p < 4; p++) {
        struct rf_store_done done;
        struct rf_store_op   op = {.kind = RF_STORE_SCAN,
                                   .table = ids[kind],
                                   .partition = p,
                                   .token_last = UINT64_MAX,
                                   .max_bytes = 1 << 20};
        assert_rc_ok(rf_lsm_ops.submit(store_of(world), &op, &done));
        demand(world, done.status == RF_STORE_FOUND || done.status == RF_STORE_ABSENT);
        struct rf_slice rows = done.row.value;
        struct rf_row   row;
        while (done.status == RF_STORE_FOUND && rows.size != 0) {
            demand(world, rf_ok(rf_row_decode(&rows, &row)));
            bool live = rf_row_live(&row, world->wall_ms);
            *ret_live += live;
            *ret_dead += !live;
            demand(world, live || row.value.size == 0); /* S60: the value is gone */
        }
        rf_blob_drop(done.row.blob);
    }
}

static void check_end(struct world *world)
{
    uint64_t live[N_KINDS] = {0}, dead[N_KINDS] = {0}, expect[N_KINDS] = {0};
    world->wall_ms += MAX_TTL + GRACE + MAX_AHEAD;
    rf_store_request_flush(store_of(world));
    finish_jobs(world);
    rf_store_request_compaction(store_of(world));
    finish_jobs(world);
    for (unsigned kind = 0; kind < N_KINDS; kind++) {
        count_rows(world, (enum kind)kind, &live[kind], &dead[kind]);
        for (unsigned k = 0; k < N_KEYS; k++) {
            struct version *newest = NULL;
            check_key(world, (enum kind)kind, k);
            newest = newest_acked(&world->cells[kind][k]);
            expect[kind] += newest != NULL && !is_dead(newest, world->wall_ms);
        }
        demand(world, live[kind] == expect[kind]); /* S59: one row per key */
    }
    demand(world, dead[BOUNDED] == 0 && live[BOUNDED] == 0); /* S60, S61: all of it is gone */
    demand(world, dead[OWN] == 0);
    /* S62: what is not needed is not on the disk either. */
    struct census census = {.world = world};
    for (uint32_t p = 0; p < 4; p++) {
        char dir[64];
        snprintf(dir, sizeof(dir), "/node/p%03u", p);
        (void)world->inner.ops->list(world->inner.context, dir, count_file, &census).rc;
    }
    demand(world, census.table_files == rf_store_stats(store_of(world)).files);
}

static void run_seed(uint64_t seed, struct strategy *strategy, struct world *sum)
{
    struct world *world = calloc(1, sizeof(*world));
    world->seed = seed;
    world->strategy = strategy;
    world->rng.state = seed * 131;
    world->wall_ms = 1000000;
    world->disk = rf_disk_new(seed);
    world->config = small_config(watched_fs(world), "/node");
    world->config.segment_max = 2048;
    world->config.memtable_max = 3000;
    world->config.memtable_total_max = 20000;
    world->config.wal_max = 16000;
    open_world(world);
    for (unsigned life = 0; life < 5; life++) {
        rf_disk_stop_after(world->disk, 1 + below(world, 700));
        for (unsigned i = 0; i < 300 && !rf_disk_stopped(world->disk); i++) {
            do_something(world);
        }
        rf_disk_stop_after(world->disk, 0);
        crash_world(world);
        for (unsigned i = 0; i < N_KINDS * N_KEYS; i++) {
            check_key(world, (enum kind)(i % N_KINDS), i / N_KINDS);
        }
    }
    check_end(world);
    close_world(world);
    sum->crashes += world->crashes;
    sum->flushes += world->flushes;
    sum->merges += world->merges;
    sum->purged += world->purged;
    sum->dropped_files += world->dropped_files;
    rf_disk_free(world->disk);
    free(world);
}

/* ---- The tests ---------------------------------------------------------------------------- */

/* min_merge, max_merge, ratio, purge_percent, space_percent; fanout, table_size, level1_size, level0_files,
 * purge_percent. Small, so that small tables have tiers and levels. */
static struct strategy strategies[] = {
    {.name = "compaction-stl", .options = {2, 6, 200, 20, 100}},
    {.name = "compaction-leveled", .options = {3, 2000, 1500, 2, 20}},
};
#define N_STRATEGIES (sizeof(strategies) / sizeof(strategies[0]))

static struct rf_registry *registry;

static int load(void **state)
{
    char why[512];
    (void)state;
    registry = rf_registry_new(RF_TEST_PLUGINS);
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL); /* jobs fail when the disk stops */
    for (unsigned i = 0; i < N_STRATEGIES; i++) {
        assert_rc_ok(rf_registry_get(registry, RF_KIND_COMPACTION, strategies[i].name,
                                     &strategies[i].plugin, why));
    }
    return 0;
}

static int unload(void **state)
{
    (void)state;
    rf_registry_free(registry);
    return 0;
}

static void random_runs(void **state)
{
    (void)state;
    const char *one = getenv("RINGFORT_SEED");
    const char *many = getenv("RINGFORT_SEEDS");
    uint64_t    first = one == NULL ? 1 : strtoull(one, NULL, 10);
    uint64_t    n = one != NULL ? 1 : many == NULL ? 200 : strtoull(many, NULL, 10);
    for (unsigned i = 0; i < N_STRATEGIES; i++) {
        struct world sum = {0};
        for (uint64_t seed = first; seed < first + n; seed++) {
            run_seed(seed, &strategies[i], &sum);
        }
        printf("%s, %llu seeds: %llu crashes, %llu flushes, %llu merges, %llu rows purged, %llu "
               "files dropped whole\n",
               strategies[i].name, (unsigned long long)n, (unsigned long long)sum.crashes,
               (unsigned long long)sum.flushes, (unsigned long long)sum.merges,
               (unsigned long long)sum.purged, (unsigned long long)sum.dropped_files);
        assert_true(n < 100 || (sum.flushes > n && sum.merges > n && sum.purged > n));
        assert_true(n < 100 || sum.dropped_files > n / 4);
    }
}

/* ---- The rule, and each of its uses, alone ------------------------------------------------ */

/* Goal: a dead row goes exactly when every older version has expired, a tombstone not before its grace
 * period has passed; without max_ttl never (D2, D13, S112). */
static void rule_has_exact_bounds(void **state)
{
    (void)state;
    struct rf_table_policy policy = {
        .max_ttl_ms = 1000, .tombstone_grace_ms = 5000, .max_ahead_ms = 10};
    struct rf_row row = row_of("k", rf_hlc_make(100000, 7), "v");
    assert_false(rf_purge_row(&policy, &row, UINT64_MAX)); /* never expires */
    row.expiry_ms = 100900;
    assert_false(rf_purge_row(&policy, &row, 101010));
    assert_true(rf_purge_row(&policy, &row, 101011));
    row.flags = RF_ROW_MARKER;
    assert_false(rf_purge_row(&policy, &row, 101010));
    assert_true(rf_purge_row(&policy, &row, 101011));
    row.flags = RF_ROW_TOMBSTONE;
    assert_false(rf_purge_row(&policy, &row, 105010));
    assert_true(rf_purge_row(&policy, &row, 105011));
    policy.max_ttl_ms = 0;
    assert_false(rf_purge_row(&policy, &row, UINT64_MAX));
    assert_false(rf_purge_row(&policy, &row, 0));
}

/* Goal: estimates are 0 before the first and all after the last, and grow between. */
static void estimates_grow(void **state)
{
    (void)state;
    struct rf_table_policy policy = {
        .max_ttl_ms = 1000, .tombstone_grace_ms = 10, .max_ahead_ms = 10};
    struct rf_sst_info info = {.rows = 3000,
                               .expiring = 1000,
                               .tombstones = 500,
                               .min_expiry_ms = 2000,
                               .max_expiry_ms = 3000,
                               .min_dead_hlc = rf_hlc_make(5000, 0),
                               .max_dead_hlc = rf_hlc_make(6000, 0)};
    assert_int_equal(1500, rf_purge_immortal_rows(&info));
    assert_int_equal(0, rf_purge_expired_rows(&info, 1999));
    assert_int_equal(250, rf_purge_expired_rows(&info, 2250));
    assert_int_equal(1000, rf_purge_expired_rows(&info, 3000));
    assert_int_equal(0, rf_purge_purgeable_rows(&policy, &info, 0));
    assert_int_equal(0, rf_purge_purgeable_rows(&policy, &info, 6010));
    assert_int_equal(250, rf_purge_purgeable_rows(&policy, &info, 6511));
    assert_int_equal(500, rf_purge_purgeable_rows(&policy, &info, 7011));
    policy.max_ttl_ms = 0;
    assert_int_equal(0, rf_purge_purgeable_rows(&policy, &info, 7011));
}

/* An engine with one partition and one table of max_ttl 1000. */
struct small {
    struct rf_disk        *disk;
    struct rf_engine      *engine;
    struct rf_store       *store;
    struct rf_table_policy policy;
    int64_t                options[8];
};

static void open_small(struct small *small, uint64_t max_ttl_ms)
{
    struct rf_engine_error  error;
    struct rf_engine_config config = small_config(rf_disk_fs(small->disk), "/node");
    config.n_partitions = 1;
    assert_rc_ok(rf_engine_open(&config, &small->engine, &error));
    small->policy.id = TEST_TABLE;
    small->policy.host = rf_registry_host();
    small->policy.max_ttl_ms = max_ttl_ms;
    assert_rc_ok(rf_engine_add_table(small->engine, &small->policy));
    small->store = rf_engine_store(small->engine, 0);
}

static void use_stl(struct small *small, int64_t min_merge)
{
    const int64_t options[5] = {min_merge, 64, 200, 20, 10000};
    memcpy(small->options, options, sizeof(options));
    small->policy.compaction = &strategies[0].plugin->ops.compaction;
    small->policy.compaction_options = small->options;
}

/* Does what is due at this time; returns how many jobs merged or dropped files. */
static uint64_t work(struct small *small, uint64_t wall_ms)
{
    struct rf_store_stats before = rf_store_stats(small->store);
    struct rf_job        *job = NULL;
    rf_store_set_time(small->store, wall_ms);
    while ((job = rf_store_job_begin(small->store)) != NULL) {
        while (!rf_job_step(job)) {
        }
        assert_rc_ok(rf_store_job_end(small->store, job));
    }
    struct rf_store_stats after = rf_store_stats(small->store);
    return after.compactions + after.dropped_files - before.compactions - before.dropped_files;
}

static void put_at(struct small *small, const char *key, uint64_t ms, uint64_t expiry_ms,
                   uint8_t flags)
{
    struct rf_row row = row_of(key, rf_hlc_make(ms, 0), flags != 0 ? "" : "a value of some length");
    row.expiry_ms = expiry_ms;
    row.flags = flags;
    assert_int_equal(RF_STORE_STORED, apply_row(small->store, TEST_TABLE, &row, RF_APPLY_MERGE));
}

static void flush(struct small *small, uint64_t wall_ms)
{
    rf_store_request_flush(small->store);
    (void)work(small, wall_ms);
}

static void close_small(struct small *small)
{
    rf_engine_close(small->engine);
    rf_disk_free(small->disk);
}

/* Goal: a file in which everything has expired goes without being read or written (D2, S60, S62). */
static void whole_file_goes(void **state)
{
    (void)state;
    struct small small = {.disk = rf_disk_new(1)};
    use_stl(&small, 4);
    open_small(&small, 1000);
    put_at(&small, "a", 100000, 100500, 0);
    put_at(&small, "b", 100100, 101100, 0);
    flush(&small, 100200);
    put_at(&small, "c", 200000, 200500, 0);
    flush(&small, 100200);
    assert_int_equal(2, rf_store_stats(small.store).files);
    assert_int_equal(0, work(&small, 101100)); /* expired, but older versions may not have */
    assert_int_equal(1, work(&small, 108000));
    struct rf_store_stats stats = rf_store_stats(small.store);
    assert_int_equal(1, stats.dropped_files);
    assert_int_equal(1, stats.files);
    assert_int_equal(0, stats.compacted_in_bytes + stats.compacted_out_bytes);
    assert_value(small.store, "a", NULL);
    assert_value(small.store, "c", "a value of some length");
    close_small(&small);
}

static int32_t pick_newest(const struct rf_host *host, const void *options,
                           const struct rf_run *runs, uint32_t run_size, uint32_t n_runs,
                           uint32_t *ret_inputs, struct rf_plan *ret_plan)
{
    (void)host;
    (void)options;
    (void)run_size;
    ret_plan->n_inputs = n_runs >= 2 && runs[0].busy == 0 && runs[0].level == 0;
    ret_inputs[0] = 0;
    ret_plan->output_level = 1;
    return RF_PLUGIN_OK;
}

/* Goal: a tombstone stays as long as another file has an older value that never expires, from a time
 * when the table had no max_ttl: neither whole files nor rows go (S114). */
static void immortal_values_keep_tombstones(void **state)
{
    (void)state;
    static const struct rf_compaction_ops newest = {.size = sizeof(newest), .pick = pick_newest};
    struct small                          small = {.disk = rf_disk_new(1)};
    use_stl(&small, 64);
    open_small(&small, 0);
    put_at(&small, "a", 100000, 0, 0);
    flush(&small, 100200);
    rf_engine_close(small.engine);
    open_small(&small, 1000);
    put_at(&small, "a", 100001, 0, RF_ROW_TOMBSTONE);
    flush(&small, 100200);
    assert_int_equal(0, work(&small, 900000)); /* neither dropped nor rewritten for nothing */
    assert_int_equal(2, rf_store_stats(small.store).files);
    rf_engine_close(small.engine);
    small.policy.compaction = &newest;
    open_small(&small, 1000);
    assert_int_equal(1, work(&small, 950000));
    struct rf_store_done done = read_key(small.store, TEST_TABLE, rf_slice_str("a"));
    assert_int_equal(RF_STORE_FOUND, done.status);
    assert_int_equal(RF_ROW_TOMBSTONE, done.row.flags);
    rf_blob_drop(done.row.blob);
    close_small(&small);
}

/* Goal: with each strategy a file of which a fifth has expired is rewritten alone, once, and gets
 * smaller; before that it is left alone. Method: no writes, only the clock (S60, S62, D2). */
static void expired_values_go_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < N_STRATEGIES; i++) {
        struct small small = {.disk = rf_disk_new(1)};
        use_stl(&small, 4);
        if (i == 1) {
            const int64_t options[5] = {10, 64 << 20, 16 << 20, 4, 20};
            memcpy(small.options, options, sizeof(options));
            small.policy.compaction = &strategies[1].plugin->ops.compaction;
        }
        open_small(&small, 0);
        for (unsigned k = 0; k < 100; k++) {
            char key[16];
            snprintf(key, sizeof(key), "key%u", k);
            put_at(&small, key, 100000, 200000 + 1000 * k, 0);
        }
        flush(&small, 100200);
        uint64_t bytes = rf_store_stats(small.store).file_bytes;
        assert_int_equal(0, work(&small, 215000));
        assert_int_equal(1, work(&small, 225000));
        assert_int_equal(0, work(&small, 235000));
        struct rf_store_stats stats = rf_store_stats(small.store);
        assert_int_equal(1, stats.files);
        assert_in_range(stats.expired_values, 20, 30);
        assert_true(stats.file_bytes < bytes - 20 * 20);
        assert_value(small.store, "key99", "a value of some length");
        close_small(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rule_has_exact_bounds),
                                       cmocka_unit_test(estimates_grow),
                                       cmocka_unit_test(whole_file_goes),
                                       cmocka_unit_test(immortal_values_keep_tombstones),
                                       cmocka_unit_test(expired_values_go_alone),
                                       cmocka_unit_test(random_runs)};
    return cmocka_run_group_tests(tests, load, unload);
}
