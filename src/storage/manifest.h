/* Which SSTables a partition consists of, for all tables: a log of edits in one file that is
 * replaced by a snapshot when it has grown long.
 *
 * Thread: one at a time; the job that holds the partition, or recovery. */
#ifndef RF_STORAGE_MANIFEST_H
#define RF_STORAGE_MANIFEST_H

#include "base/fs.h"
#include "format/manifest_record.h"

#define RF_MANIFEST_PATH 4200u /* bytes of a path inside a partition's directory */

struct rf_manifest {
    char            dir[RF_MANIFEST_PATH - 64]; /* of the partition */
    uint32_t        partition;
    struct rf_edit *files; /* kind ADD each */
    uint32_t        n_files, cap_files;
    struct rf_edit *damages; /* kind DAMAGE each */
    uint32_t        n_damages, cap_damages;
    uint64_t        next_file; /* next free number; unique in the node: partition in the top bits */
    uint64_t        generation;
    uint64_t        n_records; /* in the file */
    uint64_t        size;      /* of the file: where the next record goes */
    bool            exists;
    bool            quarantined;
    uint64_t        quarantine;  /* number of that damage */
    bool            must_switch; /* the tail is not clean: the next commit writes a new file */
};

/* What loading found. */
struct rf_manifest_state {
    bool bad_tail; /* bytes after the last good record: a torn commit, or damage */
};

/* An empty manifest of the partition in `dir`. */
void rf_manifest_init(struct rf_manifest *manifest, const char *dir, uint32_t partition);
void rf_manifest_fini(struct rf_manifest *manifest);

/* Reads the manifest if there is one. RF_OK; RF_CORRUPT when not even its snapshot can be read;
 * RF_WRONG_VERSION; RF_NO_MEMORY; or as rf_fs. Blocks. */
RF_CHECKED struct rf_result rf_manifest_load(struct rf_fs fs, struct rf_manifest *manifest,
                                             struct rf_manifest_state *ret_state);

/* Makes the edits durable, all or none, and takes them over. After a failure none has been taken
 * over in memory, and whether they are on disk is open until the next commit, which writes a new
 * file. As rf_fs, RF_NO_MEMORY. Blocks. */
RF_CHECKED struct rf_result rf_manifest_commit(struct rf_fs fs, struct rf_manifest *manifest,
                                               const struct rf_edit *edits, uint32_t n_edits);

/* Path of a file of the partition; of the directory's other entries by name. */
void rf_manifest_sst_path(const struct rf_manifest *manifest, uint64_t file,
                          char ret_path[RF_MANIFEST_PATH]);
bool rf_manifest_holds(const struct rf_manifest *manifest, uint64_t file);

#endif
