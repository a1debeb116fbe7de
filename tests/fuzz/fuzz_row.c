/* Rows: what decodes encodes to the same bytes. */
#include "fuzz.h"

#include "format/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_slice rest = rf_slice(data, size);
    struct rf_row   row;
    struct rf_buf   again = {0};
    if (rf_ok(rf_row_decode(&rest, &row))) {
        require(row.key.size <= RF_KEY_MAX && rest.size <= size);
        require(rf_row_compare(&row, &row) == 0);
        rf_row_encode(&again, &row);
        require(rf_slice_eq(rf_buf_slice(&again), rf_slice(data, size - rest.size)));
    }
    rf_buf_fini(&again);
    return 0;
}
