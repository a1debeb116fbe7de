#include "base/rc.h"

#include "base/assert.h"

struct rc_row {
    uint16_t    http;
    bool        retryable;
    const char *code;
    const char *text;
};

static const struct rc_row rows[RF_RC_COUNT] = {
#define RC(name, http_, retryable_, code_, text_) [name] = {http_, retryable_, code_, text_},
#include "base/rc.def"
#undef RC
};

static const struct rc_row *row_of(enum rf_rc rc)
{
    rf_assert((unsigned)rc < RF_RC_COUNT);
    return &rows[rc];
}

uint16_t rf_rc_http(enum rf_rc rc)
{
    return row_of(rc)->http;
}

const char *rf_rc_code(enum rf_rc rc)
{
    return row_of(rc)->code;
}

const char *rf_rc_text(enum rf_rc rc)
{
    return row_of(rc)->text;
}

bool rf_rc_retryable(enum rf_rc rc)
{
    return row_of(rc)->retryable;
}
