/* Immutable member entries, shared by reference count: equal members are one object. A control
 * machine keeps pointers (1,200 members: 75 KB instead of 480 KB), and the simulator lets all its
 * control machines share one pool. Thread: one for a pool. Blocks: no. */
#ifndef RF_CORE_MEMBER_POOL_H
#define RF_CORE_MEMBER_POOL_H

#include "base/rc.h"
#include "ring/member.h"

struct rf_member_pool;

struct rf_shared_member {
    struct rf_member         member;
    uint64_t                 hash;      /* of the whole entry: summed up in a set's hash */
    uint64_t                 name_hash; /* how digests name it */
    uint32_t                 refs;
    struct rf_shared_member *next; /* in its bucket */
};

/* NULL without memory. */
struct rf_member_pool *rf_member_pool_new(void);
/* Every reference must have been dropped. NULL is allowed. */
void rf_member_pool_free(struct rf_member_pool *pool);

/* The object equal to the member, with one more reference; NULL without memory. */
struct rf_shared_member *rf_member_pool_take(struct rf_member_pool  *pool,
                                             const struct rf_member *member);
void rf_member_pool_drop(struct rf_member_pool *pool, struct rf_shared_member *shared);

uint64_t rf_member_name_hash(const char *name);

#endif
