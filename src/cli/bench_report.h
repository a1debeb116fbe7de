/* What a measuring command tells: rows for people and for programs, and the CPU time of processes. */
#ifndef RF_CLI_BENCH_REPORT_H
#define RF_CLI_BENCH_REPORT_H

#include "cli/load.h"

#define RF_BENCH_PIDS_MAX 64u

struct rf_bench_pids {
    int      list[RF_BENCH_PIDS_MAX];
    uint32_t n;
};

/* Parses "12,13,14". */
RF_CHECKED struct rf_result rf_bench_pids_parse(const char *text, struct rf_bench_pids *ret_pids);
/* User and system time of all of them so far, in microseconds; a process that is gone counts 0. */
uint64_t rf_bench_cpu_us(const struct rf_bench_pids *pids);

struct rf_bench_row {
    const char *bench, *workload, *system;
    uint64_t    value_bytes, threads;
    bool        has_cpu;
    uint64_t    cpu_us; /* of all server processes, for the whole run */
};

/* Prints a line of the table; `header` prints its head before. */
void rf_bench_print(const struct rf_bench_row *row, const struct rf_load_result *result,
                    bool header);
/* Appends the row to a file of JSON lines. RF_OK, RF_IO_ERROR. */
RF_CHECKED struct rf_result rf_bench_json(const char *path, const struct rf_bench_row *row,
                                          const struct rf_load_result *result);

#endif
