/* YAML of operators: first byte picks the schema. Problems are text, without control characters. */
#include "fuzz.h"

#include "config/node_config.h"
#include "config/table_config.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    bool               node = data[0] % 2 == 0;
    struct rf_document document;
    struct rf_problems problems = {0};
    void              *space = rf_mem_alloc(sizeof(struct rf_node_config));
    struct rf_result   parsed =
        rf_tree_parse("fuzz.yaml", rf_slice(data + 1, size - 1), &document, &problems);
    /* Also what could be read only in part is checked. */
    bool             fine = rf_ok(parsed);
    struct rf_result applied = rf_schema_apply(node ? rf_node_settings : rf_table_settings,
                                               node ? rf_n_node_settings : rf_n_table_settings,
                                               &document, &document.root, space, &problems);
    require((fine && rf_ok(applied)) == (problems.count == 0));
    for (size_t i = 0; i < problems.text.size; i++) {
        require(problems.text.data[i] >= 0x20 || problems.text.data[i] == '\n');
    }
    rf_document_free(&document);
    rf_problems_fini(&problems);
    rf_mem_free(space);
    return 0;
}
