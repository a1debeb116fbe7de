/* Scans: the rows of one partition's token range in (token, key) order, from memtables and files. */
#include "storage/engine_private.h"
#include "storage/merge.h"

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

static struct rf_result add_sources(struct rf_merge *merge, const struct rf_part *part,
                                    const struct rf_store_op *op)
{
    if (part->active != NULL) {
        rf_merge_add_memtable(merge, part->active, op->token, op->row.key);
    }
    if (part->frozen != NULL) {
        rf_merge_add_memtable(merge, part->frozen, op->token, op->row.key);
    }
    for (uint32_t i = 0; i < part->n_files; i++) {
        const struct rf_sst_info *info = rf_sst_info(part->files[i]->sst);
        if (info->first_token <= op->token_last && info->last_token >= op->token) {
            RF_TRY(rf_merge_add_sst(merge, part->files[i]->sst, op->token, op->row.key));
        }
    }
    rf_merge_start(merge);
    return rf_result(RF_OK);
}

static struct rf_result gather_rows(struct rf_merge *merge, const struct rf_store_op *op,
                                    struct gather *gather, bool *ret_more)
{
    while (!merge->end && merge->token <= op->token_last) {
        if (!is_start(op, merge->token, merge->row.key)) {
            if (gather->rows.size != 0 &&
                gather->rows.size + rf_row_size(&merge->row) > op->max_bytes) {
                *ret_more = true;
                return rf_result(RF_OK);
            }
            rf_row_encode(&gather->rows, &merge->row);
            gather->token = merge->token;
            gather->max_seq = merge->seq > gather->max_seq ? merge->seq : gather->max_seq;
        }
        RF_TRY(rf_merge_next(merge));
    }
    return rf_result(gather->rows.failed ? RF_NO_MEMORY : RF_OK);
}

static struct rf_result run_merge(const struct rf_store_table *table, const struct rf_store_op *op,
                                  struct gather *gather, bool *ret_more)
{
    const struct rf_part *part = &table->parts[op->partition];
    struct rf_merge       merge;
    struct rf_result      result = rf_merge_init(&merge, part->n_files + 2, &table->policy);
    if (rf_ok(result)) {
        result = add_sources(&merge, part, op);
    }
    if (rf_ok(result)) {
        result = gather_rows(&merge, op, gather, ret_more);
    }
    rf_merge_fini(&merge);
    return result;
}

struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                               const struct rf_store_op *op, struct rf_store_done *done)
{
    struct gather   gather = {0};
    bool            more = false;
    struct rf_blob *blob = NULL;
    rf_assert(op->partition < store->engine->identity.n_partitions);
    rf_assert(op->partition % store->engine->config.n_shards == store->shard);
    rf_assert(op->token <= op->token_last);
    store->stats.scans++;
    struct rf_result result = run_merge(table, op, &gather, &more);
    if (rf_ok(result) && gather.rows.size != 0) {
        blob = rf_blob_copy(rf_buf_slice(&gather.rows));
        result = rf_result(blob == NULL ? RF_NO_MEMORY : RF_OK);
    }
    rf_buf_fini(&gather.rows);
    bool can_say = rf_part_can_say(store, table, op->partition) && result.rc != RF_CORRUPT &&
                   result.rc != RF_IO_ERROR;
    if (!rf_ok(result) || !can_say) {
        rf_blob_drop(blob);
        store->stats.cannot_say += !can_say;
        done->status = can_say ? RF_STORE_FAILED : RF_STORE_CANNOT_SAY;
        return rf_result(RF_OK);
    }
    done->status = RF_STORE_ABSENT;
    if (blob == NULL) {
        return rf_result(RF_OK);
    }
    done->status = RF_STORE_FOUND;
    done->more = more;
    done->token = gather.token;
    done->row.blob = blob;
    done->row.value = rf_slice(blob->data, blob->size);
    return rf_store_wait_durable(store, table->policy.sync, gather.max_seq, done);
}
