/* HTTP/1.1 requests (RFC 9112), parsed strictly: whatever is ambiguous is refused, so that no proxy
 * in front can read a request in another way (request smuggling). Thread: any. Blocks: no. */
#ifndef RF_HTTP_REQUEST_H
#define RF_HTTP_REQUEST_H

#include "base/buf.h"

#define RF_HTTP_HEAD_MAX (16u * 1024) /* bytes of request line and header */
#define RF_HTTP_TARGET_MAX (8u * 1024)
#define RF_HTTP_HEADERS_MAX 64u

enum rf_http_method {
    RF_HTTP_GET,
    RF_HTTP_HEAD,
    RF_HTTP_POST,
    RF_HTTP_PUT,
    RF_HTTP_DELETE,
    RF_HTTP_OPTIONS,
    RF_HTTP_OTHER,
};

struct rf_http_header {
    struct rf_slice name, value;
};

struct rf_http_request {
    enum rf_http_method   method;
    struct rf_slice       path;  /* as sent, not decoded; without scheme and host */
    struct rf_slice       query; /* after '?', not decoded */
    bool                  keep_alive;
    bool                  expect_continue;
    uint64_t              content_length; /* 0 without a body */
    bool                  has_length;
    size_t                head_size; /* bytes up to and with the empty line */
    uint32_t              n_headers;
    struct rf_http_header headers[RF_HTTP_HEADERS_MAX];
};

/* Parses the head at the front of the bytes. All slices borrow them.
 * Returns RF_OK; RF_MORE (the head is not complete); else the request is to be answered with that
 * error and the connection closed: RF_BAD_REQUEST, RF_URI_TOO_LONG, RF_HEADER_TOO_LARGE,
 * RF_LENGTH_REQUIRED (chunked), RF_NOT_IMPLEMENTED (transfer coding), RF_HTTP_VERSION. */
RF_CHECKED struct rf_result rf_http_parse(struct rf_slice         bytes,
                                          struct rf_http_request *ret_request);

/* Method and path as far as they can be told from a head that is not complete or is refused; the path
 * is empty when there is none. For words in the error only. */
void rf_http_peek(struct rf_slice bytes, struct rf_http_request *ret_request);

/* A header by lower-case name; data NULL when it is missing. */
struct rf_slice rf_http_header(const struct rf_http_request *request, const char *name);

/* Percent-decodes (and '+' to space when `plus`) into the buffer, appending.
 * RF_OK or RF_BAD_QUERY (a broken escape). */
RF_CHECKED struct rf_result rf_http_decode(struct rf_slice text, bool plus,
                                           struct rf_buf *ret_text);

/* The next name=value of a query string, decoded into the buffers (cleared first).
 * RF_OK, RF_NOT_FOUND at the end, RF_BAD_QUERY. */
RF_CHECKED struct rf_result rf_http_query_next(struct rf_slice *query, struct rf_buf *ret_name,
                                               struct rf_buf *ret_value);

#endif
