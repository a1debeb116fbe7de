#include "core/event.h"

#include "base/assert.h"

struct rf_effect *rf_effect_add(struct rf_effects *effects, enum rf_effect_kind kind)
{
    rf_assert(effects->n < effects->max);
    struct rf_effect *effect = &effects->list[effects->n++];
    *effect = (struct rf_effect){.kind = kind};
    return effect;
}
