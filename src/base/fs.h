/* Storage's only door to files. Hosts: POSIX (src/io/fs_posix.c) and the simulated disk (src/sim),
 * which loses what was not synced, tears writes, flips bits, fills up and fails.
 *
 * Results: RF_OK; RF_NOT_FOUND; RF_DISK_RESERVE (no space); RF_CONFLICT (locked by another process);
 * RF_LIMIT (no descriptor is left: nothing was tried); RF_IO_ERROR for everything else. Thread: any, but one file handle
 * is used by one thread at a time for writing. Blocks: yes. */
#ifndef RF_BASE_FS_H
#define RF_BASE_FS_H

#include "base/rc.h"
#include "base/slice.h"

enum rf_open_flags {
    RF_OPEN_READ = 1,
    RF_OPEN_WRITE = 2,
    RF_OPEN_CREATE = 4, /* makes the file; fails when it exists already */
};

/* An open file: the host's number for it. */
struct rf_file {
    int64_t handle;
};

struct rf_fs {
    const struct rf_fs_ops *ops;
    void                   *context;
};

struct rf_fs_ops {
    struct rf_result (*open)(void *context, const char *path, unsigned flags,
                             struct rf_file *ret_file);
    void (*close)(void *context, struct rf_file file);
    /* Reads exactly `size` bytes; RF_TRUNCATED when the file ends earlier. */
    struct rf_result (*pread)(void *context, struct rf_file file, void *to, size_t size,
                              uint64_t offset);
    /* As pread, but never waits for the disk: RF_PENDING when some of the bytes are not in memory.
     * NULL: the host cannot tell, pread is used. Blocks: no. */
    struct rf_result (*pread_cached)(void *context, struct rf_file file, void *to, size_t size,
                                     uint64_t offset);
    struct rf_result (*pwrite)(void *context, struct rf_file file, struct rf_slice bytes,
                               uint64_t offset);
    /* Makes the file's bytes durable (fdatasync). A failure is final: never retried. */
    struct rf_result (*sync)(void *context, struct rf_file file);
    /* A hint for files that are written from front to back: begins to write the range to disk and
     * waits for what was pushed out before, so that a later `sync` finds little left to do and does
     * not hold up that of another file. Promises nothing; but an error of the disk may show here and
     * not again in `sync`. Source: RocksDB's bytes_per_sync. */
    struct rf_result (*push_out)(void *context, struct rf_file file, uint64_t offset,
                                 uint64_t size);
    struct rf_result (*size)(void *context, struct rf_file file, uint64_t *ret_size);
    struct rf_result (*truncate)(void *context, struct rf_file file, uint64_t size);
    /* Takes space for the bytes from the file's end up to `size`, as zeros, and makes it that long:
     * writes and syncs within it are cheaper. RF_DISK_RESERVE: nothing has changed. */
    struct rf_result (*allocate)(void *context, struct rf_file file, uint64_t size);
    struct rf_result (*rename)(void *context, const char *from, const char *to);
    struct rf_result (*unlink)(void *context, const char *path);
    struct rf_result (*mkdir)(void *context, const char *path); /* one level; fine when it exists */
    /* Makes the directory's entries durable: after create, rename and unlink. */
    struct rf_result (*sync_dir)(void *context, const char *path);
    /* Calls `each` with every name in the directory, in byte order. */
    struct rf_result (*list)(void *context, const char                            *path,
                             void (*each)(void *argument, const char *name), void *argument);
    /* An exclusive lock that lives as long as the file is open. */
    struct rf_result (*lock)(void *context, struct rf_file file);
    struct rf_result (*free_space)(void *context, const char *path, uint64_t *ret_free,
                                   uint64_t *ret_total);
};

#endif
