/* A cluster of real `ringfortd` processes on loopback, for development, demos and tests. Everything
 * lives in one directory; processes are found again by their pid files.
 *
 *   DIR/ca.crt ca.key token tokens.yaml tables.d/default.yaml
 *   DIR/nK/{ringfort.yaml,node.crt,node.key,pid,log,data/}
 *
 * Blocks: yes. Thread: one. */
#ifndef RF_DEVKIT_DEVCLUSTER_H
#define RF_DEVKIT_DEVCLUSTER_H

#include "base/rc.h"

#define RF_DEV_NODES_MAX 32u

struct rf_devcluster {
    char     dir[512];
    char     server[1024];  /* path of ringfortd */
    char     plugins[1024]; /* directory of the plugins */
    uint32_t n_nodes;
    uint32_t n_threads; /* request threads of each node, for `create`; 0: one per core */
    uint16_t base_port; /* node k: client base + 2k, peer base + 2k + 1, k from 0 */
};

/* Makes the directory with CA, certificates, token and configurations. A sentence on failure. */
RF_CHECKED struct rf_result rf_dev_create(const struct rf_devcluster *dev, char ret_why[256]);
/* Reads n_nodes and base_port of a directory that `create` made. RF_OK, RF_NOT_FOUND. */
RF_CHECKED struct rf_result rf_dev_open(struct rf_devcluster *dev);
/* Starts node number k (0 …) as a process of its own session. */
RF_CHECKED struct rf_result rf_dev_start(const struct rf_devcluster *dev, uint32_t node,
                                         char ret_why[256]);
/* Its pid, 0 when it does not run. */
int rf_dev_pid(const struct rf_devcluster *dev, uint32_t node);
/* Sends a signal and waits until the process is gone. */
RF_CHECKED struct rf_result rf_dev_signal(const struct rf_devcluster *dev, uint32_t node,
                                          int signal_number);
/* "n2" to 1; -1 for another name. */
int rf_dev_node_number(const struct rf_devcluster *dev, const char *name);
/* Deletes the directory. */
void rf_dev_remove(const struct rf_devcluster *dev);

#endif
