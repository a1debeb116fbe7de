/* Ringfort plugin ABI, version 1.0. The only header that a plugin needs (C11 and C++17).
 *
 * A plugin is a shared object that exports one note and one function:
 *
 *     static int32_t newest(const struct rf_host *host, const void *options, ...) { ... }
 *     static const struct rf_conflict_ops ops = { .size = sizeof(ops), .merge = newest, ... };
 *     RF_PLUGIN(RF_KIND_CONFLICT, "conflict-mine", "1.0.0", ops)
 *
 * The note is read from the file's bytes before any code of the plugin runs; a wrong ABI version,
 * kind or name is refused with a sentence that says what differs.
 *
 * Rules for policy plugins:
 *  - Pure functions over the views they are given: no files, sockets, threads, clocks, randomness,
 *    heap or global state. They may import mem*, str*, pure libm and snprintf, nothing else.
 *  - Re-entrant: the same operation runs on several threads at once.
 *  - Inputs are borrowed for the call. Outputs go into space of the caller.
 *  - Every table and view starts with its size (or carries an element size) and only grows at its
 *    end: check `size` before reading a field that came later than the version you need.
 *  - Return RF_PLUGIN_OK, or another RF_PLUGIN_* code after host->error(host, "what went wrong").
 *  - The core checks every answer before it acts on it; a wrong one disables the plugin, and its
 *    tables go on in a safe way (conflict: keep everything; compaction: stop picking; placement:
 *    keep the last agreed replicas). */
#ifndef RINGFORT_PLUGIN_H
#define RINGFORT_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_ABI_MAJOR 1u /* changes break: must be equal */
#define RF_ABI_MINOR 0u /* grows: the plugin's may not be above the host's */

enum rf_kind { RF_KIND_COMPACTION = 1, RF_KIND_CONFLICT = 2, RF_KIND_PLACEMENT = 3 };

enum rf_plugin_rc {
    RF_PLUGIN_OK = 0,
    RF_PLUGIN_ERROR = 1,     /* the operation failed; say why with host->error */
    RF_PLUGIN_NEED_MORE = 2, /* placement: not enough candidates in view, call again with more */
    RF_PLUGIN_BAD_OPTION = 3 /* check: the options do not fit together; say why with host->error */
};

/* ---- What the host offers ------------------------------------------------------------------ */

struct rf_host {
    uint32_t size; /* of this table as the host knows it */
    uint16_t abi_major;
    uint16_t abi_minor;
    /* Records why the call fails; the text is copied. */
    void (*error)(const struct rf_host *host, const char *text);
};

/* ---- Options: declared by the plugin, parsed and checked by the host ----------------------- */

enum rf_option_type {
    RF_OPTION_INT = 1,   /* int64_t in the options struct */
    RF_OPTION_SIZE = 2,  /* int64_t bytes; YAML: 64MiB */
    RF_OPTION_TIME = 3,  /* int64_t milliseconds; YAML: 30s */
    RF_OPTION_BOOL = 4,  /* int64_t 0 or 1 */
    RF_OPTION_CHOICE = 5 /* int64_t index into `choices` */
};

/* One option. Fixed-size text, so that the table is plain data inside the note and can be read
 * without running or relocating anything. */
struct rf_option {
    char     name[32];
    char     doc[160];
    char     choices[128]; /* RF_OPTION_CHOICE: "small|medium|large" */
    int64_t  def;
    int64_t  min;
    int64_t  max;
    uint32_t type;       /* enum rf_option_type */
    uint32_t offset;     /* of the int64_t in the plugin's options struct */
    uint32_t reloadable; /* 1: takes effect live, in a new instance */
    uint32_t reserved;
};

/* ---- Versions ------------------------------------------------------------------------------ */

enum rf_item_flags { RF_ITEM_TOMBSTONE = 1, RF_ITEM_MARKER = 2 /* expired, value dropped */ };

/* One stored version of a key. */
struct rf_item {
    uint64_t       hlc;    /* 48 bits of ms since the epoch, 16 bits of counter */
    uint64_t       writer; /* breaks ties of hlc */
    uint64_t       expiry_ms;
    const uint8_t *value;
    uint32_t       value_size; /* bytes */
    uint32_t       flags;      /* enum rf_item_flags */
};

/* ---- Conflict resolution ------------------------------------------------------------------- */

/* `merge` picks what the core's own order of versions picks (hlc, then tombstone over value, then
 * writer, then larger bytes). The core then compares directly and reads may skip older files. */
#define RF_NEWEST_WINS 1u

struct rf_conflict_ops {
    uint32_t size;         /* sizeof(struct rf_conflict_ops) */
    uint32_t options_size; /* sizeof of the options struct, 0 without options, at most 4096 */
    uint64_t capabilities; /* RF_NEWEST_WINS or 0 */
    /* Checks options against each other. May be NULL. */
    int32_t (*check)(const struct rf_host *host, const void *options);
    /* Which of n >= 1 versions of one key survive. item_size is the distance between items.
     * Writes survivors' indices, each once, at least one, to ret_survivors (room for n) and their
     * number to ret_n. Must be commutative, associative and idempotent: every replica merges in
     * another order and all must end with the same. */
    int32_t (*merge)(const struct rf_host *host, const void *options, const struct rf_item *items,
                     uint32_t item_size, uint32_t n, uint32_t *ret_survivors, uint32_t *ret_n);
};

/* ---- Placement ----------------------------------------------------------------------------- */

struct rf_candidate {
    uint64_t    node;
    const char *name;
    const char *rack;
};

struct rf_placement_ops {
    uint32_t size;
    uint32_t options_size;
    uint64_t capabilities; /* 0 */
    int32_t (*check)(const struct rf_host *host, const void *options);
    /* Chooses n of the distinct nodes met on the ring after a token. Candidates come in ring order;
     * there may be more nodes than are in view (n_total of them): answer RF_PLUGIN_NEED_MORE to see
     * further. Writes min(n, n_total) different indices into candidates, in order of preference.
     * Runs once per ring position when a ring is built, never per request. */
    int32_t (*choose)(const struct rf_host *host, const void *options,
                      const struct rf_candidate *candidates, uint32_t candidate_size,
                      uint32_t n_candidates, uint32_t n_total, uint32_t n, uint32_t *ret_chosen);
};

/* ---- Compaction ---------------------------------------------------------------------------- */

/* One SSTable as the strategy sees it. */
struct rf_run {
    uint64_t id;
    uint64_t size_bytes;
    uint64_t rows;
    uint64_t tombstones;  /* deletes, and markers of expired items */
    uint64_t first_token; /* both inclusive */
    uint64_t last_token;
    uint64_t min_hlc;
    uint64_t max_hlc;
    uint64_t max_expiry_ms; /* UINT64_MAX when a row never expires */
    uint32_t level;         /* as the plan that wrote it said; 0 after a flush */
    uint32_t busy;          /* 1: being merged, must not be picked */
    /* Estimates, as of now: what a merge of this run, alone if need be, would leave out. */
    uint64_t expired_rows;   /* values that have expired: they become markers without a value */
    uint64_t purgeable_rows; /* deletes and markers that may go altogether */
};

struct rf_plan {
    uint32_t size;     /* of this struct */
    uint32_t n_inputs; /* 0: nothing to do */
    uint32_t output_level;
    uint32_t reserved;
    uint64_t output_max_bytes; /* split outputs above this; 0: one file */
};

struct rf_compaction_ops {
    uint32_t size;
    uint32_t options_size;
    uint64_t capabilities; /* 0 */
    int32_t (*check)(const struct rf_host *host, const void *options);
    /* Picks the next merge of one partition. Runs come newest first. Writes indices into runs, each
     * once, not busy, to ret_inputs (room for n_runs) and fills *ret_plan. */
    int32_t (*pick)(const struct rf_host *host, const void *options, const struct rf_run *runs,
                    uint32_t run_size, uint32_t n_runs, uint32_t *ret_inputs,
                    struct rf_plan *ret_plan);
    /* How far behind compaction is, in thousandths: >= 1000 slows writers down. May be NULL. */
    int32_t (*score)(const struct rf_host *host, const void *options, const struct rf_run *runs,
                     uint32_t run_size, uint32_t n_runs, uint32_t *ret_score);
};

/* ---- The note ------------------------------------------------------------------------------ */

#define RF_NOTE_OWNER "Ringfort"
#define RF_NOTE_PLUGIN 0x52460001u  /* one: struct rf_plugin_note */
#define RF_NOTE_OPTIONS 0x52460002u /* at most one: an array of struct rf_option */
#define RF_NOTE_MAGIC 0x74726f6674676e69u
#define RF_PLUGIN_ENTRY "ringfort_plugin" /* returns the ops table of the kind */

struct rf_plugin_note {
    uint64_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint16_t kind; /* enum rf_kind */
    uint16_t reserved;
    uint32_t ops_size;    /* sizeof the ops table that the entry returns */
    uint32_t option_size; /* sizeof(struct rf_option) that the plugin was built with */
    char     name[64];
    char     version[32];
};

typedef const void *rf_plugin_entry(void);

#if defined(_WIN32)
#error "Ringfort plugins are ELF shared objects"
#endif
#define RF_EXPORT_ __attribute__((visibility("default"), used))
#define RF_NOTE_SECTION_ __attribute__((section(".note.ringfort"), aligned(4), used))
#ifdef __cplusplus
#define RF_ASSERT_ static_assert
#else
#define RF_ASSERT_ _Static_assert
#endif

/* Declares the plugin. Once per shared object, at file scope; `ops` is its static const table. */
#define RF_PLUGIN(kind_, name_, version_, ops_)                                                    \
    static const struct {                                                                          \
        uint32_t              owner_size;                                                          \
        uint32_t              desc_size;                                                           \
        uint32_t              type;                                                                \
        char                  owner[12];                                                           \
        struct rf_plugin_note note;                                                                \
    } __attribute__((packed)) rf_plugin_note_ RF_NOTE_SECTION_ = {                                 \
        sizeof(RF_NOTE_OWNER),                                                                     \
        sizeof(struct rf_plugin_note),                                                             \
        RF_NOTE_PLUGIN,                                                                            \
        RF_NOTE_OWNER,                                                                             \
        {RF_NOTE_MAGIC, RF_ABI_MAJOR, RF_ABI_MINOR, (kind_), 0, sizeof(ops_),                      \
         sizeof(struct rf_option), name_, version_}};                                              \
    RF_EXPORT_ const void *ringfort_plugin(void);                                                  \
    const void            *ringfort_plugin(void)                                                   \
    {                                                                                              \
        return &(ops_);                                                                            \
    }                                                                                              \
    RF_ASSERT_(sizeof(name_) <= 64 && sizeof(version_) <= 32, "plugin name or version too long")

/* Declares the options, n of them: RF_PLUGIN_OPTIONS(2, {...}, {...}). At most once. */
#define RF_PLUGIN_OPTIONS(n_, ...)                                                                 \
    static const struct {                                                                          \
        uint32_t         owner_size;                                                               \
        uint32_t         desc_size;                                                                \
        uint32_t         type;                                                                     \
        char             owner[12];                                                                \
        struct rf_option options[n_];                                                              \
    } __attribute__((packed))                                                                      \
    rf_plugin_options_ RF_NOTE_SECTION_ = {sizeof(RF_NOTE_OWNER),                                  \
                                           sizeof(struct rf_option) * (n_),                        \
                                           RF_NOTE_OPTIONS,                                        \
                                           RF_NOTE_OWNER,                                          \
                                           {__VA_ARGS__}};                                         \
    RF_ASSERT_((n_) >= 1 && (n_) <= 64, "1 to 64 options")

#ifdef __cplusplus
}
#endif

#endif
