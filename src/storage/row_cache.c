#include "storage/row_cache.h"

#include "base/assert.h"
#include "base/mem.h"

#define CACHE_MAGIC 0x52574341u
#define BUCKETS_MIN 64u
#define ROW_GUESS 128u          /* bytes of a small row: how many counters are worth having */
#define SKETCH_MAX (64u * 1024) /* words of 16 counters; halving them all takes some 50 µs */
#define COUNTER_MAX 15u
#define ONES 0x1111111111111111u /* the lowest bit of each counter */

struct entry {
    struct entry *next;          /* in its bucket */
    struct entry *newer, *older; /* in order of coming */
    uint64_t      token;
    uint64_t      seq;
    struct rf_row row; /* holds a blob reference */
    bool          hit; /* since the hand passed */
};

struct rf_row_cache {
    uint32_t       magic;
    struct entry **buckets;
    uint64_t       n_buckets; /* a power of two */
    struct entry  *newest, *oldest;
    struct entry
             *hand;   /* where the search for a victim goes on, towards newer ones; NULL: oldest */
    uint64_t *sketch; /* 16 counters of 4 bits per word */
    uint64_t  n_words;
    uint64_t  counted; /* since the counters were halved */
    size_t    max_bytes;
    struct rf_row_cache_stats stats;
};

/* ---- The sketch: how often was a key asked for lately? ------------------------------------- */

/* The shift of the key's counter in its word for one of the four rows. */
static uint64_t *counter_of(const struct rf_row_cache *cache, uint64_t token, unsigned row,
                            unsigned *ret_shift)
{
    static const uint64_t seeds[4] = {0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u,
                                      0xd6e8feb86659fd93u};
    uint64_t              hash = (token ^ token >> 32) * seeds[row];
    *ret_shift =
        (unsigned)(row * 4 + (hash >> 62)) * 4; /* four of the word's counters are its row's */
    return &cache->sketch[(hash >> 20) & (cache->n_words - 1)];
}

static unsigned frequency_of(const struct rf_row_cache *cache, uint64_t token)
{
    unsigned lowest = COUNTER_MAX;
    for (unsigned row = 0; row < 4; row++) {
        unsigned        shift = 0;
        const uint64_t *word = counter_of(cache, token, row, &shift);
        unsigned        count = (unsigned)(*word >> shift) & COUNTER_MAX;
        lowest = count < lowest ? count : lowest;
    }
    return lowest;
}

static void count_key(struct rf_row_cache *cache, uint64_t token)
{
    for (unsigned row = 0; row < 4; row++) {
        unsigned  shift = 0;
        uint64_t *word = counter_of(cache, token, row, &shift);
        if ((*word >> shift & COUNTER_MAX) != COUNTER_MAX) {
            *word += 1ull << shift;
        }
    }
    if (++cache->counted >= cache->n_words * 10) { /* the past counts half */
        for (uint64_t i = 0; i < cache->n_words; i++) {
            cache->sketch[i] = cache->sketch[i] >> 1 & (ONES * 7);
        }
        cache->counted /= 2;
    }
}

/* ---- Entries ------------------------------------------------------------------------------ */

static size_t cost_of(const struct rf_row *row)
{
    /* With the two pointers of a bucket, and what malloc adds to two pieces of memory. */
    return sizeof(struct entry) + sizeof(struct rf_blob) + row->blob->size + 48;
}

static struct entry **bucket_of(const struct rf_row_cache *cache, uint64_t token)
{
    /* All tokens of a shard have some low bits in common, those of a node some high ones. */
    return &cache->buckets[(token * 0x9e3779b97f4a7c15u >> 32) & (cache->n_buckets - 1)];
}

/* The link that points to the key's entry, or the end of its bucket. */
static struct entry **find(const struct rf_row_cache *cache, uint64_t token, struct rf_slice key)
{
    struct entry **at = bucket_of(cache, token);
    while (*at != NULL && ((*at)->token != token || !rf_slice_eq((*at)->row.key, key))) {
        at = &(*at)->next;
    }
    return at;
}

static void remove_at(struct rf_row_cache *cache, struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    if (cache->hand == entry) {
        cache->hand = entry->newer;
    }
    if (entry->newer != NULL) {
        entry->newer->older = entry->older;
    } else {
        cache->newest = entry->older;
    }
    if (entry->older != NULL) {
        entry->older->newer = entry->newer;
    } else {
        cache->oldest = entry->newer;
    }
    cache->stats.bytes -= cost_of(&entry->row);
    cache->stats.rows--;
    rf_blob_drop(entry->row.blob);
    rf_mem_free(entry);
}

/* Without memory the buckets stay as they are, and get longer. */
static void grow(struct rf_row_cache *cache)
{
    uint64_t       n = cache->n_buckets * 2;
    struct entry **buckets = RF_NEW_ARRAY(struct entry *, n);
    if (buckets == NULL) {
        return;
    }
    rf_mem_free(cache->buckets);
    cache->stats.bytes += (n - cache->n_buckets) * sizeof(*buckets);
    cache->buckets = buckets;
    cache->n_buckets = n;
    for (struct entry *entry = cache->oldest; entry != NULL; entry = entry->newer) {
        struct entry **bucket = bucket_of(cache, entry->token);
        entry->next = *bucket;
        *bucket = entry;
    }
}

static void insert(struct rf_row_cache *cache, uint64_t token, const struct rf_row *row,
                   uint64_t seq)
{
    struct entry *entry = RF_NEW(struct entry);
    if (entry == NULL) {
        return;
    }
    struct entry **bucket = bucket_of(cache, token);
    *entry = (struct entry){
        .next = *bucket, .older = cache->newest, .token = token, .seq = seq, .row = *row};
    rf_blob_take(row->blob);
    *bucket = entry;
    if (cache->newest != NULL) {
        cache->newest->newer = entry;
    } else {
        cache->oldest = entry;
    }
    cache->newest = entry;
    cache->stats.bytes += cost_of(row);
    cache->stats.rows++;
    cache->stats.admitted++;
    if (cache->stats.rows > cache->n_buckets) {
        grow(cache);
    }
}

/* The row that would go next. */
static struct entry *choose_victim(struct rf_row_cache *cache)
{
    struct entry *entry = cache->hand != NULL ? cache->hand : cache->oldest;
    while (entry != NULL && entry->hit) { /* at most once around, and once more */
        entry->hit = false;
        entry = entry->newer != NULL ? entry->newer : cache->oldest;
    }
    cache->hand = entry;
    return entry;
}

/* ---- Interface ---------------------------------------------------------------------------- */

struct rf_row_cache *rf_row_cache_new(size_t max_bytes)
{
    struct rf_row_cache *cache = RF_NEW(struct rf_row_cache);
    rf_assert(max_bytes >= 64u * 1024);
    if (cache == NULL) {
        return NULL;
    }
    cache->magic = CACHE_MAGIC;
    cache->max_bytes = max_bytes;
    cache->n_buckets = BUCKETS_MIN;
    cache->n_words = 64;
    while (cache->n_words < SKETCH_MAX && cache->n_words * ROW_GUESS < max_bytes) {
        cache->n_words *= 2;
    }
    cache->buckets = RF_NEW_ARRAY(struct entry *, cache->n_buckets);
    cache->sketch = RF_NEW_ARRAY(uint64_t, cache->n_words);
    if (cache->buckets == NULL || cache->sketch == NULL) {
        rf_row_cache_free(cache);
        return NULL;
    }
    cache->stats.bytes = sizeof(*cache) + cache->n_buckets * sizeof(*cache->buckets) +
                         cache->n_words * sizeof(*cache->sketch);
    return cache;
}

void rf_row_cache_clear(struct rf_row_cache *cache)
{
    cache->stats.removed += cache->stats.rows;
    while (cache->oldest != NULL) {
        remove_at(cache, find(cache, cache->oldest->token, cache->oldest->row.key));
    }
}

void rf_row_cache_free(struct rf_row_cache *cache)
{
    if (cache != NULL) {
        rf_row_cache_clear(cache);
        rf_mem_free(cache->buckets);
        rf_mem_free(cache->sketch);
        cache->magic = 0;
        rf_mem_free(cache);
    }
}

bool rf_row_cache_get(struct rf_row_cache *cache, uint64_t token, struct rf_slice key,
                      uint64_t wall_ms, struct rf_row *ret_row, uint64_t *ret_seq)
{
    rf_assert(cache->magic == CACHE_MAGIC);
    struct entry **at = find(cache, token, key);
    struct entry  *entry = *at;
    count_key(cache, token);
    if (entry != NULL && entry->row.expiry_ms != 0 && entry->row.expiry_ms <= wall_ms) {
        remove_at(cache, at);
        cache->stats.removed++;
        entry = NULL;
    }
    cache->stats.hits += entry != NULL;
    cache->stats.misses += entry == NULL;
    if (entry == NULL) {
        return false;
    }
    entry->hit = true;
    *ret_row = entry->row;
    *ret_seq = entry->seq;
    return true;
}

void rf_row_cache_offer(struct rf_row_cache *cache, uint64_t token, const struct rf_row *row,
                        uint64_t seq)
{
    rf_assert(cache->magic == CACHE_MAGIC);
    rf_assert(row->blob != NULL);
    rf_slow_assert(*find(cache, token, row->key) == NULL);
    size_t   cost = cost_of(row);
    unsigned frequency = frequency_of(cache, token);
    bool     fits = cost <= cache->max_bytes / 8; /* one row must not drive out all others */
    while (fits && cache->stats.bytes + cost > cache->max_bytes) {
        struct entry *victim = choose_victim(cache);
        fits = victim != NULL && frequency_of(cache, victim->token) < frequency;
        if (fits) {
            remove_at(cache, find(cache, victim->token, victim->row.key));
            cache->stats.evicted++;
        }
    }
    if (fits) {
        insert(cache, token, row, seq);
    } else {
        cache->stats.refused++;
    }
}

bool rf_row_cache_has(const struct rf_row_cache *cache, uint64_t token, struct rf_slice key)
{
    return *find(cache, token, key) != NULL;
}

void rf_row_cache_remove(struct rf_row_cache *cache, uint64_t token, struct rf_slice key)
{
    rf_assert(cache->magic == CACHE_MAGIC);
    struct entry **at = find(cache, token, key);
    if (*at != NULL) {
        remove_at(cache, at);
        cache->stats.removed++;
    }
}

struct rf_row_cache_stats rf_row_cache_stats(const struct rf_row_cache *cache)
{
    return cache->stats;
}
