/* A YAML file as a tree in which every node knows its line and column, and the list of problems
 * found in it. libyaml parses; what it accepts silently (duplicate keys, anchors, aliases, tags,
 * several documents, any depth) is refused here.
 *
 * Thread: owner. Blocks: rf_tree_load reads a file. */
#ifndef RF_CONFIG_TREE_H
#define RF_CONFIG_TREE_H

#include "base/buf.h"

#define RF_TREE_DEPTH_MAX 16u
#define RF_TREE_SIZE_MAX (1024u * 1024) /* bytes of a configuration file */
#define RF_TREE_ENTRIES_MAX 4096u /* of one map or list: looking for duplicates is quadratic */

enum rf_tree_kind { RF_TREE_SCALAR, RF_TREE_MAP, RF_TREE_LIST };

struct rf_tree {
    enum rf_tree_kind kind;
    uint32_t          line, column; /* from 1 */
    char             *text;         /* scalar; key of a map entry is in the entry's `key` */
    char             *key;          /* this node is the value of that key; NULL in lists */
    uint32_t          key_line, key_column;
    struct rf_tree   *children; /* map or list */
    uint32_t          n_children;
    bool              refused; /* its form is a reported problem: nothing more is said about it */
};

/* All problems of all files, ready to print, and what is only worth a warning. */
struct rf_problems {
    struct rf_buf text;
    uint32_t      count;
    struct rf_buf warnings;
    uint32_t      n_warnings;
};

/* One loaded file. */
struct rf_document {
    char          *path; /* as messages name it */
    struct rf_buf  source;
    struct rf_tree root;
    bool           whole; /* read to its end: what is not there is missing */
};

/* Loads and parses. Problems are added to the list; RF_OK when there was none, else
 * RF_CONFIG_INVALID. Then `root` holds what could be read, so that its values can be checked in the
 * same run. The document must be freed in both cases. */
RF_CHECKED struct rf_result rf_tree_load(const char *path, struct rf_document *ret_document,
                                         struct rf_problems *problems);
/* The same from memory (copied). */
RF_CHECKED struct rf_result rf_tree_parse(const char *path, struct rf_slice source,
                                          struct rf_document *ret_document,
                                          struct rf_problems *problems);
void                        rf_document_free(struct rf_document *document);

/* The value of a key in a map; NULL when missing. */
const struct rf_tree *rf_tree_get(const struct rf_tree *map, const char *key);

/* Adds "path:line:column: error: …" with the source line and a caret. */
void rf_problem_at(struct rf_problems *problems, const struct rf_document *document, uint32_t line,
                   uint32_t column, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Adds "path:line:column: warning: …" in the same form: the file is taken all the same. */
void rf_warning_at(struct rf_problems *problems, const struct rf_document *document, uint32_t line,
                   uint32_t column, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Adds a problem of a file as a whole, "path: error: …". */
void rf_problem_in(struct rf_problems *problems, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds a problem without a file. */
void rf_problem(struct rf_problems *problems, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rf_problems_fini(struct rf_problems *problems);

/* Which of the candidates is meant by a mistyped word? NULL when none is near (edit distance above
 * a third of the length). */
const char *rf_did_you_mean(const char *word, const char *const *candidates, uint32_t n);

#endif
