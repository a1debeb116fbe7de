#include "ring/ring.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#define RING_MAGIC 0x52494e47u
#define GRID_MASK 0xffffffff00000000u /* vnode tokens are multiples of 2^32 */
#define START_BITS_MAX 20u
#define FIRST_VIEW 8u /* candidates shown first; doubled while a plugin wants more */

uint64_t rf_ring_token(uint64_t seed, struct rf_slice key)
{
    return rf_hash64(key, seed);
}

static uint64_t vnode_token(uint64_t seed, const struct rf_member *member, uint16_t vnode)
{
    uint8_t bytes[RF_NAME_MAX + 3];
    size_t  n = strlen(member->name);
    rf_assert(n <= RF_NAME_MAX);
    memcpy(bytes, member->name, n);
    bytes[n] = 0; /* separates the name from the number */
    bytes[n + 1] = (uint8_t)vnode;
    bytes[n + 2] = (uint8_t)(vnode >> 8);
    return rf_hash64(rf_slice(bytes, n + 3), seed) & GRID_MASK;
}

struct rf_ring *rf_ring_take(struct rf_ring *ring)
{
    rf_assert(ring->magic == RING_MAGIC);
    atomic_fetch_add_explicit(&ring->refs, 1, memory_order_relaxed);
    return ring;
}

void rf_ring_drop(struct rf_ring *ring)
{
    if (ring == NULL) {
        return;
    }
    rf_assert(ring->magic == RING_MAGIC);
    if (atomic_fetch_sub_explicit(&ring->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    ring->magic = 0;
    rf_mem_free(ring->members);
    rf_mem_free(ring->tokens);
    rf_mem_free(ring->owners);
    rf_mem_free(ring->starts);
    rf_mem_free(ring->by_node);
    rf_mem_free(ring);
}

/* Heap sort, in place and without recursion: the C library's qsort may allocate, and the core
 * library must not import it. 1,200 members or 307,200 tokens: 60 ms at most, on a ring change. */
struct sorter {
    void *context;
    bool (*less)(void *context, uint32_t a, uint32_t b);
    void (*swap)(void *context, uint32_t a, uint32_t b);
};

static void sift_down(const struct sorter *sorter, uint32_t root, uint32_t end)
{
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= end) {
            return;
        }
        if (child + 1 < end && sorter->less(sorter->context, child, child + 1)) {
            child++;
        }
        if (!sorter->less(sorter->context, root, child)) {
            return;
        }
        sorter->swap(sorter->context, root, child);
        root = child;
    }
}

static void sort_rows(const struct sorter *sorter, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;) {
        sift_down(sorter, i, n);
    }
    for (uint32_t end = n; end > 1; end--) {
        sorter->swap(sorter->context, 0, end - 1);
        sift_down(sorter, 0, end - 1);
    }
}

static bool member_less(void *context, uint32_t a, uint32_t b)
{
    const struct rf_ring *ring = context;
    return strcmp(ring->members[a].name, ring->members[b].name) < 0;
}

static void member_swap(void *context, uint32_t a, uint32_t b)
{
    struct rf_ring  *ring = context;
    struct rf_member keep = ring->members[a];
    ring->members[a] = ring->members[b];
    ring->members[b] = keep;
}

static bool token_less(void *context, uint32_t a, uint32_t b)
{
    const struct rf_ring *ring = context;
    if (ring->tokens[a] != ring->tokens[b]) {
        return ring->tokens[a] < ring->tokens[b];
    }
    return ring->members[ring->owners[a]].node < ring->members[ring->owners[b]].node;
}

static void token_swap(void *context, uint32_t a, uint32_t b)
{
    struct rf_ring *ring = context;
    uint64_t        token = ring->tokens[a];
    uint16_t        owner = ring->owners[a];
    ring->tokens[a] = ring->tokens[b];
    ring->owners[a] = ring->owners[b];
    ring->tokens[b] = token;
    ring->owners[b] = owner;
}

static void fill_tokens(struct rf_ring *ring)
{
    uint32_t at = 0;
    for (uint32_t m = 0; m < ring->n_members; m++) {
        if (ring->members[m].state != RF_MEMBER_NORMAL) {
            continue;
        }
        for (uint16_t v = 0; v < ring->members[m].vnodes; v++) {
            ring->tokens[at] = vnode_token(ring->seed, &ring->members[m], v);
            ring->owners[at] = (uint16_t)m;
            at++;
        }
    }
    rf_assert(at == ring->n_tokens);
    sort_rows(&(struct sorter){ring, token_less, token_swap}, ring->n_tokens);
}

/* A radix table over the top bits of tokens: a look-up starts next to its answer. */
static void fill_starts(struct rf_ring *ring)
{
    uint32_t n_starts = 1u << (64 - ring->shift);
    uint32_t position = 0;
    for (uint32_t i = 0; i < n_starts; i++) {
        while (position < ring->n_tokens && ring->tokens[position] >> ring->shift < i) {
            position++;
        }
        ring->starts[i] = position;
    }
    ring->starts[n_starts] = ring->n_tokens;
}

static bool node_less(void *context, uint32_t a, uint32_t b)
{
    const struct rf_ring *ring = context;
    return ring->members[ring->by_node[a]].node < ring->members[ring->by_node[b]].node;
}

static void node_swap(void *context, uint32_t a, uint32_t b)
{
    struct rf_ring *ring = context;
    uint16_t        keep = ring->by_node[a];
    ring->by_node[a] = ring->by_node[b];
    ring->by_node[b] = keep;
}

static void fill_by_node(struct rf_ring *ring)
{
    for (uint32_t m = 0; m < ring->n_members; m++) {
        ring->by_node[m] = (uint16_t)m;
    }
    sort_rows(&(struct sorter){ring, node_less, node_swap}, ring->n_members);
}

static uint64_t ring_digest(const struct rf_ring *ring)
{
    uint64_t digest = ring->seed;
    for (uint32_t m = 0; m < ring->n_members; m++) {
        const struct rf_member *member = &ring->members[m];
        uint64_t                facts[3] = {member->node, member->state, member->vnodes};
        digest = rf_hash64(rf_slice_str(member->name), digest);
        digest = rf_hash64(rf_slice(facts, sizeof(facts)), digest);
    }
    return digest;
}

struct rf_result rf_ring_build(const struct rf_member *members, uint32_t n_members, uint64_t seed,
                               struct rf_ring **ret_ring)
{
    if (n_members == 0 || n_members > RF_MEMBERS_MAX) {
        return rf_result(RF_LIMIT);
    }
    struct rf_ring *ring = RF_NEW(struct rf_ring);
    if (ring == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    ring->magic = RING_MAGIC;
    atomic_init(&ring->refs, 1);
    ring->seed = seed;
    ring->n_members = n_members;
    for (uint32_t m = 0; m < n_members; m++) {
        if (members[m].state == RF_MEMBER_NORMAL) {
            ring->n_owners++;
            ring->n_tokens += members[m].vnodes;
        }
    }
    ring->members = RF_NEW_ARRAY(struct rf_member, n_members);
    ring->tokens = RF_NEW_ARRAY(uint64_t, ring->n_tokens + 1);
    ring->owners = RF_NEW_ARRAY(uint16_t, ring->n_tokens + 1);
    ring->by_node = RF_NEW_ARRAY(uint16_t, n_members);
    ring->shift = 63;
    while (ring->shift > 64 - START_BITS_MAX && ring->n_tokens >> (64 - ring->shift) > 1) {
        ring->shift--;
    }
    ring->starts = RF_NEW_ARRAY(uint32_t, (1u << (64 - ring->shift)) + 1);
    if (ring->members == NULL || ring->tokens == NULL || ring->owners == NULL ||
        ring->by_node == NULL || ring->starts == NULL) {
        rf_ring_drop(ring);
        return rf_result(RF_NO_MEMORY);
    }
    memcpy(ring->members, members, sizeof(*members) * n_members);
    sort_rows(&(struct sorter){ring, member_less, member_swap}, n_members);
    fill_tokens(ring);
    fill_starts(ring);
    fill_by_node(ring);
    ring->digest = ring_digest(ring);
    *ret_ring = ring;
    return rf_result(RF_OK);
}

uint32_t rf_ring_find(const struct rf_ring *ring, uint64_t token)
{
    rf_assert(ring->magic == RING_MAGIC);
    rf_assert(ring->n_tokens != 0);
    uint64_t start = token >> ring->shift;
    uint32_t low = ring->starts[start];
    uint32_t high = ring->starts[start + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ring->tokens[middle] > token) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low == ring->n_tokens ? 0 : low;
}

uint32_t rf_ring_walk(const struct rf_ring *ring, uint32_t position, uint16_t *ret_members,
                      uint32_t max)
{
    uint8_t  seen[RF_MEMBERS_MAX / 8] = {0};
    uint32_t n = 0;
    uint32_t wanted = max < ring->n_owners ? max : ring->n_owners;
    for (uint32_t step = 0; n < wanted && step < ring->n_tokens; step++) {
        uint16_t owner = ring->owners[position];
        if ((seen[owner / 8] >> (owner % 8) & 1) == 0) {
            seen[owner / 8] |= (uint8_t)(1u << (owner % 8));
            ret_members[n++] = owner;
        }
        position = position + 1 == ring->n_tokens ? 0 : position + 1;
    }
    return n;
}

uint16_t rf_ring_by_node(const struct rf_ring *ring, uint64_t node)
{
    uint32_t low = 0;
    uint32_t high = ring->n_members;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint64_t at = ring->members[ring->by_node[middle]].node;
        if (at == node) {
            return ring->by_node[middle];
        }
        if (at < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return RF_NO_MEMBER;
}

uint16_t rf_ring_by_name(const struct rf_ring *ring, const char *name)
{
    uint32_t low = 0;
    uint32_t high = ring->n_members;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int      c = strcmp(ring->members[middle].name, name);
        if (c == 0) {
            return (uint16_t)middle;
        }
        if (c < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return RF_NO_MEMBER;
}

/* Room for what one `choose` call sees and says. */
struct placing {
    const struct rf_ring          *ring;
    const struct rf_host          *host;
    const struct rf_placement_ops *ops;
    const void                    *options;
    uint32_t                       n;
    uint16_t                      *walked;
    struct rf_candidate           *candidates;
    uint32_t                      *chosen;
};

static bool chosen_valid(const struct placing *placing, uint32_t n_seen)
{
    for (uint32_t i = 0; i < placing->n; i++) {
        if (placing->chosen[i] >= n_seen) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (placing->chosen[i] == placing->chosen[j]) {
                return false;
            }
        }
    }
    return true;
}

static struct rf_result place_one(const struct placing *placing, uint32_t position,
                                  uint16_t *ret_replicas)
{
    const struct rf_ring *ring = placing->ring;
    for (uint32_t view = FIRST_VIEW;; view *= 2) {
        uint32_t seen = rf_ring_walk(ring, position, placing->walked, view);
        for (uint32_t i = 0; i < seen; i++) {
            const struct rf_member *member = &ring->members[placing->walked[i]];
            placing->candidates[i] =
                (struct rf_candidate){member->node, member->name, member->rack};
        }
        int32_t rc = placing->ops->choose(placing->host, placing->options, placing->candidates,
                                          sizeof(struct rf_candidate), seen, ring->n_owners,
                                          placing->n, placing->chosen);
        if (rc == RF_PLUGIN_NEED_MORE && seen < ring->n_owners) {
            continue;
        }
        if (rc != RF_PLUGIN_OK || !chosen_valid(placing, seen)) {
            return rf_result(RF_PLUGIN_REFUSED);
        }
        for (uint32_t i = 0; i < placing->n; i++) {
            ret_replicas[i] = placing->walked[placing->chosen[i]];
        }
        return rf_result(RF_OK);
    }
}

struct rf_result rf_ring_place(const struct rf_ring *ring, const struct rf_host *host,
                               const struct rf_placement_ops *ops, const void *options, uint32_t n,
                               uint16_t *ret_replicas)
{
    rf_assert(n >= 1);
    rf_assert(n <= RF_REPLICAS_MAX);
    struct placing placing = {ring, host, ops, options, n < ring->n_owners ? n : ring->n_owners,
                              NULL, NULL, NULL};
    placing.walked = RF_NEW_ARRAY(uint16_t, ring->n_owners + 1);
    placing.candidates = RF_NEW_ARRAY(struct rf_candidate, ring->n_owners + 1);
    placing.chosen = RF_NEW_ARRAY(uint32_t, ring->n_owners + 1);
    struct rf_result result = rf_result(RF_OK);
    if (placing.walked == NULL || placing.candidates == NULL || placing.chosen == NULL) {
        result = rf_result(RF_NO_MEMORY);
    }
    for (uint32_t p = 0; rf_ok(result) && p < ring->n_tokens; p++) {
        result = place_one(&placing, p, ret_replicas + (size_t)p * placing.n);
    }
    rf_mem_free(placing.walked);
    rf_mem_free(placing.candidates);
    rf_mem_free(placing.chosen);
    return result;
}
