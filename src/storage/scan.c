/* Scans: the rows of one partition's token range in (token, key) order, from memtables and files. */
#include "base/mem.h"
#include "storage/engine_private.h"
#include "storage/merge.h"

/* A scan whose blocks are not all in memory: what it needs of the memtables is copied, then it runs
 * in a thread that may wait for the disk. */
struct rf_scan {
    struct rf_store_op     op; /* key borrowed */
    struct rf_table_policy policy;
    struct rf_memtable    *rows;       /* of the memtables, in the range, up to `last` */
    bool                   cut;        /* rows ends before the range does */
    uint64_t               last_token; /* cut: of the last row in `rows` */
    struct rf_blob        *last_key;
    struct rf_data_file  **files;
    uint32_t               n_files;
    struct rf_buf          found;
    uint64_t               token;   /* of the last row found */
    uint64_t               max_seq; /* highest sequence whose row is in it */
    bool                   more;
    struct rf_result       result;
};

/* Is (token, key) the place where the caller said to go on after? */
static bool is_start(const struct rf_store_op *op, uint64_t token, struct rf_slice key)
{
    return op->row.key.size != 0 && token == op->token && rf_slice_eq(key, op->row.key);
}

static bool is_in_range(const struct rf_data_file *file, const struct rf_store_op *op)
{
    const struct rf_sst_info *info = rf_sst_info(file->sst);
    return info->first_token <= op->token_last && info->last_token >= op->token;
}

/* ---- Merging ------------------------------------------------------------------------------ */

static struct rf_result add_files(struct rf_merge *merge, struct rf_data_file **files, uint32_t n,
                                  const struct rf_store_op *op, bool cached_only)
{
    for (uint32_t i = 0; i < n; i++) {
        if (is_in_range(files[i], op)) {
            RF_TRY(rf_merge_add_sst(merge, files[i]->sst, op->token, op->row.key, cached_only));
        }
    }
    rf_merge_start(merge);
    return rf_result(RF_OK);
}

/* Behind the last copied row of the memtables nothing is known. */
static bool is_behind(const struct rf_scan *scan, uint64_t token, struct rf_slice key)
{
    if (!scan->cut || token != scan->last_token) {
        return scan->cut && token > scan->last_token;
    }
    return rf_slice_cmp(key, rf_slice(scan->last_key->data, scan->last_key->size)) > 0;
}

static struct rf_result gather_rows(struct rf_merge *merge, struct rf_scan *scan)
{
    const struct rf_store_op *op = &scan->op;
    while (!merge->end && merge->token <= op->token_last) {
        if (!is_start(op, merge->token, merge->row.key)) {
            bool full = scan->found.size != 0 &&
                        scan->found.size + rf_row_size(&merge->row) > op->max_bytes;
            if (full || is_behind(scan, merge->token, merge->row.key)) {
                scan->more = true;
                return rf_result(RF_OK);
            }
            rf_row_encode(&scan->found, &merge->row);
            scan->token = merge->token;
            scan->max_seq = merge->seq > scan->max_seq ? merge->seq : scan->max_seq;
        }
        RF_TRY(rf_merge_next(merge));
    }
    scan->more = scan->cut;
    return rf_result(scan->found.failed ? RF_NO_MEMORY : RF_OK);
}

/* From what is in memory, or RF_PENDING. */
static struct rf_result run_cached(struct rf_scan *scan, const struct rf_part *part)
{
    struct rf_merge  merge;
    struct rf_result result = rf_merge_init(&merge, part->n_files + 2, &scan->policy);
    if (rf_ok(result) && part->active != NULL) {
        rf_merge_add_memtable(&merge, part->active, scan->op.token, scan->op.row.key);
    }
    if (rf_ok(result) && part->frozen != NULL) {
        rf_merge_add_memtable(&merge, part->frozen, scan->op.token, scan->op.row.key);
    }
    if (rf_ok(result)) {
        result = add_files(&merge, part->files, part->n_files, &scan->op, true);
    }
    if (rf_ok(result)) {
        result = gather_rows(&merge, scan);
    }
    rf_merge_fini(&merge);
    return result;
}

void rf_scan_run(struct rf_scan *scan)
{
    struct rf_merge merge;
    scan->result = rf_merge_init(&merge, scan->n_files + 1, &scan->policy);
    if (rf_ok(scan->result)) {
        rf_merge_add_memtable(&merge, scan->rows, scan->op.token, scan->op.row.key);
        scan->result = add_files(&merge, scan->files, scan->n_files, &scan->op, false);
    }
    if (rf_ok(scan->result)) {
        scan->result = gather_rows(&merge, scan);
    }
    rf_merge_fini(&merge);
}

/* ---- Going on in another thread ----------------------------------------------------------- */

/* Copies what the memtables have of the range, a little more than one answer needs. */
static struct rf_result copy_rows(struct rf_scan *scan, struct rf_merge *merge)
{
    size_t bytes = 0;
    while (!merge->end && merge->token <= scan->op.token_last) {
        RF_TRY(rf_memtable_put(scan->rows, merge->token, &merge->row, merge->seq));
        bytes += rf_row_size(&merge->row);
        if (bytes > scan->op.max_bytes && !is_start(&scan->op, merge->token, merge->row.key)) {
            scan->cut = true;
            scan->last_token = merge->token;
            scan->last_key = rf_blob_copy(merge->row.key);
            return rf_result(scan->last_key == NULL ? RF_NO_MEMORY : RF_OK);
        }
        RF_TRY(rf_merge_next(merge));
    }
    return rf_result(RF_OK);
}

static struct rf_result copy_memtables(struct rf_scan *scan, const struct rf_part *part)
{
    struct rf_merge  merge;
    struct rf_result result = rf_merge_init(&merge, 2, &scan->policy);
    if (rf_ok(result) && part->active != NULL) {
        rf_merge_add_memtable(&merge, part->active, scan->op.token, scan->op.row.key);
    }
    if (rf_ok(result) && part->frozen != NULL) {
        rf_merge_add_memtable(&merge, part->frozen, scan->op.token, scan->op.row.key);
    }
    if (rf_ok(result)) {
        rf_merge_start(&merge);
        result = copy_rows(scan, &merge);
    }
    rf_merge_fini(&merge);
    return result;
}

static struct rf_result go_on_cold(struct rf_store *store, struct rf_scan *scan,
                                   const struct rf_part *part, const struct rf_store_op *op)
{
    rf_buf_clear(&scan->found);
    scan->max_seq = 0;
    scan->more = false;
    scan->rows = rf_memtable_new();
    scan->files = RF_NEW_ARRAY(struct rf_data_file *, part->n_files);
    if (scan->rows == NULL || scan->files == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t i = 0; i < part->n_files; i++) {
        if (is_in_range(part->files[i], op)) {
            part->files[i]->refs++;
            scan->files[scan->n_files++] = part->files[i];
        }
    }
    if (scan->op.row.blob == NULL && scan->op.row.key.size != 0) {
        RF_TRY(rf_row_copy(&op->row, &scan->op.row)); /* the caller's key does not stay */
    }
    RF_TRY(copy_memtables(scan, part));
    return rf_cold_start_scan(store, op, scan);
}

/* ---- Answering ---------------------------------------------------------------------------- */

void rf_scan_free(struct rf_scan *scan)
{
    if (scan == NULL) {
        return;
    }
    for (uint32_t i = 0; i < scan->n_files; i++) {
        rf_data_file_drop(scan->files[i]);
    }
    rf_mem_free(scan->files);
    rf_memtable_free(scan->rows);
    rf_blob_drop(scan->last_key);
    rf_blob_drop(scan->op.row.blob);
    rf_buf_fini(&scan->found);
    rf_mem_free(scan);
}

struct rf_result rf_scan_answer(struct rf_store *store, struct rf_scan *scan,
                                struct rf_store_done *done)
{
    struct rf_store_table *table = rf_store_table_of(store, scan->op.table);
    struct rf_result       result = scan->result;
    struct rf_blob        *blob = NULL;
    rf_assert(table != NULL);
    if (rf_ok(result) && scan->found.size != 0) {
        blob = rf_blob_copy(rf_buf_slice(&scan->found));
        result = rf_result(blob == NULL ? RF_NO_MEMORY : RF_OK);
    }
    bool own = scan->op.table < RF_TABLE_FIRST_USER;
    bool can_say = result.rc != RF_CORRUPT && result.rc != RF_IO_ERROR &&
                   (own || !rf_damage_in_range(store, table, scan->op.partition, scan->op.token,
                                               scan->op.token_last));
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
    done->more = scan->more;
    done->token = scan->token;
    done->row.blob = blob;
    done->row.value = rf_slice(blob->data, blob->size);
    return rf_store_wait_durable(store, scan->policy.sync, scan->max_seq, done);
}

struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                               const struct rf_store_op *op, struct rf_store_done *done)
{
    const struct rf_part *part = &table->parts[op->partition];
    struct rf_scan       *scan = RF_NEW(struct rf_scan);
    rf_assert(op->partition < store->engine->identity.n_partitions);
    rf_assert(op->partition % store->engine->config.n_shards == store->shard);
    rf_assert(op->token <= op->token_last);
    store->stats.scans++;
    if (scan == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    scan->op = *op;
    rf_blob_take(scan->op.row.blob);
    scan->policy = table->policy;
    scan->result = run_cached(scan, part);
    if (scan->result.rc == RF_PENDING) {
        struct rf_result cold = go_on_cold(store, scan, part, op);
        if (cold.rc == RF_PENDING) {
            return cold;
        }
        rf_scan_free(scan);
        return cold;
    }
    struct rf_result answered = rf_scan_answer(store, scan, done);
    rf_scan_free(scan);
    return answered;
}
