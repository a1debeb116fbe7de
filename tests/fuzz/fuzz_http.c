/* HTTP heads: the verdict may not depend on how many bytes arrive at once; slices stay inside. */
#include "fuzz.h"

#include "http/request.h"

static void check_slice(struct rf_slice part, struct rf_slice whole)
{
    require(part.size == 0 ||
            (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_http_request request;
    struct rf_slice        bytes = rf_slice(data, size);
    enum rf_rc             rc = rf_http_parse(bytes, &request).rc;
    struct rf_buf          name = {0};
    struct rf_buf          value = {0};
    if (rc == RF_OK) {
        require(request.head_size <= size && request.n_headers <= RF_HTTP_HEADERS_MAX);
        check_slice(request.path, bytes);
        check_slice(request.query, bytes);
        for (uint32_t i = 0; i < request.n_headers; i++) {
            check_slice(request.headers[i].name, bytes);
            check_slice(request.headers[i].value, bytes);
        }
        struct rf_slice query = request.query;
        while (rf_http_query_next(&query, &name, &value).rc == RF_OK) {
        }
    }
    /* A prefix is undecided, or has the verdict of the whole. */
    size_t cut = size / 2;
    for (int i = 0; i < 4 && rc != RF_MORE; i++, cut = cut * 3 / 4) {
        enum rf_rc early = rf_http_parse(rf_slice(data, cut), &request).rc;
        require(early == RF_MORE || early == rc);
    }
    rf_buf_fini(&name);
    rf_buf_fini(&value);
    return 0;
}
