#include "sim/disk.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"

#define DISK_MAGIC 0x4449534bu
#define PATH_MAX_SIZE 512u

/* A file's bytes; a directory has none. */
struct inode {
    bool          is_dir;
    bool          locked;
    uint32_t      refs;                 /* names, pending changes of names, handles */
    struct rf_buf now;                  /* as readers see it */
    struct rf_buf durable;              /* what a power cut must leave */
    uint64_t      dirty_from, dirty_to; /* what the next sync writes; empty when from >= to */
};

struct name {
    char         *path;
    struct inode *inode;
};

struct names {
    struct name *list; /* sorted by path */
    uint32_t     n, cap;
};

/* A change of names that is not durable: `from` goes away (NULL: nothing), `to` comes (ditto). */
struct change {
    char         *from;
    char         *to;
    struct inode *inode; /* what `to` names */
};

struct handle {
    struct inode *inode; /* NULL: free */
    bool          lock;
    bool          writable;
};

struct rf_disk {
    uint32_t       magic;
    struct rf_rng  rng;
    struct names   now;
    struct names   durable;
    struct change *changes;
    uint32_t       n_changes, cap_changes;
    struct handle *handles;
    uint32_t       n_handles;
    uint64_t       calls, stop_at, fail_one_in, cold_one_in, capacity, used;
    uint32_t       fail_syncs;
    bool           stopped;
};

/* ---- Small parts -------------------------------------------------------------------------- */

static void *must(void *memory)
{
    rf_assert(memory != NULL);
    return memory;
}

static char *copy_text(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(must(rf_mem_alloc(n)), text, n);
}

static void drop_inode(struct inode *inode)
{
    if (inode != NULL && --inode->refs == 0) {
        rf_buf_fini(&inode->now);
        rf_buf_fini(&inode->durable);
        rf_mem_free(inode);
    }
}

static struct inode *take_inode(struct inode *inode)
{
    inode->refs++;
    return inode;
}

static struct inode *new_inode(bool is_dir)
{
    struct inode *inode = must(RF_NEW(struct inode));
    inode->is_dir = is_dir;
    inode->refs = 1;
    return inode;
}

static void set_size(struct rf_buf *buf, uint64_t size)
{
    if (size > buf->size) {
        memset(must(rf_buf_reserve(buf, size - buf->size)), 0, size - buf->size);
    }
    buf->size = size;
}

/* The place of a path in the sorted list, or where it belongs. */
static uint32_t find_place(const struct names *names, const char *path, bool *ret_found)
{
    uint32_t low = 0;
    uint32_t high = names->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(names->list[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_found = low < names->n && strcmp(names->list[low].path, path) == 0;
    return low;
}

static struct inode *find_inode(const struct names *names, const char *path)
{
    bool     found = false;
    uint32_t at = find_place(names, path, &found);
    return found ? names->list[at].inode : NULL;
}

static void remove_name(struct names *names, const char *path)
{
    bool     found = false;
    uint32_t at = find_place(names, path, &found);
    if (found) {
        rf_mem_free(names->list[at].path);
        drop_inode(names->list[at].inode);
        names->n--;
        memmove(&names->list[at], &names->list[at + 1], sizeof(*names->list) * (names->n - at));
    }
}

static void set_name(struct names *names, const char *path, struct inode *inode)
{
    bool found = false;
    take_inode(inode);
    remove_name(names, path);
    uint32_t at = find_place(names, path, &found);
    if (names->n == names->cap) {
        names->cap = names->cap == 0 ? 16 : names->cap * 2;
        names->list = must(rf_mem_realloc(names->list, sizeof(*names->list) * names->cap));
    }
    memmove(&names->list[at + 1], &names->list[at], sizeof(*names->list) * (names->n - at));
    names->list[at] = (struct name){copy_text(path), inode};
    names->n++;
}

static void clear_names(struct names *names)
{
    while (names->n != 0) {
        names->n--;
        rf_mem_free(names->list[names->n].path);
        drop_inode(names->list[names->n].inode);
    }
}

/* The directory part of a path, "/" for the top. */
static void parent_of(const char *path, char ret_parent[PATH_MAX_SIZE])
{
    size_t      n = strlen(path);
    const char *slash = strrchr(path, '/');
    rf_assert(n < PATH_MAX_SIZE && slash != NULL);
    n = slash == path ? 1 : (size_t)(slash - path);
    memcpy(ret_parent, path, n);
    ret_parent[n] = 0;
}

/* ---- Names: changes now, durable later ---------------------------------------------------- */

static void apply_change(struct names *names, const struct change *change)
{
    if (change->from != NULL) {
        remove_name(names, change->from);
    }
    if (change->to != NULL) {
        set_name(names, change->to, change->inode);
    }
}

static void free_change(struct change *change)
{
    rf_mem_free(change->from);
    rf_mem_free(change->to);
    drop_inode(change->inode);
}

static void make_change(struct rf_disk *disk, const char *from, const char *to, struct inode *inode)
{
    if (disk->n_changes == disk->cap_changes) {
        disk->cap_changes = disk->cap_changes == 0 ? 16 : disk->cap_changes * 2;
        disk->changes =
            must(rf_mem_realloc(disk->changes, sizeof(*disk->changes) * disk->cap_changes));
    }
    struct change *change = &disk->changes[disk->n_changes++];
    *change = (struct change){.from = from == NULL ? NULL : copy_text(from),
                              .to = to == NULL ? NULL : copy_text(to),
                              .inode = inode == NULL ? NULL : take_inode(inode)};
    apply_change(&disk->now, change);
}

static bool is_inside(const char *path, const char *dir)
{
    char parent[PATH_MAX_SIZE];
    if (path == NULL) {
        return false;
    }
    parent_of(path, parent);
    return strcmp(parent, dir) == 0;
}

/* ---- Every call --------------------------------------------------------------------------- */

/* Counts the call. RF_OK, or the fault that hits it; ret_cut: it is the one that stops the disk. */
static struct rf_result enter_call(struct rf_disk *disk, bool *ret_cut)
{
    rf_assert(disk->magic == DISK_MAGIC);
    disk->calls++;
    if (ret_cut != NULL) {
        *ret_cut = !disk->stopped && disk->calls == disk->stop_at;
    }
    disk->stopped = disk->stopped || disk->calls == disk->stop_at;
    bool fails = disk->stopped ||
                 (disk->fail_one_in != 0 && rf_rng_below(&disk->rng, disk->fail_one_in) == 0);
    return rf_result(fails ? RF_IO_ERROR : RF_OK);
}

static struct handle *handle_of(struct rf_disk *disk, struct rf_file file)
{
    rf_assert(file.handle >= 0 && (uint64_t)file.handle < disk->n_handles);
    struct handle *handle = &disk->handles[file.handle];
    rf_assert(handle->inode != NULL || disk->stopped);
    return handle;
}

static struct rf_file new_handle(struct rf_disk *disk, struct inode *inode, bool writable)
{
    uint32_t at = 0;
    while (at < disk->n_handles && disk->handles[at].inode != NULL) {
        at++;
    }
    if (at == disk->n_handles) {
        uint32_t n = disk->n_handles == 0 ? 16 : disk->n_handles * 2;
        disk->handles = must(rf_mem_realloc(disk->handles, sizeof(*disk->handles) * n));
        memset(disk->handles + disk->n_handles, 0, sizeof(*disk->handles) * (n - disk->n_handles));
        disk->n_handles = n;
    }
    disk->handles[at] = (struct handle){.inode = take_inode(inode), .writable = writable};
    return (struct rf_file){at};
}

static struct rf_result disk_open(void *context, const char *path, unsigned flags,
                                  struct rf_file *ret_file)
{
    struct rf_disk *disk = context;
    char            parent[PATH_MAX_SIZE];
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = find_inode(&disk->now, path);
    if ((flags & RF_OPEN_CREATE) != 0) {
        parent_of(path, parent);
        struct inode *dir = find_inode(&disk->now, parent);
        if (inode != NULL || dir == NULL || !dir->is_dir) {
            return rf_result(dir == NULL ? RF_NOT_FOUND : RF_IO_ERROR);
        }
        inode = new_inode(false);
        make_change(disk, NULL, path, inode);
        inode->refs--; /* the name holds it */
    }
    if (inode == NULL || inode->is_dir) {
        return rf_result(inode == NULL ? RF_NOT_FOUND : RF_IO_ERROR);
    }
    *ret_file = new_handle(disk, inode, (flags & RF_OPEN_WRITE) != 0);
    return rf_result(RF_OK);
}

static void disk_close(void *context, struct rf_file file)
{
    struct rf_disk *disk = context;
    struct handle  *handle = handle_of(disk, file);
    if (handle->inode != NULL) {
        handle->inode->locked = handle->inode->locked && !handle->lock;
        drop_inode(handle->inode);
        *handle = (struct handle){0};
    }
}

static struct rf_result disk_pread(void *context, struct rf_file file, void *to, size_t size,
                                   uint64_t offset)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = handle_of(disk, file)->inode;
    if (offset > inode->now.size || size > inode->now.size - offset) {
        return rf_result(RF_TRUNCATED);
    }
    if (size != 0) {
        memcpy(to, inode->now.data + offset, size);
    }
    return rf_result(RF_OK);
}

/* Now and then the bytes are not in memory. */
static struct rf_result disk_pread_cached(void *context, struct rf_file file, void *to, size_t size,
                                          uint64_t offset)
{
    struct rf_disk *disk = context;
    if (disk->cold_one_in != 0 && rf_rng_below(&disk->rng, disk->cold_one_in) == 0) {
        return rf_result(RF_PENDING);
    }
    return disk_pread(context, file, to, size, offset);
}

static void mark_dirty(struct inode *inode, uint64_t from, uint64_t to)
{
    bool clean = inode->dirty_from >= inode->dirty_to;
    inode->dirty_from = clean || from < inode->dirty_from ? from : inode->dirty_from;
    inode->dirty_to = clean || to > inode->dirty_to ? to : inode->dirty_to;
}

static struct rf_result disk_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                    uint64_t offset)
{
    struct rf_disk  *disk = context;
    bool             cut = false;
    struct rf_result entered = enter_call(disk, &cut);
    if (!rf_ok(entered) && !cut) {
        return entered;
    }
    struct handle *handle = handle_of(disk, file);
    struct inode  *inode = handle->inode;
    rf_assert(handle->writable);
    if (cut) {
        bytes.size = rf_rng_below(&disk->rng, bytes.size + 1);
    }
    uint64_t end = offset + bytes.size;
    uint64_t grows = end > inode->now.size ? end - inode->now.size : 0;
    if (grows > disk->capacity || disk->used > disk->capacity - grows) {
        return rf_result(RF_DISK_RESERVE);
    }
    if (bytes.size != 0) {
        mark_dirty(inode, grows != 0 && inode->now.size < offset ? inode->now.size : offset, end);
        disk->used += grows;
        set_size(&inode->now, end > inode->now.size ? end : inode->now.size);
        memcpy(inode->now.data + offset, bytes.data, bytes.size);
    }
    return entered;
}

static struct rf_result disk_sync(void *context, struct rf_file file)
{
    struct rf_disk  *disk = context;
    struct rf_result result = enter_call(disk, NULL);
    struct inode    *inode = handle_of(disk, file)->inode;
    if (disk->stopped) {
        return result;
    }
    if (rf_ok(result) && disk->fail_syncs != 0) {
        disk->fail_syncs--;
        result = rf_result(RF_IO_ERROR);
    }
    if (rf_ok(result)) {
        set_size(&inode->durable, inode->now.size);
        uint64_t to = inode->dirty_to < inode->now.size ? inode->dirty_to : inode->now.size;
        if (inode->dirty_from < to) {
            memcpy(inode->durable.data + inode->dirty_from, inode->now.data + inode->dirty_from,
                   to - inode->dirty_from);
        }
    }
    inode->dirty_from = 0; /* also after a failure: the pages count as clean from now on */
    inode->dirty_to = 0;
    return result;
}

/* May bring sectors to disk or not, which a power cut decides anyhow. */
static struct rf_result disk_push_out(void *context, struct rf_file file, uint64_t offset,
                                      uint64_t size)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    rf_assert(handle_of(disk, file)->writable);
    rf_assert(offset + size <= handle_of(disk, file)->inode->now.size);
    return rf_result(RF_OK);
}

static struct rf_result disk_size(void *context, struct rf_file file, uint64_t *ret_size)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    *ret_size = handle_of(disk, file)->inode->now.size;
    return rf_result(RF_OK);
}

static struct rf_result disk_truncate(void *context, struct rf_file file, uint64_t size)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = handle_of(disk, file)->inode;
    uint64_t      old = inode->now.size;
    set_size(&inode->now, size);
    mark_dirty(inode, old < size ? old : size, size);
    disk->used = disk->used - old + size;
    return rf_result(RF_OK);
}

static struct rf_result disk_allocate(void *context, struct rf_file file, uint64_t size)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = handle_of(disk, file)->inode;
    uint64_t      old = inode->now.size;
    if (size > old && (size - old > disk->capacity || disk->used > disk->capacity - (size - old))) {
        return rf_result(RF_DISK_RESERVE);
    }
    if (size > old) {
        set_size(&inode->now, size);
        mark_dirty(inode, old, size);
        disk->used += size - old;
    }
    return rf_result(RF_OK);
}

static struct rf_result disk_rename(void *context, const char *from, const char *to)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = find_inode(&disk->now, from);
    if (inode == NULL) {
        return rf_result(RF_NOT_FOUND);
    }
    struct inode *old = find_inode(&disk->now, to);
    disk->used -= old == NULL ? 0 : old->now.size;
    make_change(disk, from, to, inode);
    return rf_result(RF_OK);
}

static struct rf_result disk_unlink(void *context, const char *path)
{
    struct rf_disk *disk = context;
    RF_TRY(enter_call(disk, NULL));
    struct inode *inode = find_inode(&disk->now, path);
    if (inode == NULL) {
        return rf_result(RF_NOT_FOUND);
    }
    disk->used -= inode->now.size;
    make_change(disk, path, NULL, NULL);
    return rf_result(RF_OK);
}

static struct rf_result disk_mkdir(void *context, const char *path)
{
    struct rf_disk *disk = context;
    char            parent[PATH_MAX_SIZE];
    RF_TRY(enter_call(disk, NULL));
    parent_of(path, parent);
    struct inode *inode = find_inode(&disk->now, path);
    if (inode != NULL || find_inode(&disk->now, parent) == NULL) {
        return rf_result(inode == NULL ? RF_NOT_FOUND : inode->is_dir ? RF_OK : RF_IO_ERROR);
    }
    inode = new_inode(true);
    make_change(disk, NULL, path, inode);
    inode->refs--;
    return rf_result(RF_OK);
}

static struct rf_result disk_sync_dir(void *context, const char *path)
{
    struct rf_disk *disk = context;
    uint32_t        kept = 0;
    RF_TRY(enter_call(disk, NULL));
    if (find_inode(&disk->now, path) == NULL) {
        return rf_result(RF_NOT_FOUND);
    }
    for (uint32_t i = 0; i < disk->n_changes; i++) {
        struct change *change = &disk->changes[i];
        if (is_inside(change->from, path) || is_inside(change->to, path)) {
            apply_change(&disk->durable, change);
            free_change(change);
        } else {
            disk->changes[kept++] = *change;
        }
    }
    disk->n_changes = kept;
    return rf_result(RF_OK);
}

static struct rf_result disk_list(void *context, const char                            *path,
                                  void (*each)(void *argument, const char *name), void *argument)
{
    struct rf_disk *disk = context;
    struct names    found = {0};
    disk->calls++;
    if (disk->stopped || find_inode(&disk->now, path) == NULL) {
        return rf_result(disk->stopped ? RF_IO_ERROR : RF_NOT_FOUND);
    }
    for (uint32_t i = 0; i < disk->now.n; i++) {
        const char *slash = strrchr(disk->now.list[i].path, '/');
        if (slash[1] != 0 && slash[1] != '.' && is_inside(disk->now.list[i].path, path)) {
            set_name(&found, slash + 1, disk->now.list[i].inode);
        }
    }
    for (uint32_t i = 0; i < found.n; i++) { /* a copy: `each` may change the directory */
        each(argument, found.list[i].path);
    }
    clear_names(&found);
    rf_mem_free(found.list);
    return rf_result(RF_OK);
}

static struct rf_result disk_lock(void *context, struct rf_file file)
{
    struct rf_disk *disk = context;
    struct handle  *handle = handle_of(disk, file);
    if (disk->stopped || handle->inode->locked) {
        return rf_result(disk->stopped ? RF_IO_ERROR : RF_CONFLICT);
    }
    handle->inode->locked = true;
    handle->lock = true;
    return rf_result(RF_OK);
}

static struct rf_result disk_free_space(void *context, const char *path, uint64_t *ret_free,
                                        uint64_t *ret_total)
{
    struct rf_disk *disk = context;
    (void)path;
    RF_TRY(enter_call(disk, NULL));
    *ret_total = disk->capacity;
    *ret_free = disk->capacity > disk->used ? disk->capacity - disk->used : 0;
    return rf_result(RF_OK);
}

/* ---- Losing things ------------------------------------------------------------------------ */

static void drop_handles(struct rf_disk *disk)
{
    for (uint32_t i = 0; i < disk->n_handles; i++) {
        if (disk->handles[i].inode != NULL) {
            disk->handles[i].inode->locked = false;
            drop_inode(disk->handles[i].inode);
            disk->handles[i] = (struct handle){0};
        }
    }
    disk->stopped = false;
    disk->stop_at = 0;
}

/* One sector after the cut: old, new, or (rarely) torn in two. */
static void settle_sector(struct rf_disk *disk, struct inode *inode, uint64_t at, uint64_t n)
{
    uint64_t chance = rf_rng_below(&disk->rng, 16);
    uint64_t from_new = chance == 0 ? rf_rng_below(&disk->rng, n + 1) : chance < 8 ? n : 0;
    if (from_new != 0) {
        memcpy(inode->durable.data + at, inode->now.data + at, from_new);
    }
}

static void settle_bytes(struct rf_disk *disk, struct inode *inode)
{
    uint64_t size = inode->now.size;
    uint64_t old = inode->durable.size;
    if (old < size) { /* it grew: to its new size, or to any sector in between */
        uint64_t sectors = (size - old + RF_DISK_SECTOR - 1) / RF_DISK_SECTOR;
        uint64_t gained = rf_rng_below(&disk->rng, sectors + 1) * RF_DISK_SECTOR;
        size = old + gained < size ? old + gained : size;
        set_size(&inode->durable, size);
    } else if (old > size && rf_rng_below(&disk->rng, 2) == 0) {
        inode->durable.size = size;
    }
    for (uint64_t at = 0; at < size; at += RF_DISK_SECTOR) {
        uint64_t n = size - at < RF_DISK_SECTOR ? size - at : RF_DISK_SECTOR;
        if (memcmp(inode->durable.data + at, inode->now.data + at, n) != 0) {
            settle_sector(disk, inode, at, n);
        }
    }
    inode->now.size = 0;
    rf_buf_append_slice(&inode->now, rf_buf_slice(&inode->durable));
    inode->dirty_from = 0;
    inode->dirty_to = 0;
}

static void settle_names(struct rf_disk *disk)
{
    for (uint32_t i = 0; i < disk->n_changes; i++) {
        if (rf_rng_below(&disk->rng, 2) == 0) {
            apply_change(&disk->durable, &disk->changes[i]);
        }
        free_change(&disk->changes[i]);
    }
    disk->n_changes = 0;
    clear_names(&disk->now);
    for (uint32_t i = 0; i < disk->durable.n; i++) { /* sorted: parents come first */
        char parent[PATH_MAX_SIZE];
        parent_of(disk->durable.list[i].path, parent);
        if (i == 0 || find_inode(&disk->now, parent) != NULL) {
            set_name(&disk->now, disk->durable.list[i].path, disk->durable.list[i].inode);
        }
    }
}

void rf_disk_crash(struct rf_disk *disk)
{
    drop_handles(disk);
    settle_names(disk);
    disk->used = 0;
    for (uint32_t i = 0; i < disk->now.n; i++) {
        settle_bytes(disk, disk->now.list[i].inode);
        disk->used += disk->now.list[i].inode->now.size;
    }
}

void rf_disk_kill(struct rf_disk *disk)
{
    drop_handles(disk);
}

void rf_disk_stop_after(struct rf_disk *disk, uint64_t n)
{
    disk->stop_at = n == 0 ? 0 : disk->calls + n;
}

bool rf_disk_stopped(const struct rf_disk *disk)
{
    return disk->stopped;
}

uint64_t rf_disk_calls(const struct rf_disk *disk)
{
    return disk->calls;
}

void rf_disk_fail_one_in(struct rf_disk *disk, uint64_t n)
{
    disk->fail_one_in = n;
}

void rf_disk_cold_one_in(struct rf_disk *disk, uint64_t n)
{
    disk->cold_one_in = n;
}

void rf_disk_fail_syncs(struct rf_disk *disk, uint32_t n)
{
    disk->fail_syncs = n;
}

void rf_disk_set_capacity(struct rf_disk *disk, uint64_t bytes)
{
    disk->capacity = bytes;
}

uint64_t rf_disk_used(const struct rf_disk *disk)
{
    return disk->used;
}

bool rf_disk_flip(struct rf_disk *disk, const char *path, uint64_t offset, unsigned bit)
{
    struct inode *inode = find_inode(&disk->now, path);
    if (inode == NULL || offset >= inode->now.size) {
        return false;
    }
    inode->now.data[offset] ^= (uint8_t)(1u << (bit & 7));
    if (offset < inode->durable.size) {
        inode->durable.data[offset] ^= (uint8_t)(1u << (bit & 7));
    }
    return true;
}

bool rf_disk_flip_some(struct rf_disk *disk, const char *suffix)
{
    uint32_t    n = 0;
    const char *chosen = NULL;
    uint64_t    size = 0;
    for (uint32_t i = 0; i < disk->now.n; i++) {
        const struct name *name = &disk->now.list[i];
        size_t             length = strlen(name->path);
        bool               fits =
            length >= strlen(suffix) && strcmp(name->path + length - strlen(suffix), suffix) == 0;
        if (fits && name->inode->now.size != 0 && rf_rng_below(&disk->rng, ++n) == 0) {
            chosen = name->path;
            size = name->inode->now.size;
        }
    }
    return chosen != NULL && rf_disk_flip(disk, chosen, rf_rng_below(&disk->rng, size),
                                          (unsigned)rf_rng_below(&disk->rng, 8));
}

/* ---- Life --------------------------------------------------------------------------------- */

struct rf_disk *rf_disk_new(uint64_t seed)
{
    struct rf_disk *disk = RF_NEW(struct rf_disk);
    if (disk != NULL) {
        struct inode *top = new_inode(true);
        disk->magic = DISK_MAGIC;
        disk->rng.state = seed;
        disk->capacity = UINT64_MAX;
        set_name(&disk->now, "/", top);
        set_name(&disk->durable, "/", top);
        drop_inode(top);
    }
    return disk;
}

void rf_disk_free(struct rf_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    drop_handles(disk);
    clear_names(&disk->now);
    clear_names(&disk->durable);
    for (uint32_t i = 0; i < disk->n_changes; i++) {
        free_change(&disk->changes[i]);
    }
    rf_mem_free(disk->now.list);
    rf_mem_free(disk->durable.list);
    rf_mem_free(disk->changes);
    rf_mem_free(disk->handles);
    disk->magic = 0;
    rf_mem_free(disk);
}

struct rf_fs rf_disk_fs(struct rf_disk *disk)
{
    static const struct rf_fs_ops ops = {
        .open = disk_open,
        .close = disk_close,
        .pread = disk_pread,
        .pread_cached = disk_pread_cached,
        .pwrite = disk_pwrite,
        .sync = disk_sync,
        .push_out = disk_push_out,
        .size = disk_size,
        .truncate = disk_truncate,
        .allocate = disk_allocate,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .mkdir = disk_mkdir,
        .sync_dir = disk_sync_dir,
        .list = disk_list,
        .lock = disk_lock,
        .free_space = disk_free_space,
    };
    return (struct rf_fs){&ops, disk};
}
