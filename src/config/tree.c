#include "config/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/assert.h"
#include "base/mem.h"

/* ---- Problems ----------------------------------------------------------------------------- */

/* Text from a file must not steer the terminal that shows the problem. */
static void append_clean(struct rf_buf *to, const char *text)
{
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        rf_buf_append(to, c < 0x20 || c == 0x7f ? "?" : text, 1);
    }
}

static void append_line(struct rf_buf *to, const struct rf_document *document, uint32_t line,
                        uint32_t column)
{
    const char *at = document->source.size == 0 ? "" : (const char *)document->source.data;
    const char *end = at + document->source.size;
    for (uint32_t l = 1; l < line && at < end; l++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        at = newline == NULL ? end : newline + 1;
    }
    if (at >= end) {
        return;
    }
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    size_t      n = newline == NULL ? (size_t)(end - at) : (size_t)(newline - at);
    n = n > 160 ? 160 : n;
    rf_buf_append_str(to, "    ");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)at[i];
        rf_buf_append(to, c < 0x20 || c == 0x7f ? " " : (const char *)&at[i], 1);
    }
    rf_buf_append_str(to, "\n    ");
    for (uint32_t c = 1; c < column && c <= n; c++) {
        rf_buf_append_str(to, " ");
    }
    rf_buf_append_str(to, "^\n");
}

static void append_at(struct rf_buf *to, const struct rf_document *document, uint32_t line,
                      uint32_t column, const char *kind, const char *text)
{
    char head[64];
    snprintf(head, sizeof(head), ":%u:%u: %s: ", line, column, kind);
    rf_buf_append_str(to, document->path);
    rf_buf_append_str(to, head);
    append_clean(to, text);
    rf_buf_append_str(to, "\n");
    append_line(to, document, line, column);
}

void rf_problem_at(struct rf_problems *problems, const struct rf_document *document, uint32_t line,
                   uint32_t column, const char *format, ...)
{
    char    text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    append_at(&problems->text, document, line, column, "error", text);
    problems->count++;
}

void rf_warning_at(struct rf_problems *problems, const struct rf_document *document, uint32_t line,
                   uint32_t column, const char *format, ...)
{
    char    text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    append_at(&problems->warnings, document, line, column, "warning", text);
    problems->n_warnings++;
}

static void append_problem(struct rf_problems *problems, const char *path, const char *text)
{
    rf_buf_append_str(&problems->text, path);
    rf_buf_append_str(&problems->text, path[0] == 0 ? "error: " : ": error: ");
    append_clean(&problems->text, text);
    rf_buf_append_str(&problems->text, "\n");
    problems->count++;
}

void rf_problem_in(struct rf_problems *problems, const char *path, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    append_problem(problems, path, text);
}

void rf_problem(struct rf_problems *problems, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    append_problem(problems, "", text);
}

void rf_problems_fini(struct rf_problems *problems)
{
    rf_buf_fini(&problems->text);
    rf_buf_fini(&problems->warnings);
    problems->count = 0;
    problems->n_warnings = 0;
}

static uint32_t edit_distance(const char *a, const char *b)
{
    uint32_t row[64];
    size_t   n = strlen(b);
    if (n >= 63 || strlen(a) >= 63) {
        return UINT32_MAX;
    }
    for (uint32_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (uint32_t i = 1; a[i - 1] != 0; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= n; j++) {
            uint32_t above = row[j];
            uint32_t change = diagonal + (a[i - 1] != b[j - 1]);
            uint32_t best = above < row[j - 1] ? above + 1 : row[j - 1] + 1;
            row[j] = change < best ? change : best;
            diagonal = above;
        }
    }
    return row[n];
}

const char *rf_did_you_mean(const char *word, const char *const *candidates, uint32_t n)
{
    const char *best = NULL;
    uint32_t    limit = (uint32_t)strlen(word) / 3 + 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t distance = edit_distance(word, candidates[i]);
        if (distance <= limit) {
            limit = distance == 0 ? 0 : distance - 1;
            best = candidates[i];
        }
    }
    return best;
}

/* ---- Building the tree -------------------------------------------------------------------- */

static char *copy_text(const char *text, size_t n)
{
    char *copy = rf_mem_alloc(n + 1);
    if (copy != NULL) {
        memcpy(copy, text, n);
    }
    return copy;
}

static struct rf_tree *add_child(struct rf_tree *parent)
{
    struct rf_tree *grown =
        rf_mem_realloc(parent->children, sizeof(*grown) * (parent->n_children + 1));
    if (grown == NULL) {
        return NULL;
    }
    parent->children = grown;
    struct rf_tree *child = &grown[parent->n_children++];
    *child = (struct rf_tree){0};
    return child;
}

struct builder {
    yaml_parser_t       parser;
    struct rf_document *document;
    struct rf_problems *problems;
    struct rf_tree     *stack[RF_TREE_DEPTH_MAX + 1]; /* open maps and lists */
    uint32_t            depth;
    char               *key; /* of the map entry whose value comes next */
    uint32_t            key_line, key_column;
    bool                root_done;
    bool                refused; /* the node that comes next */
    bool                stop;
};

static void report(struct builder *builder, yaml_mark_t mark, const char *text)
{
    rf_problem_at(builder->problems, builder->document, (uint32_t)mark.line + 1,
                  (uint32_t)mark.column + 1, "%s", text);
}

/* Where the next value goes: the root, a list entry, or the value of the pending key. */
static struct rf_tree *next_node(struct builder *builder, yaml_mark_t mark)
{
    struct rf_tree *node = NULL;
    if (builder->depth == 0) {
        if (builder->root_done) {
            report(builder, mark, "only one document is allowed");
            builder->stop = true;
            return NULL;
        }
        builder->root_done = true;
        node = &builder->document->root;
    } else if (builder->stack[builder->depth - 1]->n_children == RF_TREE_ENTRIES_MAX) {
        report(builder, mark, "too many entries (at most 4096 in one map or list)");
    } else {
        node = add_child(builder->stack[builder->depth - 1]);
    }
    if (node == NULL) {
        builder->stop = true;
        return NULL;
    }
    node->line = (uint32_t)mark.line + 1;
    node->column = (uint32_t)mark.column + 1;
    node->key = builder->key;
    node->key_line = builder->key_line;
    node->key_column = builder->key_column;
    node->refused = builder->refused;
    builder->refused = false;
    builder->key = NULL;
    return node;
}

static void open_node(struct builder *builder, yaml_mark_t mark, enum rf_tree_kind kind)
{
    bool in_map = builder->depth > 0 && builder->stack[builder->depth - 1]->kind == RF_TREE_MAP;
    if (in_map && builder->key == NULL) {
        report(builder, mark, "a key must be plain text");
        builder->stop = true;
        return;
    }
    if (builder->depth == RF_TREE_DEPTH_MAX) {
        report(builder, mark, "nested too deeply (at most 16 levels)");
        builder->stop = true;
        return;
    }
    struct rf_tree *node = next_node(builder, mark);
    if (node != NULL) {
        node->kind = kind;
        builder->stack[builder->depth++] = node;
    }
}

static void add_scalar(struct builder *builder, yaml_mark_t mark, const char *text, size_t n)
{
    struct rf_tree *node = next_node(builder, mark);
    if (node != NULL) {
        node->kind = RF_TREE_SCALAR;
        node->text = copy_text(text, n);
        builder->stop = node->text == NULL;
    }
}

static void on_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t      n = event->data.scalar.length;
    if (memchr(text, 0, n) != NULL) {
        report(builder, event->start_mark, "NUL is not allowed");
        builder->stop = true;
        return;
    }
    struct rf_tree *parent = builder->depth == 0 ? NULL : builder->stack[builder->depth - 1];
    if (parent != NULL && parent->kind == RF_TREE_MAP && builder->key == NULL) {
        const struct rf_tree *before = NULL;
        builder->key = copy_text(text, n);
        builder->key_line = (uint32_t)event->start_mark.line + 1;
        builder->key_column = (uint32_t)event->start_mark.column + 1;
        builder->stop = builder->key == NULL;
        before = builder->stop ? NULL : rf_tree_get(parent, builder->key);
        if (before != NULL) {
            rf_problem_at(builder->problems, builder->document, builder->key_line,
                          builder->key_column, "duplicate key '%s' (first on line %u)",
                          builder->key, before->key_line);
        }
        return;
    }
    add_scalar(builder, event->start_mark, text, n);
}

/* Anchors and tags come with the events of nodes. */
static bool has_extras(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    }
    return anchor != NULL || tag != NULL || event->type == YAML_ALIAS_EVENT;
}

static void on_event(struct builder *builder, const yaml_event_t *event)
{
    if (has_extras(event)) {
        /* A value of that form is passed over, so that what follows is checked as well. */
        bool value = builder->depth == 0 || builder->key != NULL ||
                     builder->stack[builder->depth - 1]->kind == RF_TREE_LIST;
        report(builder, event->start_mark, "anchors, aliases and tags are not allowed");
        builder->refused = value;
        builder->stop = !value;
    }
    switch ((int)event->type) {
    case YAML_ALIAS_EVENT:
        if (!builder->stop) {
            add_scalar(builder, event->start_mark, "", 0);
        }
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(builder, event);
        break;
    case YAML_MAPPING_START_EVENT:
        open_node(builder, event->start_mark, RF_TREE_MAP);
        break;
    case YAML_SEQUENCE_START_EVENT:
        open_node(builder, event->start_mark, RF_TREE_LIST);
        break;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        rf_assert(builder->depth > 0);
        builder->depth--;
        break;
    default:
        break;
    }
}

static void run_parser(struct builder *builder)
{
    yaml_event_t event;
    bool         end = false;
    while (!end && !builder->stop) {
        if (yaml_parser_parse(&builder->parser, &event) == 0) {
            yaml_mark_t mark = builder->parser.problem_mark;
            const char *text =
                builder->parser.problem != NULL ? builder->parser.problem : "this is not YAML";
            report(builder, mark, text);
            return;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        builder->document->whole = end;
        on_event(builder, &event);
        yaml_event_delete(&event);
    }
}

struct rf_result rf_tree_parse(const char *path, struct rf_slice source,
                               struct rf_document *ret_document, struct rf_problems *problems)
{
    uint32_t before = problems->count;
    *ret_document = (struct rf_document){.path = copy_text(path, strlen(path))};
    rf_buf_append_slice(&ret_document->source, source);
    if (ret_document->path == NULL || ret_document->source.failed) {
        return rf_result(RF_NO_MEMORY);
    }
    if (source.size > RF_TREE_SIZE_MAX) {
        rf_problem_in(problems, path, "the file is larger than 1 MiB");
        return rf_result(RF_CONFIG_INVALID);
    }
    struct builder builder = {.document = ret_document, .problems = problems};
    if (yaml_parser_initialize(&builder.parser) == 0) {
        return rf_result(RF_NO_MEMORY);
    }
    yaml_parser_set_input_string(&builder.parser, source.data, source.size);
    run_parser(&builder);
    yaml_parser_delete(&builder.parser);
    rf_mem_free(builder.key);
    if (problems->count == before && ret_document->root.kind != RF_TREE_MAP) {
        rf_problem_at(problems, ret_document, 1, 1, "the file must be a map of keys and values");
    }
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}

struct rf_result rf_tree_load(const char *path, struct rf_document *ret_document,
                              struct rf_problems *problems)
{
    struct rf_buf source = {0};
    *ret_document = (struct rf_document){0};
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        rf_problem_in(problems, path, "cannot open the file: %m");
        return rf_result(RF_CONFIG_INVALID);
    }
    size_t got = 1;
    while (got != 0 && source.size <= RF_TREE_SIZE_MAX && rf_buf_reserve(&source, 4096) != NULL) {
        got = fread(source.data + source.size, 1, 4096, file);
        source.size += got;
    }
    bool failed = ferror(file) != 0 || source.failed;
    fclose(file);
    struct rf_result result = rf_result(RF_CONFIG_INVALID);
    if (failed) {
        rf_problem_in(problems, path, "cannot read the file");
    } else {
        result = rf_tree_parse(path, rf_buf_slice(&source), ret_document, problems);
    }
    rf_buf_fini(&source);
    return result;
}

/* Depth is bounded by RF_TREE_DEPTH_MAX: the walk keeps its own stack. */
void rf_document_free(struct rf_document *document)
{
    struct rf_tree *stack[RF_TREE_DEPTH_MAX + 2];
    uint32_t        depth = 0;
    stack[depth++] = &document->root;
    while (depth > 0) {
        struct rf_tree *node = stack[depth - 1];
        if (node->n_children > 0) {
            stack[depth++] = &node->children[--node->n_children];
            continue;
        }
        rf_mem_free(node->children);
        rf_mem_free(node->text);
        rf_mem_free(node->key);
        depth--;
    }
    rf_mem_free(document->path);
    rf_buf_fini(&document->source);
    *document = (struct rf_document){0};
}

const struct rf_tree *rf_tree_get(const struct rf_tree *map, const char *key)
{
    for (uint32_t i = 0; map->kind == RF_TREE_MAP && i < map->n_children; i++) {
        if (strcmp(map->children[i].key, key) == 0) {
            return &map->children[i];
        }
    }
    return NULL;
}
