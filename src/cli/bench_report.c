#include "cli/bench_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct rf_result rf_bench_pids_parse(const char *text, struct rf_bench_pids *ret_pids)
{
    struct rf_bench_pids pids = {.n = 0};
    const char          *at = text;
    while (*at != 0) {
        char *end = NULL;
        long  pid = strtol(at, &end, 10);
        if (end == at || pid < 1 || pid > INT32_MAX || pids.n == RF_BENCH_PIDS_MAX ||
            (*end != 0 && *end != ',')) {
            return rf_result(RF_INVALID_VALUE);
        }
        pids.list[pids.n++] = (int)pid;
        at = *end == ',' ? end + 1 : end;
    }
    *ret_pids = pids;
    return rf_result(RF_OK);
}

static uint64_t process_cpu_us(int pid)
{
    char               path[64];
    unsigned long long user = 0;
    unsigned long long system = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    int got = fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                     &user, &system);
    fclose(file);
    return got == 2 ? (user + system) * 1000000 / (unsigned long long)sysconf(_SC_CLK_TCK) : 0;
}

uint64_t rf_bench_cpu_us(const struct rf_bench_pids *pids)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < pids->n; i++) {
        sum += process_cpu_us(pids->list[i]);
    }
    return sum;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static double latency_us(const struct rf_load_result *result, uint32_t at)
{
    return (double)rf_histogram_value_at(&result->latency_ns, at) / 1000.0;
}

void rf_bench_print(const struct rf_bench_row *row, const struct rf_load_result *result,
                    bool header)
{
    char cpu[32] = "-";
    if (header) {
        printf("%-10s %-14s %6s %10s %9s %9s %9s %9s %9s %8s\n", "system", "workload", "bytes",
               "ops/s", "CPU us/op", "p50 us", "p99 us", "p99.9 us", "max us", "errors");
    }
    if (row->has_cpu) {
        snprintf(cpu, sizeof(cpu), "%.2f", share(row->cpu_us, result->ops));
    }
    printf("%-10s %-14s %6llu %10.0f %9s %9.0f %9.0f %9.0f %9.0f %8llu\n", row->system,
           row->workload, (unsigned long long)row->value_bytes,
           share(result->ops * 1000000, result->run_us), cpu, latency_us(result, 50000),
           latency_us(result, 99000), latency_us(result, 99900),
           (double)result->latency_ns.max / 1000.0, (unsigned long long)result->errors);
    fflush(stdout);
}

struct rf_result rf_bench_json(const char *path, const struct rf_bench_row *row,
                               const struct rf_load_result *result)
{
    char  cpu[32] = "null";
    FILE *file = fopen(path, "ae");
    if (file == NULL) {
        return rf_result(RF_IO_ERROR);
    }
    if (row->has_cpu) {
        snprintf(cpu, sizeof(cpu), "%.2f", share(row->cpu_us, result->ops));
    }
    fprintf(file,
            "{\"bench\":\"%s\",\"workload\":\"%s\",\"value_bytes\":%llu,\"threads\":%llu,"
            "\"system\":\"%s\",\"ops_per_s\":%.0f,\"cpu_us_per_op\":%s,\"p50_us\":%.1f,"
            "\"p99_us\":%.1f,\"p999_us\":%.1f,\"errors\":%llu}\n",
            row->bench, row->workload, (unsigned long long)row->value_bytes,
            (unsigned long long)row->threads, row->system,
            share(result->ops * 1000000, result->run_us), cpu, latency_us(result, 50000),
            latency_us(result, 99000), latency_us(result, 99900),
            (unsigned long long)result->errors);
    return rf_result(fclose(file) == 0 ? RF_OK : RF_IO_ERROR);
}
