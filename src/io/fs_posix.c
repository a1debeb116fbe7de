#define _GNU_SOURCE /* preadv2, sync_file_range */
#include "io/fs_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"

static struct rf_result result_of_errno(int error)
{
    switch (error) {
    case ENOENT:
        return rf_result(RF_NOT_FOUND);
    case ENOSPC:
    case EDQUOT:
        return rf_result(RF_DISK_RESERVE);
    case EMFILE:
    case ENFILE:
        return rf_result(RF_LIMIT);
    case EWOULDBLOCK:
        return rf_result(RF_CONFLICT);
    default:
        return rf_result(RF_IO_ERROR);
    }
}

static struct rf_result result_of(int rc)
{
    return rc == 0 ? rf_result(RF_OK) : result_of_errno(errno);
}

static struct rf_result fs_open(void *context, const char *path, unsigned flags,
                                struct rf_file *ret_file)
{
    (void)context;
    int mode = (flags & RF_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY;
    int create = (flags & RF_OPEN_CREATE) != 0 ? O_CREAT | O_EXCL : 0;
    int fd = open(path, mode | create | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        return result_of_errno(errno);
    }
    *ret_file = (struct rf_file){fd};
    return rf_result(RF_OK);
}

static void fs_close(void *context, struct rf_file file)
{
    (void)context;
    (void)close((int)file.handle); /* everything that matters was synced before */
}

static struct rf_result fs_pread(void *context, struct rf_file file, void *to, size_t size,
                                 uint64_t offset)
{
    (void)context;
    uint8_t *at = to;
    while (size != 0) {
        ssize_t got = pread((int)file.handle, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return result_of_errno(errno);
        }
        if (got == 0) {
            return rf_result(RF_TRUNCATED);
        }
        at += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return rf_result(RF_OK);
}

static struct rf_result fs_pread_cached(void *context, struct rf_file file, void *to, size_t size,
                                        uint64_t offset)
{
    struct iovec part = {.iov_base = to, .iov_len = size};
    ssize_t      got = preadv2((int)file.handle, &part, 1, (off_t)offset, RWF_NOWAIT);
    if (got == (ssize_t)size) {
        return rf_result(RF_OK);
    }
    /* File systems that do not know the flag (tmpfs, overlays) are read as if all were in memory. */
    if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
        return fs_pread(context, file, to, size, offset);
    }
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
        return result_of_errno(errno);
    }
    return rf_result(RF_PENDING); /* nothing, or only the first pages: also at the file's end */
}

static struct rf_result fs_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                  uint64_t offset)
{
    (void)context;
    while (bytes.size != 0) {
        ssize_t put = pwrite((int)file.handle, bytes.data, bytes.size, (off_t)offset);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return result_of_errno(errno);
        }
        if (put == 0) {
            return rf_result(RF_IO_ERROR); /* no file system does that; it must not be a loop */
        }
        bytes.data += put;
        bytes.size -= (size_t)put;
        offset += (uint64_t)put;
    }
    return rf_result(RF_OK);
}

static struct rf_result fs_sync(void *context, struct rf_file file)
{
    (void)context;
    return result_of(fdatasync((int)file.handle));
}

static struct rf_result fs_push_out(void *context, struct rf_file file, uint64_t offset,
                                    uint64_t size)
{
    (void)context;
    uint64_t before = offset < size ? offset : size;
    int rc = sync_file_range((int)file.handle, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
    if (rc == 0 && before != 0) {
        rc = sync_file_range((int)file.handle, (off_t)(offset - before), (off_t)before,
                             SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                 SYNC_FILE_RANGE_WAIT_AFTER);
    }
    /* A file system without it: fdatasync does all of the work. Other errors are taken from the
     * file's error state here, fdatasync would not tell them again. */
    bool unknown =
        rc != 0 && (errno == ENOSYS || errno == EINVAL || errno == ESPIPE || errno == EOPNOTSUPP);
    return unknown ? rf_result(RF_OK) : result_of(rc);
}

static struct rf_result fs_size(void *context, struct rf_file file, uint64_t *ret_size)
{
    (void)context;
    struct stat status;
    if (fstat((int)file.handle, &status) != 0) {
        return result_of_errno(errno);
    }
    *ret_size = (uint64_t)status.st_size;
    return rf_result(RF_OK);
}

static struct rf_result fs_truncate(void *context, struct rf_file file, uint64_t size)
{
    (void)context;
    return result_of(ftruncate((int)file.handle, (off_t)size));
}

static struct rf_result fs_allocate(void *context, struct rf_file file, uint64_t size)
{
    int error = 0;
    (void)context;
    do {
        error = posix_fallocate((int)file.handle, 0, (off_t)size);
    } while (error == EINTR);
    return error == 0 ? rf_result(RF_OK) : result_of_errno(error);
}

static struct rf_result fs_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return result_of(rename(from, to));
}

static struct rf_result fs_unlink(void *context, const char *path)
{
    (void)context;
    return result_of(unlink(path));
}

static struct rf_result fs_mkdir(void *context, const char *path)
{
    (void)context;
    int rc = mkdir(path, 0750);
    return rc != 0 && errno == EEXIST ? rf_result(RF_OK) : result_of(rc);
}

static struct rf_result fs_sync_dir(void *context, const char *path)
{
    (void)context;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return result_of_errno(errno);
    }
    struct rf_result result = result_of(fsync(fd));
    close(fd);
    return result;
}

static int not_dots(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static struct rf_result fs_list(void *context, const char                            *path,
                                void (*each)(void *argument, const char *name), void *argument)
{
    (void)context;
    struct dirent **names = NULL;
    int             n = scandir(path, &names, not_dots, by_bytes);
    if (n < 0) {
        return result_of_errno(errno);
    }
    for (int i = 0; i < n; i++) {
        each(argument, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return rf_result(RF_OK);
}

static struct rf_result fs_lock(void *context, struct rf_file file)
{
    (void)context;
    return result_of(flock((int)file.handle, LOCK_EX | LOCK_NB));
}

static struct rf_result fs_free_space(void *context, const char *path, uint64_t *ret_free,
                                      uint64_t *ret_total)
{
    (void)context;
    struct statvfs status;
    if (statvfs(path, &status) != 0) {
        return result_of_errno(errno);
    }
    *ret_free = (uint64_t)status.f_bavail * status.f_frsize;
    *ret_total = (uint64_t)status.f_blocks * status.f_frsize;
    return rf_result(RF_OK);
}

struct rf_fs rf_fs_posix(void)
{
    static const struct rf_fs_ops ops = {
        .open = fs_open,
        .close = fs_close,
        .pread = fs_pread,
        .pread_cached = fs_pread_cached,
        .pwrite = fs_pwrite,
        .sync = fs_sync,
        .push_out = fs_push_out,
        .size = fs_size,
        .truncate = fs_truncate,
        .allocate = fs_allocate,
        .rename = fs_rename,
        .unlink = fs_unlink,
        .mkdir = fs_mkdir,
        .sync_dir = fs_sync_dir,
        .list = fs_list,
        .lock = fs_lock,
        .free_space = fs_free_space,
    };
    return (struct rf_fs){&ops, NULL};
}
