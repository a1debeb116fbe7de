/* The file of a plugin that wishes us ill. */
#include "fuzz.h"

#include "plugins/elf_imports.h"
#include "plugins/elf_note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rf_plugin_notes notes;
    char                          why[256] = "";
    if (rf_ok(rf_plugin_notes_read(rf_slice(data, size), &notes, why))) {
        require(notes.note.magic == RF_NOTE_MAGIC);
        require(notes.n_options <= RF_PLUGIN_OPTIONS_MAX);
        require(memchr(notes.note.name, 0, sizeof(notes.note.name)) != NULL);
    } else {
        require(why[0] != 0);
    }
    (void)rf_plugin_imports_check(rf_slice(data, size), why).rc;
    return 0;
}
