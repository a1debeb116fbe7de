/* The plugin ABI, byte by byte: a plugin that was built yesterday loads today. Compiled as C11 and as
 * C++17 by test_abi.py; nothing here may change without a new RF_ABI_MAJOR, except that tables grow
 * at their end. */
#include "ringfort/plugin.h"

#ifdef __cplusplus
#define PIN(expr) static_assert(expr, #expr)
#else
#define PIN(expr) _Static_assert(expr, #expr)
#endif
#define SIZE(type, bytes) PIN(sizeof(struct type) == (bytes))
#define AT(type, field, offset) PIN(offsetof(struct type, field) == (offset))

PIN(RF_ABI_MAJOR == 1);
PIN(RF_KIND_COMPACTION == 1 && RF_KIND_CONFLICT == 2 && RF_KIND_PLACEMENT == 3);
PIN(RF_PLUGIN_OK == 0 && RF_PLUGIN_ERROR == 1 && RF_PLUGIN_NEED_MORE == 2 &&
    RF_PLUGIN_BAD_OPTION == 3);
PIN(RF_OPTION_INT == 1 && RF_OPTION_SIZE == 2 && RF_OPTION_TIME == 3 && RF_OPTION_BOOL == 4 &&
    RF_OPTION_CHOICE == 5);
PIN(RF_ITEM_TOMBSTONE == 1 && RF_ITEM_MARKER == 2 && RF_NEWEST_WINS == 1);
PIN(RF_NOTE_PLUGIN == 0x52460001u && RF_NOTE_OPTIONS == 0x52460002u);
PIN(RF_NOTE_MAGIC == 0x74726f6674676e69u && sizeof(RF_NOTE_OWNER) == 9);

AT(rf_host, size, 0);
AT(rf_host, abi_major, 4);
AT(rf_host, abi_minor, 6);
AT(rf_host, error, 8);

SIZE(rf_option, 360);
AT(rf_option, doc, 32);
AT(rf_option, choices, 192);
AT(rf_option, def, 320);
AT(rf_option, min, 328);
AT(rf_option, max, 336);
AT(rf_option, type, 344);
AT(rf_option, offset, 348);
AT(rf_option, reloadable, 352);

AT(rf_item, hlc, 0);
AT(rf_item, writer, 8);
AT(rf_item, expiry_ms, 16);
AT(rf_item, value, 24);
AT(rf_item, value_size, 32);
AT(rf_item, flags, 36);

AT(rf_conflict_ops, size, 0);
AT(rf_conflict_ops, options_size, 4);
AT(rf_conflict_ops, capabilities, 8);
AT(rf_conflict_ops, check, 16);
AT(rf_conflict_ops, merge, 24);

AT(rf_candidate, node, 0);
AT(rf_candidate, name, 8);
AT(rf_candidate, rack, 16);
AT(rf_placement_ops, check, 16);
AT(rf_placement_ops, choose, 24);

AT(rf_run, id, 0);
AT(rf_run, size_bytes, 8);
AT(rf_run, rows, 16);
AT(rf_run, tombstones, 24);
AT(rf_run, first_token, 32);
AT(rf_run, last_token, 40);
AT(rf_run, min_hlc, 48);
AT(rf_run, max_hlc, 56);
AT(rf_run, max_expiry_ms, 64);
AT(rf_run, level, 72);
AT(rf_run, busy, 76);
AT(rf_run, expired_rows, 80);
AT(rf_run, purgeable_rows, 88);

AT(rf_plan, size, 0);
AT(rf_plan, n_inputs, 4);
AT(rf_plan, output_level, 8);
AT(rf_plan, output_max_bytes, 16);
AT(rf_compaction_ops, check, 16);
AT(rf_compaction_ops, pick, 24);
AT(rf_compaction_ops, score, 32);

SIZE(rf_plugin_note, 120);
AT(rf_plugin_note, abi_major, 8);
AT(rf_plugin_note, abi_minor, 10);
AT(rf_plugin_note, kind, 12);
AT(rf_plugin_note, ops_size, 16);
AT(rf_plugin_note, option_size, 20);
AT(rf_plugin_note, name, 24);
AT(rf_plugin_note, version, 88);
