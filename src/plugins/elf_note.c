#include "plugins/elf_note.h"

#include <elf.h>
#include <stdio.h>

#include "base/assert.h"

static struct rf_result refuse(char why[256], const char *text)
{
    snprintf(why, 256, "%s", text);
    return rf_result(RF_PLUGIN_REFUSED);
}

/* A view of [offset, offset + size) of the file; false when it is not inside. */
static bool part_of(struct rf_slice file, uint64_t offset, uint64_t size, struct rf_slice *ret_part)
{
    if (offset > file.size || size > file.size - offset) {
        return false;
    }
    *ret_part = rf_slice(file.data + offset, (size_t)size);
    return true;
}

static struct rf_result take_plugin_note(struct rf_slice desc, struct rf_plugin_notes *notes,
                                         char why[256])
{
    if (notes->note.magic != 0) {
        return refuse(why, "it carries two plugin notes; one shared object is one plugin");
    }
    if (desc.size < sizeof(notes->note)) {
        return refuse(why, "its plugin note is too short; it was built with a damaged header");
    }
    memcpy(&notes->note, desc.data, sizeof(notes->note));
    notes->note.name[sizeof(notes->note.name) - 1] = 0;
    notes->note.version[sizeof(notes->note.version) - 1] = 0;
    if (notes->note.magic != RF_NOTE_MAGIC) {
        return refuse(why, "its plugin note has a wrong magic number");
    }
    return rf_result(RF_OK);
}

/* Options are taken with the element size of the plugin's build: newer fields are cut off. */
static struct rf_result take_options_note(struct rf_slice desc, uint32_t option_size,
                                          struct rf_plugin_notes *notes, char why[256])
{
    if (notes->n_options != 0) {
        return refuse(why, "it carries two option tables");
    }
    if (option_size < sizeof(struct rf_option) || desc.size % option_size != 0 ||
        desc.size / option_size > RF_PLUGIN_OPTIONS_MAX) {
        return refuse(why, "its option table has an impossible size");
    }
    for (size_t i = 0; i < desc.size / option_size; i++) {
        struct rf_option *option = &notes->options[notes->n_options++];
        memcpy(option, desc.data + i * option_size, sizeof(*option));
        option->name[sizeof(option->name) - 1] = 0;
        option->doc[sizeof(option->doc) - 1] = 0;
        option->choices[sizeof(option->choices) - 1] = 0;
        if (option->type < RF_OPTION_INT || option->type > RF_OPTION_CHOICE ||
            option->offset > 4096 - sizeof(int64_t) || option->offset % sizeof(int64_t) != 0) {
            return refuse(why, "its option table has an unknown type or a bad offset");
        }
    }
    return rf_result(RF_OK);
}

/* Walks the notes of one segment. `want` picks the type: the plugin note first, options after. */
static struct rf_result walk_notes(struct rf_slice segment, uint32_t want,
                                   struct rf_plugin_notes *notes, char why[256])
{
    size_t at = 0;
    while (segment.size - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr      header;
        struct rf_slice owner;
        struct rf_slice desc;
        memcpy(&header, segment.data + at, sizeof(header));
        uint64_t owner_at = at + sizeof(header);
        uint64_t desc_at = owner_at + (((uint64_t)header.n_namesz + 3) & ~UINT64_C(3));
        if (!part_of(segment, owner_at, header.n_namesz, &owner) ||
            !part_of(segment, desc_at, header.n_descsz, &desc)) {
            return rf_result(RF_OK); /* padding or another tool's note: not ours to judge */
        }
        bool ours = rf_slice_eq(owner, rf_slice(RF_NOTE_OWNER, sizeof(RF_NOTE_OWNER)));
        if (ours && header.n_type == want) {
            RF_TRY(want == RF_NOTE_PLUGIN
                       ? take_plugin_note(desc, notes, why)
                       : take_options_note(desc, notes->note.option_size, notes, why));
        }
        uint64_t next = desc_at + (((uint64_t)header.n_descsz + 3) & ~UINT64_C(3));
        if (next > segment.size) {
            return rf_result(RF_OK);
        }
        at = (size_t)next;
    }
    return rf_result(RF_OK);
}

static struct rf_result walk_segments(struct rf_slice file, const Elf64_Ehdr *header, uint32_t want,
                                      struct rf_plugin_notes *notes, char why[256])
{
    for (uint32_t i = 0; i < header->e_phnum; i++) {
        struct rf_slice part;
        struct rf_slice segment;
        Elf64_Phdr      program;
        if (!part_of(file, header->e_phoff + (uint64_t)i * sizeof(program), sizeof(program),
                     &part)) {
            return refuse(why, "its program headers lie outside the file");
        }
        memcpy(&program, part.data, sizeof(program));
        if (program.p_type != PT_NOTE) {
            continue;
        }
        if (!part_of(file, program.p_offset, program.p_filesz, &segment)) {
            return refuse(why, "its notes lie outside the file");
        }
        RF_TRY(walk_notes(segment, want, notes, why));
    }
    return rf_result(RF_OK);
}

static struct rf_result check_header(struct rf_slice file, Elf64_Ehdr *ret_header, char why[256])
{
    if (file.size < sizeof(*ret_header) || memcmp(file.data, ELFMAG, SELFMAG) != 0) {
        return refuse(why, "it is not an ELF file");
    }
    memcpy(ret_header, file.data, sizeof(*ret_header));
    if (ret_header->e_ident[EI_CLASS] != ELFCLASS64 ||
        ret_header->e_ident[EI_DATA] != ELFDATA2LSB || ret_header->e_type != ET_DYN) {
        return refuse(why, "it is not a 64-bit little-endian shared object");
    }
#if defined(__x86_64__)
    const uint16_t machine = EM_X86_64;
#elif defined(__aarch64__)
    const uint16_t machine = EM_AARCH64;
#else
#error "say which ELF machine this is"
#endif
    if (ret_header->e_machine != machine) {
        return refuse(why, "it was built for another processor; build it on this kind of machine");
    }
    if (ret_header->e_phentsize != sizeof(Elf64_Phdr)) {
        return refuse(why, "its program headers have an unknown size");
    }
    return rf_result(RF_OK);
}

struct rf_result rf_plugin_notes_read(struct rf_slice file, struct rf_plugin_notes *ret_notes,
                                      char ret_why[256])
{
    Elf64_Ehdr header;
    *ret_notes = (struct rf_plugin_notes){0};
    RF_TRY(check_header(file, &header, ret_why));
    RF_TRY(walk_segments(file, &header, RF_NOTE_PLUGIN, ret_notes, ret_why));
    const struct rf_plugin_note *note = &ret_notes->note;
    if (note->magic == 0) {
        return refuse(ret_why, "it carries no Ringfort note; a plugin says RF_PLUGIN(kind, name, "
                               "version, ops) once");
    }
    if (note->abi_major != RF_ABI_MAJOR || note->abi_minor > RF_ABI_MINOR) {
        snprintf(ret_why, 256, "it was built for plugin ABI %u.%u, this server speaks %u.%u; %s",
                 note->abi_major, note->abi_minor, RF_ABI_MAJOR, RF_ABI_MINOR,
                 note->abi_major < RF_ABI_MAJOR
                     ? "rebuild the plugin with this server's header"
                     : "use a newer server, or rebuild the plugin with this server's header");
        return rf_result(RF_PLUGIN_REFUSED);
    }
    return walk_segments(file, &header, RF_NOTE_OPTIONS, ret_notes, ret_why);
}
