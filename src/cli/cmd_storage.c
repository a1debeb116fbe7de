/* storage verify, storage dump: data files of a node that does not run. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "format/sst.h"
#include "http/response.h"
#include "io/fs_posix.h"
#include "storage/manifest.h"
#include "storage/sst_reader.h"
#include "storage/verify.h"
#include "storage/wal.h"

#define FILE_MAX (1024u * 1024 * 1024) /* bytes of a manifest that is read whole */

/* What is printed: text lines, or members of one JSON document. */
struct output {
    bool          json;
    uint64_t      n; /* things printed */
    struct rf_buf line;
};

static void print_line(struct output *output)
{
    if (!output->line.failed) {
        printf("%s%.*s", output->json ? (output->n == 0 ? "\n" : ",\n") : "",
               (int)output->line.size, (const char *)output->line.data);
    }
    if (!output->json) {
        printf("\n");
    }
    output->n++;
    rf_buf_clear(&output->line);
}

__attribute__((format(printf, 2, 3))) static void put(struct output *output, const char *format,
                                                      ...)
{
    char    text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    rf_buf_append(&output->line, text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* ---- verify ------------------------------------------------------------------------------- */

static void print_finding(void *argument, const struct rf_finding *finding)
{
    struct output     *output = argument;
    unsigned long long offset = finding->offset;
    if (!output->json) {
        put(output, "%s ", finding->damage ? "DAMAGED" : "note   ");
        rf_buf_append_str(&output->line, finding->path);
        put(output, ":%llu: %s", offset, finding->what);
    } else {
        put(output, "{\"damage\":%s,\"file\":", finding->damage ? "true" : "false");
        rf_json_string(&output->line, rf_slice_str(finding->path));
        put(output, ",\"offset\":%llu,\"what\":\"%s\"}", offset, finding->what);
    }
    print_line(output);
}

static int refuse(const char *path, struct rf_result result)
{
    const char *why = result.rc == RF_CONFLICT    ? "a server uses this directory; stop it first"
                      : result.rc == RF_NOT_FOUND ? "not there, or not a data directory or file"
                                                  : rf_rc_text(result.rc);
    fprintf(stderr, "ringfort: %s: %s\n", path, why);
    return result.rc == RF_NOT_FOUND ? RF_EXIT_NOT_FOUND : RF_EXIT_FAILED;
}

int rf_cmd_storage_verify(struct rf_cli *cli)
{
    struct output           output = {.json = cli->json};
    struct rf_verify_counts counts;
    if (cli->json) {
        printf("{\"findings\":[");
    }
    struct rf_result result =
        rf_verify_dir(rf_fs_posix(), cli->words[0], print_finding, &output, &counts);
    if (cli->json) {
        printf("],\"complete\":%s,\"segments\":%llu,\"records\":%llu,\"manifests\":%llu,"
               "\"files\":%llu,\"blocks\":%llu,\"rows\":%llu,\"damages\":%llu}\n",
               rf_ok(result) ? "true" : "false", (unsigned long long)counts.segments,
               (unsigned long long)counts.records, (unsigned long long)counts.manifests,
               (unsigned long long)counts.files, (unsigned long long)counts.blocks,
               (unsigned long long)counts.rows, (unsigned long long)counts.damages);
    } else if (rf_ok(result)) {
        printf("%s: %llu segments with %llu records, %llu manifests, %llu table files with %llu "
               "blocks and %llu rows: %llu damaged\n",
               cli->words[0], (unsigned long long)counts.segments,
               (unsigned long long)counts.records, (unsigned long long)counts.manifests,
               (unsigned long long)counts.files, (unsigned long long)counts.blocks,
               (unsigned long long)counts.rows, (unsigned long long)counts.damages);
    }
    rf_buf_fini(&output.line);
    if (!rf_ok(result)) {
        return refuse(cli->words[0], result);
    }
    return counts.damages == 0 ? RF_EXIT_OK : RF_EXIT_FAILED;
}

/* ---- dump: rows --------------------------------------------------------------------------- */

static void put_key(struct output *output, struct rf_slice key)
{
    bool text = rf_utf8_valid(key);
    if (output->json) {
        put(output, text ? "\"key\":" : "\"key_b64\":\"");
        if (text) {
            rf_json_string(&output->line, key);
        } else {
            rf_base64_encode(&output->line, key);
            put(output, "\"");
        }
        return;
    }
    for (size_t i = 0; i < key.size; i++) { /* no byte may steer the terminal */
        bool plain = key.data[i] > 0x20 && key.data[i] < 0x7f && key.data[i] != '\\';
        put(output, plain ? "%c" : "\\x%02x", key.data[i]);
    }
}

static void put_row(struct output *output, uint64_t token, const struct rf_row *row)
{
    const char *kind = (row->flags & RF_ROW_TOMBSTONE) != 0 ? "tombstone"
                       : (row->flags & RF_ROW_MARKER) != 0  ? "marker"
                                                            : "value";
    put(output,
        output->json ? "\"token\":\"%016llx\",\"version\":\"%016llx-%016llx\",\"kind\":\"%s\","
                       "\"expires_at\":%llu,\"value_size\":%zu,"
                     : "token=%016llx version=%016llx-%016llx %s expires_at=%llu size=%zu key=",
        (unsigned long long)token, (unsigned long long)row->version.hlc,
        (unsigned long long)row->version.writer, kind, (unsigned long long)row->expiry_ms,
        row->value.size);
    put_key(output, row->key);
}

/* ---- dump: one kind of file each ---------------------------------------------------------- */

static void print_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    struct output *output = argument;
    put(output,
        output->json ? "{\"seq\":%llu,\"table\":\"%016llx\",\"partition\":%u,"
                     : "seq=%llu table=%016llx partition=%u ",
        (unsigned long long)seq, (unsigned long long)record->table, record->partition);
    put_row(output, record->token, &record->row);
    put(output, "%s", output->json ? "}" : "");
    print_line(output);
}

static struct rf_result dump_segment(struct rf_fs fs, const char *path, const char *name,
                                     struct output *output)
{
    char                  dir[4096];
    struct rf_identity    identity;
    struct rf_wal_info    info;
    struct rf_wal_history history = {0};
    uint32_t              shard = 0;
    uint64_t              segment = 0;
    if (!rf_wal_segment_parse(name, &shard, &segment)) {
        return rf_result(RF_INVALID_VALUE);
    }
    snprintf(dir, sizeof(dir), "%s", path);
    char *wal = dirname(dir);
    strncat(wal, "/..", sizeof(dir) - strlen(wal) - 1);
    struct rf_result read = rf_identity_read(fs, wal, &identity);
    if (!rf_ok(read)) {
        fprintf(stderr, "ringfort: %s/identity: a log cannot be read without it\n", wal);
        return read;
    }
    history.secret = identity.log_secret;
    return rf_wal_read(fs, path, segment, &history, print_record, output, &info);
}

static struct rf_result dump_rows(const struct rf_sst *sst, struct output *output)
{
    struct rf_sst_iter iter;
    struct rf_result   result = rf_sst_seek(sst, 0, rf_slice(NULL, 0), false, &iter);
    while (rf_ok(result) && !iter.end) {
        put(output, "%s", output->json ? "{" : "");
        put_row(output, iter.token, &iter.row);
        put(output, "%s", output->json ? "}" : "");
        print_line(output);
        result = rf_sst_next(&iter);
    }
    rf_sst_iter_fini(&iter);
    return result;
}

static struct rf_result dump_table_file(struct rf_fs fs, const char *path, const char *name,
                                        struct output *output)
{
    struct rf_sst *sst = NULL;
    RF_TRY(rf_sst_open(fs, path, strtoull(name, NULL, 16), &sst));
    const struct rf_sst_info *info = rf_sst_info(sst);
    put(output,
        output->json
            ? "{\"file\":\"%016llx\",\"table\":\"%016llx\",\"partition\":%u,\"level\":%u,"
              "\"rows\":%llu,\"blocks\":%llu,\"size\":%llu,\"first_token\":\"%016llx\","
              "\"last_token\":\"%016llx\"}"
            : "file=%016llx table=%016llx partition=%u level=%u rows=%llu blocks=%llu size=%llu "
              "first_token=%016llx last_token=%016llx",
        (unsigned long long)info->file, (unsigned long long)info->table, info->partition,
        info->level, (unsigned long long)info->rows, (unsigned long long)info->n_blocks,
        (unsigned long long)info->file_size, (unsigned long long)info->first_token,
        (unsigned long long)info->last_token);
    print_line(output);
    struct rf_result result = dump_rows(sst, output);
    rf_sst_close(sst);
    return result;
}

static void print_edit(struct output *output, const struct rf_manifest_record *record,
                       const struct rf_edit *edit)
{
    static const char *const kinds[] = {"?", "add", "remove", "quarantine", "damage"};
    put(output,
        output->json
            ? "{\"record\":%llu,\"edit\":\"%s\",\"file\":\"%016llx\",\"table\":\"%016llx\","
              "\"level\":%u,\"size\":%llu,\"first_token\":\"%016llx\","
              "\"last_token\":\"%016llx\",\"damage\":\"%016llx\"}"
            : "record=%llu %s file=%016llx table=%016llx level=%u size=%llu "
              "first_token=%016llx last_token=%016llx damage=%016llx",
        (unsigned long long)record->number, kinds[edit->kind], (unsigned long long)edit->file,
        (unsigned long long)edit->table, edit->level, (unsigned long long)edit->size,
        (unsigned long long)edit->first_token, (unsigned long long)edit->last_token,
        (unsigned long long)edit->damage);
    print_line(output);
}

static struct rf_result read_whole(struct rf_fs fs, const char *path, struct rf_buf *buf)
{
    struct rf_file file;
    uint64_t       size = 0;
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ, &file));
    struct rf_result result = fs.ops->size(fs.context, file, &size);
    uint8_t *to = rf_ok(result) && size <= FILE_MAX ? rf_buf_reserve(buf, (size_t)size) : NULL;
    if (rf_ok(result)) {
        result = to == NULL ? rf_result(RF_NO_MEMORY)
                            : fs.ops->pread(fs.context, file, to, (size_t)size, 0);
    }
    fs.ops->close(fs.context, file);
    buf->size = rf_ok(result) ? (size_t)size : 0;
    return result;
}

static struct rf_result dump_manifest(struct rf_fs fs, const char *path, struct output *output)
{
    struct rf_buf    buf = {0};
    struct rf_result result = read_whole(fs, path, &buf);
    struct rf_slice  rest = rf_buf_slice(&buf);
    while (rf_ok(result) && rest.size != 0) {
        struct rf_manifest_record record;
        result = rf_manifest_record_decode(&rest, &record);
        for (uint32_t i = 0; rf_ok(result) && i < record.n_edits; i++) {
            struct rf_edit edit;
            result = rf_manifest_edit(&record, i, &edit);
            if (rf_ok(result)) {
                print_edit(output, &record, &edit);
            }
        }
    }
    rf_buf_fini(&buf);
    return result;
}

static struct rf_result dump_identity(struct rf_fs fs, const char *dir, struct output *output)
{
    struct rf_identity identity;
    RF_TRY(rf_identity_read(fs, dir, &identity));
    put(output,
        output->json ? "{\"node\":\"%016llx\",\"generation\":%llu,\"cluster\":\"%016llx\","
                       "\"partitions\":%u}"
                     : "node=%016llx generation=%llu cluster=%016llx partitions=%u",
        (unsigned long long)identity.node, (unsigned long long)identity.generation,
        (unsigned long long)identity.cluster, identity.n_partitions);
    print_line(output);
    return rf_result(RF_OK);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    return n >= strlen(end) && strcmp(text + n - strlen(end), end) == 0;
}

int rf_cmd_storage_dump(struct rf_cli *cli)
{
    char             dir_copy[4096];
    char             name_copy[4096];
    const char      *path = cli->words[0];
    struct rf_fs     posix = rf_fs_posix();
    struct rf_fs     fs = rf_fs_read_only(&posix);
    struct output    output = {.json = cli->json};
    struct rf_result result = rf_result(RF_INVALID_VALUE);
    snprintf(dir_copy, sizeof(dir_copy), "%s", path);
    snprintf(name_copy, sizeof(name_copy), "%s", path);
    const char *name = basename(name_copy);
    printf("%s", cli->json ? "[" : "");
    if (ends_with(name, ".wal")) {
        result = dump_segment(fs, path, name, &output);
    } else if (ends_with(name, ".sst")) {
        result = dump_table_file(fs, path, name, &output);
    } else if (strcmp(name, "manifest") == 0) {
        result = dump_manifest(fs, path, &output);
    } else if (strcmp(name, "identity") == 0) {
        result = dump_identity(fs, dirname(dir_copy), &output);
    }
    printf("%s", cli->json ? "]\n" : "");
    rf_buf_fini(&output.line);
    if (result.rc == RF_INVALID_VALUE) {
        fprintf(stderr,
                "ringfort: %s: not a name of a data file (*.wal, *.sst, manifest, identity)\n",
                path);
        return RF_EXIT_USAGE;
    }
    return rf_ok(result) ? RF_EXIT_OK : refuse(path, result);
}
