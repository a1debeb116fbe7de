/* A cluster member as gossip spreads it. Heartbeats and liveness are not part of it: they live in
 * tables beside the ring and never change a ring's digest. */
#ifndef RF_RING_MEMBER_H
#define RF_RING_MEMBER_H

#include <stdint.h>

#define RF_NAME_MAX 63u /* bytes of node, rack, table and cluster names */
#define RF_ADDR_MAX 95u /* "host:port" */
#define RF_MEMBERS_MAX 4096u

enum rf_member_state {
    RF_MEMBER_JOINING = 1, /* known, coordinates, owns no tokens */
    RF_MEMBER_NORMAL = 2,  /* owns its tokens */
    RF_MEMBER_LEFT = 3,    /* gone for good; kept so that its name stays known */
};

struct rf_member {
    uint64_t node;       /* random id, made at the node's first start; its low 8 bits are 0 */
    uint64_t generation; /* +1 at each start */
    uint64_t version;    /* of this entry within the generation; the higher one wins */
    uint8_t  state;      /* enum rf_member_state */
    uint16_t vnodes;
    char     name[RF_NAME_MAX + 1];
    char     rack[RF_NAME_MAX + 1];
    char     peer_addr[RF_ADDR_MAX + 1];
    char     client_addr[RF_ADDR_MAX + 1];
};

#endif
