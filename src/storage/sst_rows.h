/* The rows of one data block (docs/formats/sstable.md): a directory of columns, whose fields have a
 * fixed width each, and a body of keys and values, one row after the other. The directory is never
 * compressed, so that a search needs no decompression; the body may be.
 *
 * Thread: a builder belongs to one; a view may be read by any. Blocks: no. */
#ifndef RF_STORAGE_SST_ROWS_H
#define RF_STORAGE_SST_ROWS_H

#include "base/buf.h"
#include "format/row.h"

#define RF_SST_ROWS_WRITERS 255u /* different writers in a block */
#define RF_SST_ROWS_SLACK 8u     /* readable bytes that a view needs behind its directory */

/* ---- Building ----------------------------------------------------------------------------- */

struct rf_sst_rows_builder {
    struct rf_buf body;
    struct rf_buf entries; /* struct entry each */
    uint32_t      n;
    uint32_t      n_writers;
    uint64_t      writers[RF_SST_ROWS_WRITERS];
};

void rf_sst_rows_fini(struct rf_sst_rows_builder *builder);
void rf_sst_rows_clear(struct rf_sst_rows_builder *builder);
/* Raw bytes so far, about. */
size_t rf_sst_rows_size(const struct rf_sst_rows_builder *builder);
/* Adds a row, not before the last one in (token, key) order. RF_OK; RF_LIMIT: it has one writer too
 * many, the block must end first; RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_sst_rows_add(struct rf_sst_rows_builder *builder, uint64_t token,
                                            const struct rf_row *row);
/* Bytes of the directory, n >= 1; then writes them. */
size_t rf_sst_rows_directory_size(const struct rf_sst_rows_builder *builder);
void   rf_sst_rows_directory(const struct rf_sst_rows_builder *builder, uint8_t *to);

/* ---- Reading ------------------------------------------------------------------------------ */

/* Columns of a directory; borrows its bytes, and RF_SST_ROWS_SLACK more. */
struct rf_sst_rows {
    uint32_t       n;
    size_t         directory_size;
    size_t         body_size;  /* raw */
    uint64_t       token, hlc; /* bases */
    const uint8_t *writers, *tokens, *ends, *key_sizes, *flags, *hlcs, *writer_numbers, *expiries;
    uint8_t token_width, end_width, key_width, flags_width, hlc_width, writer_width, expiry_width;
};

/* @param payload of the block as stored. @param raw_size of directory and body. RF_OK, RF_CORRUPT. */
RF_CHECKED struct rf_result rf_sst_rows_open(struct rf_slice payload, size_t raw_size,
                                             struct rf_sst_rows *ret_rows);
/* The token of row `number` < n. */
uint64_t rf_sst_rows_token(const struct rf_sst_rows *rows, uint32_t number);
/* The first row with a token >= the given, or > when `above`; n when there is none. */
uint32_t rf_sst_rows_find(const struct rf_sst_rows *rows, uint64_t token, bool above);
/* Where row `number` ends in the body; at most body_size in a valid block. */
size_t rf_sst_rows_end(const struct rf_sst_rows *rows, uint32_t number);
/* Row `number` < n. @param body the raw body, at least up to the row's end. ret_row borrows it.
 * RF_OK, RF_CORRUPT. */
RF_CHECKED struct rf_result rf_sst_rows_get(const struct rf_sst_rows *rows, struct rf_slice body,
                                            uint32_t number, struct rf_row *ret_row);

#endif
