/* Writing HTTP/1.1 responses, JSON text and base64. Thread: any. Blocks: no. */
#ifndef RF_HTTP_RESPONSE_H
#define RF_HTTP_RESPONSE_H

#include "base/buf.h"

struct rf_http_response {
    uint16_t        status;
    const char     *content_type; /* NULL without a body */
    struct rf_slice body;
    const char     *headers;  /* further lines, each "Name: value\r\n"; may be NULL */
    const char     *replicas; /* for Ringfort-Replicas; NULL or "" without */
    bool            keep_alive;
    bool            head_only; /* answer to HEAD: length of the body, but no body */
};

void        rf_http_write(struct rf_buf *buf, const struct rf_http_response *response);
const char *rf_http_status_text(uint16_t status);

/* Appends a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void rf_json_string(struct rf_buf *buf, struct rf_slice text);
/* Is it UTF-8 (RFC 3629)? Then rf_json_string keeps it exactly. */
bool rf_utf8_valid(struct rf_slice text);
/* Appends standard base64 with padding. */
void rf_base64_encode(struct rf_buf *buf, struct rf_slice bytes);
/* Strict: standard alphabet, padding, no blanks, no bits left over. Writes at most
 * text.size / 4 * 3 bytes to `to`. RF_OK, RF_INVALID_VALUE. */
RF_CHECKED struct rf_result rf_base64_decode(struct rf_slice text, uint8_t *to, size_t *ret_size);

/* problem+json (RFC 9457) of a result code. @param detail may be NULL; @param extra further members
 * as JSON text beginning with a comma, may be NULL. */
void rf_problem_json(struct rf_buf *buf, enum rf_rc rc, const char *detail, const char *request_id,
                     const char *extra);

#endif
