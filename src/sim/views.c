/* Rings and views are shared by digest: nodes that know the same members use the same object. */
#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define VIEWS_MAX 64u

static uint64_t members_digest(const struct rf_control *control)
{
    uint64_t digest = rf_control_cluster(control);
    for (uint32_t i = 0; i < rf_control_n_members(control); i++) {
        const struct rf_member *member = rf_control_member(control, i);
        uint64_t                facts[3] = {member->node, member->state, member->vnodes};
        digest = rf_hash64(rf_slice_str(member->name), digest);
        digest = rf_hash64(rf_slice(facts, sizeof(facts)), digest);
    }
    return digest;
}

static struct rf_view *build_view(struct rf_sim *sim, const struct rf_control *control)
{
    uint32_t          n = rf_control_n_members(control);
    struct rf_member *members = RF_NEW_ARRAY(struct rf_member, n);
    struct rf_ring   *ring = NULL;
    struct rf_view   *view = NULL;
    uint64_t          cluster = rf_control_cluster(control);
    rf_assert(members != NULL);
    for (uint32_t i = 0; i < n; i++) {
        members[i] = *rf_control_member(control, i);
    }
    uint64_t seed = rf_hash64(rf_slice(&cluster, sizeof(cluster)), 0);
    rf_assert(rf_ok(rf_ring_build(members, n, seed, &ring)));
    rf_assert(rf_ok(rf_view_build(ring, &sim->table, 1, rf_registry_host(), NULL, &view)));
    rf_ring_drop(ring);
    rf_mem_free(members);
    return view;
}

struct rf_view *rf_sim_view_of(struct rf_sim *sim, const struct rf_control *control)
{
    uint64_t digest = members_digest(control);
    for (uint32_t i = 0; i < sim->n_views; i++) {
        if (sim->views[i].digest == digest) {
            return sim->views[i].view;
        }
    }
    if (sim->n_views == VIEWS_MAX) { /* the oldest are in nobody's way */
        rf_view_drop(sim->views[0].view);
        memmove(sim->views, sim->views + 1, sizeof(*sim->views) * --sim->n_views);
    }
    if (sim->views == NULL) {
        sim->views = RF_NEW_ARRAY(struct rf_sim_view, VIEWS_MAX);
        rf_assert(sim->views != NULL);
    }
    struct rf_sim_view *slot = &sim->views[sim->n_views++];
    *slot = (struct rf_sim_view){digest, build_view(sim, control)};
    return slot->view;
}

void rf_sim_views_fini(struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_views; i++) {
        rf_view_drop(sim->views[i].view);
    }
    rf_mem_free(sim->views);
}
