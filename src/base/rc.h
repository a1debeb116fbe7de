/* Result codes: one table (rc.def), one type that cannot be ignored or tested by accident. */
#ifndef RF_BASE_RC_H
#define RF_BASE_RC_H

#include <stdbool.h>
#include <stdint.h>

enum rf_rc {
#define RC(name, http, retryable, code, text) name,
#include "base/rc.def"
#undef RC
    RF_RC_COUNT
};

/* A struct, so that `if (f())` does not compile; RF_CHECKED makes the compiler reject a dropped one. */
struct rf_result {
    enum rf_rc rc;
};

#define RF_CHECKED __attribute__((warn_unused_result))

static inline struct rf_result rf_result(enum rf_rc rc)
{
    return (struct rf_result){rc};
}

static inline bool rf_ok(struct rf_result result)
{
    return result.rc == RF_OK;
}

/* Hand the failure to the caller. The only macro of this code base that returns. */
#define RF_TRY(expr)                                                                               \
    do {                                                                                           \
        struct rf_result rf_try_ = (expr);                                                         \
        if (!rf_ok(rf_try_)) {                                                                     \
            return rf_try_;                                                                        \
        }                                                                                          \
    } while (0)

/* HTTP status, stable code ("RF-…"), short text, and whether a client may simply try again.
 * Thread: any. Blocks: no. */
uint16_t    rf_rc_http(enum rf_rc rc);
const char *rf_rc_code(enum rf_rc rc);
const char *rf_rc_text(enum rf_rc rc);
bool        rf_rc_retryable(enum rf_rc rc);

#endif
