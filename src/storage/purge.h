/* What may leave files for good (D2, D13, docs/decisions/027-purge.md). Pure functions over a table's
 * policy, a file's statistics and the time. */
#ifndef RF_STORAGE_PURGE_H
#define RF_STORAGE_PURGE_H

#include "format/sst.h"
#include "storage/table.h"

/* Has the row no value to show at this time? A tombstone, a marker, an expired item. */
bool rf_row_is_dead(const struct rf_row *row, uint64_t wall_ms);

/* May a dead row go although other files, replicas or logs may hold older versions of its key? Only
 * when all of those have expired as well: the table has a max_ttl, and version + max_ttl +
 * clock.max_ahead has passed. A tombstone also waits for its grace period. */
bool rf_purge_row(const struct rf_table_policy *policy, const struct rf_row *row, uint64_t wall_ms);
/* As rf_purge_row for all rows of a file at once, by its statistics. */
bool rf_purge_file(const struct rf_table_policy *policy, const struct rf_sst_info *info,
                   uint64_t wall_ms);
/* Values of the file that never expire: they come from a time when the table had no max_ttl, and what
 * shadows them must stay. */
uint64_t rf_purge_immortal_rows(const struct rf_sst_info *info);

/* Estimates from the file's bounds, as if rows were spread evenly between them: values that have
 * expired, and tombstones and markers that may go. Both are 0 right after a merge at wall_ms. */
uint64_t rf_purge_expired_rows(const struct rf_sst_info *info, uint64_t wall_ms);
uint64_t rf_purge_purgeable_rows(const struct rf_table_policy *policy,
                                 const struct rf_sst_info *info, uint64_t wall_ms);

#endif
