/* RocksDB, through its C API. */
#include <rocksdb/c.h>
#include <unistd.h>

#include "engine.h"

struct rocks {
    rocksdb_t              *db;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t  *read;
};

static void must(char *error)
{
    bench_check(error != NULL, "rocksdb", error);
}

static void *rocks_open(const struct bench_settings *settings)
{
    char                                *error = NULL;
    struct rocks                        *rocks = RF_NEW(struct rocks);
    rocksdb_options_t                   *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, settings->memtable);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_checksum(table, 4); /* kXXH3 */
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_cache(table,
                                                rocksdb_cache_create_lru(settings->block_cache));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocks->db = rocksdb_open(options, settings->dir, &error);
    must(error);
    rocks->write = rocksdb_writeoptions_create();
    rocks->read = rocksdb_readoptions_create();
    rocksdb_writeoptions_set_sync(rocks->write, settings->synced);
    rocksdb_readoptions_set_verify_checksums(rocks->read, 1);
    return rocks;
}

static void rocks_put(void *self, const char key[BENCH_KEY], struct rf_slice value)
{
    struct rocks *rocks = self;
    char         *error = NULL;
    rocksdb_put(rocks->db, rocks->write, key, BENCH_KEY, (const char *)value.data, value.size,
                &error);
    must(error);
}

static bool rocks_get(void *self, const char key[BENCH_KEY], size_t value_bytes)
{
    struct rocks *rocks = self;
    char         *error = NULL;
    size_t        size = 0;
    char         *value = rocksdb_get(rocks->db, rocks->read, key, BENCH_KEY, &size, &error);
    must(error);
    rf_assert(value == NULL || size == value_bytes);
    rocksdb_free(value);
    return value != NULL;
}

static uint64_t property(struct rocks *rocks, const char *name)
{
    uint64_t value = 0;
    rf_assert(rocksdb_property_int(rocks->db, name, &value) == 0);
    return value;
}

static void rocks_settle(void *self)
{
    struct rocks           *rocks = self;
    char                   *error = NULL;
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flush, 1);
    rocksdb_flush(rocks->db, flush, &error);
    must(error);
    rocksdb_flushoptions_destroy(flush);
    while (property(rocks, "rocksdb.compaction-pending") != 0 ||
           property(rocks, "rocksdb.num-running-compactions") != 0) {
        usleep(10000);
    }
}

static void rocks_close(void *self)
{
    struct rocks *rocks = self;
    rocksdb_close(rocks->db);
    rf_mem_free(rocks);
}

const struct bench_system bench_rocksdb = {
    .name = "rocksdb",
    .open = rocks_open,
    .put = rocks_put,
    .get = rocks_get,
    .settle = rocks_settle,
    .close = rocks_close,
};
