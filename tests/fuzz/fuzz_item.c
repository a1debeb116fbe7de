/* Item requests: first byte picks the method, then the query up to a NUL, then the body. */
#include "fuzz.h"

#include "server/item_request.h"

/* The short cut for simple bodies and the JSON library come to the same result. */
static void compare_paths(const struct rf_item_request *item, struct rf_slice query,
                          struct rf_slice body)
{
    struct rf_item_request other = {
        .kind = item->kind, .max_value_bytes = item->max_value_bytes, .library_only = true};
    rf_item_parse(&other, query, body);
    require(other.rc == item->rc && strcmp(other.detail, item->detail) == 0);
    require(rf_slice_eq(rf_buf_slice(&other.errors), rf_buf_slice(&item->errors)));
    require(rf_slice_eq(rf_buf_slice(&other.key), rf_buf_slice(&item->key)));
    require(other.given == item->given && strcmp(other.table, item->table) == 0);
    require(other.quorum == item->quorum && other.ttl_s == item->ttl_s);
    require(other.timestamp_ms == item->timestamp_ms && other.value_size == item->value_size);
    require((other.blob == NULL) == (item->blob == NULL));
    require(other.blob == NULL || memcmp(other.blob->data + RF_KEY_MAX,
                                         item->blob->data + RF_KEY_MAX, item->value_size) == 0);
    rf_item_fini(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct rf_item_request item = {.kind = (enum rf_client_kind)(data[0] % 3),
                                   .max_value_bytes = 1024};
    const uint8_t         *end = memchr(data + 1, 0, size - 1);
    size_t                 query = end == NULL ? size - 1 : (size_t)(end - data - 1);
    size_t                 body = end == NULL ? size : query + 2;
    struct rf_slice        text = rf_slice(data + body, size - body);
    rf_item_parse(&item, rf_slice(data + 1, query), text);
    compare_paths(&item, rf_slice(data + 1, query), text);
    if (item.rc == RF_OK && item.errors.size == 0) {
        require(item.key.size >= 1 && item.key.size <= RF_KEY_MAX);
        require(item.value_size <= 1024 && item.ttl_s <= RF_TTL_MAX_S);
        require(item.kind != RF_CLIENT_PUT || item.blob != NULL);
    }
    rf_item_fini(&item);
    return 0;
}
