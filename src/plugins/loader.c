#define _GNU_SOURCE /* memfd_create, seals */
#include "plugins/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugins/elf_imports.h"

#define PLUGINS_MAX 64u
#define OPTIONS_MAX 4096u            /* bytes of an options struct */
#define FILE_MAX (64u * 1024 * 1024) /* bytes of a plugin file */

struct rf_registry {
    const char       *dir;
    struct rf_plugin *plugins[PLUGINS_MAX];
    uint32_t          n;
};

static const char *const kind_names[] = {"?", "compaction", "conflict", "placement"};

static struct rf_result refuse(char why[512], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct rf_result refuse(char why[512], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, 512, format, args);
    va_end(args);
    return rf_result(RF_PLUGIN_REFUSED);
}

/* ---- The host table ----------------------------------------------------------------------- */

static void host_error(const struct rf_host *host, const char *text)
{
    (void)host;
    rf_log(RF_LOG_WARN, "plugin_error", "text=\"%.400s\"", text);
}

const struct rf_host *rf_registry_host(void)
{
    static const struct rf_host host = {sizeof(host), RF_ABI_MAJOR, RF_ABI_MINOR, host_error};
    return &host;
}

/* ---- Reading the file --------------------------------------------------------------------- */

/* Whoever may write the file or its directory may run code in the server. */
static struct rf_result check_owner(int fd, const char *what, const char *path, char why[512])
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return refuse(why, "cannot look at %s: %s", path, strerror(errno));
    }
    if (status.st_uid != 0 && status.st_uid != geteuid()) {
        return refuse(why,
                      "the %s %s belongs to another user; it must belong to root or to the "
                      "server's user",
                      what, path);
    }
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return refuse(why, "the %s %s may be written by others; chmod go-w it", what, path);
    }
    return rf_result(RF_OK);
}

static struct rf_result check_directory(const char *dir, char why[512])
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return refuse(why, "cannot open the plugin directory %s: %s", dir, strerror(errno));
    }
    struct rf_result result = check_owner(fd, "plugin directory", dir, why);
    close(fd);
    return result;
}

static struct rf_result read_all(int fd, const char *path, struct rf_buf *bytes, char why[512])
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > FILE_MAX) {
        return refuse(why, "%s is not a regular file of at most 64 MiB", path);
    }
    ssize_t got = 1;
    while (got > 0 && rf_buf_reserve(bytes, 65536) != NULL) {
        got = read(fd, bytes->data + bytes->size, 65536);
        bytes->size += got > 0 ? (size_t)got : 0;
    }
    if (got != 0) {
        return refuse(why, "cannot read %s", path);
    }
    return rf_result(RF_OK);
}

static struct rf_result read_plugin(const char *path, struct rf_buf *bytes, char why[512])
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return refuse(why, "cannot open %s: %s", path, strerror(errno));
    }
    struct rf_result result = check_owner(fd, "plugin", path, why);
    if (rf_ok(result)) {
        result = read_all(fd, path, bytes, why);
    }
    close(fd);
    return result;
}

/* ---- Loading ------------------------------------------------------------------------------ */

/* The bytes that were checked are the bytes that are loaded: a sealed copy in memory. A file that is
 * replaced on disk cannot crash a running server. */
static void *load_bytes(struct rf_slice bytes, const char *name, char why[512])
{
    char path[64];
    int  fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        (void)refuse(why, "memfd_create: %s", strerror(errno));
        return NULL;
    }
    void *handle = NULL;
    bool  copied =
        write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0;
    if (copied) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (handle == NULL) {
        (void)refuse(why, "it cannot be loaded: %s", copied ? dlerror() : "no memory for a copy");
        close(fd);
    }
    /* Else the descriptor stays open for good: dlopen knows objects by their path, and would take
     * the next plugin under the same number for this one. */
    return handle;
}

static size_t ops_size_of(uint16_t kind)
{
    return kind == RF_KIND_COMPACTION ? sizeof(struct rf_compaction_ops)
           : kind == RF_KIND_CONFLICT ? sizeof(struct rf_conflict_ops)
                                      : sizeof(struct rf_placement_ops);
}

static struct rf_result take_ops(void *handle, struct rf_plugin *plugin, char why[512])
{
    union {
        void            *symbol;
        rf_plugin_entry *entry;
    } found = {dlsym(handle, RF_PLUGIN_ENTRY)};
    const void *ops = found.symbol == NULL ? NULL : found.entry();
    uint32_t    size = 0;
    uint16_t    kind = plugin->notes.note.kind;
    if (ops == NULL) {
        return refuse(why, "it does not export %s", RF_PLUGIN_ENTRY);
    }
    memcpy(&size, ops, sizeof(size));
    if (size != plugin->notes.note.ops_size || size < 3 * sizeof(uint64_t)) {
        return refuse(why, "its operations table says %u bytes, its note %u", size,
                      plugin->notes.note.ops_size);
    }
    size_t mine = ops_size_of(kind);
    memcpy(&plugin->ops, ops, size < mine ? size : mine);
    bool complete = kind == RF_KIND_CONFLICT    ? plugin->ops.conflict.merge != NULL
                    : kind == RF_KIND_PLACEMENT ? plugin->ops.placement.choose != NULL
                                                : plugin->ops.compaction.pick != NULL;
    if (!complete) {
        return refuse(why, "its main operation (%s) is missing",
                      kind == RF_KIND_CONFLICT    ? "merge"
                      : kind == RF_KIND_PLACEMENT ? "choose"
                                                  : "pick");
    }
    plugin->options_size = plugin->ops.conflict.options_size; /* same place in every table */
    if (plugin->options_size > OPTIONS_MAX) {
        return refuse(why, "its options take %u bytes; at most 4096", plugin->options_size);
    }
    for (uint32_t i = 0; i < plugin->notes.n_options; i++) {
        if (plugin->notes.options[i].offset + sizeof(int64_t) > plugin->options_size) {
            return refuse(why, "option %s lies outside its options struct",
                          plugin->notes.options[i].name);
        }
    }
    return rf_result(RF_OK);
}

static struct rf_result check_note(const struct rf_plugin *plugin, enum rf_kind kind,
                                   const char *name, char why[512])
{
    const struct rf_plugin_note *note = &plugin->notes.note;
    if (strcmp(note->name, name) != 0) {
        return refuse(why, "%s calls itself '%s'; a plugin's file is named after it", plugin->path,
                      note->name);
    }
    if (note->kind != kind) {
        return refuse(why, "'%s' is a %s plugin, a %s plugin is needed here", name,
                      note->kind <= RF_KIND_PLACEMENT ? kind_names[note->kind] : "unknown kind of",
                      kind_names[kind]);
    }
    return rf_result(RF_OK);
}

/* Everything that can be known without running the plugin. Leaves its bytes in the buffer. */
static struct rf_result inspect_file(struct rf_plugin *plugin, const char *dir, enum rf_kind kind,
                                     const char *name, struct rf_buf *bytes, char why[512])
{
    char reason[256] = "";
    if (strchr(name, '/') != NULL || name[0] == '.') {
        return refuse(why, "'%s' is a path; plugins are named, not addressed", name);
    }
    snprintf(plugin->path, sizeof(plugin->path), "%.900s/%.63s.so", dir, name);
    RF_TRY(check_directory(dir, why));
    RF_TRY(read_plugin(plugin->path, bytes, why));
    if (!rf_ok(rf_plugin_notes_read(rf_buf_slice(bytes), &plugin->notes, reason))) {
        return refuse(why, "%s: %s", plugin->path, reason);
    }
    RF_TRY(check_note(plugin, kind, name, why));
    if (!rf_ok(rf_plugin_imports_check(rf_buf_slice(bytes), reason))) {
        return refuse(why, "%s: %s", plugin->path, reason);
    }
    plugin->content_hash = rf_hash64(rf_buf_slice(bytes), 0);
    return rf_result(RF_OK);
}

static struct rf_result load_file(struct rf_plugin *plugin, const char *dir, enum rf_kind kind,
                                  const char *name, struct rf_buf *bytes, char why[512])
{
    RF_TRY(inspect_file(plugin, dir, kind, name, bytes, why));
    void *handle = load_bytes(rf_buf_slice(bytes), name, why);
    return handle == NULL ? rf_result(RF_PLUGIN_REFUSED) : take_ops(handle, plugin, why);
}

struct rf_result rf_plugin_inspect(const char *dir, enum rf_kind kind, const char *name,
                                   struct rf_plugin_notes *ret_notes, char ret_why[512])
{
    struct rf_buf     bytes = {0};
    struct rf_plugin *plugin = RF_NEW(struct rf_plugin);
    if (plugin == NULL) {
        return refuse(ret_why, "out of memory");
    }
    struct rf_result result = inspect_file(plugin, dir, kind, name, &bytes, ret_why);
    if (rf_ok(result)) {
        *ret_notes = plugin->notes;
    }
    rf_buf_fini(&bytes);
    rf_mem_free(plugin);
    return result;
}

/* ---- The registry ------------------------------------------------------------------------- */

struct rf_registry *rf_registry_new(const char *dir)
{
    struct rf_registry *registry = RF_NEW(struct rf_registry);
    if (registry != NULL) {
        registry->dir = dir;
    }
    return registry;
}

void rf_registry_free(struct rf_registry *registry)
{
    for (uint32_t i = 0; registry != NULL && i < registry->n; i++) {
        rf_mem_free(registry->plugins[i]);
    }
    rf_mem_free(registry);
}

uint32_t rf_registry_count(const struct rf_registry *registry)
{
    return registry->n;
}

const struct rf_plugin *rf_registry_at(const struct rf_registry *registry, uint32_t index)
{
    rf_assert(index < registry->n);
    return registry->plugins[index];
}

struct rf_result rf_registry_get(struct rf_registry *registry, enum rf_kind kind, const char *name,
                                 const struct rf_plugin **ret_plugin, char ret_why[512])
{
    struct rf_buf bytes = {0};
    for (uint32_t i = 0; i < registry->n; i++) {
        if (strcmp(registry->plugins[i]->notes.note.name, name) == 0) {
            RF_TRY(check_note(registry->plugins[i], kind, name, ret_why));
            *ret_plugin = registry->plugins[i];
            return rf_result(RF_OK);
        }
    }
    struct rf_plugin *plugin = registry->n == PLUGINS_MAX ? NULL : RF_NEW(struct rf_plugin);
    if (plugin == NULL) {
        return refuse(ret_why, "no room for another plugin (at most %u)", PLUGINS_MAX);
    }
    struct rf_result result = load_file(plugin, registry->dir, kind, name, &bytes, ret_why);
    rf_buf_fini(&bytes);
    if (!rf_ok(result)) {
        rf_mem_free(plugin);
        return result;
    }
    registry->plugins[registry->n++] = plugin;
    *ret_plugin = plugin;
    return rf_result(RF_OK);
}

/* ---- Options ------------------------------------------------------------------------------ */

static enum rf_setting_type setting_type(uint32_t type)
{
    switch (type) {
    case RF_OPTION_SIZE:
        return RF_SET_SIZE;
    case RF_OPTION_TIME:
        return RF_SET_TIME;
    case RF_OPTION_CHOICE:
        return RF_SET_CHOICE;
    default:
        return RF_SET_INT;
    }
}

static void take_option(const struct rf_option *option, const struct rf_tree *entry,
                        const char *plugin_name, const struct rf_document *document,
                        uint8_t *options, struct rf_problems *problems)
{
    char              why[160] = "expected one value";
    struct rf_setting row = {
        .path = option->name,
        .type = setting_type(option->type),
        .offset = option->offset,
        .min = option->min,
        .max = option->max,
        .choices = option->type == RF_OPTION_CHOICE ? option->choices : NULL,
    };
    const char *text = entry->kind == RF_TREE_SCALAR ? entry->text : NULL;
    if (text != NULL && option->type == RF_OPTION_BOOL) {
        text = strcmp(text, "true") == 0 ? "1" : strcmp(text, "false") == 0 ? "0" : "";
        row.max = 1;
    }
    if (text == NULL || !rf_ok(rf_setting_parse(&row, text, "", options, why))) {
        rf_problem_at(problems, document, entry->line, entry->column, "%s.%s: %s", plugin_name,
                      option->name, why);
    }
}

static void take_entry(const struct rf_plugin_notes *notes, const struct rf_tree *entry,
                       const struct rf_document *document, uint8_t *options,
                       struct rf_problems *problems)
{
    const char *names[RF_PLUGIN_OPTIONS_MAX];
    for (uint32_t i = 0; i < notes->n_options; i++) {
        names[i] = notes->options[i].name;
        if (strcmp(names[i], entry->key) == 0) {
            take_option(&notes->options[i], entry, notes->note.name, document, options, problems);
            return;
        }
    }
    const char *meant = rf_did_you_mean(entry->key, names, notes->n_options);
    rf_problem_at(problems, document, entry->key_line, entry->key_column,
                  "%s has no option '%s'%s%s%s", notes->note.name, entry->key,
                  meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
                  meant == NULL ? "" : "'?");
}

/* Defaults, then what the file says. */
static void take_options(const struct rf_plugin_notes *notes, const struct rf_tree *tree,
                         const struct rf_document *document, uint8_t *options,
                         struct rf_problems *problems)
{
    for (uint32_t i = 0; i < notes->n_options; i++) {
        const struct rf_option *option = &notes->options[i];
        memcpy(options + option->offset, &option->def, sizeof(option->def));
    }
    if (tree != NULL && tree->kind != RF_TREE_MAP) {
        rf_problem_at(problems, document, tree->line, tree->column, "options: expected a map");
    }
    for (uint32_t i = 0; tree != NULL && tree->kind == RF_TREE_MAP && i < tree->n_children; i++) {
        take_entry(notes, &tree->children[i], document, options, problems);
    }
}

void rf_plugin_options_check(const struct rf_plugin_notes *notes, const struct rf_tree *tree,
                             const struct rf_document *document, struct rf_problems *problems)
{
    uint8_t *options = rf_mem_alloc(OPTIONS_MAX);
    if (options != NULL) {
        take_options(notes, tree, document, options, problems);
    }
    rf_mem_free(options);
}

struct rf_result rf_plugin_options(const struct rf_plugin *plugin, const struct rf_tree *tree,
                                   const struct rf_document *document, void **ret_options,
                                   struct rf_problems *problems)
{
    uint32_t before = problems->count;
    uint8_t *options = plugin->options_size == 0 ? NULL : rf_mem_alloc(plugin->options_size);
    if (options == NULL && plugin->options_size != 0) {
        return rf_result(RF_NO_MEMORY);
    }
    take_options(&plugin->notes, tree, document, options, problems);
    int32_t (*check)(const struct rf_host *, const void *) = plugin->ops.conflict.check;
    if (problems->count == before && check != NULL &&
        check(rf_registry_host(), options) != RF_PLUGIN_OK) {
        rf_problem_in(problems, document == NULL ? "" : document->path,
                      "%s refuses its options; the log says why", plugin->notes.note.name);
    }
    if (problems->count != before) {
        rf_mem_free(options);
        return rf_result(RF_CONFIG_INVALID);
    }
    *ret_options = options;
    return rf_result(RF_OK);
}
