#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void rf_panic(const char *file, int line, const char *text)
{
    fprintf(stderr, "panic: %s:%d: %s\n", file, line, text);
    fflush(stderr);
    abort();
}
