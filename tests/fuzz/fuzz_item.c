/* Item requests: first byte picks the method, then the query up to a NUL, then the body. */
#include "fuzz.h"

#include "server/item_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct rf_item_request item = {.kind = (enum rf_client_kind)(data[0] % 3),
                                   .max_value_bytes = 1024};
    const uint8_t *end = memchr(data + 1, 0, size - 1);
    size_t         query = end == NULL ? size - 1 : (size_t)(end - data - 1);
    size_t body = end == NULL ? size : query + 2;
    rf_item_parse(&item, rf_slice(data + 1, query), rf_slice(data + body, size - body));
    if (item.rc == RF_OK && item.errors.size == 0) {
        require(item.key.size >= 1 && item.key.size <= RF_KEY_MAX);
        require(item.value_size <= 1024 && item.ttl_s <= RF_TTL_MAX_S);
        require(item.kind != RF_CLIENT_PUT || item.blob != NULL);
    }
    rf_item_fini(&item);
    return 0;
}
