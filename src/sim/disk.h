/* A simulated disk behind struct rf_fs: in memory, deterministic by its seed. It keeps what a real
 * one may lose apart from what it must keep, and loses as much as is allowed when told to:
 *
 *  - Bytes that were not synced: any subset of their sectors survives a power cut, in any order; one
 *    sector may be torn in two; a grown file may keep its old size.
 *  - Names that were not synced (create, rename, unlink, mkdir): any subset survives; a rename
 *    happens as a whole or not at all.
 *  - A failed sync is final: what it should have written stays readable, but no later sync brings
 *    it to disk.
 *
 * It also fails calls, fills up, flips bits, and stops between any two calls. Thread: one at a time. */
#ifndef RF_SIM_DISK_H
#define RF_SIM_DISK_H

#include "base/fs.h"

#define RF_DISK_SECTOR 512u /* bytes that are written as one */

struct rf_disk;

/* An empty disk that has the directory "/". NULL without memory (later want of memory panics). */
struct rf_disk *rf_disk_new(uint64_t seed);
void            rf_disk_free(struct rf_disk *disk);
/* The door for the engine; the disk must outlive its users. */
struct rf_fs rf_disk_fs(struct rf_disk *disk);

/* Power cut: all handles are gone, what was not synced is partly lost; the disk works again. */
void rf_disk_crash(struct rf_disk *disk);
/* The process was killed: all handles are gone, everything written is still there. */
void rf_disk_kill(struct rf_disk *disk);

/* The n-th call from now and all after it fail with RF_IO_ERROR until rf_disk_crash or _kill; a
 * write that is hit is done in part. 0: never. */
void rf_disk_stop_after(struct rf_disk *disk, uint64_t n);
bool rf_disk_stopped(const struct rf_disk *disk);
/* Calls so far: the places where rf_disk_stop_after can stop. */
uint64_t rf_disk_calls(const struct rf_disk *disk);

/* One call in n fails with RF_IO_ERROR. 0: none. Closing, locking and listing always work. */
void rf_disk_fail_one_in(struct rf_disk *disk, uint64_t n);
/* One read in n that must not wait finds its bytes not in memory. 0: none, 1: all. */
void rf_disk_cold_one_in(struct rf_disk *disk, uint64_t n);
/* The next `n` syncs of files fail. */
void rf_disk_fail_syncs(struct rf_disk *disk, uint32_t n);
/* Bytes that fit; growing beyond gets RF_DISK_RESERVE. UINT64_MAX: no bound. */
void     rf_disk_set_capacity(struct rf_disk *disk, uint64_t bytes);
uint64_t rf_disk_used(const struct rf_disk *disk);

/* Flips one bit of a file, for good. False when there is no such file or byte. */
bool rf_disk_flip(struct rf_disk *disk, const char *path, uint64_t offset, unsigned bit);
/* Flips a bit somewhere in some file whose path ends with `suffix`. False when there is none. */
bool rf_disk_flip_some(struct rf_disk *disk, const char *suffix);

#endif
