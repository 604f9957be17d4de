#ifndef AGENT_NETWORK_NETLINK_H
#define AGENT_NETWORK_NETLINK_H
/*
 * netlink - messages to the kernel (rtnetlink, nf_tables, conntrack), written by hand: a header, attributes, nested attributes.
 *
 * Layer:  agent/network only. Thread: any; one message buffer or socket belongs to one thread at a time.
 * Source: linux/netlink.h, netlink(7).
 */
#include "lib/bytes.h"
#include "lib/err.h"

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

/* One or more messages that go out in one write. Zero it to begin. */
struct nl_msgs {
    struct buf buf;
    size_t at; /* where the current message begins */
    uint32_t seq;
};

void nl_clear(struct nl_msgs *m);
static inline void auto_nl(struct nl_msgs *m)
{
    nl_clear(m);
}

/* Begins a message behind those already there; `family` is the fixed part behind the netlink header. */
void nl_begin(struct nl_msgs *m, int type, int flags, const void *family, size_t n_family);
void nl_put(struct nl_msgs *m, int type, const void *data, size_t n);
void nl_u8(struct nl_msgs *m, int type, uint8_t v);
void nl_u16(struct nl_msgs *m, int type, uint16_t v);
void nl_u32(struct nl_msgs *m, int type, uint32_t v);
void nl_be32(struct nl_msgs *m, int type, uint32_t v); /* host order in, network order out */
void nl_be64(struct nl_msgs *m, int type, uint64_t v);
void nl_str(struct nl_msgs *m, int type, const char *s);
void nl_raw(struct nl_msgs *m, const void *data, size_t n); /* a fixed part inside a nest */
/* An attribute that holds attributes; all of it must stay under 64 KB. */
size_t nl_nest(struct nl_msgs *m, int type);
void nl_nest_end(struct nl_msgs *m, size_t nest);
size_t nl_nest_len(const struct nl_msgs *m, size_t nest);

/* A socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER). Owner: *ret_fd is the caller's. */
CHECK_RC int nl_open(int protocol, int *ret_fd, struct err *err);
/* The same in another network namespace. The calling thread stays where it is: a short-lived child that shares memory and descriptors
 * with us enters the namespace and makes the socket (some 50 µs; no copy of the process, as the spawn module would make). */
CHECK_RC int nl_open_in(int netns_fd, int protocol, int *ret_fd, struct err *err);

/* Told of each message of an answer; a negative code ends the reading. */
typedef int nl_answer_fn(void *arg, const struct nlmsghdr *h, struct err *err);

/* Sends all messages and reads every answer; the kernel works while we send, so nothing waits. fn may be NULL.
 * `tolerate` is an errno that counts as success (EEXIST for "make", ENOENT for "remove"); 0: none.
 * Errors: by errno, with the kernel's own words where it has some. m is empty afterwards. */
CHECK_RC int nl_talk(int fd, struct nl_msgs *m, nl_answer_fn *fn, void *arg, int tolerate, struct err *err);

/* The attribute of a type in n bytes of attributes, or inside a nest; NULL when absent or cut short. */
const struct nlattr *nl_attr_find(const void *attrs, size_t n, int type);
const struct nlattr *nl_attr_in(const struct nlattr *nest, int type); /* NULL nest allowed */
static inline const void *nl_attr_data(const struct nlattr *a)
{
    return (const char *)a + NLA_HDRLEN;
}
static inline size_t nl_attr_len(const struct nlattr *a)
{
    return (size_t)a->nla_len - NLA_HDRLEN;
}

#endif
