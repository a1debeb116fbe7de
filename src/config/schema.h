/* Schema tables: one row per key says type, range, default and meaning. Checking, defaults,
 * `config explain` and the documentation all come from these rows. */
#ifndef RF_CONFIG_SCHEMA_H
#define RF_CONFIG_SCHEMA_H

#include "config/tree.h"

enum rf_setting_type {
    RF_SET_TEXT,        /* char[max + 1] */
    RF_SET_NAME,        /* char[max + 1]: letters, digits, . _ -; not starting with . or - */
    RF_SET_PATH,        /* char[max + 1]; relative ones are taken from the file's directory */
    RF_SET_ADDRESS,     /* char[max + 1]: host:port */
    RF_SET_INT,         /* int64_t */
    RF_SET_SIZE,        /* int64_t bytes: 64MiB; B KiB MiB GiB TiB, or 0 */
    RF_SET_TIME,        /* int64_t milliseconds: 10s; ms s m h d, or 0 */
    RF_SET_RATE,        /* int64_t bytes per second: 50MiB/s */
    RF_SET_PERCENT,     /* int64_t hundredths of a percent: 5%, 2.5% */
    RF_SET_BOOL,        /* bool */
    RF_SET_CHOICE,      /* int64_t index into choices "a|b|c" */
    RF_SET_ADDRESSES,   /* struct rf_addresses: a list */
    RF_SET_VERSION,     /* must be 1; stored as int64_t */
    RF_SET_SUBTREE,     /* const struct rf_tree *: checked by someone else */
    RF_SET_NONE_OR_MAP, /* bool: true for the word `none`; a map has rows of its own */
};

enum rf_setting_effect {
    RF_EFFECT_AT_START,
    RF_EFFECT_LIVE,    /* on reload */
    RF_EFFECT_NOT_YET, /* what it sets is not built */
};

#define RF_ADDRESS_MAX 95u
#define RF_PATH_MAX 1023u
#define RF_ADDRESSES_MAX 32u

struct rf_addresses {
    uint32_t n;
    char     list[RF_ADDRESSES_MAX][RF_ADDRESS_MAX + 1];
};

struct rf_setting {
    const char          *path; /* dotted: "cluster.dead_after" */
    enum rf_setting_type type;
    uint32_t             offset;   /* in the typed struct */
    int64_t              min, max; /* numbers: inclusive; text: max length */
    const char          *def;      /* as it would be written; NULL: required; "": unset */
    const char          *choices;  /* CHOICE: "a|b|c"; other numbers: a word for 0, as "off" */
    /* When a change takes effect; one that is accepted without effect is told (a warning). */
    enum rf_setting_effect effect;
    const char            *doc;
};

/* Checks a map of the document (the root, or an item of a list) against the rows and fills the struct,
 * defaults included. Every problem is reported; RF_OK when there was none, else RF_CONFIG_INVALID:
 * then the struct holds the values that are good, and those that are not stay untouched. A document
 * that could be read only in part gets no defaults. SUBTREE values borrow the document. */
RF_CHECKED struct rf_result rf_schema_apply(const struct rf_setting *rows, uint32_t n_rows,
                                            const struct rf_document *document,
                                            const struct rf_tree *map, void *ret_struct,
                                            struct rf_problems *problems);

/* Calls `changed` for every row whose value differs in the two structs, SUBTREE rows excepted; the
 * row's `live` says whether a running server can take it over. */
void rf_schema_diff(const struct rf_setting *rows, uint32_t n_rows, const void *before,
                    const void *after, void (*changed)(const struct rf_setting *row, void *user),
                    void       *user);

/* One value by its row; for defaults and plugin options as well. On failure a sentence without the
 * value's place is written to ret_why. `base_dir` completes relative paths. */
RF_CHECKED struct rf_result rf_setting_parse(const struct rf_setting *row, const char *text,
                                             const char *base_dir, void *ret_struct,
                                             char ret_why[160]);

#endif
