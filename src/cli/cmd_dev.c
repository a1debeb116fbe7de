/* dev: a cluster of real processes on loopback. */
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "devkit/certs.h"
#include "devkit/devcluster.h"
#include "io/clock.h"

#define READY_WITHIN_US 30000000u

/* ringfortd and the plugins stand beside this program: in the build tree, or installed. */
static void find_server(struct rf_devcluster *dev)
{
    char    self[1024] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n < 0) {
        n = 0;
    }
    self[n] = 0;
    const char *bin = dirname(self);
    snprintf(dev->server, sizeof(dev->server), "%.1000s/ringfortd", bin);
    snprintf(dev->plugins, sizeof(dev->plugins), "%.980s/../lib/ringfort/plugins", bin);
}

static void fill_dev(const struct rf_cli *cli, struct rf_devcluster *dev)
{
    *dev = (struct rf_devcluster){.n_nodes = (uint32_t)cli->nodes,
                                  .base_port = (uint16_t)cli->port,
                                  .n_threads = (uint32_t)cli->threads};
    snprintf(dev->dir, sizeof(dev->dir), "%s", cli->dir);
    find_server(dev);
}

static bool open_dev(const struct rf_cli *cli, struct rf_devcluster *dev)
{
    fill_dev(cli, dev);
    if (!rf_ok(rf_dev_open(dev))) {
        fprintf(stderr,
                "ringfort: there is no development cluster in %s; `ringfort dev` makes one\n",
                dev->dir);
        return false;
    }
    return true;
}

/* ---- Waiting and printing ----------------------------------------------------------------- */

static bool is_ready(const struct rf_devcluster *dev, uint32_t node)
{
    struct rf_http_client client;
    struct rf_http_result result = {0};
    char                  url[64];
    char                  ca[600];
    char                  why[256];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", dev->base_port + 2 * node);
    snprintf(ca, sizeof(ca), "%s/ca.crt", dev->dir);
    bool ready = false;
    if (rf_ok(rf_http_client_init(&client, url, ca, NULL, 1000, why))) {
        ready = rf_ok(rf_http_client_do(&client, "GET", "/health/ready", rf_slice(NULL, 0), &result,
                                        why)) &&
                result.status == 200;
        rf_http_client_fini(&client);
    }
    rf_buf_fini(&result.body);
    return ready;
}

/* The reason stands in the last line of its log. */
static void print_last_line(const struct rf_devcluster *dev, uint32_t node)
{
    char  path[600];
    char  line[1024] = "";
    char  last[1024] = "it has no log";
    FILE *file = NULL;
    snprintf(path, sizeof(path), "%s/n%u/log", dev->dir, node + 1);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        memcpy(last, line, sizeof(last));
    }
    if (file != NULL) {
        fclose(file);
    }
    last[strcspn(last, "\n")] = 0;
    fprintf(stderr, "  %s\n", last);
}

/* Waits for `n` nodes at once: what keeps one from being ready may be the end of another. */
static bool wait_ready(const struct rf_devcluster *dev, uint32_t first, uint32_t n)
{
    uint64_t until_us = rf_clock_now().mono_us + READY_WITHIN_US;
    uint32_t ready = 0; /* so many of them, from the first on */
    while (ready < n) {
        for (uint32_t i = first; i < first + n; i++) {
            if (rf_dev_pid(dev, i) == 0) {
                fprintf(stderr, "ringfort: node n%u ended:\n", i + 1);
                print_last_line(dev, i);
                return false;
            }
        }
        if (is_ready(dev, first + ready)) {
            ready++;
        } else if (rf_clock_now().mono_us > until_us) {
            fprintf(stderr, "ringfort: node n%u is not ready after %u s:\n", first + ready + 1,
                    READY_WITHIN_US / 1000000u);
            print_last_line(dev, first + ready);
            return false;
        } else {
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
    }
    return true;
}

static void print_env(const struct rf_devcluster *dev)
{
    char path[600];
    char token[128] = "";
    snprintf(path, sizeof(path), "%s/token", dev->dir);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        (void)!fgets(token, sizeof(token), file);
        fclose(file);
    }
    printf("export RINGFORT_URL=https://127.0.0.1:%u\nexport RINGFORT_CA=%s/ca.crt\n"
           "export RINGFORT_TOKEN=%s\nexport RINGFORT_DEV_DIR=%s\n",
           dev->base_port, dev->dir, token, dev->dir);
}

static void print_urls(const struct rf_devcluster *dev)
{
    for (uint32_t i = 0; i < dev->n_nodes; i++) {
        fprintf(stderr, "  n%-3u https://127.0.0.1:%u\n", i + 1, dev->base_port + 2 * i);
    }
}

/* ---- Commands ----------------------------------------------------------------------------- */

static void stop_all(const struct rf_devcluster *dev)
{
    for (uint32_t i = 0; i < dev->n_nodes; i++) {
        (void)rf_dev_signal(dev, i, SIGTERM).rc;
    }
}

static int bring_up(struct rf_cli *cli, struct rf_devcluster *dev)
{
    char     why[256];
    uint64_t start_us = rf_clock_now().mono_us;
    fill_dev(cli, dev);
    if (rf_ok(rf_dev_open(dev))) {
        fprintf(stderr, "ringfort: %s holds a development cluster; `ringfort dev down` ends it\n",
                dev->dir);
        return RF_EXIT_FAILED;
    }
    bool             ours = access(dev->dir, F_OK) != 0;
    struct rf_result made = rf_dev_create(dev, why);
    for (uint32_t i = 0; rf_ok(made) && i < dev->n_nodes; i++) {
        made = rf_dev_start(dev, i, why);
    }
    if (!rf_ok(made)) {
        fprintf(stderr, "ringfort: %s\n", why);
    }
    if (!rf_ok(made) || !wait_ready(dev, 0, dev->n_nodes)) {
        stop_all(dev);
        if (ours && !cli->keep) { /* nothing is left in the way of the next try */
            rf_dev_remove(dev);
        }
        return RF_EXIT_FAILED;
    }
    fprintf(stderr, "%u node%s ready after %llu ms\n", dev->n_nodes,
            dev->n_nodes == 1 ? " is" : "s are",
            (unsigned long long)((rf_clock_now().mono_us - start_us) / 1000));
    print_urls(dev);
    print_env(dev);
    return RF_EXIT_OK;
}

int rf_cmd_dev_up(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    return bring_up(cli, &dev);
}

int rf_cmd_dev(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    sigset_t             signals;
    int                  number = 0;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    int code = bring_up(cli, &dev);
    if (code != RF_EXIT_OK) {
        return code;
    }
    fputs("Ctrl-C stops the cluster\n", stderr);
    fflush(stdout);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    sigwait(&signals, &number);
    stop_all(&dev);
    if (!cli->keep) {
        rf_dev_remove(&dev);
    }
    return RF_EXIT_OK;
}

int rf_cmd_dev_down(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    if (!open_dev(cli, &dev)) {
        return RF_EXIT_NOT_FOUND;
    }
    stop_all(&dev);
    if (!cli->keep) {
        rf_dev_remove(&dev);
    }
    return RF_EXIT_OK;
}

static int signal_node(struct rf_cli *cli, int number)
{
    struct rf_devcluster dev;
    if (!open_dev(cli, &dev)) {
        return RF_EXIT_NOT_FOUND;
    }
    int node = rf_dev_node_number(&dev, cli->words[0]);
    if (node < 0 || !rf_ok(rf_dev_signal(&dev, (uint32_t)node, number))) {
        fprintf(stderr, "ringfort: no node '%s' runs here\n", cli->words[0]);
        return RF_EXIT_NOT_FOUND;
    }
    return RF_EXIT_OK;
}

int rf_cmd_dev_kill(struct rf_cli *cli)
{
    return signal_node(cli, SIGKILL);
}

int rf_cmd_dev_stop(struct rf_cli *cli)
{
    return signal_node(cli, SIGTERM);
}

int rf_cmd_dev_start(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    char                 why[256];
    if (!open_dev(cli, &dev)) {
        return RF_EXIT_NOT_FOUND;
    }
    int node = rf_dev_node_number(&dev, cli->words[0]);
    if (node < 0) {
        fprintf(stderr, "ringfort: there is no node '%s'\n", cli->words[0]);
        return RF_EXIT_NOT_FOUND;
    }
    if (rf_dev_pid(&dev, (uint32_t)node) != 0) {
        fprintf(stderr, "ringfort: node '%s' runs already\n", cli->words[0]);
        return RF_EXIT_FAILED;
    }
    if (!rf_ok(rf_dev_start(&dev, (uint32_t)node, why))) {
        fprintf(stderr, "ringfort: %s\n", why);
        return RF_EXIT_FAILED;
    }
    return wait_ready(&dev, (uint32_t)node, 1) ? RF_EXIT_OK : RF_EXIT_FAILED;
}

int rf_cmd_dev_env(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    if (!open_dev(cli, &dev)) {
        return RF_EXIT_NOT_FOUND;
    }
    print_env(&dev);
    return RF_EXIT_OK;
}

int rf_cmd_dev_cert(struct rf_cli *cli)
{
    struct rf_devcluster dev;
    char                 cert[1200];
    char                 key[1200];
    const char          *kind = cli->words[0];
    const char          *name = cli->words[1];
    bool                 known = strcmp(kind, "node") == 0 || strcmp(kind, "role") == 0;
    if (!known || strchr(name, '/') != NULL || name[0] == '.' || strlen(name) > 63) {
        fputs("ringfort: use `dev cert node NAME` or `dev cert role NAME`\n", stderr);
        return RF_EXIT_USAGE;
    }
    if (!open_dev(cli, &dev)) {
        return RF_EXIT_NOT_FOUND;
    }
    snprintf(cert, sizeof(cert), "%s/%s-%s.crt", dev.dir, kind, name);
    snprintf(key, sizeof(key), "%s/%s-%s.key", dev.dir, kind, name);
    if (!rf_ok(rf_certs_make(dev.dir, "dev", kind, name, cert, key))) {
        fprintf(stderr, "ringfort: cannot write %s\n", cert);
        return RF_EXIT_FAILED;
    }
    printf("%s\n%s\n", cert, key);
    return RF_EXIT_OK;
}
