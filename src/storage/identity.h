/* Who this directory is: node id, generation, number of partitions, cluster. One small checksummed file,
 * replaced as a whole (docs/formats/identity.md). */
#ifndef RF_STORAGE_IDENTITY_H
#define RF_STORAGE_IDENTITY_H

#include "base/fs.h"

struct rf_identity {
    uint64_t node;
    uint64_t generation;
    uint64_t cluster;    /* that this directory belongs to; 0: none yet, or not known */
    uint64_t log_secret; /* seeds the checks of the write-ahead log; told to nobody; 0: none yet */
    uint32_t n_partitions;
    bool     doubt;  /* what was acknowledged may be missing: the next start quarantines all */
    bool     unsure; /* cluster 0, but it may have belonged to one: it must not form another */
};

/* Reads formats 1 to 3; one of format 1 that was started before does not tell its cluster: unsure.
 * RF_OK, RF_NOT_FOUND (empty directory), RF_CORRUPT, RF_WRONG_VERSION, RF_IO_ERROR. Blocks. */
RF_CHECKED struct rf_result rf_identity_read(struct rf_fs fs, const char *dir,
                                             struct rf_identity *ret_identity);
/* Writes a new file beside the old one, syncs it and puts it in its place. Blocks. */
RF_CHECKED struct rf_result rf_identity_write(struct rf_fs fs, const char *dir,
                                              const struct rf_identity *identity);

#endif
