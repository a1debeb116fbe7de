/* LMDB: a B+ tree in a mapped file, without log, compression, filters or checksums. */
#include <lmdb.h>
#include <sys/stat.h>

#include "engine.h"

struct lmdb {
    MDB_env *env;
    MDB_dbi  dbi;
    MDB_txn *read;
};

static void must(int rc)
{
    bench_check(rc != 0, "lmdb", mdb_strerror(rc));
}

static void *lmdb_open(const struct bench_settings *settings)
{
    struct lmdb *lmdb = RF_NEW(struct lmdb);
    MDB_txn     *txn = NULL;
    mkdir(settings->dir, 0750);
    must(mdb_env_create(&lmdb->env));
    must(mdb_env_set_mapsize(lmdb->env, settings->map_size));
    must(mdb_env_open(lmdb->env, settings->dir,
                      MDB_NORDAHEAD | (settings->synced ? 0u : MDB_NOSYNC), 0640));
    must(mdb_txn_begin(lmdb->env, NULL, 0, &txn));
    must(mdb_dbi_open(txn, NULL, 0, &lmdb->dbi));
    must(mdb_txn_commit(txn));
    must(mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &lmdb->read));
    mdb_txn_reset(lmdb->read);
    return lmdb;
}

static void lmdb_put(void *self, const char key[BENCH_KEY], struct rf_slice value)
{
    struct lmdb *lmdb = self;
    MDB_txn     *txn = NULL;
    MDB_val      k = {BENCH_KEY, (void *)(uintptr_t)key};
    MDB_val      v = {value.size, (void *)(uintptr_t)value.data};
    must(mdb_txn_begin(lmdb->env, NULL, 0, &txn));
    must(mdb_put(txn, lmdb->dbi, &k, &v, 0));
    must(mdb_txn_commit(txn));
}

static bool lmdb_get(void *self, const char key[BENCH_KEY], size_t value_bytes)
{
    struct lmdb *lmdb = self;
    char         copy[65536];
    MDB_val      k = {BENCH_KEY, (void *)(uintptr_t)key};
    MDB_val      v;
    must(mdb_txn_renew(lmdb->read));
    int rc = mdb_get(lmdb->read, lmdb->dbi, &k, &v);
    if (rc == 0) {
        rf_assert(v.mv_size == value_bytes);
        memcpy(copy, v.mv_data, v.mv_size); /* as the others: the caller's from here on */
    }
    mdb_txn_reset(lmdb->read);
    rf_assert(rc == 0 || rc == MDB_NOTFOUND);
    return rc == 0;
}

static void lmdb_settle(void *self)
{
    struct lmdb *lmdb = self;
    must(mdb_env_sync(lmdb->env, 1));
}

static void lmdb_close(void *self)
{
    struct lmdb *lmdb = self;
    mdb_txn_abort(lmdb->read);
    mdb_env_close(lmdb->env);
    rf_mem_free(lmdb);
}

const struct bench_system bench_lmdb = {
    .name = "lmdb",
    .open = lmdb_open,
    .put = lmdb_put,
    .get = lmdb_get,
    .settle = lmdb_settle,
    .close = lmdb_close,
};
