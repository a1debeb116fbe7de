/* Reads what a shared object imports, out of the bytes of its file, before any of its code runs:
 * undefined dynamic symbols and needed libraries. It keeps policies honest; it is no sandbox. Every offset is checked against the file's size.
 * Thread: any. Blocks: no. */
#ifndef RF_PLUGINS_ELF_IMPORTS_H
#define RF_PLUGINS_ELF_IMPORTS_H

#include "base/rc.h"
#include "base/slice.h"

/* Are all imports in docs/plugin-symbols.txt, and all needed libraries libc or libm? The file must
 * have passed rf_plugin_notes_read (it is an ELF file of this machine).
 * RF_OK, or RF_PLUGIN_REFUSED with a sentence that names the first import that is not allowed. */
RF_CHECKED struct rf_result rf_plugin_imports_check(struct rf_slice file, char ret_why[256]);

/* The allowed names, built in from docs/plugin-symbols.txt, sorted. */
extern const char *const rf_plugin_symbols[];
extern const uint32_t    rf_n_plugin_symbols;

#endif
