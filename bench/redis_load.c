/* Drives Redis with the load generator of `ringfort bench`, so that both are measured by the same
 * client. One write is SET and WAIT in one packet: it counts when the answer of WAIT is there. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/bench_report.h"

#define POOL_SIZE 65536u

struct redis {
    size_t        value_bytes;
    unsigned      wait; /* replicas that must have a write; 0: no WAIT */
    struct rf_buf put_head, put_middle, put_tail;
    char          pool[2 * POOL_SIZE];
};

static void put_key(struct rf_buf *out, uint64_t key)
{
    char text[17];
    snprintf(text, sizeof(text), "bench%011llu", (unsigned long long)key % 100000000000u);
    rf_buf_append(out, text, 16);
}

static void add_request(const void *context, const struct rf_load_request *request,
                        struct rf_buf *out)
{
    const struct redis *redis = context;
    if (!request->put) {
        rf_buf_append_str(out, "*2\r\n$3\r\nGET\r\n$16\r\n");
        put_key(out, request->key);
        rf_buf_append_str(out, "\r\n");
        return;
    }
    rf_buf_append_slice(out, rf_buf_slice(&redis->put_head));
    put_key(out, request->key);
    rf_buf_append_slice(out, rf_buf_slice(&redis->put_middle));
    rf_buf_append(out, redis->pool + request->random % POOL_SIZE, redis->value_bytes);
    rf_buf_append_slice(out, rf_buf_slice(&redis->put_tail));
}

/* Length of one reply: "+OK", ":1", "$100\r\n…", "-ERR …". 0: more must come. */
static size_t reply_size(struct rf_slice bytes)
{
    const uint8_t *end = bytes.size == 0 ? NULL : memchr(bytes.data, '\n', bytes.size);
    if (end == NULL) {
        return 0;
    }
    size_t line = (size_t)(end - bytes.data) + 1;
    long   length = bytes.data[0] == '$' ? strtol((const char *)bytes.data + 1, NULL, 10) : -1;
    size_t size = length < 0 ? line : line + (size_t)length + 2;
    return bytes.size < size ? 0 : size;
}

static size_t take_answer(const void *context, struct rf_slice bytes, bool *ret_ok,
                          char ret_why[256])
{
    const struct redis *redis = context;
    size_t              size = reply_size(bytes);
    if (size == 0) {
        return 0;
    }
    *ret_ok = bytes.data[0] == '+' || (bytes.data[0] == '$' && bytes.data[1] != '-');
    snprintf(ret_why, 256, "%.*s", size < 100 ? (int)size : 100, (const char *)bytes.data);
    if (bytes.data[0] == '$' || redis->wait == 0) {
        return size;
    }
    struct rf_slice rest = rf_slice(bytes.data + size, bytes.size - size);
    size_t          waited = reply_size(rest);
    if (waited != 0 && (rest.data[0] != ':' || rest.data[1] == '0')) {
        *ret_ok = false;
        snprintf(ret_why, 256, "WAIT: %.*s", (int)waited, (const char *)rest.data);
    }
    return waited == 0 ? 0 : size + waited;
}

static void make_requests(struct redis *redis)
{
    char          text[96];
    struct rf_rng rng = {.state = 7};
    for (size_t i = 0; i < sizeof(redis->pool); i++) {
        redis->pool[i] = (char)('A' + rf_rng_below(&rng, 26));
    }
    rf_buf_append_str(&redis->put_head, "*3\r\n$3\r\nSET\r\n$16\r\n");
    snprintf(text, sizeof(text), "\r\n$%zu\r\n", redis->value_bytes);
    rf_buf_append_str(&redis->put_middle, text);
    snprintf(text, sizeof(text), "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n%u\r\n$1\r\n0\r\n", redis->wait);
    rf_buf_append_str(&redis->put_tail, redis->wait == 0 ? "\r\n" : text);
}

struct tool {
    struct rf_load_config config;
    struct rf_bench_row   row;
    struct rf_bench_pids  pids;
    struct redis          redis;
    const char           *json;
    struct rf_load_result result;
};

static const struct option options[] = {
    {"address", required_argument, NULL, 'a'},
    {"ca", required_argument, NULL, 'c'},
    {"connections", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 's'},
    {"fill", no_argument, NULL, 'f'},
    {"put", no_argument, NULL, 'P'},
    {"wait", required_argument, NULL, 'w'},
    {"value-bytes", required_argument, NULL, 'b'},
    {"keys", required_argument, NULL, 'k'},
    {"pids", required_argument, NULL, 'p'},
    {"json", required_argument, NULL, 'j'},
    {"workload", required_argument, NULL, 'l'},
    {"system", required_argument, NULL, 'y'},
    {"pipeline", required_argument, NULL, 'i'},
    {NULL, 0, NULL, 0},
};

static bool take_option(struct tool *tool, int option)
{
    unsigned long number = optarg == NULL ? 0 : strtoul(optarg, NULL, 10);
    switch (option) {
    case 'a':
        tool->config.addresses[0] = optarg;
        break;
    case 'c':
        tool->config.ca = optarg;
        tool->config.plain = false;
        break;
    case 'n':
        tool->config.connections = (uint32_t)number;
        break;
    case 'i':
        tool->config.pipeline = (uint32_t)number;
        break;
    case 's':
        tool->config.run_us = (uint64_t)number * 1000000;
        break;
    case 'f':
        tool->config.keys = RF_LOAD_SEQUENTIAL;
        tool->config.run_us = 0; /* fallthrough */
    case 'P':
        tool->config.put_percent = 100;
        break;
    case 'w':
        tool->redis.wait = (unsigned)(number % 10);
        break;
    case 'b':
        tool->redis.value_bytes = number < POOL_SIZE ? number : POOL_SIZE;
        break;
    case 'k':
        tool->config.n_keys = number;
        break;
    case 'p':
        tool->row.has_cpu = true;
        return rf_ok(rf_bench_pids_parse(optarg, &tool->pids));
    case 'j':
        tool->json = optarg;
        break;
    case 'l':
        tool->row.workload = optarg;
        break;
    case 'y':
        tool->row.system = optarg;
        break;
    default:
        return false;
    }
    return true;
}

static void note_cpu(void *user)
{
    struct tool *tool = user;
    tool->row.cpu_us = rf_bench_cpu_us(&tool->pids);
}

int main(int argc, char **argv)
{
    int          option = 0;
    struct tool *tool = RF_NEW(struct tool);
    if (tool == NULL) {
        return 1;
    }
    tool->row = (struct rf_bench_row){
        .bench = "cluster", .system = "redis", .workload = "get", .threads = 1};
    tool->redis.value_bytes = 100;
    tool->config = (struct rf_load_config){
        .addresses = {"127.0.0.1:6379"},
        .n_addresses = 1,
        .plain = true,
        .threads = 1,
        .connections = 64,
        .pipeline = 1,
        .run_us = 5000000,
        .n_keys = 100000,
        .on_start = note_cpu,
        .user = tool,
        .protocol = {&tool->redis, add_request, take_answer},
    };
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take_option(tool, option)) {
            fprintf(stderr, "bench_redis: see bench/README.md\n");
            return 64;
        }
    }
    if (tool->config.run_us == 0) {
        tool->config.requests = tool->config.n_keys;
    }
    tool->row.value_bytes = tool->redis.value_bytes;
    make_requests(&tool->redis);
    if (!rf_ok(rf_load_run(&tool->config, &tool->result))) {
        fprintf(stderr, "bench_redis: %s\n", tool->result.why);
        return 1;
    }
    tool->row.cpu_us = rf_bench_cpu_us(&tool->pids) - tool->row.cpu_us;
    rf_bench_print(&tool->row, &tool->result, true);
    if (tool->result.errors != 0) {
        fprintf(stderr, "bench_redis: %llu errors; the first: %s\n",
                (unsigned long long)tool->result.errors, tool->result.why);
        return 1;
    }
    return tool->json == NULL || rf_ok(rf_bench_json(tool->json, &tool->row, &tool->result)) ? 0
                                                                                             : 1;
}
