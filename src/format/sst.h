/* The bytes of an SSTable: block header, index entry, footer (docs/formats/sstable.md). Which bytes a
 * data block holds is in storage/sst_rows.c. */
#ifndef RF_FORMAT_SST_H
#define RF_FORMAT_SST_H

#include "base/rc.h"
#include "base/slice.h"

#define RF_SST_BLOCK_HEADER 16u /* bytes */
#define RF_SST_INDEX_ENTRY 16u
#define RF_SST_FOOTER 192u
#define RF_SST_BLOCK_MAX (65u * 1024 * 1024) /* raw bytes of one block: the largest row and a bit */

enum rf_sst_kind { RF_SST_DATA = 1, RF_SST_INDEX = 2, RF_SST_BLOOM = 3 };
enum rf_sst_codec { RF_SST_NONE = 0, RF_SST_LZ4 = 1 };

/* What stands before a block's payload. File id and offset are not stored but go into the checksum, so
 * that a block that comes from another place is not taken for this one. */
struct rf_sst_block_head {
    enum rf_sst_kind  kind;
    enum rf_sst_codec codec;
    uint32_t          stored_size; /* payload bytes in the file */
    uint32_t          raw_size;    /* after decompression */
    uint64_t          file;
    uint64_t          offset;
};

/* Fills the header in: `block` is RF_SST_BLOCK_HEADER free bytes and then the payload. */
void rf_sst_block_seal(uint8_t *block, const struct rf_sst_block_head *head);
/* Checks a whole block that was read at this place. RF_OK with ret_head and ret_payload (borrowed),
 * RF_CORRUPT for any difference. */
RF_CHECKED struct rf_result rf_sst_block_check(struct rf_slice block, enum rf_sst_kind kind,
                                               uint64_t file, uint64_t offset,
                                               struct rf_sst_block_head *ret_head,
                                               struct rf_slice          *ret_payload);

struct rf_sst_index_entry {
    uint64_t first_token;
    uint64_t offset;    /* of the data block in the file; it ends where the next block begins */
    bool     continues; /* its first token is the last token of the block before */
};

void rf_sst_index_put(uint8_t to[RF_SST_INDEX_ENTRY], const struct rf_sst_index_entry *entry);
struct rf_sst_index_entry rf_sst_index_get(const uint8_t *from);

/* The footer: what the file is, what it holds, where its parts are. */
struct rf_sst_info {
    uint64_t          file; /* number of the file, unique in the node */
    uint64_t          table;
    uint32_t          partition;
    uint32_t          level;
    enum rf_sst_codec codec;
    uint64_t          rows, tombstones; /* tombstones and markers */
    uint64_t          expiring;         /* rows with an expiry that still hold a value */
    uint64_t          min_hlc, max_hlc;
    uint64_t          max_expiry_ms; /* of values that expire; 0: none */
    uint64_t          first_token, last_token;
    uint64_t          raw_bytes;                /* of all data blocks before compression */
    uint64_t          index_offset, index_size; /* of the index block, header included */
    uint64_t          bloom_offset, bloom_size; /* of the filter block; size 0: no filter */
    uint64_t          bloom_seed;
    uint64_t          n_blocks;
    uint64_t          file_size;         /* footer included */
    uint64_t          min_expiry_ms;     /* of values that expire; UINT64_MAX: none */
    uint64_t min_dead_hlc, max_dead_hlc; /* of tombstones and markers; UINT64_MAX, 0: none */
};

void rf_sst_footer_encode(uint8_t to[RF_SST_FOOTER], const struct rf_sst_info *info);
/* RF_OK, RF_CORRUPT, RF_WRONG_VERSION (a valid footer of a format that we do not know). */
RF_CHECKED struct rf_result rf_sst_footer_decode(const uint8_t       from[RF_SST_FOOTER],
                                                 struct rf_sst_info *ret_info);

#endif
