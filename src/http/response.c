#include "http/response.h"

#include <openssl/evp.h>

struct status_row {
    uint16_t    status;
    const char *text;
};

static const struct status_row status_rows[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {300, "Multiple Choices"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *rf_http_status_text(uint16_t status)
{
    for (size_t i = 0; i < sizeof(status_rows) / sizeof(status_rows[0]); i++) {
        if (status_rows[i].status == status) {
            return status_rows[i].text;
        }
    }
    return "Unknown";
}

void rf_http_write(struct rf_buf *buf, const struct rf_http_response *response)
{
    /* Room for all of it at once: what follows then only copies. */
    size_t headers = response->headers == NULL ? 0 : strlen(response->headers);
    size_t replicas = response->replicas == NULL ? 0 : strlen(response->replicas);
    (void)rf_buf_reserve(buf, 256 + headers + replicas + response->body.size);
    rf_buf_append_str(buf, "HTTP/1.1 ");
    rf_buf_append_u64(buf, response->status);
    rf_buf_append_str(buf, " ");
    rf_buf_append_str(buf, rf_http_status_text(response->status));
    rf_buf_append_str(buf, "\r\nContent-Length: ");
    rf_buf_append_u64(buf, response->body.size);
    if (response->content_type != NULL) {
        rf_buf_append_str(buf, "\r\nContent-Type: ");
        rf_buf_append_str(buf, response->content_type);
    }
    rf_buf_append_str(buf, "\r\n");
    rf_buf_append(buf, response->headers, headers);
    if (replicas != 0) {
        rf_buf_append_str(buf, "Ringfort-Replicas: ");
        rf_buf_append(buf, response->replicas, replicas);
        rf_buf_append_str(buf, "\r\n");
    }
    if (!response->keep_alive) {
        rf_buf_append_str(buf, "Connection: close\r\n");
    }
    rf_buf_append_str(buf, "\r\n");
    if (!response->head_only) {
        rf_buf_append_slice(buf, response->body);
    }
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at the front (RFC 3629); 0 when there is none. */
static size_t utf8_length(const uint8_t *at, size_t left)
{
    uint8_t c = at[0];
    size_t  n = c < 0x80                ? 1
                : c >= 0xc2 && c < 0xe0 ? 2
                : c >= 0xe0 && c < 0xf0 ? 3
                : c >= 0xf0 && c < 0xf5 ? 4
                                        : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (c == 0xe0 && at[1] < 0xa0) || (c == 0xf0 && at[1] < 0x90);
    bool outside = (c == 0xed && at[1] > 0x9f) || (c == 0xf4 && at[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

bool rf_utf8_valid(struct rf_slice text)
{
    size_t at = 0;
    while (at < text.size) {
        size_t n = utf8_length(text.data + at, text.size - at);
        if (n == 0) {
            return false;
        }
        at += n;
    }
    return true;
}

static void escape_byte(struct rf_buf *buf, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char              text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    if (c == '"' || c == '\\') {
        text[1] = (char)c;
        rf_buf_append(buf, text, 2);
    } else {
        rf_buf_append(buf, text, 6);
    }
}

void rf_json_string(struct rf_buf *buf, struct rf_slice text)
{
    rf_buf_append_str(buf, "\"");
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < text.size;) {
        uint8_t c = text.data[i];
        size_t  n = utf8_length(text.data + i, text.size - i);
        if (n != 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += n;
            continue;
        }
        rf_buf_append(buf, text.data + plain, i - plain);
        if (n == 0) {
            rf_buf_append_str(buf, "\\ufffd");
        } else {
            escape_byte(buf, c);
        }
        plain = ++i;
    }
    rf_buf_append(buf, text.data + plain, text.size - plain);
    rf_buf_append_str(buf, "\"");
}

void rf_problem_json(struct rf_buf *buf, enum rf_rc rc, const char *detail, const char *request_id,
                     const char *extra)
{
    rf_buf_append_str(buf, "{\"type\":\"about:blank\",\"title\":");
    rf_json_string(buf, rf_slice_str(rf_http_status_text(rf_rc_http(rc))));
    rf_buf_append_str(buf, ",\"status\":");
    rf_buf_append_u64(buf, rf_rc_http(rc));
    rf_buf_append_str(buf, ",\"code\":");
    rf_json_string(buf, rf_slice_str(rf_rc_code(rc)));
    rf_buf_append_str(buf, ",\"detail\":");
    rf_json_string(buf, rf_slice_str(detail != NULL ? detail : rf_rc_text(rc)));
    rf_buf_append_str(buf, ",\"request_id\":");
    rf_json_string(buf, rf_slice_str(request_id));
    rf_buf_append_str(buf, rf_rc_retryable(rc) ? ",\"retryable\":true" : ",\"retryable\":false");
    if (extra != NULL) {
        rf_buf_append_str(buf, extra);
    }
    rf_buf_append_str(buf, "}");
}

/* ---- Base64 (RFC 4648) -------------------------------------------------------------------- */

void rf_base64_encode(struct rf_buf *buf, struct rf_slice bytes)
{
    size_t   size = (bytes.size + 2) / 3 * 4;
    uint8_t *to = rf_buf_reserve(buf, size + 1); /* the library ends it with NUL */
    if (to != NULL && bytes.size != 0) {
        EVP_EncodeBlock(to, bytes.data, (int)bytes.size);
        buf->size += size;
    }
}

static bool base64_char(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

struct rf_result rf_base64_decode(struct rf_slice text, uint8_t *to, size_t *ret_size)
{
    size_t padding = 0;
    if (text.size == 0) {
        *ret_size = 0;
        return rf_result(RF_OK);
    }
    if (text.size % 4 != 0 || text.size > (size_t)1 << 30) {
        return rf_result(RF_INVALID_VALUE);
    }
    while (padding < 2 && text.data[text.size - 1 - padding] == '=') {
        padding++;
    }
    /* The library trims blanks and accepts '=' in the middle: check before it. */
    for (size_t i = 0; i < text.size - padding; i++) {
        if (!base64_char(text.data[i])) {
            return rf_result(RF_INVALID_VALUE);
        }
    }
    int got = EVP_DecodeBlock(to, text.data, (int)text.size);
    if (got < 0 || (size_t)got < padding) {
        return rf_result(RF_INVALID_VALUE);
    }
    /* Bits after the last byte must be zero: one value, one encoding. */
    for (size_t i = 0; i < padding; i++) {
        if (to[(size_t)got - 1 - i] != 0) {
            return rf_result(RF_INVALID_VALUE);
        }
    }
    *ret_size = (size_t)got - padding;
    return rf_result(RF_OK);
}
