/* /metrics in the Prometheus text format: the sums of what all threads have published. */
#include <stdio.h>

#include "io/clock.h"
#include "server/control_host.h"
#include "server/exchange.h"

static void family(struct rf_buf *body, const char *name, const char *type, const char *help)
{
    rf_buf_append_str(body, "# HELP ");
    rf_buf_append_str(body, name);
    rf_buf_append_str(body, " ");
    rf_buf_append_str(body, help);
    rf_buf_append_str(body, "\n# TYPE ");
    rf_buf_append_str(body, name);
    rf_buf_append_str(body, " ");
    rf_buf_append_str(body, type);
    rf_buf_append_str(body, "\n");
}

static void sample(struct rf_buf *body, const char *name, const char *labels, uint64_t value)
{
    rf_buf_append_str(body, name);
    rf_buf_append_str(body, labels);
    rf_buf_append_str(body, " ");
    rf_buf_append_u64(body, value);
    rf_buf_append_str(body, "\n");
}

static void simple(struct rf_buf *body, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    family(body, name, type, help);
    sample(body, name, "", value);
}

static void put_requests(struct rf_buf *body, const struct rf_worker_stats *stats)
{
    static const char *const classes[] = {"{class=\"2xx\"}", "{class=\"3xx\"}", "{class=\"4xx\"}",
                                          "{class=\"5xx\"}"};
    const struct rf_shard_stats *shard = &stats->shard;
    family(body, "ringfort_http_requests_total", "counter", "HTTP requests answered, by class.");
    for (int c = 2; c <= 5; c++) {
        sample(body, "ringfort_http_requests_total", classes[c - 2], stats->http_by_class[c]);
    }
    family(body, "ringfort_coordinated_requests_total", "counter",
           "Item requests coordinated by this node, by operation.");
    sample(body, "ringfort_coordinated_requests_total", "{op=\"get\"}", shard->reads);
    sample(body, "ringfort_coordinated_requests_total", "{op=\"put\"}", shard->writes);
    sample(body, "ringfort_coordinated_requests_total", "{op=\"delete\"}", shard->deletes);
    family(body, "ringfort_replica_operations_total", "counter",
           "Operations served as a replica for peers, by kind.");
    sample(body, "ringfort_replica_operations_total", "{op=\"write\"}", shard->replica_writes);
    sample(body, "ringfort_replica_operations_total", "{op=\"read\"}", shard->replica_reads);
    simple(body, "ringfort_requests_in_flight", "gauge", "Item requests under way.",
           shard->in_flight);
    simple(body, "ringfort_quorum_failures_total", "counter",
           "Requests refused for too few live replicas.", shard->quorum_failures);
    simple(body, "ringfort_full_refusals_total", "counter",
           "Writes refused before sending: too few replicas have disk space.",
           shard->full_refusals);
    simple(body, "ringfort_request_timeouts_total", "counter",
           "Requests that got too few answers in time.", shard->timeouts);
    simple(body, "ringfort_late_replicas_given_up_total", "counter",
           "Answered requests that stopped waiting for late replicas because the table was full.",
           shard->given_up);
    simple(body, "ringfort_restamps_total", "counter",
           "Writes stamped again because a replica knew a newer version.", shard->restamps);
    simple(body, "ringfort_restamps_unsure_total", "counter",
           "Writes stamped again that a strong read may have shown under the first stamp.",
           shard->restamps_unsure);
    simple(body, "ringfort_read_repairs_total", "counter",
           "Stale replicas written to by strong reads.", shard->read_repairs);
    simple(body, "ringfort_hedged_reads_total", "counter",
           "Eventual reads that asked a second replica because the first was slow.", shard->hedges);
    simple(body, "ringfort_hints_stored_total", "counter",
           "Rows kept by this node for unreachable replicas.", shard->hints_stored);
}

static void put_files(struct rf_buf *body, const struct rf_store_stats *store)
{
    simple(body, "ringfort_sstable_files", "gauge", "SSTables.", store->files);
    simple(body, "ringfort_sstable_bytes", "gauge", "Bytes of all SSTables.", store->file_bytes);
    simple(body, "ringfort_sstable_memory_bytes", "gauge", "Memory of their indexes and filters.",
           store->file_memory);
    simple(body, "ringfort_sstable_reads_total", "counter", "Look-ups that read an SSTable.",
           store->files_asked);
    simple(body, "ringfort_bloom_negatives_total", "counter",
           "Look-ups that a Bloom filter kept away from an SSTable.", store->bloom_negatives);
    simple(body, "ringfort_sstable_skipped_total", "counter",
           "Look-ups that left out an SSTable with older versions only.", store->files_skipped);
    simple(body, "ringfort_flushes_total", "counter", "Memtables written out.", store->flushes);
    simple(body, "ringfort_flushed_bytes_total", "counter", "Bytes written by flushes.",
           store->flushed_bytes);
    simple(body, "ringfort_compactions_total", "counter", "Merges done.", store->compactions);
    simple(body, "ringfort_compaction_read_bytes_total", "counter", "Bytes read by merges.",
           store->compacted_in_bytes);
    simple(body, "ringfort_compaction_written_bytes_total", "counter", "Bytes written by merges.",
           store->compacted_out_bytes);
    simple(body, "ringfort_sstables_dropped_total", "counter",
           "Files deleted whole because everything in them had expired.", store->dropped_files);
    simple(body, "ringfort_expired_values_total", "counter",
           "Expired values replaced by their marker.", store->expired_values);
    simple(body, "ringfort_background_failures_total", "counter",
           "Flushes, merges and deletions that failed and are tried again.", store->failed_jobs);
    simple(body, "ringfort_damaged_blocks_total", "counter",
           "Blocks whose checksum was wrong; they are never served.", store->damaged_blocks);
    simple(body, "ringfort_damaged_ranges", "gauge",
           "Token ranges in which rows of a damaged block or file are lost.", store->damages);
    simple(body, "ringfort_healed_keys_total", "counter",
           "Keys in such ranges that read repair made whole again.", store->healed_keys);
    simple(body, "ringfort_cannot_say_total", "counter",
           "Reads that this replica did not answer because it may have lost data.",
           store->cannot_say);
    simple(body, "ringfort_quarantined_partitions", "gauge", "Partitions that may have lost data.",
           store->quarantined_partitions);
}

static void put_row_cache(struct rf_buf *body, const struct rf_store_stats *store)
{
    simple(body, "ringfort_row_cache_hits_total", "counter", "Reads answered by a row cache.",
           store->cache_hits);
    simple(body, "ringfort_row_cache_misses_total", "counter",
           "Reads of tables with a row cache that it did not answer.", store->cache_misses);
    simple(body, "ringfort_row_cache_admitted_total", "counter", "Rows taken into a row cache.",
           store->cache_admitted);
    simple(body, "ringfort_row_cache_refused_total", "counter",
           "Rows not taken in: they are asked for less often than those that are there.",
           store->cache_refused);
    simple(body, "ringfort_row_cache_evictions_total", "counter", "Rows that made room for others.",
           store->cache_evicted);
    simple(body, "ringfort_row_cache_removed_total", "counter",
           "Rows removed because they were written, expired or may be damaged.",
           store->cache_removed);
    simple(body, "ringfort_row_cache_bytes", "gauge", "Memory of the row caches.",
           store->cache_bytes);
    simple(body, "ringfort_row_cache_rows", "gauge", "Rows in the row caches.", store->cache_rows);
}

static void put_storage(struct rf_buf *body, const struct rf_store_stats *store)
{
    put_row_cache(body, store);
    simple(body, "ringfort_storage_applies_total", "counter", "Rows offered to storage.",
           store->applies);
    simple(body, "ringfort_storage_reads_total", "counter", "Keys read from storage.",
           store->reads);
    simple(body, "ringfort_storage_memtable_hits_total", "counter", "Reads answered by a memtable.",
           store->memtable_hits);
    simple(body, "ringfort_storage_cold_reads_total", "counter",
           "Operations that read blocks from the disk, in a thread of their own.",
           store->cold_reads);
    simple(body, "ringfort_storage_cold_waits_total", "counter",
           "Operations that waited for a read of their key from the disk.", store->cold_waits);
    simple(body, "ringfort_storage_refused_newer_total", "counter",
           "Writes refused because a newer version was stored.", store->newer);
    simple(body, "ringfort_wal_groups_total", "counter", "Groups written to the log.",
           store->wal_groups);
    simple(body, "ringfort_wal_records_total", "counter", "Records written to the log.",
           store->wal_records);
    simple(body, "ringfort_wal_bytes_total", "counter", "Bytes written to the log.",
           store->wal_bytes);
    simple(body, "ringfort_memtable_bytes", "gauge", "Memory of all memtables.",
           store->memtable_bytes);
    simple(body, "ringfort_memtable_rows", "gauge", "Rows in all memtables.", store->memtable_rows);
    simple(body, "ringfort_wal_live_bytes", "gauge", "Log segments that are still needed.",
           store->wal_live_bytes);
    put_files(body, store);
    simple(body, "ringfort_storage_read_only", "gauge",
           "1 when the log has failed and nothing is acknowledged.", store->read_only != 0);
}

static void put_disk(struct rf_buf *body, const struct rf_engine *engine)
{
    struct rf_disk_space disk = rf_engine_disk(engine);
    simple(body, "ringfort_disk_free_bytes", "gauge",
           "Free space of the disk that holds the data, as measured last.", disk.free_bytes);
    simple(body, "ringfort_disk_total_bytes", "gauge", "Size of that disk.", disk.total_bytes);
    simple(body, "ringfort_disk_needed_bytes", "gauge",
           "With less free, new values are refused: the reserve, and room for the memtables.",
           disk.needed_bytes);
    simple(body, "ringfort_storage_disk_low", "gauge",
           "1 when the disk is nearly full: the alarm before new values are refused.", disk.low);
    simple(body, "ringfort_storage_disk_full", "gauge",
           "1 when the disk's reserve is reached and new values are refused.", disk.full);
}

static void put_cluster(struct rf_buf *body, struct rf_worker *worker)
{
    const struct rf_view *view = rf_shard_view(worker->shard);
    uint64_t              alive = 0;
    uint64_t              members = view == NULL ? 0 : view->ring->n_members;
    for (uint32_t m = 0; m < members; m++) {
        alive += rf_shard_alive(worker->shard, (uint16_t)m);
    }
    simple(body, "ringfort_cluster_members", "gauge", "Known members.", members);
    simple(body, "ringfort_cluster_members_alive", "gauge", "Members believed alive.", alive);
    const struct rf_control_host *control = worker->base.server->control;
    simple(body, "ringfort_hints_replayed_total", "counter",
           "Hints delivered to their targets and removed.", atomic_load(&control->hints_replayed));
    simple(body, "ringfort_hints_expired_total", "counter", "Hints that outlived the hint window.",
           atomic_load(&control->hints_expired));
    simple(body, "ringfort_hints_damaged_total", "counter",
           "Times that a stored hint could not be read.", atomic_load(&control->hints_damaged));
    simple(body, "ringfort_clock_off", "gauge",
           "1 when this node's clock is off its peers' and it stamps no writes.",
           atomic_load(&worker->base.server->clock_off));
    simple(body, "ringfort_client_connections", "gauge", "Client connections.",
           atomic_load(&worker->base.server->n_clients));
    simple(body, "ringfort_uptime_seconds", "gauge", "Seconds since the start.",
           (rf_clock_now().mono_us / 1000 - worker->base.server->started_ms) / 1000);
}

void rf_api_metrics(struct rf_exchange *exchange)
{
    struct rf_buf body = {0};
    if (!rf_exchange_authorize(exchange)) {
        return;
    }
    if (exchange->method != RF_HTTP_GET && exchange->method != RF_HTTP_HEAD) {
        rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "GET, HEAD", NULL);
        return;
    }
    rf_worker_publish_stats(exchange->worker);
    struct rf_worker_stats stats = rf_worker_sum_stats(exchange->worker->base.server);
    put_cluster(&body, exchange->worker);
    put_requests(&body, &stats);
    put_storage(&body, &stats.store);
    simple(&body, "ringfort_write_delays_total", "counter",
           "Log groups held back because flushes or merges were behind.", stats.log_rests);
    put_disk(&body, exchange->worker->base.server->engine);
    rf_exchange_answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8",
                       rf_buf_slice(&body), NULL);
    rf_buf_fini(&body);
}
