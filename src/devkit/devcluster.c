#define _GNU_SOURCE /* nftw */
#include "devkit/devcluster.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devkit/certs.h"

#define STOP_WAITS_MAX 30000u /* of 2 ms */

extern char **environ;

static struct rf_result fail(char why[256], const char *what, const char *path)
{
    snprintf(why, 256, "%.60s %.150s: %s", what, path, strerror(errno));
    return rf_result(RF_IO_ERROR);
}

static void path_in(const struct rf_devcluster *dev, char path[1024], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void path_in(const struct rf_devcluster *dev, char path[1024], const char *format, ...)
{
    va_list args;
    int     n = snprintf(path, 1024, "%s/", dev->dir);
    va_start(args, format);
    vsnprintf(path + n, 1024 - (size_t)n, format, args);
    va_end(args);
}

static struct rf_result write_file(const char *path, mode_t mode, const char *text, char why[256])
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) != 0) {
        return fail(why, "cannot write", path);
    }
    return rf_result(RF_OK);
}

/* ---- Making ------------------------------------------------------------------------------- */

static struct rf_result write_token(const struct rf_devcluster *dev, char why[256])
{
    uint8_t random[20];
    uint8_t hash[32];
    char    token[64] = "rft_";
    char    text[256] = "tokens:\n  - {id: dev, role: admin, sha256: ";
    char    path[1024];
    if (RAND_bytes(random, sizeof(random)) != 1) {
        return fail(why, "no randomness for", "a token");
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        snprintf(token + 4 + 2 * i, 3, "%02x", random[i]);
    }
    SHA256((const unsigned char *)token, strlen(token), hash);
    size_t at = strlen(text);
    for (size_t i = 0; i < sizeof(hash); i++, at += 2) {
        snprintf(text + at, 3, "%02x", hash[i]);
    }
    snprintf(text + at, sizeof(text) - at, "}\n");
    path_in(dev, path, "token");
    RF_TRY(write_file(path, 0600, token, why));
    path_in(dev, path, "tokens.yaml");
    return write_file(path, 0600, text, why);
}

static struct rf_result write_node(const struct rf_devcluster *dev, uint32_t node, char why[256])
{
    char   path[1024];
    char   cert[1024];
    char   key[1024];
    char   name[16];
    char   seeds[RF_DEV_NODES_MAX * 24] = "";
    char   text[8192];
    size_t at = 0;
    snprintf(name, sizeof(name), "n%u", node + 1);
    path_in(dev, path, "%s", name);
    if (mkdir(path, 0700) != 0) {
        return fail(why, "cannot make", path);
    }
    path_in(dev, cert, "%s/node.crt", name);
    path_in(dev, key, "%s/node.key", name);
    if (!rf_ok(rf_certs_make(dev->dir, "dev", "node", name, cert, key))) {
        return fail(why, "cannot make the certificate", cert);
    }
    for (uint32_t i = 0; i < dev->n_nodes; i++) {
        at += (size_t)snprintf(seeds + at, sizeof(seeds) - at, "%s\"127.0.0.1:%u\"",
                               i == 0 ? "" : ", ", dev->base_port + 2 * i + 1);
    }
    snprintf(text, sizeof(text),
             "version: 1\n"
             "node:    {name: %s, rack: r%u, data_dir: data, threads: %u}\n"
             "cluster: {name: dev, gossip_interval: 200ms, dead_after: 2s, seeds: [%s]}\n"
             "listen:  {client: \"127.0.0.1:%u\", peer: \"127.0.0.1:%u\"}\n"
             "tls:     {ca: ../ca.crt, cert: node.crt, key: node.key}\n"
             "auth:    {tokens_file: ../tokens.yaml}\n"
             "plugins: {dir: \"%s\"}\n"
             "tables_dir: ../tables.d\n",
             name, node + 1, dev->n_threads, seeds, dev->base_port + 2 * node,
             dev->base_port + 2 * node + 1, dev->plugins);
    path_in(dev, path, "%s/ringfort.yaml", name);
    return write_file(path, 0640, text, why);
}

struct rf_result rf_dev_create(const struct rf_devcluster *dev, char ret_why[256])
{
    char path[1024];
    char text[128];
    if (mkdir(dev->dir, 0700) != 0) {
        return fail(ret_why, "cannot make", dev->dir);
    }
    path_in(dev, path, "tables.d");
    if (mkdir(path, 0700) != 0) {
        return fail(ret_why, "cannot make", path);
    }
    path_in(dev, path, "tables.d/default.yaml");
    snprintf(text, sizeof(text), "version: 1\ntable: default\nreplication: {n: %u}\n",
             dev->n_nodes < 3 ? dev->n_nodes : 3);
    if (dev->n_nodes < 2) {
        snprintf(text, sizeof(text),
                 "version: 1\ntable: default\n"
                 "replication: {n: 1, write_quorum: 1, read_quorum: 1}\n");
    }
    RF_TRY(write_file(path, 0640, text, ret_why));
    if (!rf_ok(rf_certs_make_ca(dev->dir, "dev"))) {
        return fail(ret_why, "cannot make the CA in", dev->dir);
    }
    RF_TRY(write_token(dev, ret_why));
    for (uint32_t i = 0; i < dev->n_nodes; i++) {
        RF_TRY(write_node(dev, i, ret_why));
    }
    snprintf(text, sizeof(text), "%u %u\n", dev->n_nodes, dev->base_port);
    path_in(dev, path, "cluster");
    return write_file(path, 0640, text, ret_why);
}

struct rf_result rf_dev_open(struct rf_devcluster *dev)
{
    char     path[1024];
    unsigned n_nodes = 0;
    unsigned base_port = 0;
    path_in(dev, path, "cluster");
    FILE *file = fopen(path, "re");
    bool known = file != NULL && fscanf(file, "%u %u", &n_nodes, &base_port) == 2 && n_nodes >= 1 &&
                 n_nodes <= RF_DEV_NODES_MAX;
    if (file != NULL) {
        fclose(file);
    }
    if (!known) {
        return rf_result(RF_NOT_FOUND);
    }
    dev->n_nodes = n_nodes;
    dev->base_port = (uint16_t)base_port;
    return rf_result(RF_OK);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void rf_dev_remove(const struct rf_devcluster *dev)
{
    nftw(dev->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- Processes ---------------------------------------------------------------------------- */

int rf_dev_node_number(const struct rf_devcluster *dev, const char *name)
{
    char again[16];
    for (uint32_t i = 0; i < dev->n_nodes; i++) {
        snprintf(again, sizeof(again), "n%u", i + 1);
        if (strcmp(again, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* A pid file may be older than a reboot: the process must be a ringfortd. */
static bool is_server(int pid)
{
    char path[64];
    char name[32] = "";
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)!fgets(name, sizeof(name), file);
        fclose(file);
    }
    return strncmp(name, "ringfortd", 9) == 0;
}

/* Gone, or a zombie of ours that is taken away here. */
static bool is_running(int pid)
{
    char path[64];
    char state = 0;
    (void)waitpid(pid, NULL, WNOHANG);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    (void)!fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return state != 'Z' && is_server(pid);
}

int rf_dev_pid(const struct rf_devcluster *dev, uint32_t node)
{
    char path[1024];
    int  pid = 0;
    path_in(dev, path, "n%u/pid", node + 1);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)!fscanf(file, "%d", &pid);
        fclose(file);
    }
    return pid > 0 && is_running(pid) ? pid : 0;
}

struct rf_result rf_dev_start(const struct rf_devcluster *dev, uint32_t node, char ret_why[256])
{
    char                       config[1024];
    char                       log[1024];
    char                       path[1024];
    char                       text[32];
    pid_t                      pid = 0;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t          attributes;
    path_in(dev, config, "n%u/ringfort.yaml", node + 1);
    path_in(dev, log, "n%u/log", node + 1);
    char *argv[] = {(char *)(uintptr_t)dev->server, (char *)(uintptr_t) "--config", config, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    errno = posix_spawn(&pid, dev->server, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (errno != 0) {
        return fail(ret_why, "cannot start", dev->server);
    }
    snprintf(text, sizeof(text), "%d\n", (int)pid);
    path_in(dev, path, "n%u/pid", node + 1);
    return write_file(path, 0640, text, ret_why);
}

struct rf_result rf_dev_signal(const struct rf_devcluster *dev, uint32_t node, int signal_number)
{
    int pid = rf_dev_pid(dev, node);
    if (pid == 0) {
        return rf_result(RF_NOT_FOUND);
    }
    kill(pid, signal_number);
    /* A node that does not end within a minute hangs: it is killed, and that is a failure. */
    for (uint32_t waits = 0; is_running(pid); waits++) {
        if (waits == STOP_WAITS_MAX) {
            kill(pid, SIGKILL);
            return rf_result(RF_LIMIT);
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return rf_result(RF_OK);
}
