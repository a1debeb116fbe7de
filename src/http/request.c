#include "http/request.h"

#define REQUEST_LINE_MAX                                                                           \
    (RF_HTTP_TARGET_MAX + 64u) /* bytes of a request line: target, method, version */

/* ---- Character classes (RFC 9110 5.6.2, RFC 3986) ----------------------------------------- */

static bool is_token_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct rf_slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_token_char(text.data[i])) {
            return false;
        }
    }
    return text.size != 0;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool equals_lower(struct rf_slice text, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n && text.size == n; i++) {
        if (lower(text.data[i]) != (uint8_t)name[i]) {
            return false;
        }
    }
    return text.size == n;
}

/* Lines end with CRLF, nothing else: no bare CR or LF, no NUL and no other control character. */
static struct rf_result take_line(struct rf_slice *rest, struct rf_slice *ret_line)
{
    for (size_t i = 0; i < rest->size; i++) {
        uint8_t c = rest->data[i];
        if (c == '\r') {
            if (i + 1 == rest->size) {
                return rf_result(RF_MORE);
            }
            if (rest->data[i + 1] != '\n') {
                return rf_result(RF_BAD_REQUEST);
            }
            *ret_line = rf_slice(rest->data, i);
            *rest = rf_slice(rest->data + i + 2, rest->size - i - 2);
            return rf_result(RF_OK);
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return rf_result(RF_BAD_REQUEST);
        }
    }
    return rf_result(RF_MORE);
}

/* ---- Request line ------------------------------------------------------------------------- */

static enum rf_http_method method_of(struct rf_slice text)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    for (int i = 0; i < RF_HTTP_OTHER; i++) {
        if (rf_slice_is(text, names[i])) {
            return (enum rf_http_method)i;
        }
    }
    return RF_HTTP_OTHER;
}

/* "http://host/path" becomes "/path" (absolute form, RFC 9112, 3.2.2: a server must take it). Other
 * forms are for proxies and for the server as a whole. */
static struct rf_result skip_authority(struct rf_slice *target)
{
    static const char *const schemes[] = {"https://", "http://"};
    if (target->size != 0 && target->data[0] == '/') {
        return rf_result(RF_OK);
    }
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (target->size < n || !equals_lower(rf_slice(target->data, n), schemes[i])) {
            continue;
        }
        size_t at = n;
        while (at < target->size && target->data[at] != '/' && target->data[at] != '?') {
            if (target->data[at++] == '@') {
                return rf_result(RF_BAD_REQUEST); /* no passwords in a target (RFC 9110, 4.2.4) */
            }
        }
        *target = rf_slice(target->data + at, target->size - at);
        return rf_result(at == n ? RF_BAD_REQUEST : RF_OK);
    }
    return rf_result(RF_BAD_REQUEST);
}

static struct rf_result parse_target(struct rf_slice target, struct rf_http_request *request)
{
    if (target.size > RF_HTTP_TARGET_MAX) {
        return rf_result(RF_URI_TOO_LONG);
    }
    RF_TRY(skip_authority(&target));
    for (size_t i = 0; i < target.size; i++) {
        uint8_t c = target.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '#') {
            return rf_result(RF_BAD_REQUEST);
        }
    }
    const uint8_t *mark = memchr(target.data, '?', target.size);
    size_t         path = mark == NULL ? target.size : (size_t)(mark - target.data);
    request->path = path == 0 ? rf_slice_str("/") : rf_slice(target.data, path);
    request->query =
        mark == NULL ? rf_slice(target.data + path, 0) : rf_slice(mark + 1, target.size - path - 1);
    return rf_result(RF_OK);
}

static struct rf_result parse_request_line(struct rf_slice line, struct rf_http_request *request,
                                           bool *ret_http_1_0)
{
    const uint8_t *first = memchr(line.data, ' ', line.size);
    if (first == NULL) {
        return rf_result(RF_BAD_REQUEST);
    }
    struct rf_slice method = rf_slice(line.data, (size_t)(first - line.data));
    struct rf_slice rest = rf_slice(first + 1, line.size - method.size - 1);
    const uint8_t  *second = rest.size == 0 ? NULL : memchr(rest.data, ' ', rest.size);
    if (second == NULL || !is_token(method)) {
        return rf_result(RF_BAD_REQUEST);
    }
    struct rf_slice target = rf_slice(rest.data, (size_t)(second - rest.data));
    struct rf_slice version = rf_slice(second + 1, rest.size - target.size - 1);
    if (version.size != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.') {
        return rf_result(RF_BAD_REQUEST);
    }
    if (!rf_slice_is(version, "HTTP/1.1") && !rf_slice_is(version, "HTTP/1.0")) {
        return rf_result(RF_HTTP_VERSION);
    }
    *ret_http_1_0 = version.data[7] == '0';
    request->method = method_of(method);
    return parse_target(target, request);
}

/* ---- Header ------------------------------------------------------------------------------- */

static struct rf_slice trim(struct rf_slice text)
{
    while (text.size != 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = rf_slice(text.data + 1, text.size - 1);
    }
    while (text.size != 0 &&
           (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) {
        text.size--;
    }
    return text;
}

static struct rf_result parse_header_line(struct rf_slice line, struct rf_http_request *request)
{
    if (line.data[0] == ' ' || line.data[0] == '\t') {
        return rf_result(RF_BAD_REQUEST); /* obs-fold */
    }
    const uint8_t *colon = memchr(line.data, ':', line.size);
    if (colon == NULL) {
        return rf_result(RF_BAD_REQUEST);
    }
    struct rf_slice name = rf_slice(line.data, (size_t)(colon - line.data));
    if (!is_token(name)) {
        return rf_result(RF_BAD_REQUEST); /* also a space before the colon */
    }
    if (request->n_headers == RF_HTTP_HEADERS_MAX) {
        return rf_result(RF_HEADER_TOO_LARGE);
    }
    request->headers[request->n_headers++] =
        (struct rf_http_header){name, trim(rf_slice(colon + 1, line.size - name.size - 1))};
    return rf_result(RF_OK);
}

static struct rf_result parse_length(struct rf_slice text, uint64_t *ret_length)
{
    uint64_t length = 0;
    if (text.size == 0 || text.size > 18) {
        return rf_result(RF_BAD_REQUEST);
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return rf_result(RF_BAD_REQUEST);
        }
        length = length * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_length = length;
    return rf_result(RF_OK);
}

/* Does a comma-separated list hold the word? */
static bool list_has(struct rf_slice list, const char *word)
{
    while (list.size != 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t         n = comma == NULL ? list.size : (size_t)(comma - list.data);
        if (equals_lower(trim(rf_slice(list.data, n)), word)) {
            return true;
        }
        if (comma == NULL) {
            return false;
        }
        list = rf_slice(comma + 1, list.size - n - 1);
    }
    return false;
}

static struct rf_result interpret(struct rf_http_request *request, bool http_1_0)
{
    uint32_t hosts = 0;
    uint32_t codings = 0;
    bool     chunked = false;
    request->keep_alive = !http_1_0;
    for (uint32_t i = 0; i < request->n_headers; i++) {
        const struct rf_http_header *header = &request->headers[i];
        if (equals_lower(header->name, "content-length")) {
            if (request->has_length) {
                return rf_result(RF_BAD_REQUEST);
            }
            request->has_length = true;
            RF_TRY(parse_length(header->value, &request->content_length));
        } else if (equals_lower(header->name, "transfer-encoding")) {
            codings++;
            chunked = equals_lower(header->value, "chunked");
        } else if (equals_lower(header->name, "host")) {
            hosts++;
        } else if (equals_lower(header->name, "connection")) {
            if (list_has(header->value, "close")) {
                request->keep_alive = false;
            } else if (http_1_0 && list_has(header->value, "keep-alive")) {
                request->keep_alive = true;
            }
        } else if (equals_lower(header->name, "expect")) {
            request->expect_continue = equals_lower(header->value, "100-continue");
        }
    }
    if (hosts > 1 || (hosts == 0 && !http_1_0)) {
        return rf_result(RF_BAD_REQUEST);
    }
    if (codings != 0 && (request->has_length || http_1_0 || codings > 1)) {
        return rf_result(RF_BAD_REQUEST);
    }
    if (codings != 0) {
        return rf_result(chunked ? RF_LENGTH_REQUIRED : RF_NOT_IMPLEMENTED);
    }
    return rf_result(RF_OK);
}

struct rf_result rf_http_parse(struct rf_slice bytes, struct rf_http_request *ret_request)
{
    struct rf_slice rest = bytes;
    struct rf_slice line;
    bool            http_1_0 = false;
    bool            too_long = bytes.size > REQUEST_LINE_MAX;
    /* Only the part within the limit is looked at, so that the verdict does not depend on how many
     * bytes arrive at once. */
    if (too_long) {
        rest.size = REQUEST_LINE_MAX;
    }
    struct rf_result taken = take_line(&rest, &line);
    if (taken.rc == RF_MORE) {
        return rf_result(too_long ? RF_URI_TOO_LONG : RF_MORE);
    }
    RF_TRY(taken);
    too_long = bytes.size > RF_HTTP_HEAD_MAX;
    rest.size = (too_long ? RF_HTTP_HEAD_MAX : bytes.size) - (size_t)(rest.data - bytes.data);
    struct rf_http_request *request = ret_request;
    request->n_headers = 0;
    request->has_length = false;
    request->content_length = 0;
    request->expect_continue = false;
    RF_TRY(parse_request_line(line, request, &http_1_0));
    for (;;) {
        taken = take_line(&rest, &line);
        if (taken.rc == RF_MORE) {
            return rf_result(too_long ? RF_HEADER_TOO_LARGE : RF_MORE);
        }
        RF_TRY(taken);
        if (line.size == 0) {
            break;
        }
        RF_TRY(parse_header_line(line, request));
    }
    request->head_size = (size_t)(rest.data - bytes.data);
    return interpret(request, http_1_0);
}

void rf_http_peek(struct rf_slice bytes, struct rf_http_request *ret_request)
{
    size_t at = 0;
    size_t end = 0;
    ret_request->method = RF_HTTP_OTHER;
    ret_request->path = rf_slice(NULL, 0);
    while (at < bytes.size && is_token_char(bytes.data[at])) {
        at++;
    }
    if (at == bytes.size || bytes.data[at] != ' ') {
        return;
    }
    ret_request->method = method_of(rf_slice(bytes.data, at));
    struct rf_slice target = rf_slice(bytes.data + at + 1, bytes.size - at - 1);
    if (!rf_ok(skip_authority(&target))) {
        return;
    }
    while (end < target.size && target.data[end] > 0x20 && target.data[end] != '?') {
        end++;
    }
    ret_request->path = rf_slice(target.data, end);
}

struct rf_slice rf_http_header(const struct rf_http_request *request, const char *name)
{
    for (uint32_t i = 0; i < request->n_headers; i++) {
        if (equals_lower(request->headers[i].name, name)) {
            return request->headers[i].value;
        }
    }
    return rf_slice(NULL, 0);
}

/* ---- Decoding ----------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct rf_result rf_http_decode(struct rf_slice text, bool plus, struct rf_buf *ret_text)
{
    uint8_t *to = rf_buf_reserve(ret_text, text.size + 1);
    if (to == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            if (text.size - i < 3 || hex_value(text.data[i + 1]) < 0 ||
                hex_value(text.data[i + 2]) < 0) {
                return rf_result(RF_BAD_QUERY);
            }
            c = (uint8_t)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        to[n++] = c;
    }
    ret_text->size += n;
    return rf_result(RF_OK);
}

struct rf_result rf_http_query_next(struct rf_slice *query, struct rf_buf *ret_name,
                                    struct rf_buf *ret_value)
{
    rf_buf_clear(ret_name);
    rf_buf_clear(ret_value);
    if (query->size == 0) {
        return rf_result(RF_NOT_FOUND);
    }
    const uint8_t  *end = memchr(query->data, '&', query->size);
    size_t          n = end == NULL ? query->size : (size_t)(end - query->data);
    struct rf_slice pair = rf_slice(query->data, n);
    *query = end == NULL ? rf_slice(NULL, 0) : rf_slice(end + 1, query->size - n - 1);
    const uint8_t *equals = n == 0 ? NULL : memchr(pair.data, '=', n);
    if (equals == NULL) {
        return rf_result(RF_BAD_QUERY);
    }
    size_t name = (size_t)(equals - pair.data);
    RF_TRY(rf_http_decode(rf_slice(pair.data, name), true, ret_name));
    return rf_http_decode(rf_slice(equals + 1, n - name - 1), true, ret_value);
}
