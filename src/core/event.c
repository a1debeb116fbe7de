#include "core/event.h"

#include "base/assert.h"

struct rf_effect *rf_effect_add(struct rf_effects *effects, enum rf_effect_kind kind)
{
    rf_assert(effects->n < effects->max);
    struct rf_effect *effect = &effects->list[effects->n++];
    *effect = (struct rf_effect){.kind = kind};
    return effect;
}

void rf_event_drop(const struct rf_event *event)
{
    switch (event->kind) {
    case RF_EV_CLIENT:
        rf_blob_drop(event->as.client.row.blob);
        break;
    case RF_EV_MESSAGE:
        rf_blob_drop(event->as.message.row.blob);
        break;
    case RF_EV_STORED:
        rf_blob_drop(event->as.stored.row.blob);
        break;
    case RF_EV_VIEW:
        rf_view_drop(event->as.view);
        break;
    case RF_EV_TICK:
    case RF_EV_ALIVE:
    case RF_EV_STORAGE:
    case RF_EV_LINK:
    default:
        break;
    }
}
