/* Reads SSTables. Every block is checked after every read from the file (S71); nothing that fails
 * its check is ever served.
 *
 * Thread safety: an open table never changes and may be read by any number of threads, each with
 * buffers of its own. Blocks: get, seek and next may read from the file. */
#ifndef RF_STORAGE_SST_READER_H
#define RF_STORAGE_SST_READER_H

#include "base/fs.h"
#include "format/row.h"
#include "format/sst.h"
#include "storage/sst_rows.h"

struct rf_sst;

/* Opens, and reads footer, index and filter into memory. A damaged filter is left out: the file is
 * complete without it. @param file its number.
 * RF_OK, RF_CORRUPT, RF_WRONG_VERSION, RF_NO_MEMORY, or as rf_fs. */
RF_CHECKED struct rf_result rf_sst_open(struct rf_fs fs, const char *path, uint64_t file,
                                        struct rf_sst **ret_sst);
/* The same, and after RF_CORRUPT what is damaged: a part ("footer", "index") and its offset. */
struct rf_sst_fault {
    const char *part;
    uint64_t    offset;
};
RF_CHECKED struct rf_result rf_sst_open_or_why(struct rf_fs fs, const char *path, uint64_t file,
                                               struct rf_sst      **ret_sst,
                                               struct rf_sst_fault *ret_why);
void                        rf_sst_close(struct rf_sst *sst); /* NULL is allowed */
const struct rf_sst_info   *rf_sst_info(const struct rf_sst *sst);
size_t                      rf_sst_memory(const struct rf_sst *sst); /* bytes of index and filter */

bool rf_sst_filter_damaged(const struct rf_sst *sst);
/* The tokens that may have rows in data block `number` (which may be damaged), both inclusive. */
void rf_sst_block_tokens(const struct rf_sst *sst, uint64_t number, uint64_t *ret_first,
                         uint64_t *ret_last);

/* False: the table certainly has no row of that key (S69). Does not read. */
bool rf_sst_may_hold(const struct rf_sst *sst, uint64_t token, struct rf_slice key);

/* One block in memory. Starts as zeros; rf_sst_block_fini frees. */
struct rf_sst_block {
    bool               cached_only; /* reads never wait for the disk: RF_PENDING instead */
    uint64_t           number;      /* of the block that was read last, or could not be */
    struct rf_buf      stored;      /* as in the file, checked */
    struct rf_buf      raw;         /* the body, when it was compressed */
    struct rf_sst_rows rows;
    struct rf_slice    packed; /* the body as stored */
    struct rf_slice    body;   /* the raw body as far as it was needed */
    bool               is_packed;
};

void rf_sst_block_fini(struct rf_sst_block *block);

/* The key's row. ret_row borrows `block`. RF_OK, RF_NOT_FOUND, RF_CORRUPT, RF_NO_MEMORY, RF_PENDING
 * (only when block->cached_only), rf_fs. */
RF_CHECKED struct rf_result rf_sst_get(const struct rf_sst *sst, struct rf_sst_block *block,
                                       uint64_t token, struct rf_slice key, struct rf_row *ret_row);

/* Reads data block `number` and checks all that can be checked: checksum, structure, every row decodes,
 * order, tokens within the block's bounds, keys in the filter. ret_offset: of the block in the file;
 * ret_rows: how many it has. RF_OK, RF_CORRUPT, RF_NO_MEMORY, rf_fs. */
RF_CHECKED struct rf_result rf_sst_check_block(const struct rf_sst *sst, uint64_t number,
                                               struct rf_sst_block *block, uint64_t *ret_offset,
                                               uint64_t *ret_rows);

/* Walks the rows in (token, key) order. */
struct rf_sst_iter {
    const struct rf_sst *sst;
    struct rf_sst_block  block;
    uint64_t             at_block;
    uint32_t             at_row;
    uint64_t             token; /* of the row under the iterator, valid unless at the end */
    struct rf_row        row;   /* borrows the block */
    bool                 end;
};

/* At the first row with (token, key) >= the given. @param cached_only never waits for the disk.
 * As rf_sst_get, without RF_NOT_FOUND. After a failure iter->block.number says where; fini frees. */
RF_CHECKED struct rf_result rf_sst_seek(const struct rf_sst *sst, uint64_t token,
                                        struct rf_slice key, bool cached_only,
                                        struct rf_sst_iter *ret_iter);
RF_CHECKED struct rf_result rf_sst_next(struct rf_sst_iter *iter);
void                        rf_sst_iter_fini(struct rf_sst_iter *iter);

#endif
