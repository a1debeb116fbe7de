#include "storage/purge.h"

bool rf_row_is_dead(const struct rf_row *row, uint64_t wall_ms)
{
    return row->flags != 0 || (row->expiry_ms != 0 && row->expiry_ms <= wall_ms);
}

/* Dead rows with versions of up to so many milliseconds may go; 0: none. */
static uint64_t purge_limit_ms(const struct rf_table_policy *policy, bool tombstones,
                               uint64_t wall_ms)
{
    uint64_t life_ms = policy->max_ttl_ms;
    if (policy->max_ttl_ms == 0) {
        return 0;
    }
    if (tombstones && policy->tombstone_grace_ms > life_ms) {
        life_ms = policy->tombstone_grace_ms;
    }
    life_ms += policy->max_ahead_ms;
    return wall_ms > life_ms ? wall_ms - life_ms : 0;
}

bool rf_purge_row(const struct rf_table_policy *policy, const struct rf_row *row, uint64_t wall_ms)
{
    bool tombstone = (row->flags & RF_ROW_TOMBSTONE) != 0;
    return rf_row_is_dead(row, wall_ms) &&
           rf_hlc_ms(row->version.hlc) < purge_limit_ms(policy, tombstone, wall_ms);
}

bool rf_purge_file(const struct rf_table_policy *policy, const struct rf_sst_info *info,
                   uint64_t wall_ms)
{
    return rf_purge_immortal_rows(info) == 0 && info->max_expiry_ms <= wall_ms &&
           rf_hlc_ms(info->max_hlc) < purge_limit_ms(policy, info->tombstones != 0, wall_ms);
}

uint64_t rf_purge_immortal_rows(const struct rf_sst_info *info)
{
    uint64_t mortal = info->tombstones + info->expiring;
    return info->rows > mortal ? info->rows - mortal : 0;
}

/* How many of n things, spread evenly from `first` to `last`, lie at or before `now`. */
static uint64_t share_of(uint64_t n, uint64_t first, uint64_t last, uint64_t now)
{
    if (n == 0 || now < first) {
        return 0;
    }
    if (now >= last) {
        return n;
    }
    /* Milliseconds since the epoch are below 2^48, so that a thousandth of n fits beside them. */
    uint64_t thousandths = (now - first) * 1000 / (last - first);
    return n / 1000 * thousandths + n % 1000 * thousandths / 1000;
}

uint64_t rf_purge_expired_rows(const struct rf_sst_info *info, uint64_t wall_ms)
{
    return share_of(info->expiring, info->min_expiry_ms, info->max_expiry_ms, wall_ms);
}

uint64_t rf_purge_purgeable_rows(const struct rf_table_policy *policy,
                                 const struct rf_sst_info *info, uint64_t wall_ms)
{
    uint64_t limit_ms = purge_limit_ms(policy, true, wall_ms);
    return limit_ms == 0 ? 0
                         : share_of(info->tombstones, rf_hlc_ms(info->min_dead_hlc),
                                    rf_hlc_ms(info->max_dead_hlc), limit_ms - 1);
}
