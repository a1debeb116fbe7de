/* The note reader meets hostile bytes before any code of a plugin runs (C4, C6). */
#define _GNU_SOURCE /* memmem */
#include "test_util.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/elf_imports.h"
#include "plugins/elf_note.h"

/* A shared object reduced to what the reader looks at: header, program headers, one note segment. */
struct image {
    Elf64_Ehdr header;
    Elf64_Phdr program[2];
    uint8_t    notes[4096];
};

static struct image            image;
static struct rf_plugin_notes *notes;
static char                    why[256];

static size_t add_note(size_t at, uint32_t type, const char *owner, const void *desc, size_t size)
{
    Elf64_Nhdr header = {
        .n_namesz = (Elf64_Word)strlen(owner) + 1, .n_descsz = (Elf64_Word)size, .n_type = type};
    memcpy(image.notes + at, &header, sizeof(header));
    at += sizeof(header);
    strcpy((char *)image.notes + at, owner);
    at += (strlen(owner) + 1 + 3) & ~(size_t)3;
    memcpy(image.notes + at, desc, size);
    return at + ((size + 3) & ~(size_t)3);
}

static struct rf_plugin_note good_note(void)
{
    return (struct rf_plugin_note){.magic = RF_NOTE_MAGIC,
                                   .abi_major = RF_ABI_MAJOR,
                                   .abi_minor = RF_ABI_MINOR,
                                   .kind = RF_KIND_CONFLICT,
                                   .ops_size = sizeof(struct rf_conflict_ops),
                                   .option_size = sizeof(struct rf_option),
                                   .name = "x",
                                   .version = "1"};
}

static void make_image(size_t notes_size)
{
    memcpy(image.header.e_ident, ELFMAG, SELFMAG);
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_ident[EI_DATA] = ELFDATA2LSB;
    image.header.e_type = ET_DYN;
#if defined(__aarch64__)
    image.header.e_machine = EM_AARCH64;
#else
    image.header.e_machine = EM_X86_64;
#endif
    image.header.e_phoff = offsetof(struct image, program);
    image.header.e_phentsize = sizeof(Elf64_Phdr);
    image.header.e_phnum = 2;
    image.program[0].p_type = PT_LOAD;
    image.program[1] = (Elf64_Phdr){
        .p_type = PT_NOTE, .p_offset = offsetof(struct image, notes), .p_filesz = notes_size};
}

static int fresh(void **state)
{
    (void)state;
    memset(&image, 0, sizeof(image));
    struct rf_plugin_note note = good_note();
    make_image(add_note(0, RF_NOTE_PLUGIN, RF_NOTE_OWNER, &note, sizeof(note)));
    notes = malloc(sizeof(*notes));
    why[0] = 0;
    return 0;
}

static int clean(void **state)
{
    (void)state;
    free(notes);
    return 0;
}

static enum rf_rc read_notes(void)
{
    return rf_plugin_notes_read(rf_slice(&image, sizeof(image)), notes, why).rc;
}

static void assert_refused(const char *expected)
{
    assert_int_equal(RF_PLUGIN_REFUSED, read_notes());
    if (strstr(why, expected) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", expected, why);
    }
}

static void set_note(const struct rf_plugin_note *note)
{
    memset(image.notes, 0, sizeof(image.notes));
    image.program[1].p_filesz = add_note(0, RF_NOTE_PLUGIN, RF_NOTE_OWNER, note, sizeof(*note));
}

static void good(void **state)
{
    (void)state;
    assert_int_equal(RF_OK, read_notes());
    assert_string_equal("x", notes->note.name);
    assert_int_equal(0, notes->n_options);
}

/* Goal: each wrong header has a sentence of its own. */
static void wrong_files(void **state)
{
    (void)state;
    image.header.e_machine++;
    assert_refused("another processor");
    image.header.e_machine--;
    image.header.e_type = ET_EXEC;
    assert_refused("not a 64-bit little-endian shared object");
    image.header.e_type = ET_DYN;
    image.header.e_ident[EI_CLASS] = ELFCLASS32;
    assert_refused("not a 64-bit");
    image.header.e_ident[EI_CLASS] = ELFCLASS64;
    image.header.e_phentsize = 1;
    assert_refused("program headers");
    image.header.e_phentsize = sizeof(Elf64_Phdr);
    image.header.e_ident[0] = 0;
    assert_refused("not an ELF file");
}

/* Goal: numbers that point outside the file or overflow are refused, never followed. */
static void huge_numbers(void **state)
{
    (void)state;
    static const uint64_t huge[] = {sizeof(image), UINT64_MAX, UINT64_MAX - 8, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        image.header.e_phoff = huge[i];
        assert_int_equal(RF_PLUGIN_REFUSED, read_notes());
        image.header.e_phoff = offsetof(struct image, program);
        image.program[1].p_offset = huge[i];
        assert_int_equal(RF_PLUGIN_REFUSED, read_notes());
        image.program[1].p_offset = offsetof(struct image, notes);
        uint64_t size = image.program[1].p_filesz;
        image.program[1].p_filesz = huge[i];
        assert_int_equal(RF_PLUGIN_REFUSED, read_notes());
        image.program[1].p_filesz = size;
    }
    image.header.e_phnum = UINT16_MAX;
    assert_int_equal(RF_PLUGIN_REFUSED, read_notes());
    image.header.e_phnum = 2;
    for (size_t field = 0; field < 8; field += 4) { /* sizes of name and description */
        uint32_t all = UINT32_MAX;
        uint32_t before = 0;
        memcpy(&before, image.notes + field, 4);
        memcpy(image.notes + field, &all, 4);
        assert_refused("carries no Ringfort note");
        memcpy(image.notes + field, &before, 4);
    }
    assert_int_equal(RF_OK, read_notes());
}

/* Goal: a note of another ABI, kind of magic, or two of them. */
static void wrong_notes(void **state)
{
    (void)state;
    struct rf_plugin_note note = good_note();
    note.abi_major = RF_ABI_MAJOR + 1;
    set_note(&note);
    assert_refused("built for plugin ABI 2.0, this server speaks 1.0; use a newer server");
    note.abi_major = 0;
    set_note(&note);
    assert_refused("rebuild the plugin with this server's header");
    note = good_note();
    note.abi_minor = RF_ABI_MINOR + 1;
    set_note(&note);
    assert_refused("use a newer server");
    note = good_note();
    note.magic++;
    set_note(&note);
    assert_refused("wrong magic number");
    note = good_note();
    size_t at = add_note(0, RF_NOTE_PLUGIN, RF_NOTE_OWNER, &note, sizeof(note));
    image.program[1].p_filesz = add_note(at, RF_NOTE_PLUGIN, RF_NOTE_OWNER, &note, sizeof(note));
    assert_refused("two plugin notes");
    image.program[1].p_filesz = add_note(0, RF_NOTE_PLUGIN, RF_NOTE_OWNER, &note, sizeof(note) - 4);
    assert_refused("too short");
    image.program[1].p_filesz = add_note(0, RF_NOTE_PLUGIN, "Else", &note, sizeof(note));
    assert_refused("carries no Ringfort note");
    image.program[1].p_type = PT_LOAD;
    assert_refused("carries no Ringfort note");
}

/* Goal: option tables are checked, too; a foreign tool's note between ours does no harm. */
static void options(void **state)
{
    (void)state;
    struct rf_plugin_note note = good_note();
    struct rf_option      option[2] = {{.name = "a", .type = RF_OPTION_INT, .max = 9},
                                       {.name = "b", .type = RF_OPTION_BOOL, .offset = 8}};
    size_t                at = add_note(0, RF_NOTE_PLUGIN, RF_NOTE_OWNER, &note, sizeof(note));
    size_t                start = at = add_note(at, 1, "GNU", "abcd", 4);
    image.program[1].p_filesz =
        add_note(at, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, sizeof(option));
    assert_int_equal(RF_OK, read_notes());
    assert_int_equal(2, notes->n_options);
    assert_string_equal("b", notes->options[1].name);
    at = add_note(start, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, sizeof(option));
    image.program[1].p_filesz =
        add_note(at, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, sizeof(option));
    assert_refused("two option tables");
    option[0].type = 99;
    image.program[1].p_filesz =
        add_note(start, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, sizeof(option));
    assert_refused("unknown type or a bad offset");
    option[0].type = RF_OPTION_INT;
    option[0].offset = 4090;
    image.program[1].p_filesz =
        add_note(start, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, sizeof(option));
    assert_refused("bad offset");
    option[0].offset = 0;
    image.program[1].p_filesz = add_note(start, RF_NOTE_OPTIONS, RF_NOTE_OWNER, option, 10);
    assert_refused("impossible size");
}

static struct rf_slice read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 20);
    size_t   size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return rf_slice(bytes, size);
}

/* Goal: a real plugin, cut after every byte: refused or read, never read beyond. Every cut is an
 * exact copy on the heap, so the sanitizer sees the first byte too many. */
static void cut_everywhere(void **state)
{
    (void)state;
    size_t whole = offsetof(struct image, notes) + (size_t)image.program[1].p_filesz;
    for (size_t n = 0; n < whole; n++) {
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, &image, n);
        assert_rc(RF_PLUGIN_REFUSED, rf_plugin_notes_read(rf_slice(copy, n), notes, why));
        free(copy);
    }
    struct rf_slice file = read_file(RF_TEST_PLUGINS "/conflict-lww.so");
    assert_rc_ok(rf_plugin_notes_read(file, notes, why));
    assert_string_equal("conflict-lww", notes->note.name);
    assert_rc_ok(rf_plugin_imports_check(file, why));
    for (size_t n = 0; n < file.size; n += n < 4096 ? 1 : 97) {
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, file.data, n);
        (void)rf_plugin_notes_read(rf_slice(copy, n), notes, why).rc;
        (void)rf_plugin_imports_check(rf_slice(copy, n), why).rc;
        free(copy);
    }
    free((void *)(uintptr_t)file.data);
}

/* Goal: a foreign import is found and named; every changed byte of the tables is survived. Method: a
 * real plugin with the name of its one import overwritten, then with each byte turned around. */
static void imports(void **state)
{
    (void)state;
    struct rf_slice file = read_file(RF_TEST_PLUGINS "/conflict-lww.so");
    uint8_t        *bytes = (uint8_t *)(uintptr_t)file.data;
    uint8_t        *name = memmem(bytes, file.size, "\0memcmp\0", 8);
    assert_non_null(name);
    memcpy(name + 1, "socket", 6);
    assert_rc(RF_PLUGIN_REFUSED, rf_plugin_imports_check(file, why));
    assert_non_null(strstr(why, "it imports 'socket'"));
    memcpy(name + 1, "memcmp", 6);
    assert_rc_ok(rf_plugin_imports_check(file, why));
    for (size_t i = 0; i < file.size; i++) {
        bytes[i] = (uint8_t)~bytes[i];
        (void)rf_plugin_imports_check(file, why).rc;
        bytes[i] = (uint8_t)~bytes[i];
    }
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(good),    TEST(wrong_files),    TEST(huge_numbers), TEST(wrong_notes),
        TEST(options), TEST(cut_everywhere), TEST(imports),
    };
    return cmocka_run_group_tests_name("elf_note", tests, NULL, NULL);
}
