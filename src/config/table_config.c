#include "config/table_config.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

#define AT(field) (uint32_t) offsetof(struct rf_table_config, field)
#define DAY_MS INT64_C(86400000)
#define GIB (INT64_C(1) << 30)
#define START RF_EFFECT_AT_START
#define NOT_YET RF_EFFECT_NOT_YET

/* path, type, offset, min, max, default, choices, effect, doc. Nothing of a table changes while the
 * server runs. */
const struct rf_setting rf_table_settings[] = {
    {"version", RF_SET_VERSION, AT(version), 1, 1, NULL, NULL, START, "format of this file: 1"},
    {"table", RF_SET_NAME, AT(table), 1, 63, NULL, NULL, START, "name of the table"},
    {"replication.n", RF_SET_INT, AT(n), 1, 16, "3", NULL, START, "copies of each item"},
    {"replication.write_quorum", RF_SET_INT, AT(write_quorum), 1, 16, "2", NULL, START,
     "acknowledgements that a write needs (W)"},
    {"replication.read_quorum", RF_SET_INT, AT(read_quorum), 1, 16, "2", NULL, START,
     "answers that a strong read needs (R)"},
    {"replication.sloppy", RF_SET_BOOL, AT(sloppy), 0, 0, "false", NULL, NOT_YET,
     "hints count towards W"},
    {"replication.weak", RF_SET_BOOL, AT(weak), 0, 0, "false", NULL, START,
     "allows R + W <= N, which gives up strong reads"},
    {"read_repair", RF_SET_CHOICE, AT(read_repair), 0, 0, "confirm", "confirm|background", START,
     "does a strong read that met stale replicas wait for their repair"},
    {"placement.plugin", RF_SET_NAME, AT(placement.plugin), 1, 63, "placement-simple", NULL, START,
     "which nodes hold copies"},
    {"placement.options", RF_SET_SUBTREE, AT(placement.options), 0, 0, "", NULL, START,
     "declared by the plugin"},
    {"conflict.plugin", RF_SET_NAME, AT(conflict.plugin), 1, 63, "conflict-lww", NULL, START,
     "which version survives"},
    {"conflict.options", RF_SET_SUBTREE, AT(conflict.options), 0, 0, "", NULL, START,
     "declared by the plugin"},
    {"compaction.plugin", RF_SET_NAME, AT(compaction.plugin), 1, 63, "compaction-stl", NULL, START,
     "which files are merged"},
    {"compaction.options", RF_SET_SUBTREE, AT(compaction.options), 0, 0, "", NULL, START,
     "declared by the plugin"},
    {"durability", RF_SET_CHOICE, AT(durability), 0, 0, "node", "node|group|interval|none", START,
     "node: as storage.durability. group: an acknowledged write is on disk (fdatasync); interval "
     "(10ms) or {interval: TIME}: it is written, a power cut loses at most that time; none"},
    {"durability.interval", RF_SET_TIME, AT(interval_ms), 1, 60000, "", NULL, START,
     "time between syncs"},
    {"compression", RF_SET_CHOICE, AT(compression), 0, 0, "lz4", "none|lz4", START,
     "of blocks on disk"},
    {"ttl", RF_SET_TIME, AT(ttl_ms), 1000, 3650 * DAY_MS, "", "none", START,
     "default time to live; none when absent"},
    {"max_ttl", RF_SET_TIME, AT(max_ttl_ms), 1000, 3650 * DAY_MS, "", "none", START,
     "every item expires within it"},
    {"tombstone_grace", RF_SET_TIME, AT(tombstone_grace_ms), 1000, 3650 * DAY_MS, "10d", NULL,
     START, "how long a tombstone is kept at least"},
    {"row_cache", RF_SET_SIZE, AT(row_cache_bytes), 0, 64 * GIB, "off", "off", START,
     "memory for cached rows per node"},
    {"bloom_bits_per_key", RF_SET_INT, AT(bloom_bits_per_key), 0, 32, "10", NULL, START,
     "size of Bloom filters; 0: none"},
    {"default_consistency", RF_SET_CHOICE, AT(default_consistency), 0, 0, "eventual",
     "eventual|strong", START, "of reads that do not say"},
};
const uint32_t rf_n_table_settings = sizeof(rf_table_settings) / sizeof(rf_table_settings[0]);

/* What no single row can say. */
static void check_together(const struct rf_table_config *config, const struct rf_document *document,
                           struct rf_problems *problems)
{
    const struct rf_tree *place = rf_tree_get(&document->root, "replication");
    uint32_t              line = place == NULL ? 1 : place->line;
    uint32_t              column = place == NULL ? 1 : place->column;
    if (config->n == 0 || config->write_quorum == 0 || config->read_quorum == 0) {
        /* one of them is wrong by itself, and told already */
    } else if (config->write_quorum > config->n || config->read_quorum > config->n) {
        rf_problem_at(problems, document, line, column,
                      "replication: a quorum above n = %lld can never be met",
                      (long long)config->n);
    } else if (config->read_quorum + config->write_quorum <= config->n && !config->weak) {
        rf_problem_at(problems, document, line, column,
                      "replication: read_quorum + write_quorum must be above n, or strong reads "
                      "may miss writes; to accept that, write `weak: true`");
    }
    if (config->max_ttl_ms != 0 && config->ttl_ms > config->max_ttl_ms) {
        const struct rf_tree *ttl = rf_tree_get(&document->root, "ttl");
        rf_problem_at(problems, document, ttl->line, ttl->column, "ttl: above max_ttl");
    }
}

struct rf_result rf_table_config_load(const char *path, struct rf_table_config *ret_config,
                                      struct rf_document *ret_document,
                                      struct rf_problems *problems)
{
    uint32_t               before = problems->count;
    struct rf_table_config config = {0};
    (void)rf_tree_load(path, ret_document, problems).rc;
    (void)rf_schema_apply(rf_table_settings, rf_n_table_settings, ret_document, &ret_document->root,
                          &config, problems)
        .rc;
    if (ret_document->whole && ret_document->root.kind == RF_TREE_MAP) {
        check_together(&config, ret_document, problems);
    }
    if (problems->count != before) {
        return rf_result(RF_CONFIG_INVALID);
    }
    *ret_config = config;
    return rf_result(RF_OK);
}

/* ---- Options ------------------------------------------------------------------------------ */

/* Depth is bounded by RF_TREE_DEPTH_MAX: the walk keeps its own stack. */
static uint64_t tree_digest(const struct rf_tree *tree, uint64_t digest)
{
    struct frame {
        const struct rf_tree *node;
        uint32_t              at;
    } stack[RF_TREE_DEPTH_MAX + 1];
    uint32_t depth = 0;
    while (tree != NULL || depth > 0) {
        if (tree != NULL) {
            uint64_t shape = (uint64_t)tree->kind << 32 | tree->n_children;
            digest = rf_hash64(rf_slice_str(tree->key == NULL ? "" : tree->key), digest ^ shape);
            digest = rf_hash64(rf_slice_str(tree->text == NULL ? "" : tree->text), digest);
            stack[depth++] = (struct frame){.node = tree};
        }
        struct frame *frame = &stack[depth - 1];
        bool          more = frame->at < frame->node->n_children;
        tree = more ? &frame->node->children[frame->at++] : NULL;
        depth -= !more;
    }
    return digest;
}

uint64_t rf_table_options_digest(const struct rf_table_config *config)
{
    return tree_digest(config->placement.options, 1) ^ tree_digest(config->conflict.options, 2) ^
           tree_digest(config->compaction.options, 3);
}

/* ---- A directory of them ------------------------------------------------------------------ */

static int is_table_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0;
}

/* Tables found so far. */
struct found {
    uint32_t n;
    char     names[RF_TABLES_MAX][64];
};

static bool is_new(struct found *found, const struct rf_table_file *file,
                   struct rf_problems *problems)
{
    const struct rf_tree *place = rf_tree_get(&file->document->root, "table");
    const char           *name = file->config->table;
    for (uint32_t i = 0; i < found->n; i++) {
        if (strcmp(found->names[i], name) == 0) {
            rf_problem_at(problems, file->document, place->line, place->column,
                          "table '%s' is defined twice", name);
            return false;
        }
    }
    if (found->n == RF_TABLES_MAX) {
        rf_problem_at(problems, file->document, place->line, place->column,
                      "too many tables (at most %u)", RF_TABLES_MAX);
        return false;
    }
    snprintf(found->names[found->n++], sizeof(found->names[0]), "%s", name);
    return true;
}

struct rf_result rf_table_dir_load(const char *dir,
                                   void (*take)(void *user, const struct rf_table_file *file),
                                   void *user, struct rf_problems *problems)
{
    struct dirent **names = NULL;
    uint32_t        before = problems->count;
    struct found   *found = RF_NEW(struct found);
    int             n = found == NULL ? 0 : scandir(dir, &names, is_table_file, alphasort);
    if (n < 0) {
        rf_problem(problems, "cannot read tables_dir %s: %s", dir, strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        char                   path[RF_PATH_MAX + 300];
        struct rf_document     document = {0};
        struct rf_table_config config;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        struct rf_table_file file = {path, &config, &document};
        if (rf_ok(rf_table_config_load(path, &config, &document, problems)) &&
            is_new(found, &file, problems)) {
            take(user, &file);
        }
        rf_document_free(&document);
        free(names[i]);
    }
    free(names);
    bool memory = found != NULL;
    rf_mem_free(found);
    return rf_result(!memory                     ? RF_NO_MEMORY
                     : problems->count == before ? RF_OK
                                                 : RF_CONFIG_INVALID);
}
