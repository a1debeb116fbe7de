/* What the fuzz targets share. Each fuzz_NAME.c is one libFuzzer program; its seeds are in
 * corpus/NAME. A broken promise aborts, so that the fuzzer keeps the input. */
#ifndef RF_TEST_FUZZ_H
#define RF_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define require(expr) ((expr) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
