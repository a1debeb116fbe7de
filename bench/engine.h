/* What the engine bench measures, and what a measured system offers for it. One process per system
 * and scenario, forked by engine.c, so that memory and written bytes are the system's own. */
#ifndef RF_BENCH_ENGINE_H
#define RF_BENCH_ENGINE_H

#include "base/assert.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "base/mem.h"
#include "base/rng.h"

#define BENCH_KEY 16u     /* bytes */
#define BENCH_WRITERS 16u /* of put-sync-16 */

/* The settings that all systems get: LZ4, filter of 10 bits per key, checksums verified, logging. */
struct bench_settings {
    const char *dir;
    const char *plugins;     /* directory of Ringfort's */
    uint64_t    memtable;    /* bytes; a system holds two of them at most */
    uint64_t    block_cache; /* bytes, of those that have one */
    uint64_t    map_size;    /* bytes, LMDB's */
    bool        synced;      /* every write waits for the disk */
    bool        clustered;   /* tokens from 770 ranges that cover 0.24 % of the ring (Ringfort) */
};

/* One measured system. `open` returns its handle or ends the process with a message. */
struct bench_system {
    const char *name;
    bool        clustered;
    void *(*open)(const struct bench_settings *settings);
    /* One row. Thread: one, except in a `threads` system, where any. */
    void (*put)(void *self, const char key[BENCH_KEY], struct rf_slice value);
    /* As `put`, back when the row is on disk; NULL: `put` does that itself when settings say so. */
    void (*put_synced)(void *self, const char key[BENCH_KEY], struct rf_slice value);
    /* Was it there? Checks the value's size when it was. */
    bool (*get)(void *self, const char key[BENCH_KEY], size_t value_bytes);
    /* Waits until all is written and no background work is left. */
    void (*settle)(void *self);
    /* Waits until every put so far is done as the settings want it. May be NULL. */
    void (*drain)(void *self);
    /* 16 writers at once, each waiting for its own write; NULL: threads that call `put`. */
    void (*put_many)(void *self, uint64_t n, void (*key_of)(uint64_t number, char *key),
                     struct rf_slice value, struct rf_histogram *latency_ns);
    void (*close)(void *self);
};

extern const struct bench_system bench_ringfort, bench_ringfort_clustered, bench_rocksdb,
    bench_leveldb, bench_lmdb;

/* Ends the process when `bad`. */
void bench_check(bool bad, const char *system, const char *why);

#endif
