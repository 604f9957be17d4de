#include "agent/network/dns_message.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { POINTER_TO_QUESTION = 0xc00c, CLASS_IN = 1, LABEL_MAX = 63 };
enum { FLAG_ANSWER = 0x8000, FLAG_OURS = 0x0400, FLAG_CUT = 0x0200, FLAG_RECURSE = 0x0100, FLAG_CAN_RECURSE = 0x0080, OPCODE = 0x7800 };

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* Bytes that cannot be in a cluster name become \1, which matches nothing. */
static char name_char(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c + 32);
    return c > ' ' && c < 0x7f && c != '.' ? (char)c : '\1';
}

/* The name at *at; pointers have no place in a question. */
static bool read_name(const uint8_t *data, size_t n, size_t *at, char to[DNS_NAME_BYTES])
{
    size_t len = 0;

    for (;;) {
        if (*at >= n || data[*at] > LABEL_MAX)
            return false;
        size_t label = data[(*at)++];

        if (label == 0)
            break;
        if (label > n - *at || len + label + 1 >= DNS_NAME_BYTES - 1)
            return false;
        if (len)
            to[len++] = '.';
        for (size_t i = 0; i < label; i++)
            to[len++] = name_char(data[(*at)++]);
    }
    to[len] = '\0';
    return true;
}

/* The asker's OPT record, the first of the additional ones in every query seen; elsewhere it is not looked for. */
static void read_edns(const uint8_t *data, size_t n, struct dns_query *ret)
{
    const uint8_t *opt = data + ret->question_end;

    if (get16(data + 10) == 0 || n - ret->question_end < 11 || opt[0] != 0 || get16(opt + 1) != DNS_OPT)
        return;
    uint16_t size = get16(opt + 3);

    ret->edns = true;
    ret->udp_max = size < DNS_UDP_MIN ? DNS_UDP_MIN : size > DNS_UDP_MAX ? DNS_UDP_MAX : size;
}

int dns_query_read(const uint8_t *data, size_t n, struct dns_query *ret)
{
    size_t at = DNS_HEADER_BYTES;

    *ret = (struct dns_query){ .question_end = DNS_HEADER_BYTES, .udp_max = DNS_UDP_MIN };
    if (n < DNS_HEADER_BYTES || get16(data + 2) & FLAG_ANSWER)
        return -1;
    if (get16(data + 2) & OPCODE)
        return DNS_NOT_DONE;
    if (get16(data + 4) != 1 || get16(data + 6) != 0 || !read_name(data, n, &at, ret->name) || n - at < 4)
        return DNS_FORMAT;
    ret->type = get16(data + at);
    ret->class = get16(data + at + 2);
    ret->question_end = at + 4;
    read_edns(data, n, ret);
    return ret->class == CLASS_IN || ret->class == DNS_ANY ? 0 : DNS_REFUSED;
}

/* --- writing --- */

static void put16(struct buf *b, unsigned v)
{
    uint16_t be = htons((uint16_t)v);

    buf_add(b, &be, 2);
}

static void put32(struct buf *b, uint32_t v)
{
    uint32_t be = htonl(v);

    buf_add(b, &be, 4);
}

/* Names are our own and short; a label that is too long would be a bug of ours, and is cut. */
static void put_name(struct buf *b, const char *name)
{
    while (*name) {
        size_t n = strcspn(name, ".");

        if (n > 0) {
            buf_char(b, (char)(n > LABEL_MAX ? LABEL_MAX : n));
            buf_add(b, name, n > LABEL_MAX ? LABEL_MAX : n);
        }
        name += n;
        name += *name == '.';
    }
    buf_char(b, '\0');
}

void dns_reply_begin(struct dns_reply *r, const uint8_t *query, const struct dns_query *q)
{
    *r = (struct dns_reply){ 0 };
    buf_add(&r->buf, query, q->question_end);
}

/* Owner, type, class, lifetime; the length follows with the data. */
static void record(struct dns_reply *r, const char *owner, enum dns_type type)
{
    if (owner)
        put_name(&r->buf, owner);
    else
        put16(&r->buf, POINTER_TO_QUESTION);
    put16(&r->buf, type);
    put16(&r->buf, CLASS_IN);
    put32(&r->buf, DNS_TTL_S);
}

static size_t data_begin(struct dns_reply *r)
{
    put16(&r->buf, 0);
    return buf_len(&r->buf);
}

static void data_end(struct dns_reply *r, size_t begin)
{
    uint16_t be = htons((uint16_t)(buf_len(&r->buf) - begin));

    memcpy(r->buf.b->at + begin - 2, &be, 2);
}

void dns_add_address(struct dns_reply *r, const char *owner, uint32_t ip, bool additional)
{
    record(r, owner, DNS_A);
    put16(&r->buf, 4);
    put32(&r->buf, ip);
    if (additional)
        r->additional++;
    else
        r->answers++;
}

void dns_add_name(struct dns_reply *r, const char *owner, enum dns_type type, const char *target)
{
    record(r, owner, type);
    size_t begin = data_begin(r);

    put_name(&r->buf, target);
    data_end(r, begin);
    r->answers++;
}

void dns_add_srv(struct dns_reply *r, int weight, int port, const char *target)
{
    record(r, NULL, DNS_SRV);
    size_t begin = data_begin(r);

    put16(&r->buf, 0);
    put16(&r->buf, (unsigned)weight);
    put16(&r->buf, (unsigned)port);
    put_name(&r->buf, target);
    data_end(r, begin);
    r->answers++;
}

void dns_add_text(struct dns_reply *r, const char *text)
{
    size_t n = strnlen(text, 255);

    record(r, NULL, DNS_TXT);
    put16(&r->buf, (unsigned)n + 1);
    buf_char(&r->buf, (char)n);
    buf_add(&r->buf, text, n);
    r->answers++;
}

void dns_add_soa(struct dns_reply *r, const char *zone, uint32_t serial, bool authority)
{
    char name[DNS_NAME_BYTES + 16];

    record(r, zone, DNS_SOA);
    size_t begin = data_begin(r);

    snprintf(name, sizeof(name), "ns.dns.%s", zone);
    put_name(&r->buf, name);
    snprintf(name, sizeof(name), "hostmaster.%s", zone);
    put_name(&r->buf, name);
    put32(&r->buf, serial);
    put32(&r->buf, 7200);
    put32(&r->buf, 1800);
    put32(&r->buf, 86400);
    put32(&r->buf, DNS_TTL_S); /* how long "there is none" holds */
    data_end(r, begin);
    if (authority)
        r->authority++;
    else
        r->answers++;
}

void dns_reply_end(struct dns_reply *r, const struct dns_query *q, enum dns_code code, bool ours, size_t max)
{
    static const uint8_t opt[11] = { 0, 0, DNS_OPT, DNS_UDP_MAX >> 8, DNS_UDP_MAX & 0xff };
    bool cut = buf_len(&r->buf) + (q->edns ? sizeof(opt) : 0) > max;
    uint8_t *h;

    if (cut) {
        buf_cut(&r->buf, q->question_end);
        r->answers = r->authority = r->additional = 0;
    }
    if (q->edns) {
        buf_add(&r->buf, opt, sizeof(opt));
        r->additional++;
    }
    h = (uint8_t *)r->buf.b->at;
    const uint16_t words[] = {
        (uint16_t)(FLAG_ANSWER | FLAG_CAN_RECURSE | (get16(h + 2) & (FLAG_RECURSE | OPCODE)) | (ours ? FLAG_OURS : 0) | (cut ? FLAG_CUT : 0) | code),
        q->question_end > DNS_HEADER_BYTES, r->answers, r->authority, r->additional,
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        uint16_t be = htons(words[i]);

        memcpy(h + 2 + 2 * i, &be, 2);
    }
}

void dns_reply_clear(struct dns_reply *r)
{
    buf_clear(&r->buf);
}
