#ifndef AGENT_NETWORK_DNS_MESSAGE_H
#define AGENT_NETWORK_DNS_MESSAGE_H
/*
 * dns_message - DNS questions read, answers written. Pure; any bytes are safe to read.
 * Layer: agent/network. Source: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (negative answers).
 */
#include "lib/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum { DNS_NAME_BYTES = 256, DNS_UDP_MIN = 512, DNS_UDP_MAX = 1232, DNS_HEADER_BYTES = 12, DNS_TTL_S = 5 };
enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_OPT = 41, DNS_ANY = 255 };
enum dns_code { DNS_OK, DNS_FORMAT, DNS_FAILED, DNS_NO_NAME, DNS_NOT_DONE, DNS_REFUSED };

struct dns_query {
    char name[DNS_NAME_BYTES]; /* lower case, dots between labels, none at the end */
    uint16_t type, class;
    size_t question_end;       /* header and question are the first bytes of the message */
    uint16_t udp_max;          /* what the asker takes, DNS_UDP_MIN to DNS_UDP_MAX */
    bool edns;
};

/* 0, or what to answer (enum dns_code), or -1: no question at all, say nothing.
 * After DNS_FORMAT nothing of *ret but question_end (DNS_HEADER_BYTES) is of use. */
int dns_query_read(const uint8_t *data, size_t n, struct dns_query *ret);

/* An answer on its way: begin, records, end. Owner names NULL: the question's. */
struct dns_reply {
    struct buf buf;
    uint16_t answers, authority, additional;
};
void dns_reply_begin(struct dns_reply *r, const uint8_t *query, const struct dns_query *q);
void dns_add_address(struct dns_reply *r, const char *owner, uint32_t ip, bool additional);
void dns_add_name(struct dns_reply *r, const char *owner, enum dns_type type, const char *target); /* CNAME, PTR */
void dns_add_srv(struct dns_reply *r, int weight, int port, const char *target);
void dns_add_text(struct dns_reply *r, const char *text);
void dns_add_soa(struct dns_reply *r, const char *zone, uint32_t serial, bool authority);
/* Writes counts and flags. Longer than max: only the question, marked as cut, so that the asker comes back over TCP. */
void dns_reply_end(struct dns_reply *r, const struct dns_query *q, enum dns_code code, bool ours, size_t max);
void dns_reply_clear(struct dns_reply *r);

#endif
