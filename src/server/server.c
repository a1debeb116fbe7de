#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/clock.h"
#include "io/fs_posix.h"
#include "server/control_host.h"
#include "server/reload.h"
#include "server/tables.h"
#include "server/worker.h"

#define SEGMENT_MAX (16u * 1024 * 1024) /* bytes of a WAL segment */
#define WAL_ALLOCATE (1u << 20)         /* docs/decisions/023 */

struct rf_thread *rf_server_thread(struct rf_server *server, uint32_t number)
{
    return number < server->n_shards ? &server->workers[number].base : &server->control->base;
}

/* ---- Configuration ------------------------------------------------------------------------ */

/* Everything that is wrong is told at once, also in the files that a wrong one names. */
static bool load_config(struct rf_server *server, const char *path)
{
    struct rf_problems           problems = {0};
    const struct rf_node_config *config = &server->config;
    (void)rf_node_config_load(path, &server->config, &problems).rc;
    if (config->plugins.dir[0] != 0) {
        server->registry = rf_registry_new(config->plugins.dir);
    }
    if (config->tables_dir[0] != 0 && rf_tables_load(server, &problems).rc == RF_NO_MEMORY) {
        rf_problem(&problems, "out of memory");
    }
    rf_check_certificate(config, &problems);
    server->hash_secret = rf_hash_secret_load(config, &problems);
    server->auth.open = config->auth.none;
    if (!server->auth.open && config->auth.tokens_file[0] != 0) {
        (void)rf_tokens_load(config->auth.tokens_file, &server->auth.tokens, &problems).rc;
    }
    bool fine = problems.count == 0;
    if (problems.n_warnings != 0) {
        fwrite(problems.warnings.data, 1, problems.warnings.size, stderr);
    }
    if (!fine) {
        fwrite(problems.text.data, 1, problems.text.size, stderr);
        fprintf(stderr, "%u problem%s; the server does not start\n", problems.count,
                problems.count == 1 ? "" : "s");
    }
    rf_problems_fini(&problems);
    return fine;
}

/* ---- Start and stop ----------------------------------------------------------------------- */

static bool open_engine(struct rf_server *server)
{
    const struct rf_node_config *config = &server->config;
    struct rf_engine_error       error;
    uint64_t                     random[2] = {0};
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        return false;
    }
    struct rf_engine_config engine = {
        .fs = rf_fs_posix(),
        .dir = config->node.data_dir,
        .n_partitions = (uint32_t)config->storage.partitions,
        .n_shards = server->n_shards,
        .segment_max = SEGMENT_MAX,
        .wal_allocate = WAL_ALLOCATE,
        .random = random[0],
        .secret = random[1],
        .memtable_max = (uint64_t)config->storage.memtable_bytes,
        .memtable_total_max = (uint64_t)config->storage.memtable_total_bytes,
        .wal_max = (uint64_t)config->storage.wal_max_bytes,
        .disk_reserve = (uint32_t)config->storage.disk_reserve,
    };
    if (!rf_ok(rf_engine_open(&engine, &server->engine, &error))) {
        rf_log(RF_LOG_ERROR, "storage_failed", "text=\"%s\"", error.text);
        return false;
    }
    struct rf_recovery found = rf_engine_recovery(server->engine);
    rf_log(found.quarantined_partitions + found.damaged_files == 0 ? RF_LOG_INFO : RF_LOG_ERROR,
           "recovered",
           "segments=%llu records=%llu torn_tails=%llu files=%llu deleted_files=%llu "
           "damaged_segments=%llu damaged_files=%llu quarantined_partitions=%llu "
           "unclean_logs=%llu generation=%llu",
           (unsigned long long)found.segments, (unsigned long long)found.records,
           (unsigned long long)found.torn_tails, (unsigned long long)found.files,
           (unsigned long long)found.deleted_files, (unsigned long long)found.damaged_segments,
           (unsigned long long)found.damaged_files,
           (unsigned long long)found.quarantined_partitions, (unsigned long long)found.unclean_logs,
           (unsigned long long)rf_engine_generation(server->engine));
    for (uint32_t t = 0; t < server->n_tables; t++) {
        if (!rf_ok(rf_engine_add_table(server->engine, &server->tables[t].policy))) {
            return false;
        }
    }
    return true;
}

static bool start_threads(struct rf_server *server)
{
    char why[256];
    server->workers = RF_NEW_ARRAY(struct rf_worker, server->n_shards);
    server->control = RF_NEW(struct rf_control_host);
    if (server->workers == NULL || server->control == NULL) {
        return false;
    }
    if (!rf_ok(rf_listen_probe(server->config.listen.client, why)) ||
        !rf_ok(rf_listen_probe(server->config.listen.peer, why))) {
        rf_log(RF_LOG_ERROR, "start_failed", "text=\"%s\"", why);
        return false;
    }
    for (uint32_t s = 0; s < server->n_shards; s++) {
        if (!rf_ok(rf_worker_init(&server->workers[s], server, s, why))) {
            rf_log(RF_LOG_ERROR, "start_failed", "text=\"%s\"", why);
            return false;
        }
    }
    if (!rf_ok(rf_control_host_init(server->control, server, why))) {
        rf_log(RF_LOG_ERROR, "start_failed", "text=\"%s\"", why);
        return false;
    }
    for (uint32_t s = 0; s < server->n_shards; s++) {
        if (!rf_ok(rf_worker_start(&server->workers[s]))) {
            return false;
        }
    }
    return true;
}

static void stop(struct rf_server *server)
{
    for (uint32_t s = 0; s < server->n_shards; s++) {
        uv_thread_join(&server->workers[s].base.thread);
    }
    for (uint32_t s = 0; s < server->n_shards; s++) {
        rf_worker_fini(&server->workers[s]);
    }
    rf_control_host_fini(server->control);
    rf_mem_free(server->workers);
    rf_mem_free(server->control);
    rf_engine_close(server->engine);
    rf_tables_free(server);
    rf_registry_free(server->registry);
    rf_log(RF_LOG_INFO, "stopped", "text=\"bye\"");
}

/* The soft limit is often 1,024, the hard one far above. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run_once(const char *config_path, const struct rf_process *process, enum rf_end *ret_end)
{
    struct rf_server *server = RF_NEW(struct rf_server);
    uv_cpu_info_t    *cpus = NULL;
    int               n_cpus = 1;
    if (server == NULL) {
        return 1;
    }
    if (!load_config(server, config_path)) {
        rf_tables_free(server);
        rf_registry_free(server->registry);
        rf_mem_free(server);
        return 2;
    }
    server->config_path = config_path;
    server->process = *process;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond a limit of files is an answer, not the end */
    raise_descriptor_limit();
    rf_clock_set_offset(server->config.clock.test_offset_ms);
    rf_log_setup((enum rf_log_level)server->config.log.level, server->config.node.name);
    if (uv_cpu_info(&cpus, &n_cpus) == 0) {
        uv_free_cpu_info(cpus, n_cpus);
    }
    server->n_shards =
        (uint32_t)(server->config.node.threads != 0 ? server->config.node.threads : n_cpus);
    if (getrandom(&server->run, sizeof(server->run), 0) != sizeof(server->run)) {
        return 1;
    }
    srand((unsigned)server->run); /* spreads reconnections: no two nodes knock in step */
    rf_background_init(server->n_shards);
    server->drain_delay_us = (uint64_t)server->config.limits.drain_delay_ms * 1000;
    server->started_ms = rf_clock_now().mono_us / 1000;
    if (!open_engine(server) || !start_threads(server)) {
        return 1; /* the process ends: nothing is worth taking apart */
    }
    rf_log(RF_LOG_INFO, "started", "client=%s peer=%s threads=%u tables=%u",
           server->config.listen.client, server->config.listen.peer, server->n_shards,
           server->n_tables);
    rf_control_host_run(server->control);
    stop(server);
    *ret_end = server->end;
    rf_mem_free(server);
    return *ret_end == RF_END_REFUSED ? 1 : 0;
}

int rf_server_run(const char *config_path)
{
    struct rf_process process = {.began_us = rf_clock_now().mono_us};
    enum rf_end       end = RF_END_AGAIN;
    int               code = 0;
    if (getrandom(&process.number, sizeof(process.number), 0) != sizeof(process.number)) {
        return 1;
    }
    while (end == RF_END_AGAIN) {
        end = RF_END_STOPPED;
        code = run_once(config_path, &process, &end);
    }
    return code;
}
