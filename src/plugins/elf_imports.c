#include "plugins/elf_imports.h"

#include <elf.h>
#include <stdio.h>

#include "base/assert.h"

#define SYMBOLS_MAX 65536u /* a policy has a few; a count from a hostile hash table may say more */

static struct rf_result refuse(char why[256], const char *text)
{
    snprintf(why, 256, "%s", text);
    return rf_result(RF_PLUGIN_REFUSED);
}

/* What the dynamic section says, addresses turned into file offsets. */
struct dynamic {
    struct rf_slice file;
    uint64_t        symbols, strings, strings_size, hash, gnu_hash;
    uint64_t        table_at, table_n; /* the section itself */
};

static bool load(const struct dynamic *dynamic, uint64_t offset, void *to, size_t size)
{
    if (offset > dynamic->file.size || size > dynamic->file.size - offset) {
        return false;
    }
    memcpy(to, dynamic->file.data + offset, size);
    return true;
}

static bool program_header(struct rf_slice file, uint32_t index, Elf64_Phdr *ret_program)
{
    struct dynamic bytes = {.file = file};
    Elf64_Ehdr     header;
    return load(&bytes, 0, &header, sizeof(header)) && index < header.e_phnum &&
           header.e_phoff < file.size &&
           load(&bytes, header.e_phoff + (uint64_t)index * sizeof(*ret_program), ret_program,
                sizeof(*ret_program));
}

/* Where in the file is this address? UINT64_MAX: nowhere. */
static uint64_t offset_of(struct rf_slice file, uint64_t address)
{
    Elf64_Phdr program;
    for (uint32_t i = 0; program_header(file, i, &program); i++) {
        if (program.p_type == PT_LOAD && address >= program.p_vaddr &&
            address - program.p_vaddr < program.p_filesz && program.p_offset <= file.size) {
            return program.p_offset + (address - program.p_vaddr);
        }
    }
    return UINT64_MAX;
}

/* A NUL-terminated string of the string table; NULL when it is not inside. */
static const char *string_at(const struct dynamic *dynamic, uint64_t index)
{
    uint64_t at = dynamic->strings + index;
    if (index >= dynamic->strings_size || at < index || at >= dynamic->file.size) {
        return NULL;
    }
    uint64_t left = dynamic->strings_size - index;
    left = left < dynamic->file.size - at ? left : dynamic->file.size - at;
    return memchr(dynamic->file.data + at, 0, (size_t)left) == NULL
               ? NULL
               : (const char *)dynamic->file.data + at;
}

static bool find_dynamic(struct rf_slice file, struct dynamic *ret_dynamic)
{
    Elf64_Phdr program;
    *ret_dynamic = (struct dynamic){.file = file};
    for (uint32_t i = 0; program_header(file, i, &program); i++) {
        if (program.p_type == PT_DYNAMIC) {
            ret_dynamic->table_at = program.p_offset;
            ret_dynamic->table_n = program.p_filesz / sizeof(Elf64_Dyn);
            return program.p_offset < file.size && program.p_filesz <= file.size;
        }
    }
    return false;
}

static bool entry_at(const struct dynamic *dynamic, uint64_t index, Elf64_Dyn *ret_entry)
{
    return index < dynamic->table_n &&
           load(dynamic, dynamic->table_at + index * sizeof(*ret_entry), ret_entry,
                sizeof(*ret_entry)) &&
           ret_entry->d_tag != DT_NULL;
}

static bool fill_dynamic(struct dynamic *dynamic)
{
    Elf64_Dyn entry;
    dynamic->symbols = dynamic->strings = dynamic->hash = dynamic->gnu_hash = UINT64_MAX;
    for (uint64_t i = 0; entry_at(dynamic, i, &entry); i++) {
        uint64_t at = offset_of(dynamic->file, entry.d_un.d_ptr);
        switch (entry.d_tag) {
        case DT_SYMTAB:
            dynamic->symbols = at;
            break;
        case DT_STRTAB:
            dynamic->strings = at;
            break;
        case DT_STRSZ:
            dynamic->strings_size = entry.d_un.d_val;
            break;
        case DT_HASH:
            dynamic->hash = at;
            break;
        case DT_GNU_HASH:
            dynamic->gnu_hash = at;
            break;
        default:
            break;
        }
    }
    return dynamic->symbols != UINT64_MAX && dynamic->strings != UINT64_MAX;
}

/* A System V hash says how many symbols there are. A GNU hash says where the defined ones begin,
 * which the linker puts last. */
static bool count_symbols(const struct dynamic *dynamic, uint32_t *ret_n)
{
    uint32_t words[2];
    uint64_t at = dynamic->hash != UINT64_MAX ? dynamic->hash : dynamic->gnu_hash;
    if (at == UINT64_MAX || !load(dynamic, at, words, sizeof(words))) {
        return false;
    }
    *ret_n = words[1];
    return *ret_n <= SYMBOLS_MAX;
}

/* A host with sanitizers may load plugins with them, too. */
static bool is_of_sanitizer(const char *name)
{
#ifdef RF_SANITIZED
    static const char *const prefixes[] = {"__asan_",  "__ubsan_",  "__tsan_", "__sanitizer_",
                                           "libasan.", "libubsan.", "libtsan."};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
#endif
    (void)name;
    return false;
}

static bool is_allowed(const char *name)
{
    for (uint32_t i = 0; i < rf_n_plugin_symbols; i++) {
        if (strcmp(rf_plugin_symbols[i], name) == 0) {
            return true;
        }
    }
    return is_of_sanitizer(name);
}

static struct rf_result check_symbols(const struct dynamic *dynamic, char why[256])
{
    uint32_t n = 0;
    if (!count_symbols(dynamic, &n)) {
        return refuse(why, "its symbol table cannot be read");
    }
    for (uint32_t i = 0; i < n; i++) {
        Elf64_Sym symbol;
        if (!load(dynamic, dynamic->symbols + (uint64_t)i * sizeof(symbol), &symbol,
                  sizeof(symbol))) {
            return refuse(why, "its symbol table lies outside the file");
        }
        if (symbol.st_shndx != SHN_UNDEF || symbol.st_name == 0) {
            continue;
        }
        const char *name = string_at(dynamic, symbol.st_name);
        if (name == NULL) {
            return refuse(why, "its symbol names lie outside the file");
        }
        if (!is_allowed(name)) {
            snprintf(why, 256,
                     "it imports '%.80s'; a policy plugin may import only the names in "
                     "docs/plugin-symbols.txt (no files, threads, clocks, heap)",
                     name);
            return rf_result(RF_PLUGIN_REFUSED);
        }
    }
    return rf_result(RF_OK);
}

static struct rf_result check_libraries(const struct dynamic *dynamic, char why[256])
{
    Elf64_Dyn entry;
    for (uint64_t i = 0; entry_at(dynamic, i, &entry); i++) {
        if (entry.d_tag != DT_NEEDED) {
            continue;
        }
        const char *name = string_at(dynamic, entry.d_un.d_val);
        if (name == NULL) {
            return refuse(why, "the names of its libraries lie outside the file");
        }
        if (strcmp(name, "libc.so.6") != 0 && strcmp(name, "libm.so.6") != 0 &&
            !is_of_sanitizer(name)) {
            snprintf(why, 256,
                     "it needs the library '%.80s'; a policy plugin may need only libc "
                     "and libm",
                     name);
            return rf_result(RF_PLUGIN_REFUSED);
        }
    }
    return rf_result(RF_OK);
}

struct rf_result rf_plugin_imports_check(struct rf_slice file, char ret_why[256])
{
    struct dynamic dynamic;
    if (!find_dynamic(file, &dynamic) || !fill_dynamic(&dynamic)) {
        return refuse(ret_why, "it has no dynamic section that can be read");
    }
    RF_TRY(check_libraries(&dynamic, ret_why));
    return check_symbols(&dynamic, ret_why);
}
