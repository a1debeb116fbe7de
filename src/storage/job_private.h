/* Inside of background jobs: job.c (begin, end), job_run.c (what steps do). */
#ifndef RF_STORAGE_JOB_PRIVATE_H
#define RF_STORAGE_JOB_PRIVATE_H

#include "storage/engine_private.h"
#include "storage/merge.h"
#include "storage/sst_writer.h"

enum rf_job_kind { RF_JOB_FLUSH, RF_JOB_COMPACT, RF_JOB_TRIM, RF_JOB_RECORD };
enum rf_job_phase { RF_PHASE_START, RF_PHASE_WRITE, RF_PHASE_COMMIT, RF_PHASE_DONE };

#define RF_RECORD_MAX 16u /* damages put on record by one job */
#define RF_TRIM_MAX 64u   /* files deleted by one job */

/* Deletion: files that nothing names any more, then log segments, oldest first. */
struct rf_trim {
    struct rf_garbage garbage[RF_TRIM_MAX];
    uint32_t          n_garbage;
    bool              old; /* all segments of earlier runs */
    uint64_t          segments[RF_TRIM_MAX];
    uint32_t          n_segments;
    uint32_t          done; /* steps done */
};

struct rf_job {
    enum rf_job_kind  kind;
    enum rf_job_phase phase;
    struct rf_store  *store; /* not touched by steps, except for what never changes */
    struct rf_engine *engine;
    struct rf_result  result; /* why it failed */
    /* Flush and compaction. */
    struct rf_part        *part;
    uint32_t               partition;
    struct rf_table_policy policy; /* a copy: tables move */
    struct rf_data_file  **inputs; /* compaction; busy until the end */
    uint32_t               n_inputs;
    uint32_t               output_level;
    uint64_t               output_max_bytes;
    uint64_t               wall_ms;
    bool keeps_all; /* a damaged file may be read again one day: what shadows its rows must stay */
    bool may_drop;  /* the node's hints: dead rows go when no other file has more */
    bool drop;      /* the inputs go as they are, there is no output */
    struct rf_merge       merge;
    struct rf_sst_writer *writer;
    uint64_t              writing; /* number of its file */
    struct rf_data_file **outputs; /* max_outputs at most */
    uint32_t              n_outputs;
    bool                  commit_tried; /* whether its files are on record is open */
    uint64_t              rows, dropped, expired, in_bytes, out_bytes;
    uint64_t              bytes;    /* of rows handled so far */
    uint64_t              reserved; /* its part of the engine's */
    uint32_t              max_outputs;
    struct rf_damage      damages[RF_RECORD_MAX];
    uint32_t              n_damages;
    struct rf_trim        trim;
};

/* job_run.c: gives back what is reserved beyond `keep` bytes. */
void rf_job_release_space(struct rf_job *job, uint64_t keep);

#endif
