#include "server/item_request.h"

#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "config/tree.h"
#include "http/request.h"
#include "http/response.h"

/* A value as it was written: JSON keeps "1" and 1 apart, a query cannot. */
struct written {
    bool            is_text, is_number;
    struct rf_slice text;
    uint64_t        number;
};

enum { GET = 1u << RF_CLIENT_GET, PUT = 1u << RF_CLIENT_PUT, DELETE = 1u << RF_CLIENT_DELETE };

struct field {
    const char *name;
    uint8_t     in_query, in_body; /* of which kinds of request */
    void (*take)(struct rf_item_request *item, const struct written *value);
};

/* ---- Problems ----------------------------------------------------------------------------- */

/* A JSON pointer (RFC 6901): '~' and '/' in a name are escaped. */
static void append_pointer(struct rf_buf *errors, const char *name)
{
    char   pointer[128] = "/";
    size_t at = 1;
    for (; *name != 0 && at < sizeof(pointer) - 3; name++) {
        if (*name == '~' || *name == '/') {
            pointer[at++] = '~';
            pointer[at++] = *name == '~' ? '0' : '1';
        } else {
            pointer[at++] = *name;
        }
    }
    rf_json_string(errors, rf_slice(pointer, at));
}

void rf_item_error(struct rf_item_request *item, const char *field, const char *text)
{
    rf_buf_append_str(&item->errors, item->errors.size == 0 ? "{\"pointer\":" : ",{\"pointer\":");
    append_pointer(&item->errors, field);
    rf_buf_append_str(&item->errors, ",\"detail\":");
    rf_json_string(&item->errors, rf_slice_str(text));
    rf_buf_append_str(&item->errors, "}");
}

static void fail(struct rf_item_request *item, enum rf_rc rc, const char *detail)
{
    if (item->rc == RF_OK) {
        item->rc = rc;
        snprintf(item->detail, sizeof(item->detail), "%s", detail);
    }
}

/* ---- Single fields ------------------------------------------------------------------------ */

static void take_key_bytes(struct rf_item_request *item, const char *field, struct rf_slice key)
{
    if (item->key.size != 0) {
        rf_item_error(item, field, "key and key_b64 exclude each other");
    } else if (key.size == 0 || key.size > RF_KEY_MAX) {
        rf_item_error(item, field, "a key has 1 to 2048 bytes");
    } else {
        rf_buf_append_slice(&item->key, key);
    }
}

static void take_key(struct rf_item_request *item, const struct written *value)
{
    if (!value->is_text) {
        rf_item_error(item, "key", "must be a string");
        return;
    }
    take_key_bytes(item, "key", value->text);
}

static void take_key_b64(struct rf_item_request *item, const struct written *value)
{
    uint8_t bytes[(RF_KEY_MAX + 2) / 3 * 3 + 3];
    size_t  size = 0;
    if (!value->is_text || value->text.size > (RF_KEY_MAX + 2) / 3 * 4 ||
        !rf_ok(rf_base64_decode(value->text, bytes, &size))) {
        rf_item_error(item, "key_b64", "must be the standard base64 of 1 to 2048 bytes");
        return;
    }
    take_key_bytes(item, "key_b64", rf_slice(bytes, size));
}

static void take_table(struct rf_item_request *item, const struct written *value)
{
    struct rf_slice name = value->text;
    if (!value->is_text || name.size == 0 || name.size >= sizeof(item->table) ||
        memchr(name.data, 0, name.size) != NULL) {
        rf_item_error(item, "table", "a table name is a string of 1 to 63 bytes");
        return;
    }
    memcpy(item->table, name.data, name.size);
    item->table[name.size] = 0;
}

static void take_value(struct rf_item_request *item, const struct written *value)
{
    if (!value->is_text) {
        rf_item_error(item, "value", "must be a string: the base64 of the bytes");
        return;
    }
    /* Room for the key in front (its bytes come later) and for what base64 writes beyond. */
    size_t size = 0;
    item->blob = rf_blob_new(RF_KEY_MAX + value->text.size / 4 * 3 + 4);
    if (item->blob == NULL) {
        fail(item, RF_NO_MEMORY, "");
        return;
    }
    if (!rf_ok(rf_base64_decode(value->text, item->blob->data + RF_KEY_MAX, &size))) {
        rf_item_error(item, "value", "must be standard base64 with padding");
    } else if (size > item->max_value_bytes) {
        char text[128];
        snprintf(text, sizeof(text), "the value has %zu bytes; limits.max_value is %llu", size,
                 (unsigned long long)item->max_value_bytes);
        fail(item, RF_TOO_LARGE, text);
    }
    item->value_size = size;
}

static void take_ttl(struct rf_item_request *item, const struct written *value)
{
    if (!value->is_number || value->number < 1 || value->number > RF_TTL_MAX_S) {
        rf_item_error(item, "ttl", "must be a number of seconds from 1 to 315360000");
        return;
    }
    item->ttl_s = value->number;
}

static void take_quorum(struct rf_item_request *item, const char *field,
                        const struct written *value)
{
    if (!value->is_number || value->number < 1 || value->number > RF_REPLICAS_MAX) {
        rf_item_error(item, field, "must be a number from 1 to the table's n");
        return;
    }
    item->quorum = (uint8_t)value->number;
}

static void take_w(struct rf_item_request *item, const struct written *value)
{
    take_quorum(item, "w", value);
}

static void take_r(struct rf_item_request *item, const struct written *value)
{
    take_quorum(item, "r", value);
}

static void take_consistency(struct rf_item_request *item, const struct written *value)
{
    item->strong = rf_slice_is(value->text, "strong");
    if (!item->strong && !rf_slice_is(value->text, "eventual")) {
        rf_item_error(item, "consistency", "must be 'eventual' or 'strong'");
    }
}

static void take_timestamp(struct rf_item_request *item, const struct written *value)
{
    if (!value->is_number || value->number == 0 || value->number >= UINT64_C(1) << 48) {
        rf_item_error(item, "timestamp", "must be a number of milliseconds since the epoch");
        return;
    }
    item->timestamp_ms = value->number;
}

static void take_explain(struct rf_item_request *item, const struct written *value)
{
    item->explain = rf_slice_is(value->text, "true");
    if (!item->explain && !rf_slice_is(value->text, "false")) {
        rf_item_error(item, "explain", "must be true or false");
    }
}

static const struct field fields[] = {
    {"key", GET | DELETE, PUT | DELETE, take_key},
    {"key_b64", GET | DELETE, PUT | DELETE, take_key_b64},
    {"table", GET | PUT | DELETE, PUT | DELETE, take_table},
    {"value", 0, PUT, take_value},
    {"ttl", 0, PUT, take_ttl},
    {"w", PUT | DELETE, PUT | DELETE, take_w},
    {"r", GET, 0, take_r},
    {"consistency", GET, 0, take_consistency},
    {"timestamp", DELETE, PUT | DELETE, take_timestamp},
    {"explain", GET | PUT | DELETE, 0, take_explain},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* The field of that name in this place; NULL when there is none. */
static const struct field *find_field(const struct rf_item_request *item, const char *name,
                                      bool in_query)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        uint8_t kinds = in_query ? fields[i].in_query : fields[i].in_body;
        if ((kinds & 1u << item->kind) != 0 && strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

/* "unknown …; did you mean 'x'?" or, when nothing is near, which are known. */
static void describe_unknown(const struct rf_item_request *item, const char *name, bool in_query,
                             char ret_text[200])
{
    const char *known[N_FIELDS];
    uint32_t    n = 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (((in_query ? fields[i].in_query : fields[i].in_body) & 1u << item->kind) != 0) {
            known[n++] = fields[i].name;
        }
    }
    const char *what = in_query ? "unknown parameter" : "unknown member";
    const char *meant = rf_did_you_mean(name, known, n);
    size_t      at = (size_t)snprintf(ret_text, 200,
                                 meant != NULL ? "%s; did you mean '%s'?" : "%s; known are %s",
                                      what, meant != NULL ? meant : known[0]);
    for (uint32_t i = 1; meant == NULL && i < n && at < 200; i++) {
        at += (size_t)snprintf(ret_text + at, 200 - at, ", %s", known[i]);
    }
}

/* A field of the body that the query gave, too: a request that says two things is refused, for
 * whichever of them is taken, the other was meant. */
static void take_again(struct rf_item_request *item, const struct field *field,
                       const struct written *value)
{
    struct rf_item_request other = {.kind = item->kind, .max_value_bytes = item->max_value_bytes};
    field->take(&other, value);
    if (other.errors.size != 0) {
        rf_buf_append_str(&item->errors, item->errors.size == 0 ? "" : ",");
        rf_buf_append_slice(&item->errors, rf_buf_slice(&other.errors));
    } else if (!rf_slice_eq(rf_buf_slice(&other.key), rf_buf_slice(&item->key)) &&
               other.key.size != 0) {
        fail(item, RF_BAD_REQUEST, "the key in the body is another than in the query");
    } else if (strcmp(other.table, item->table) != 0 && other.table[0] != 0) {
        fail(item, RF_BAD_REQUEST, "the table in the body is another than in the query");
    } else if (other.quorum != item->quorum && other.quorum != 0) {
        fail(item, RF_BAD_REQUEST, "w in the body is another than in the query");
    } else if (other.timestamp_ms != item->timestamp_ms && other.timestamp_ms != 0) {
        fail(item, RF_BAD_REQUEST, "the timestamp in the body is another than in the query");
    }
    rf_item_fini(&other);
}

static void take_field(struct rf_item_request *item, const struct field *field,
                       const struct written *value)
{
    uint32_t bit = 1u << (field - fields);
    if ((item->from_query & bit) != 0) {
        take_again(item, field, value);
        return;
    }
    if ((item->given & bit) != 0) {
        rf_item_error(item, field->name, "is given twice");
        return;
    }
    item->given |= bit;
    field->take(item, value);
}

bool rf_item_given(const struct rf_item_request *item, const char *field)
{
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(fields[i].name, field) == 0) {
            return (item->given >> i & 1) != 0;
        }
    }
    rf_unreachable();
}

/* ---- The query ---------------------------------------------------------------------------- */

static bool parse_number(struct rf_slice text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.size == 0 || text.size > 18) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_number = number;
    return true;
}

static void take_parameter(struct rf_item_request *item, const struct rf_buf *name,
                           const struct rf_buf *text)
{
    char           label[64];
    struct written value = {.is_text = true, .text = rf_buf_slice(text)};
    size_t         n = name->size < sizeof(label) ? name->size : sizeof(label) - 1;
    if (n != 0) {
        memcpy(label, name->data, n);
    }
    label[n] = 0;
    const struct field *field = strlen(label) == name->size ? find_field(item, label, true) : NULL;
    if (field == NULL) {
        char detail[200];
        describe_unknown(item, label, true, detail);
        fail(item, RF_BAD_QUERY, detail);
        return;
    }
    value.is_number = parse_number(value.text, &value.number);
    take_field(item, field, &value);
}

static void parse_query(struct rf_item_request *item, struct rf_slice query)
{
    struct rf_buf name = {0};
    struct rf_buf value = {0};
    enum rf_rc    rc = RF_OK;
    while (item->rc == RF_OK && (rc = rf_http_query_next(&query, &name, &value).rc) == RF_OK) {
        take_parameter(item, &name, &value);
    }
    if (rc != RF_OK && rc != RF_NOT_FOUND) {
        fail(item, rc, "");
    }
    rf_buf_fini(&name);
    rf_buf_fini(&value);
}

/* ---- The body ----------------------------------------------------------------------------- */

/* Looked at before the parser, which recurses. Braces inside strings do not count. */
static bool too_deep(struct rf_slice body)
{
    uint32_t depth = 0;
    bool     text = false;
    for (size_t i = 0; i < body.size; i++) {
        uint8_t c = body.data[i];
        if (text) {
            i += c == '\\';
            text = c != '"';
        } else if (c == '"') {
            text = true;
        } else if ((c == '{' || c == '[') && ++depth > RF_JSON_DEPTH_MAX) {
            return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static void take_member(struct rf_item_request *item, const char *name, const json_t *json)
{
    struct written      value = {.is_text = json_is_string(json)};
    const struct field *field = find_field(item, name, false);
    if (field == NULL) {
        char text[200];
        describe_unknown(item, name, false, text);
        rf_item_error(item, name, text);
        return;
    }
    if (value.is_text) {
        value.text = rf_slice(json_string_value(json), json_string_length(json));
    }
    if (json_is_integer(json) && json_integer_value(json) >= 0) {
        value.is_number = true;
        value.number = (uint64_t)json_integer_value(json);
    }
    take_field(item, field, &value);
}

/* What nearly every client sends: one flat object of known members, plain ASCII strings without
 * escapes, small whole numbers. Such a body is read here in 0.2 µs where the library takes 2 µs.
 * Everything else goes to the library, which alone decides what is an error (fuzz_item.c proves
 * that both come to the same result). */
struct scan {
    const uint8_t      *at, *end;
    uint32_t            n;
    const struct field *fields[N_FIELDS];
    struct written      values[N_FIELDS];
};

static bool scan_char(struct scan *scan, uint8_t wanted)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')) {
        scan->at++;
    }
    bool found = scan->at < scan->end && *scan->at == wanted;
    scan->at += found;
    return found;
}

static bool scan_string(struct scan *scan, struct rf_slice *ret_text)
{
    if (!scan_char(scan, '"')) {
        return false;
    }
    const uint8_t *start = scan->at;
    while (scan->at < scan->end && *scan->at != '"') {
        if (*scan->at < 0x20 || *scan->at > 0x7e || *scan->at == '\\') {
            return false;
        }
        scan->at++;
    }
    *ret_text = rf_slice(start, (size_t)(scan->at - start));
    return scan_char(scan, '"');
}

/* Up to 15 digits, none of them a leading zero. */
static bool scan_number(struct scan *scan, uint64_t *ret_number)
{
    const uint8_t *start = scan->at;
    uint64_t       number = 0;
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
        number = number * 10 + (uint64_t)(*scan->at - '0');
        if (scan->at - start == 15) {
            return false;
        }
    }
    *ret_number = number;
    size_t size = (size_t)(scan->at - start);
    bool   ends = scan->at < scan->end && *scan->at != '.' && *scan->at != 'e' && *scan->at != 'E';
    return size != 0 && (size == 1 || *start != '0') && ends;
}

static bool scan_member(struct scan *scan, const struct rf_item_request *item)
{
    struct rf_slice name;
    char            text[16];
    if (!scan_string(scan, &name) || name.size == 0 || name.size >= sizeof(text) ||
        !scan_char(scan, ':') || scan->n == N_FIELDS) {
        return false;
    }
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    const struct field *field = find_field(item, text, false);
    struct written     *value = &scan->values[scan->n];
    *value = (struct written){0};
    for (uint32_t i = 0; i < scan->n; i++) {
        if (scan->fields[i] == field) {
            return false;
        }
    }
    value->is_text = scan_string(scan, &value->text);
    value->is_number = !value->is_text && scan_number(scan, &value->number);
    scan->fields[scan->n++] = field;
    return field != NULL && (value->is_text || value->is_number);
}

/* False, with the item untouched, when the body is not as simple as that. */
static bool scan_body(struct rf_item_request *item, struct rf_slice body)
{
    struct scan scan = {.at = body.data, .end = body.data + body.size};
    if (body.size == 0 || item->library_only || !scan_char(&scan, '{')) {
        return false;
    }
    do {
        if (!scan_member(&scan, item)) {
            return false;
        }
    } while (scan_char(&scan, ','));
    bool closed = scan_char(&scan, '}');
    bool more = scan_char(&scan, 0); /* passes over what blanks follow */
    if (!closed || more || scan.at != scan.end) {
        return false;
    }
    for (uint32_t i = 0; i < scan.n; i++) {
        take_field(item, scan.fields[i], &scan.values[i]);
    }
    return true;
}

static void need_value(struct rf_item_request *item)
{
    if (item->kind == RF_CLIENT_PUT && !rf_item_given(item, "value")) {
        rf_item_error(item, "value", "is missing (base64 of the bytes; \"\" for none)");
    }
}

static void parse_body(struct rf_item_request *item, struct rf_slice body)
{
    json_error_t error;
    if (scan_body(item, body)) {
        need_value(item);
        return;
    }
    if (too_deep(body)) {
        fail(item, RF_BAD_JSON, "nested deeper than 16 levels");
        return;
    }
    json_t *root = json_loadb(body.size == 0 ? "" : (const char *)body.data, body.size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        char detail[256];
        snprintf(detail, sizeof(detail), "%.160s at byte %d", error.text, error.position);
        fail(item, RF_BAD_JSON, detail);
        return;
    }
    if (!json_is_object(root)) {
        fail(item, RF_BAD_JSON, "the body must be a JSON object");
    } else {
        const char *name = NULL;
        json_t     *value = NULL;
        json_object_foreach (root, name, value) {
            take_member(item, name, value);
        }
        need_value(item);
    }
    json_decref(root);
}

/* ---- All of it ---------------------------------------------------------------------------- */

void rf_item_parse(struct rf_item_request *item, struct rf_slice query, struct rf_slice body)
{
    parse_query(item, query);
    item->from_query = item->given;
    bool has_body =
        item->kind == RF_CLIENT_PUT || (item->kind == RF_CLIENT_DELETE && body.size != 0);
    if (has_body && item->rc == RF_OK) {
        parse_body(item, body);
    }
    if (item->rc == RF_OK && !rf_item_given(item, "key") && !rf_item_given(item, "key_b64")) {
        rf_item_error(item, "key", "is missing");
    }
    if (item->key.failed || item->errors.failed) {
        fail(item, RF_NO_MEMORY, "");
    }
}

void rf_item_fini(struct rf_item_request *item)
{
    rf_buf_fini(&item->key);
    rf_buf_fini(&item->errors);
    rf_blob_drop(item->blob);
    item->blob = NULL;
}
