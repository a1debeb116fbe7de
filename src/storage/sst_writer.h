/* Writes one SSTable from front to back (docs/formats/sstable.md). Thread: one at a time. Blocks. */
#ifndef RF_STORAGE_SST_WRITER_H
#define RF_STORAGE_SST_WRITER_H

#include "base/fs.h"
#include "format/row.h"
#include "format/sst.h"

struct rf_sst_writer;

struct rf_sst_options {
    uint64_t          file; /* number, in every block */
    uint64_t          table;
    uint32_t          partition;
    uint32_t          level;
    enum rf_sst_codec codec;
    uint32_t          bloom_bits_per_key; /* 0 … 64; 0: no filter */
    uint64_t          bloom_seed;
};

/* Makes the file, which must not exist. RF_OK, RF_NO_MEMORY, or as rf_fs. */
RF_CHECKED struct rf_result rf_sst_writer_new(struct rf_fs fs, const char *path,
                                              const struct rf_sst_options *options,
                                              struct rf_sst_writer       **ret_writer);
/* Adds a row; (token, key) must be above that of the row before. */
RF_CHECKED struct rf_result rf_sst_writer_add(struct rf_sst_writer *writer, uint64_t token,
                                              const struct rf_row *row);
uint64_t                    rf_sst_writer_rows(const struct rf_sst_writer *writer);
uint64_t                    rf_sst_writer_bytes(const struct rf_sst_writer *writer); /* so far */
/* Writes index, filter and footer and syncs the file (not its name). At least one row. */
RF_CHECKED struct rf_result rf_sst_writer_finish(struct rf_sst_writer *writer,
                                                 struct rf_sst_info   *ret_info);
/* Closes the file and frees; NULL is allowed. An unfinished file stays and is not valid. */
void rf_sst_writer_free(struct rf_sst_writer *writer);

#endif
