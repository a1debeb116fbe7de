/* struct rf_fs over POSIX files. Thread: any. Blocks: yes. */
#ifndef RF_IO_FS_POSIX_H
#define RF_IO_FS_POSIX_H

#include "base/fs.h"

/* The one POSIX file system; needs no closing. */
struct rf_fs rf_fs_posix(void);

#endif
