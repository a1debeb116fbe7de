#include "config/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define CANDIDATES_MAX 96u

/* ---- Values ------------------------------------------------------------------------------- */

struct unit {
    const char *name;
    int64_t     factor;
};

static const struct unit size_units[] = {{"TiB", INT64_C(1) << 40},
                                         {"GiB", INT64_C(1) << 30},
                                         {"MiB", 1 << 20},
                                         {"KiB", 1 << 10},
                                         {"B", 1},
                                         {NULL, 0}};
static const struct unit rate_units[] = {
    {"GiB/s", INT64_C(1) << 30}, {"MiB/s", 1 << 20}, {"KiB/s", 1 << 10}, {"B/s", 1}, {NULL, 0}};
static const struct unit time_units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                         {"h", 3600000}, {"d", 86400000}, {NULL, 0}};

static struct rf_result refuse(char why[160], const char *text)
{
    snprintf(why, 160, "%s", text);
    return rf_result(RF_CONFIG_INVALID);
}

static bool parse_digits(const char *text, int64_t *ret_value, const char **ret_rest)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || errno != 0 || !(text[0] == '-' || (text[0] >= '0' && text[0] <= '9'))) {
        return false;
    }
    *ret_value = value;
    *ret_rest = end;
    return true;
}

static struct rf_result parse_unit(const char *text, const struct unit *units, const char *example,
                                   int64_t *ret_value, char why[160])
{
    const char *rest = NULL;
    int64_t     value = 0;
    if (!parse_digits(text, &value, &rest)) {
        snprintf(why, 160, "expected a number with a unit, such as %s", example);
        return rf_result(RF_CONFIG_INVALID);
    }
    while (*rest == ' ') {
        rest++;
    }
    if (value == 0 && *rest == 0) {
        *ret_value = 0;
        return rf_result(RF_OK);
    }
    for (const struct unit *unit = units; unit->name != NULL; unit++) {
        if (strcmp(rest, unit->name) == 0) {
            bool over = __builtin_mul_overflow(value, unit->factor, ret_value);
            return over ? refuse(why, "the number is too large") : rf_result(RF_OK);
        }
    }
    snprintf(why, 160,
             *rest == 0 ? "the unit is missing; write for example %s"
                        : "unknown unit; write for example %s",
             example);
    return rf_result(RF_CONFIG_INVALID);
}

static struct rf_result parse_percent(const char *text, int64_t *ret_value, char why[160])
{
    const char *rest = NULL;
    int64_t     whole = 0;
    int64_t     hundredths = 0;
    if (!parse_digits(text, &whole, &rest) || whole < 0 || whole > 1000) {
        return refuse(why, "expected a percentage, such as 5%");
    }
    if (*rest == '.') {
        const char *digits = ++rest;
        for (int64_t weight = 10; *rest >= '0' && *rest <= '9'; rest++, weight /= 10) {
            hundredths += weight * (*rest - '0');
        }
        if (rest == digits || rest - digits > 2) {
            return refuse(why, "expected a percentage with at most two decimals, such as 2.5%");
        }
    }
    if (strcmp(rest, "%") != 0) {
        return refuse(why, "the unit is missing; write for example 5%");
    }
    *ret_value = whole * 100 + hundredths;
    return rf_result(RF_OK);
}

static struct rf_result parse_choice(const char *choices, const char *text, int64_t *ret_value,
                                     char why[160])
{
    int64_t     index = 0;
    const char *at = choices;
    for (;;) {
        size_t n = strcspn(at, "|");
        if (strlen(text) == n && memcmp(at, text, n) == 0) {
            *ret_value = index;
            return rf_result(RF_OK);
        }
        if (at[n] == 0) {
            break;
        }
        at += n + 1;
        index++;
    }
    snprintf(why, 160, "expected one of %s", choices);
    return rf_result(RF_CONFIG_INVALID);
}

static bool is_name(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return text[0] != '.' && text[0] != '-' && strspn(text, letters) == strlen(text);
}

/* host:port with a port of 1 … 65535; the host may be a name, IPv4, or [IPv6]. */
static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    int64_t     port = 0;
    const char *rest = NULL;
    if (colon == NULL || colon == text || strpbrk(text, " \t/@") != NULL) {
        return false;
    }
    if (text[0] != '[' && memchr(text, ':', (size_t)(colon - text)) != NULL) {
        return false; /* IPv6 needs its brackets */
    }
    return parse_digits(colon + 1, &port, &rest) && *rest == 0 && port >= 1 && port <= 65535;
}

static struct rf_result parse_text(const struct rf_setting *row, const char *text,
                                   const char *base_dir, char *ret_text, char why[160])
{
    size_t limit = (size_t)row->max;
    if (row->type == RF_SET_NAME && !is_name(text)) {
        return refuse(why, "expected a name of letters, digits, '.', '_' and '-'");
    }
    if (row->type == RF_SET_ADDRESS && !is_address(text)) {
        return refuse(why, "expected an address host:port, such as \"10.0.0.1:7444\"");
    }
    if (text[0] == 0) {
        return refuse(why, "must not be empty");
    }
    bool   relative = row->type == RF_SET_PATH && text[0] != '/' && base_dir[0] != 0;
    size_t n = strlen(text) + (relative ? strlen(base_dir) + 1 : 0);
    if (n > limit) {
        snprintf(why, 160, "longer than %zu bytes", limit);
        return rf_result(RF_CONFIG_INVALID);
    }
    snprintf(ret_text, limit + 1, "%s%s%s", relative ? base_dir : "", relative ? "/" : "", text);
    return rf_result(RF_OK);
}

static const char *unit_example(enum rf_setting_type type)
{
    return type == RF_SET_SIZE ? "64MiB" : type == RF_SET_TIME ? "10s" : "50MiB/s";
}

static struct rf_result parse_number(const struct rf_setting *row, const char *text,
                                     int64_t *ret_value, char why[160])
{
    const char *rest = NULL;
    if (row->type != RF_SET_CHOICE && row->choices != NULL && strcmp(text, row->choices) == 0) {
        *ret_value = 0;
        return rf_result(RF_OK);
    }
    switch (row->type) {
    case RF_SET_SIZE:
        RF_TRY(parse_unit(text, size_units, unit_example(row->type), ret_value, why));
        break;
    case RF_SET_TIME:
        RF_TRY(parse_unit(text, time_units, unit_example(row->type), ret_value, why));
        break;
    case RF_SET_RATE:
        RF_TRY(parse_unit(text, rate_units, unit_example(row->type), ret_value, why));
        break;
    case RF_SET_PERCENT:
        RF_TRY(parse_percent(text, ret_value, why));
        break;
    case RF_SET_CHOICE:
        return parse_choice(row->choices, text, ret_value, why);
    case RF_SET_INT:
    case RF_SET_VERSION:
        if (!parse_digits(text, ret_value, &rest) || *rest != 0) {
            return refuse(why, "expected a whole number");
        }
        break;
    case RF_SET_TEXT:
    case RF_SET_NAME:
    case RF_SET_PATH:
    case RF_SET_ADDRESS:
    case RF_SET_BOOL:
    case RF_SET_ADDRESSES:
    case RF_SET_SUBTREE:
    case RF_SET_NONE_OR_MAP:
    default:
        rf_unreachable();
    }
    if (*ret_value < row->min || *ret_value > row->max) {
        snprintf(why, 160, "%s is %s the allowed %lld%s", text,
                 *ret_value < row->min ? "below" : "above",
                 (long long)(*ret_value < row->min ? row->min : row->max),
                 row->type == RF_SET_TIME                               ? " ms"
                 : row->type == RF_SET_SIZE || row->type == RF_SET_RATE ? " bytes"
                                                                        : "");
        return rf_result(RF_CONFIG_INVALID);
    }
    return rf_result(RF_OK);
}

struct rf_result rf_setting_parse(const struct rf_setting *row, const char *text,
                                  const char *base_dir, void *ret_struct, char ret_why[160])
{
    uint8_t *target = (uint8_t *)ret_struct + row->offset;
    if (row->type == RF_SET_TEXT || row->type == RF_SET_NAME || row->type == RF_SET_PATH ||
        row->type == RF_SET_ADDRESS) {
        return parse_text(row, text, base_dir, (char *)target, ret_why);
    }
    if (row->type == RF_SET_BOOL) {
        bool yes = strcmp(text, "true") == 0;
        if (!yes && strcmp(text, "false") != 0) {
            return refuse(ret_why, "expected true or false");
        }
        memcpy(target, &yes, sizeof(yes));
        return rf_result(RF_OK);
    }
    if (row->type == RF_SET_NONE_OR_MAP) {
        bool none = strcmp(text, "none") == 0;
        if (!none) {
            return refuse(ret_why, "expected the word none, or a map");
        }
        memcpy(target, &none, sizeof(none));
        return rf_result(RF_OK);
    }
    if (row->type == RF_SET_ADDRESSES || row->type == RF_SET_SUBTREE) {
        return refuse(ret_why,
                      row->type == RF_SET_ADDRESSES ? "expected a list" : "expected a map");
    }
    int64_t value = 0;
    RF_TRY(parse_number(row, text, &value, ret_why));
    memcpy(target, &value, sizeof(value));
    return rf_result(RF_OK);
}

/* ---- Walking the document ----------------------------------------------------------------- */

struct checker {
    const struct rf_setting  *rows;
    uint32_t                  n_rows;
    const struct rf_document *document;
    const struct rf_tree     *map; /* that the paths begin at */
    void                     *target;
    struct rf_problems       *problems;
    char                      base_dir[RF_PATH_MAX + 1];
    bool                      seen[CANDIDATES_MAX];
};

static const struct rf_setting *find_row(const struct checker *checker, const char *path)
{
    for (uint32_t i = 0; i < checker->n_rows; i++) {
        if (strcmp(checker->rows[i].path, path) == 0) {
            return &checker->rows[i];
        }
    }
    return NULL;
}

static bool has_children(const struct checker *checker, const char *path)
{
    size_t n = strlen(path);
    for (uint32_t i = 0; i < checker->n_rows; i++) {
        if (strncmp(checker->rows[i].path, path, n) == 0 && checker->rows[i].path[n] == '.') {
            return true;
        }
    }
    return false;
}

static void unknown_key(const struct checker *checker, const struct rf_tree *entry,
                        const char *prefix)
{
    char        names[CANDIDATES_MAX][64];
    const char *list[CANDIDATES_MAX];
    uint32_t    n = 0;
    size_t      skip = strlen(prefix);
    for (uint32_t i = 0; i < checker->n_rows && n < CANDIDATES_MAX; i++) {
        const char *path = checker->rows[i].path;
        if (strncmp(path, prefix, skip) != 0) {
            continue;
        }
        snprintf(names[n], sizeof(names[n]), "%.*s", (int)strcspn(path + skip, "."), path + skip);
        list[n] = names[n];
        n++;
    }
    const char *meant = rf_did_you_mean(entry->key, list, n);
    rf_problem_at(checker->problems, checker->document, entry->key_line, entry->key_column,
                  "unknown key '%s%s'%s%s%s", prefix, entry->key,
                  meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
                  meant == NULL ? "" : "'?");
}

static void take_addresses(struct checker *checker, const struct rf_setting *row,
                           const struct rf_tree *entry)
{
    struct rf_addresses *addresses =
        (struct rf_addresses *)(void *)((uint8_t *)checker->target + row->offset);
    if (entry->kind != RF_TREE_LIST) {
        rf_problem_at(checker->problems, checker->document, entry->line, entry->column,
                      "%s: expected a list, such as [\"10.0.0.1:7444\"]", row->path);
        return;
    }
    for (uint32_t i = 0; i < entry->n_children; i++) {
        const struct rf_tree *item = &entry->children[i];
        if (item->refused) {
            return;
        }
        if (item->kind != RF_TREE_SCALAR || !is_address(item->text) ||
            strlen(item->text) > RF_ADDRESS_MAX || i == RF_ADDRESSES_MAX) {
            rf_problem_at(checker->problems, checker->document, item->line, item->column,
                          "%s: expected at most 32 addresses host:port", row->path);
            return;
        }
        snprintf(addresses->list[i], sizeof(addresses->list[i]), "%s", item->text);
        addresses->n = i + 1;
    }
}

static void take_leaf(struct checker *checker, const struct rf_setting *row,
                      const struct rf_tree *entry)
{
    char why[160];
    checker->seen[row - checker->rows] = true;
    if (entry->refused) {
        return;
    }
    if (row->type == RF_SET_SUBTREE) {
        memcpy((uint8_t *)checker->target + row->offset, &entry, sizeof(entry));
        return;
    }
    if (row->type == RF_SET_ADDRESSES) {
        take_addresses(checker, row, entry);
        return;
    }
    if (entry->kind != RF_TREE_SCALAR) {
        rf_problem_at(checker->problems, checker->document, entry->line, entry->column,
                      "%s: expected one value", row->path);
        return;
    }
    if (!rf_ok(rf_setting_parse(row, entry->text, checker->base_dir, checker->target, why))) {
        rf_problem_at(checker->problems, checker->document, entry->line, entry->column, "%s: %s",
                      row->path, why);
    } else if (row->effect == RF_EFFECT_NOT_YET &&
               !(row->type == RF_SET_BOOL && strcmp(entry->text, "false") == 0)) {
        rf_warning_at(checker->problems, checker->document, entry->key_line, entry->key_column,
                      "%s has no effect yet", row->path);
    }
}

/* No map where one should be: one mistake, so its keys are not told as missing, too. */
static void refuse_section(struct checker *checker, const struct rf_tree *entry, const char *path)
{
    size_t n = strlen(path);
    for (uint32_t i = 0; i < checker->n_rows; i++) {
        const char *row = checker->rows[i].path;
        checker->seen[i] = checker->seen[i] || (strncmp(row, path, n) == 0 && row[n] == '.');
    }
    if (!entry->refused) {
        rf_problem_at(checker->problems, checker->document, entry->line, entry->column,
                      "%s: expected a map of keys and values", path);
    }
}

/* Walks maps with a stack of its own; depth is bounded by the tree. */
static void check_map(struct checker *checker)
{
    struct frame {
        const struct rf_tree *map;
        uint32_t              at;
        char                  prefix[128];
    } stack[RF_TREE_DEPTH_MAX + 1];
    uint32_t depth = 1;
    stack[0] = (struct frame){.map = checker->map};
    while (depth > 0) {
        struct frame *frame = &stack[depth - 1];
        if (frame->at == frame->map->n_children) {
            depth--;
            continue;
        }
        const struct rf_tree *entry = &frame->map->children[frame->at++];
        char                  path[128 + 64];
        snprintf(path, sizeof(path), "%s%.63s", frame->prefix, entry->key);
        const struct rf_setting *row = find_row(checker, path);
        bool inner = has_children(checker, path) && strlen(path) < sizeof(frame->prefix) - 1;
        if (row != NULL && !(inner && entry->kind == RF_TREE_MAP)) {
            take_leaf(checker, row, entry);
        } else if (!inner) {
            unknown_key(checker, entry, frame->prefix);
        } else if (entry->kind != RF_TREE_MAP) {
            refuse_section(checker, entry, path);
        } else {
            struct frame *next = &stack[depth++];
            *next = (struct frame){.map = entry};
            snprintf(next->prefix, sizeof(next->prefix), "%.126s.", path);
        }
    }
}

/* Told at the innermost map on the key's path that is there. */
static void missing_key(const struct checker *checker, const struct rf_setting *row)
{
    const struct rf_tree *map = checker->map;
    const char           *at = row->path;
    for (size_t n = strcspn(at, "."); at[n] != 0; n = strcspn(at, ".")) {
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)n, at);
        const struct rf_tree *inner = rf_tree_get(map, name);
        if (inner == NULL) {
            break;
        }
        map = inner;
        at += n + 1;
    }
    bool named = map->key != NULL;
    rf_problem_at(checker->problems, checker->document, named ? map->key_line : map->line,
                  named ? map->key_column : map->column, "the key '%s' is missing (%s)", row->path,
                  row->doc);
}

static void fill_defaults(struct checker *checker)
{
    char why[160];
    for (uint32_t i = 0; i < checker->n_rows; i++) {
        const struct rf_setting *row = &checker->rows[i];
        if (checker->seen[i]) {
            continue;
        }
        if (row->def == NULL) {
            missing_key(checker, row);
        } else if (row->def[0] != 0) {
            struct rf_result parsed =
                rf_setting_parse(row, row->def, checker->base_dir, checker->target, why);
            rf_assert(rf_ok(parsed));
        }
    }
}

struct rf_result rf_schema_apply(const struct rf_setting *rows, uint32_t n_rows,
                                 const struct rf_document *document, const struct rf_tree *map,
                                 void *ret_struct, struct rf_problems *problems)
{
    rf_assert(n_rows <= CANDIDATES_MAX);
    uint32_t       before = problems->count;
    struct checker checker = {.rows = rows,
                              .n_rows = n_rows,
                              .document = document,
                              .map = map,
                              .target = ret_struct,
                              .problems = problems};
    if (map->kind != RF_TREE_MAP) { /* the tree said so */
        return rf_result(RF_CONFIG_INVALID);
    }
    const char *slash = strrchr(document->path, '/');
    snprintf(checker.base_dir, sizeof(checker.base_dir), "%.*s",
             slash == NULL ? 1 : (int)(slash - document->path),
             slash == NULL ? "." : document->path);
    check_map(&checker);
    if (document->whole) {
        fill_defaults(&checker);
    }
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}

/* ---- Differences -------------------------------------------------------------------------- */

/* Bytes of a row's value in the struct. */
static size_t value_size(const struct rf_setting *row)
{
    switch (row->type) {
    case RF_SET_TEXT:
    case RF_SET_NAME:
    case RF_SET_PATH:
    case RF_SET_ADDRESS:
        return (size_t)row->max + 1;
    case RF_SET_BOOL:
    case RF_SET_NONE_OR_MAP:
        return sizeof(bool);
    case RF_SET_ADDRESSES:
        return sizeof(struct rf_addresses);
    case RF_SET_INT:
    case RF_SET_SIZE:
    case RF_SET_TIME:
    case RF_SET_RATE:
    case RF_SET_PERCENT:
    case RF_SET_CHOICE:
    case RF_SET_VERSION:
        return sizeof(int64_t);
    case RF_SET_SUBTREE:
    default:
        return 0;
    }
}

void rf_schema_diff(const struct rf_setting *rows, uint32_t n_rows, const void *before,
                    const void *after, void (*changed)(const struct rf_setting *row, void *user),
                    void       *user)
{
    for (uint32_t i = 0; i < n_rows; i++) {
        const uint8_t *a = (const uint8_t *)before + rows[i].offset;
        const uint8_t *b = (const uint8_t *)after + rows[i].offset;
        if (memcmp(a, b, value_size(&rows[i])) != 0) {
            changed(&rows[i], user);
        }
    }
}
