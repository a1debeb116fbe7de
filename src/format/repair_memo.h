/* Which versions came to a store by repair lately.
 *
 * A strong read may write a row to a replica before the row's own coordinator reaches it, and the next
 * write of the key may replace it there. To the coordinator's message, which may be refused when
 * something newer is known, the right answer is then that the row was stored: a refusal would say that
 * this replica never showed it, and let it be stamped again (D7). Forgotten at a restart: what was on
 * its way to the former process does not reach the new one. */
#ifndef RF_FORMAT_REPAIR_MEMO_H
#define RF_FORMAT_REPAIR_MEMO_H

#include "format/store_op.h"

/* Reads that repair the same store within a write's time limit; when there are more, the answer is
 * that this replica cannot tell. */
#define RF_REPAIRS_KEPT 256u

struct rf_repair_memo {
    struct rf_version list[RF_REPAIRS_KEPT];
    uint32_t          next;
    uint64_t          forgotten_hlc; /* the newest that is no longer in the list */
};

static inline void rf_repair_memo_note(struct rf_repair_memo *memo, struct rf_version version)
{
    struct rf_version *place = &memo->list[memo->next++ % RF_REPAIRS_KEPT];
    memo->forgotten_hlc = place->hlc > memo->forgotten_hlc ? place->hlc : memo->forgotten_hlc;
    *place = version;
}

/* What to answer to a row that is older than the stored one: NEWER, or STORED when it had come by
 * repair before, or FAILED when that is forgotten. */
static inline enum rf_store_status rf_repair_memo_refusal(const struct rf_repair_memo *memo,
                                                          struct rf_version            version)
{
    for (uint32_t i = 0; i < RF_REPAIRS_KEPT; i++) {
        if (memo->list[i].hlc == version.hlc && memo->list[i].writer == version.writer) {
            return RF_STORE_STORED;
        }
    }
    return version.hlc <= memo->forgotten_hlc ? RF_STORE_FAILED : RF_STORE_NEWER;
}

#endif
