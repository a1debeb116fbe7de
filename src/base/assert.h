/* Assertions stay on in release: crash on a programmer's error, return on an operating error. */
#ifndef RF_BASE_ASSERT_H
#define RF_BASE_ASSERT_H

/* Print the failed expression and abort. Provided by the host (base/host_panic.c). */
_Noreturn void rf_panic(const char *file, int line, const char *text);

#define rf_assert(expr) ((expr) ? (void)0 : rf_panic(__FILE__, __LINE__, #expr))
#define rf_unreachable() rf_panic(__FILE__, __LINE__, "unreachable")

/* For checks that cost more than the work they guard: on in dev, tsan and simulator builds. */
#ifdef RF_SLOW_ASSERTS
#define rf_slow_assert(expr) rf_assert(expr)
#else
#define rf_slow_assert(expr) ((void)sizeof(expr))
#endif

#endif
