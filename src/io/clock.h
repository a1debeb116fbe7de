/* The host's clocks. The test-only offset shifts the wall clock of one process. */
#ifndef RF_IO_CLOCK_H
#define RF_IO_CLOCK_H

#include "base/time.h"

void           rf_clock_set_offset(int64_t offset_ms); /* before threads start */
struct rf_time rf_clock_now(void);                     /* thread: any */

#endif
