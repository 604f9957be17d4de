#ifndef AGENT_NETWORK_ADDRESSES_H
#define AGENT_NETWORK_ADDRESSES_H
/*
 * addresses - which pod has which address and host ports; one small file an address, found again after a restart.
 *
 * A given-back address is used again as late as the range allows. Files are replaced by rename but not synced: after a power cut no pod
 * runs, and what cannot be read then belongs to nobody.
 * Layer:  agent/network only. Thread: one at a time (the network's lock). Blocks: on small files.
 */
#include "agent/network/network.h"

#include <stdint.h>

enum { ADDRESS_PORTS_MAX = 256 }; /* host ports of one pod */

struct cidr {
    uint32_t ip; /* host order; the bits behind the prefix are 0 */
    int prefix;
};
/* Errors: BAD_REQUEST. */
CHECK_RC int cidr_read(const char *text, struct cidr *ret, struct err *err);
CHECK_RC int ipv4_read(const char *text, uint32_t *ret, struct err *err);
enum { IPV4_TEXT_BYTES = 16 };
char *ipv4_text(uint32_t ip, char to[IPV4_TEXT_BYTES]);

/* IPPROTO_* of "TCP", "UDP", "SCTP"; 0: none of them. */
uint8_t protocol_number(const char *name);

struct address_port {
    uint8_t protocol;  /* IPPROTO_* */
    uint32_t host_ip;  /* 0: any */
    uint16_t host_port, container_port;
};

struct address {
    char *uid;
    uint32_t ip;
    struct address_port *ports;
    size_t n_ports;
};

struct addresses;

/* The first address of the range is the gateway's, the last is left out. Makes the folder. */
CHECK_RC int addresses_open(const char *dir, struct cidr range, struct addresses **ret, struct err *err);
void addresses_free(struct addresses *a); /* NULL allowed */

const struct address *addresses_find(const struct addresses *a, const char *uid); /* valid until the next change */
size_t addresses_count(const struct addresses *a);
const struct address *addresses_at(const struct addresses *a, size_t i);
/* Errors: UNAVAILABLE (range used up), CONFLICT (a host port is another pod's), BAD_REQUEST (bad port), IO. */
CHECK_RC int addresses_give(struct addresses *a, const char *uid, const struct network_host_port *ports, size_t n_ports,
                            const struct address **ret, struct err *err);
CHECK_RC int addresses_drop(struct addresses *a, const char *uid, struct err *err); /* unknown is success */

#endif
