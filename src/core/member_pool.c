#include "core/member_pool.h"

#include "base/hash.h"
#include "base/mem.h"
#include "core/control_private.h"

#define N_BUCKETS 1024u /* at most RF_MEMBERS_MAX members: chains of 4 */

struct rf_member_pool {
    struct rf_shared_member *buckets[N_BUCKETS];
    uint64_t                 n;
};

struct rf_member_pool *rf_member_pool_new(void)
{
    return RF_NEW(struct rf_member_pool);
}

void rf_member_pool_free(struct rf_member_pool *pool)
{
    rf_assert(pool == NULL || pool->n == 0);
    rf_mem_free(pool);
}

uint64_t rf_member_name_hash(const char *name)
{
    return rf_hash64(rf_slice_str(name), 0);
}

static bool members_equal(const struct rf_member *a, const struct rf_member *b)
{
    return a->node == b->node && a->generation == b->generation && a->version == b->version &&
           a->state == b->state && a->vnodes == b->vnodes && strcmp(a->name, b->name) == 0 &&
           strcmp(a->rack, b->rack) == 0 && strcmp(a->peer_addr, b->peer_addr) == 0 &&
           strcmp(a->client_addr, b->client_addr) == 0;
}

struct rf_shared_member *rf_member_pool_take(struct rf_member_pool  *pool,
                                             const struct rf_member *member)
{
    uint64_t                  hash = rf_member_hash(member);
    struct rf_shared_member **bucket = &pool->buckets[hash % N_BUCKETS];
    for (struct rf_shared_member *at = *bucket; at != NULL; at = at->next) {
        if (at->hash == hash && members_equal(&at->member, member)) {
            at->refs++;
            return at;
        }
    }
    struct rf_shared_member *shared = RF_NEW(struct rf_shared_member);
    if (shared == NULL) {
        return NULL;
    }
    shared->member = *member;
    shared->hash = hash;
    shared->name_hash = rf_member_name_hash(member->name);
    shared->refs = 1;
    shared->next = *bucket;
    *bucket = shared;
    pool->n++;
    return shared;
}

void rf_member_pool_drop(struct rf_member_pool *pool, struct rf_shared_member *shared)
{
    if (shared == NULL) {
        return;
    }
    rf_assert(shared->refs != 0);
    if (--shared->refs != 0) {
        return;
    }
    struct rf_shared_member **link = &pool->buckets[shared->hash % N_BUCKETS];
    while (*link != shared) {
        rf_assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = shared->next;
    pool->n--;
    rf_mem_free(shared);
}
