#define _GNU_SOURCE /* memmem */
/* bench: drives a cluster over HTTPS and prints what it did, and what it cost. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/bench_report.h"
#include "cli/cli.h"
#include "http/response.h"

#define POOL_SIZE 65536u /* base64 digits to cut values from */

/* Everything that a request is made of; read-only while the load runs. */
struct items {
    struct rf_buf get_head;  /* "GET /api/v1/item?key=" */
    struct rf_buf get_tail;  /* " HTTP/1.1 …" to the end of the head */
    struct rf_buf put_head;  /* the whole head, and the body up to the key's digits */
    struct rf_buf value_end; /* the last base64 group, when it is padded, and the body's end */
    size_t        digits;    /* base64 digits of a value before value_end */
    char          pool[POOL_SIZE];
};

struct bench {
    struct rf_cli        *cli;
    struct rf_load_config load;
    struct rf_bench_row   row;
    struct rf_bench_pids  pids;
    const char           *json, *path;
    char                  addresses[RF_LOAD_ADDRESSES_MAX][272];
    bool                  strong, fill;
    struct items          items;
};

/* ---- The protocol ------------------------------------------------------------------------- */

/* Keys are "bench" and 11 digits: 16 bytes. */
static void put_key(struct rf_buf *out, uint64_t key)
{
    char text[16] = "bench00000000000";
    for (int i = 15; i >= 5; i--, key /= 10) {
        text[i] = (char)('0' + key % 10);
    }
    rf_buf_append(out, text, sizeof(text));
}

static void add_request(const void *context, const struct rf_load_request *request,
                        struct rf_buf *out)
{
    const struct items *items = context;
    if (!request->put) {
        rf_buf_append_slice(out, rf_buf_slice(&items->get_head));
        if (items->put_head.size != 0) { /* else a fixed path */
            put_key(out, request->key);
        }
        rf_buf_append_slice(out, rf_buf_slice(&items->get_tail));
        return;
    }
    rf_buf_append_slice(out, rf_buf_slice(&items->put_head));
    put_key(out, request->key);
    rf_buf_append_str(out, "\",\"value\":\"");
    size_t left = items->digits;
    size_t at = request->random % POOL_SIZE / 2;
    while (left != 0) {
        size_t n = left < POOL_SIZE - at ? left : POOL_SIZE - at;
        rf_buf_append(out, items->pool + at, n);
        left -= n;
        at = 0;
    }
    rf_buf_append_slice(out, rf_buf_slice(&items->value_end));
}

static size_t body_length(const char *head, const char *end)
{
    for (const char *at = head; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at == NULL) {
            return 0;
        }
        if (end - at > 16 && strncasecmp(at + 1, "content-length:", 15) == 0) {
            return (size_t)strtoull(at + 16, NULL, 10);
        }
    }
    return 0;
}

/* Our servers, and those that we compare with, answer with a Content-Length. */
static size_t take_answer(const void *context, struct rf_slice bytes, bool *ret_ok,
                          char ret_why[256])
{
    const char *head = (const char *)bytes.data;
    const char *end = memmem(bytes.data, bytes.size, "\r\n\r\n", 4);
    (void)context;
    if (bytes.size >= 7 && memcmp(head, "HTTP/1.", 7) != 0) {
        snprintf(ret_why, 256, "the answer is not HTTP/1.1");
        return SIZE_MAX;
    }
    if (end == NULL) {
        return 0;
    }
    size_t body = body_length(head, end);
    size_t size = (size_t)(end - head) + 4 + body;
    if (bytes.size < size) {
        return 0;
    }
    *ret_ok = head[9] == '2';
    if (!*ret_ok) {
        snprintf(ret_why, 256, "HTTP %.3s: %.*s", head + 9, body < 200 ? (int)body : 200, end + 4);
    }
    return size;
}

/* ---- Making requests ---------------------------------------------------------------------- */

static void add_head_end(struct bench *bench, struct rf_buf *head, const char *type)
{
    rf_buf_append_str(head, " HTTP/1.1\r\nHost: ");
    rf_buf_append_str(head, bench->load.addresses[0]);
    if (bench->cli->token != NULL) {
        rf_buf_append_str(head, "\r\nAuthorization: Bearer ");
        rf_buf_append_str(head, bench->cli->token);
    }
    rf_buf_append_str(head, type);
}

static void add_table(struct bench *bench, struct rf_buf *to, const char *before)
{
    rf_buf_append_str(to, before);
    rf_http_encode(to, rf_slice_str(bench->cli->table));
}

static void make_put(struct bench *bench)
{
    static const uint8_t zeros[3];
    struct items        *items = &bench->items;
    size_t               bytes = bench->row.value_bytes;
    const char          *table = bench->cli->table;
    struct rf_buf        body = {0};
    rf_buf_append_str(&body, "{");
    if (table != NULL) {
        rf_buf_append_str(&body, "\"table\":");
        rf_json_string(&body, rf_slice_str(table));
        rf_buf_append_str(&body, ",");
    }
    rf_buf_append_str(&body, "\"key\":\"");
    items->digits = bytes / 3 * 4;
    rf_base64_encode(&items->value_end, rf_slice(zeros, bytes % 3));
    rf_buf_append_str(&items->value_end, "\"}");
    rf_buf_append_str(&items->put_head, "POST /api/v1/item");
    add_head_end(bench, &items->put_head, "\r\nContent-Type: application/json\r\nContent-Length: ");
    rf_buf_append_u64(&items->put_head,
                      body.size + 16 + 11 + items->digits + items->value_end.size);
    rf_buf_append_str(&items->put_head, "\r\n\r\n");
    rf_buf_append_slice(&items->put_head, rf_buf_slice(&body));
    rf_buf_fini(&body);
}

static void make_requests(struct bench *bench)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct items     *items = &bench->items;
    struct rf_rng     rng = {.state = 7};
    for (size_t i = 0; i < POOL_SIZE; i++) {
        items->pool[i] = digits[rf_rng_below(&rng, 64)];
    }
    rf_buf_append_str(&items->get_head, "GET ");
    if (bench->path != NULL) {
        rf_buf_append_str(&items->get_head, bench->path);
    } else {
        rf_buf_append_str(&items->get_head, "/api/v1/item?key=");
        if (bench->strong) {
            rf_buf_append_str(&items->get_tail, "&consistency=strong");
        }
        if (bench->cli->table != NULL) {
            add_table(bench, &items->get_tail, "&table=");
        }
        make_put(bench);
    }
    add_head_end(bench, &items->get_tail, "\r\n\r\n");
}

/* ---- Options ------------------------------------------------------------------------------ */

static void print_help(FILE *to)
{
    fputs(
        "usage: ringfort bench [OPTIONS]\n\n"
        "Puts and gets items over HTTPS as fast as answers come (or at --rate), and prints\n"
        "operations per second and latencies. It writes into the table it is pointed at.\n\n"
        "  --url URL            a node; more than once: connections are spread over all\n"
        "  --ca, --token, --table as for every command\n"
        "  --connections N      keep-alive connections, default 64\n"
        "  --threads N          threads of this client, default 1\n"
        "  --seconds N          how long, default 10\n"
        "  --requests N         how many, instead of how long\n"
        "  --mix GET:PUT        percent of each, default 50:50\n"
        "  --fill               put every key once, in order (with --keys)\n"
        "  --value-bytes N      default 100\n"
        "  --keys N             default 100000\n"
        "  --zipf               keys by a Zipf distribution (0.99) instead of uniform\n"
        "  --strong             read with a quorum\n"
        "  --pipeline N         requests under way per connection, default 1, at most 64\n"
        "  --rate N             open loop: N requests per second, latency from when each was due\n"
        "  --path PATH          get this path instead of items\n"
        "  --pids PID,PID       also tell the CPU time of these processes per operation\n"
        "  --json FILE          append the row as a line of JSON\n"
        "  --bench, --workload, --system NAME   what the row is called\n",
        to);
}

enum {
    OPT_CONNECTIONS = 1000,
    OPT_THREADS,
    OPT_SECONDS,
    OPT_REQUESTS,
    OPT_MIX,
    OPT_FILL,
    OPT_BYTES,
    OPT_KEYS,
    OPT_ZIPF,
    OPT_STRONG,
    OPT_PIPELINE,
    OPT_RATE,
    OPT_PATH,
    OPT_PIDS,
    OPT_JSON,
    OPT_BENCH,
    OPT_WORKLOAD,
    OPT_SYSTEM,
    OPT_URL,
    OPT_CA,
    OPT_TOKEN,
    OPT_TABLE,
};

static const struct option options[] = {
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"mix", required_argument, NULL, OPT_MIX},
    {"fill", no_argument, NULL, OPT_FILL},
    {"value-bytes", required_argument, NULL, OPT_BYTES},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"zipf", no_argument, NULL, OPT_ZIPF},
    {"strong", no_argument, NULL, OPT_STRONG},
    {"pipeline", required_argument, NULL, OPT_PIPELINE},
    {"rate", required_argument, NULL, OPT_RATE},
    {"path", required_argument, NULL, OPT_PATH},
    {"pids", required_argument, NULL, OPT_PIDS},
    {"json", required_argument, NULL, OPT_JSON},
    {"bench", required_argument, NULL, OPT_BENCH},
    {"workload", required_argument, NULL, OPT_WORKLOAD},
    {"system", required_argument, NULL, OPT_SYSTEM},
    {"url", required_argument, NULL, OPT_URL},
    {"ca", required_argument, NULL, OPT_CA},
    {"token", required_argument, NULL, OPT_TOKEN},
    {"table", required_argument, NULL, OPT_TABLE},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take_count(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    char              *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || value < min || value > max) {
        return false;
    }
    *ret_value = value;
    return true;
}

static bool take_mix(struct bench *bench, const char *text)
{
    unsigned get = 0;
    unsigned put = 0;
    char     rest = 0;
    if (sscanf(text, "%3u:%3u%c", &get, &put, &rest) != 2 || get + put != 100) {
        return false;
    }
    bench->load.put_percent = put;
    return true;
}

/* https://, or http:// for a server or proxy that speaks it; one run has one of them. */
static bool take_url(struct bench *bench, const char *url)
{
    bool     plain = strncmp(url, "http://", 7) == 0;
    size_t   skip = plain ? 7 : 8;
    uint32_t n = bench->load.n_addresses;
    if ((!plain && strncmp(url, "https://", 8) != 0) || n == RF_LOAD_ADDRESSES_MAX ||
        (n != 0 && plain != bench->load.plain)) {
        return false;
    }
    bench->load.plain = plain;
    size_t size = strcspn(url + skip, "/");
    bool   port = memchr(url + skip, ':', size) != NULL;
    if (size == 0 || size > 255) {
        return false;
    }
    snprintf(bench->addresses[n], sizeof(bench->addresses[n]), "%.*s%s", (int)size, url + skip,
             port ? "" : ":7443");
    bench->load.addresses[n] = bench->addresses[n];
    bench->load.n_addresses++;
    return true;
}

/* Numbers; false for a bad one. */
static bool take_number(struct bench *bench, int option)
{
    struct rf_load_config *load = &bench->load;
    uint64_t               value = 0;
    bool                   ok = false;
    switch (option) {
    case OPT_CONNECTIONS:
        ok = take_count(optarg, 1, RF_LOAD_CONNECTIONS_MAX, &value);
        load->connections = (uint32_t)value;
        return ok;
    case OPT_THREADS:
        ok = take_count(optarg, 1, RF_LOAD_THREADS_MAX, &value);
        load->threads = (uint32_t)value;
        return ok;
    case OPT_SECONDS:
        ok = take_count(optarg, 1, 86400, &value);
        load->run_us = value * 1000000;
        return ok;
    case OPT_REQUESTS:
        load->run_us = 0;
        return take_count(optarg, 1, UINT64_C(1) << 40, &load->requests);
    case OPT_BYTES:
        return take_count(optarg, 0, 1u << 20, &bench->row.value_bytes);
    case OPT_KEYS:
        return take_count(optarg, 1, UINT64_C(1) << 36, &load->n_keys);
    case OPT_PIPELINE:
        ok = take_count(optarg, 1, RF_LOAD_PIPELINE_MAX, &value);
        load->pipeline = (uint32_t)value;
        return ok;
    default: /* OPT_RATE */
        return take_count(optarg, 1, 100000000, &load->rate);
    }
}

/* Everything else. */
static bool take_word(struct bench *bench, int option)
{
    switch (option) {
    case OPT_MIX:
        return take_mix(bench, optarg);
    case OPT_FILL:
        bench->fill = true;
        return true;
    case OPT_ZIPF:
        bench->load.keys = RF_LOAD_ZIPF;
        return true;
    case OPT_STRONG:
        bench->strong = true;
        return true;
    case OPT_PATH:
        bench->path = optarg;
        return optarg[0] == '/';
    case OPT_PIDS:
        bench->row.has_cpu = true;
        return rf_ok(rf_bench_pids_parse(optarg, &bench->pids));
    case OPT_JSON:
        bench->json = optarg;
        return true;
    case OPT_BENCH:
        bench->row.bench = optarg;
        return true;
    case OPT_WORKLOAD:
        bench->row.workload = optarg;
        return true;
    case OPT_SYSTEM:
        bench->row.system = optarg;
        return true;
    case OPT_URL:
        return take_url(bench, optarg);
    case OPT_CA:
        bench->cli->ca = optarg;
        return true;
    case OPT_TOKEN:
        bench->cli->token = optarg;
        return true;
    default: /* OPT_TABLE */
        bench->cli->table = optarg;
        return true;
    }
}

static bool is_number(int option)
{
    return option == OPT_CONNECTIONS || option == OPT_THREADS || option == OPT_SECONDS ||
           option == OPT_REQUESTS || option == OPT_BYTES || option == OPT_KEYS ||
           option == OPT_PIPELINE || option == OPT_RATE;
}

/* -1 to go on, else the exit code. */
static int take_options(struct bench *bench)
{
    int option = 0;
    optind = 1;
    while ((option = getopt_long(bench->cli->n_words, bench->cli->words, "h", options, NULL)) !=
           -1) {
        if (option == 'h') {
            print_help(stdout);
            return RF_EXIT_OK;
        }
        if (option == '?') {
            return RF_EXIT_USAGE;
        }
        if (!(is_number(option) ? take_number(bench, option) : take_word(bench, option))) {
            fprintf(stderr,
                    "ringfort: '%s' is not a value for this option; see ringfort bench "
                    "--help\n",
                    optarg);
            return RF_EXIT_USAGE;
        }
    }
    if (optind != bench->cli->n_words) {
        fprintf(stderr, "ringfort: bench takes only options, not '%s'\n",
                bench->cli->words[optind]);
        return RF_EXIT_USAGE;
    }
    return -1;
}

static int finish_options(struct bench *bench)
{
    struct rf_load_config *load = &bench->load;
    if (load->n_addresses == 0 && !take_url(bench, bench->cli->url)) {
        fprintf(stderr, "ringfort: '%s' is not an address like https://host:7443\n",
                bench->cli->url);
        return RF_EXIT_USAGE;
    }
    if (bench->fill) {
        load->keys = RF_LOAD_SEQUENTIAL;
        load->requests = load->n_keys;
        load->run_us = 0;
        load->put_percent = 100;
    }
    if (bench->path != NULL) {
        load->put_percent = 0;
    }
    load->threads = load->threads > load->connections ? load->connections : load->threads;
    if (bench->row.workload == NULL) {
        bench->row.workload = bench->path != NULL        ? bench->path
                              : bench->fill              ? "fill"
                              : load->put_percent == 100 ? "put"
                              : load->put_percent != 0   ? "mixed"
                              : bench->strong            ? "get-strong"
                                                         : "get";
    }
    load->ca = bench->cli->ca;
    bench->row.threads = load->threads;
    return -1;
}

/* ---- The command -------------------------------------------------------------------------- */

static void note_cpu(void *user)
{
    struct bench *bench = user;
    bench->row.cpu_us = rf_bench_cpu_us(&bench->pids);
}

static int run(struct bench *bench, struct rf_load_result *result)
{
    struct rf_result ran = rf_load_run(&bench->load, result);
    if (!rf_ok(ran)) {
        fprintf(stderr, "ringfort: %s\n", result->why[0] != 0 ? result->why : rf_rc_text(ran.rc));
        return RF_EXIT_UNAVAILABLE;
    }
    bench->row.cpu_us = rf_bench_cpu_us(&bench->pids) - bench->row.cpu_us;
    rf_bench_print(&bench->row, result, true);
    if (result->errors != 0) {
        fprintf(stderr, "ringfort: %llu requests failed; the first one: %s\n",
                (unsigned long long)result->errors, result->why);
    }
    if (bench->json != NULL && !rf_ok(rf_bench_json(bench->json, &bench->row, result))) {
        fprintf(stderr, "ringfort: cannot write %s: %m\n", bench->json);
        return RF_EXIT_FAILED;
    }
    return result->errors != 0 ? RF_EXIT_FAILED : RF_EXIT_OK;
}

int rf_cmd_bench(struct rf_cli *cli)
{
    struct bench          *bench = RF_NEW(struct bench);
    struct rf_load_result *result = RF_NEW(struct rf_load_result);
    int                    code = RF_EXIT_FAILED;
    if (bench != NULL && result != NULL) {
        bench->cli = cli;
        bench->row =
            (struct rf_bench_row){.bench = "cluster", .system = "ringfort", .value_bytes = 100};
        bench->load = (struct rf_load_config){
            .threads = 1,
            .connections = 64,
            .pipeline = 1,
            .run_us = 10000000,
            .n_keys = 100000,
            .put_percent = 50,
            .progress = isatty(2) == 1,
            .on_start = note_cpu,
            .user = bench,
            .protocol = {&bench->items, add_request, take_answer},
        };
        code = take_options(bench);
        code = code >= 0 ? code : finish_options(bench);
        if (code < 0) {
            make_requests(bench);
            code = run(bench, result);
        }
        rf_buf_fini(&bench->items.get_head);
        rf_buf_fini(&bench->items.get_tail);
        rf_buf_fini(&bench->items.put_head);
        rf_buf_fini(&bench->items.value_end);
    }
    rf_mem_free(bench);
    rf_mem_free(result);
    return code;
}
