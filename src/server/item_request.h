/* An item request taken apart: from query and JSON body to checked fields. No exchange, no ring, no
 * clock: a pure function of its input, so that it can be tested and fuzzed alone.
 * Thread: any. Blocks: no. */
#ifndef RF_SERVER_ITEM_REQUEST_H
#define RF_SERVER_ITEM_REQUEST_H

#include "base/blob.h"
#include "base/buf.h"
#include "core/event.h"

#define RF_JSON_DEPTH_MAX 16u
#define RF_TTL_MAX_S 315360000u /* ten years */

/* Everything wrong with a request is gathered, so that one answer names it all. */
struct rf_item_request {
    enum rf_client_kind kind;
    uint64_t            max_value_bytes;
    struct rf_buf       key;
    struct rf_blob *blob; /* RF_KEY_MAX bytes of room for the key, then the value; one reference */
    size_t          value_size;
    char            table[64]; /* "" : default */
    bool            strong, explain;
    uint8_t         quorum;       /* 0: the table's */
    uint64_t        ttl_s;        /* 0: the table's */
    uint64_t        timestamp_ms; /* 0: the server stamps */
    bool            library_only; /* for tests: no short cut around the JSON library */
    uint32_t        given;        /* bit per field of the table in item_request.c */
    uint32_t        from_query;   /* those of them that the query gave */
    struct rf_buf   errors;       /* JSON array items: {"pointer", "detail"} */
    enum rf_rc      rc;           /* RF_OK while nothing else than `errors` is wrong */
    char            detail[256];  /* "" : the code's text */
};

/* Query and, for PUT and DELETE, body (a DELETE needs none). What both give must be the same, else
 * RF_BAD_REQUEST. The problems are in rc, detail and errors. The caller calls fini. */
void rf_item_parse(struct rf_item_request *item, struct rf_slice query, struct rf_slice body);
bool rf_item_given(const struct rf_item_request *item, const char *field);
/* One more {"pointer", "detail"}; `field` is the member's or parameter's name. */
void rf_item_error(struct rf_item_request *item, const char *field, const char *text);
void rf_item_fini(struct rf_item_request *item);

#endif
