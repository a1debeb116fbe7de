/* Scans: the rows of one partition's token range in (token, key) order. */
#include "storage/engine_private.h"

/* A scan's answer while it is gathered. */
struct gather {
    struct rf_buf rows;
    uint64_t      token;   /* of the last row */
    uint64_t      max_seq; /* highest sequence whose row is in it */
};

/* Is (token, key) the place where the caller said to go on after? */
static bool is_start(const struct rf_store_op *op, uint64_t token, struct rf_slice key)
{
    return op->row.key.size != 0 && token == op->token && rf_slice_eq(key, op->row.key);
}

static void gather_rows(const struct rf_memtable *memtable, const struct rf_store_op *op,
                        struct gather *gather, bool *ret_more)
{
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                token = 0;
    *ret_more = false;
    rf_memtable_seek(memtable, op->token, op->row.key, &iter);
    for (; rf_memtable_iter_row(&iter, &token, &row); rf_memtable_iter_next(&iter)) {
        if (token > op->token_last) {
            return;
        }
        if (is_start(op, token, row.key)) {
            continue;
        }
        if (gather->rows.size != 0 && gather->rows.size + rf_row_size(&row) > op->max_bytes) {
            *ret_more = true;
            return;
        }
        uint64_t seq = rf_memtable_iter_seq(&iter);
        rf_row_encode(&gather->rows, &row);
        gather->token = token;
        gather->max_seq = seq > gather->max_seq ? seq : gather->max_seq;
    }
}

struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                               const struct rf_store_op *op, struct rf_store_done *done)
{
    struct gather gather = {0};
    rf_assert(op->partition < store->engine->identity.n_partitions);
    const struct rf_memtable *memtable = table->parts[op->partition].active;
    store->stats.scans++;
    if (memtable != NULL) {
        gather_rows(memtable, op, &gather, &done->more);
    }
    done->status = RF_STORE_ABSENT;
    if (gather.rows.size == 0 && !gather.rows.failed) {
        return rf_result(RF_OK);
    }
    struct rf_blob *blob = gather.rows.failed ? NULL : rf_blob_copy(rf_buf_slice(&gather.rows));
    rf_buf_fini(&gather.rows);
    if (blob == NULL) {
        done->status = RF_STORE_FAILED;
        done->more = false;
        return rf_result(RF_OK);
    }
    done->status = RF_STORE_FOUND;
    done->token = gather.token;
    done->row.blob = blob;
    done->row.value = rf_slice(blob->data, blob->size);
    return rf_store_wait_durable(store, gather.max_seq, done);
}
