/* LevelDB, through its C API. Debian's is built with Snappy, the only compression that it has. */
#include <leveldb/c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

struct level {
    leveldb_t              *db;
    leveldb_writeoptions_t *write;
    leveldb_readoptions_t  *read;
};

static void must(char *error)
{
    bench_check(error != NULL, "leveldb", error);
}

static void *level_open(const struct bench_settings *settings)
{
    char              *error = NULL;
    struct level      *level = RF_NEW(struct level);
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_create_if_missing(options, 1);
    leveldb_options_set_write_buffer_size(options, settings->memtable);
    leveldb_options_set_compression(options, leveldb_snappy_compression);
    leveldb_options_set_filter_policy(options, leveldb_filterpolicy_create_bloom(10));
    leveldb_options_set_cache(options, leveldb_cache_create_lru(settings->block_cache));
    level->db = leveldb_open(options, settings->dir, &error);
    must(error);
    level->write = leveldb_writeoptions_create();
    level->read = leveldb_readoptions_create();
    leveldb_writeoptions_set_sync(level->write, settings->synced);
    leveldb_readoptions_set_verify_checksums(level->read, 1);
    return level;
}

static void level_put(void *self, const char key[BENCH_KEY], struct rf_slice value)
{
    struct level *level = self;
    char         *error = NULL;
    leveldb_put(level->db, level->write, key, BENCH_KEY, (const char *)value.data, value.size,
                &error);
    must(error);
}

static bool level_get(void *self, const char key[BENCH_KEY], size_t value_bytes)
{
    struct level *level = self;
    char         *error = NULL;
    size_t        size = 0;
    char         *value = leveldb_get(level->db, level->read, key, BENCH_KEY, &size, &error);
    must(error);
    rf_assert(value == NULL || size == value_bytes);
    leveldb_free(value);
    return value != NULL;
}

/* It tells neither of its flushes nor of its compactions: settled is when a second brought no change
 * of its files. Nothing asks for a flush but a compaction of a range. */
static void level_settle(void *self)
{
    struct level *level = self;
    char         *before = strdup("");
    leveldb_compact_range(level->db, "~", 1, "~~", 2); /* flushes the memtable; no such keys */
    for (;;) {
        char *now = leveldb_property_value(level->db, "leveldb.sstables");
        bool  same = strcmp(before, now) == 0;
        free(before);
        before = now;
        if (same) {
            break;
        }
        usleep(1000000);
    }
    free(before);
}

static void level_close(void *self)
{
    struct level *level = self;
    leveldb_close(level->db);
    rf_mem_free(level);
}

const struct bench_system bench_leveldb = {
    .name = "leveldb",
    .open = level_open,
    .put = level_put,
    .get = level_get,
    .settle = level_settle,
    .close = level_close,
};
