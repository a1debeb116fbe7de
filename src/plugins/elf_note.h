/* Reads a plugin's notes out of the bytes of its file, before any of its code runs. Every offset is
 * checked against the file's size: the bytes are not trusted. Thread: any. Blocks: no. */
#ifndef RF_PLUGINS_ELF_NOTE_H
#define RF_PLUGINS_ELF_NOTE_H

#include "base/rc.h"
#include "base/slice.h"
#include "ringfort/plugin.h"

#define RF_PLUGIN_OPTIONS_MAX 64u

struct rf_plugin_notes {
    struct rf_plugin_note note;
    struct rf_option      options[RF_PLUGIN_OPTIONS_MAX];
    uint32_t              n_options;
};

/* RF_OK, or RF_PLUGIN_REFUSED with a sentence: not an ELF shared object of this machine, no note,
 * two notes, another ABI. */
RF_CHECKED struct rf_result rf_plugin_notes_read(struct rf_slice         file,
                                                 struct rf_plugin_notes *ret_notes,
                                                 char                    ret_why[256]);

#endif
