/* Looks at a data directory without changing it: is everything in it as it was written?
 *
 * Thread: one. Blocks: reads every file. The directory must not be in use. */
#ifndef RF_STORAGE_VERIFY_H
#define RF_STORAGE_VERIFY_H

#include "base/fs.h"
#include "format/manifest_record.h"
#include "format/row.h"
#include "storage/identity.h"

struct rf_finding {
    const char *path;
    uint64_t    offset; /* of what is damaged */
    bool        damage; /* false: worth knowing, but what a crash may leave */
    const char *what;
};

struct rf_verify_counts {
    uint64_t segments, records, manifests, files, blocks, rows, damages;
};

typedef void (*rf_verify_each)(void *argument, const struct rf_finding *finding);

/* A door to the same files through which nothing can be written: opening for writing opens for
 * reading, a sync does nothing, all other changes fail. @param inner must outlive the result. */
struct rf_fs rf_fs_read_only(const struct rf_fs *inner);

/* Checks the identity, every log segment, manifest and table file, and calls `each` for what it finds.
 * RF_OK: looked at everything (see counts->damages); RF_NOT_FOUND: no data directory; RF_CONFLICT: a
 * server uses it; or as rf_fs, RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_verify_dir(struct rf_fs fs, const char *dir, rf_verify_each each,
                                          void *argument, struct rf_verify_counts *ret_counts);

#endif
