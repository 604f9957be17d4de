#include "agent/network/netlink.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER_BYTES = 32 * 1024 };

void nl_clear(struct nl_msgs *m)
{
    buf_clear(&m->buf);
    m->at = 0;
}

static void pad(struct nl_msgs *m)
{
    static const char zeros[4];
    size_t over = buf_len(&m->buf) % NLA_ALIGNTO;

    if (over)
        buf_add(&m->buf, zeros, NLA_ALIGNTO - over);
}

/* Keeps the header of the current message true to what it holds. */
static void set_len(struct nl_msgs *m)
{
    uint32_t len = (uint32_t)(buf_len(&m->buf) - m->at);

    memcpy(m->buf.b->at + m->at, &len, sizeof(len));
}

void nl_begin(struct nl_msgs *m, int type, int flags, const void *family, size_t n_family)
{
    struct nlmsghdr h = {
        .nlmsg_type = (uint16_t)type,
        .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST),
        .nlmsg_seq = ++m->seq,
    };

    m->at = buf_len(&m->buf);
    buf_add(&m->buf, &h, sizeof(h));
    buf_add(&m->buf, family, n_family);
    pad(m);
    set_len(m);
}

void nl_put(struct nl_msgs *m, int type, const void *data, size_t n)
{
    struct nlattr a = { .nla_type = (uint16_t)type };

    assert(n + NLA_HDRLEN <= UINT16_MAX);
    a.nla_len = (uint16_t)(n + NLA_HDRLEN);
    buf_add(&m->buf, &a, sizeof(a));
    buf_add(&m->buf, data, n);
    pad(m);
    set_len(m);
}

void nl_u8(struct nl_msgs *m, int type, uint8_t v)
{
    nl_put(m, type, &v, sizeof(v));
}

void nl_u16(struct nl_msgs *m, int type, uint16_t v)
{
    nl_put(m, type, &v, sizeof(v));
}

void nl_u32(struct nl_msgs *m, int type, uint32_t v)
{
    nl_put(m, type, &v, sizeof(v));
}

void nl_be32(struct nl_msgs *m, int type, uint32_t v)
{
    nl_u32(m, type, htonl(v));
}

void nl_be64(struct nl_msgs *m, int type, uint64_t v)
{
    uint64_t be = htobe64(v);

    nl_put(m, type, &be, sizeof(be));
}

void nl_str(struct nl_msgs *m, int type, const char *s)
{
    nl_put(m, type, s, strlen(s) + 1);
}

void nl_raw(struct nl_msgs *m, const void *data, size_t n)
{
    buf_add(&m->buf, data, n);
    pad(m);
    set_len(m);
}

size_t nl_nest(struct nl_msgs *m, int type)
{
    size_t nest = buf_len(&m->buf);

    nl_put(m, type | NLA_F_NESTED, NULL, 0);
    return nest;
}

size_t nl_nest_len(const struct nl_msgs *m, size_t nest)
{
    return buf_len(&m->buf) - nest;
}

void nl_nest_end(struct nl_msgs *m, size_t nest)
{
    size_t n = nl_nest_len(m, nest);
    uint16_t len = (uint16_t)n;

    assert(n <= UINT16_MAX);
    memcpy(m->buf.b->at + nest, &len, sizeof(len));
}

const struct nlattr *nl_attr_find(const void *attrs, size_t n, int type)
{
    const char *at = attrs;

    while (n >= NLA_HDRLEN) {
        const struct nlattr *a = (const void *)at;
        size_t step = NLA_ALIGN((size_t)a->nla_len);

        if (a->nla_len < NLA_HDRLEN || a->nla_len > n)
            return NULL;
        if ((a->nla_type & NLA_TYPE_MASK) == type)
            return a;
        if (step >= n)
            return NULL;
        at += step;
        n -= step;
    }
    return NULL;
}

const struct nlattr *nl_attr_in(const struct nlattr *nest, int type)
{
    return nest ? nl_attr_find(nl_attr_data(nest), nl_attr_len(nest), type) : NULL;
}

/* --- sending and reading --- */

/* What the answers said so far. */
struct talk {
    bool ended;    /* an acknowledgement or the end of a list was seen */
    int failed_rc; /* the first failure */
    int tolerate;
};

static void said_error(struct talk *t, const struct nlmsghdr *h, struct err *err)
{
    const struct nlmsgerr *e = NLMSG_DATA(h);
    const struct nlattr *words = NULL;

    t->ended = true;
    if (e->error == 0 || -e->error == t->tolerate || t->failed_rc)
        return;
    if (h->nlmsg_flags & NLM_F_ACK_TLVS) {
        size_t skip = sizeof(*e) + (h->nlmsg_flags & NLM_F_CAPPED ? 0 : NLMSG_ALIGN(e->msg.nlmsg_len) - sizeof(e->msg));

        if (skip < NLMSG_PAYLOAD(h, 0))
            words = nl_attr_find((const char *)e + skip, NLMSG_PAYLOAD(h, 0) - skip, NLMSGERR_ATTR_MSG);
    }
    if (words)
        t->failed_rc = err_sys(err, -e->error, "kernel: message %u of type %#x: %.*s", e->msg.nlmsg_seq, e->msg.nlmsg_type,
                               (int)nl_attr_len(words), (const char *)nl_attr_data(words));
    else
        t->failed_rc = err_sys(err, -e->error, "kernel: message %u of type %#x", e->msg.nlmsg_seq, e->msg.nlmsg_type);
}

static void read_answer(struct talk *t, const char *data, size_t n, nl_answer_fn *fn, void *arg, struct err *err)
{
    while (n >= sizeof(struct nlmsghdr)) {
        const struct nlmsghdr *h = (const void *)data;
        size_t step = NLMSG_ALIGN(h->nlmsg_len);

        if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > n)
            return;
        if (h->nlmsg_type == NLMSG_ERROR && NLMSG_PAYLOAD(h, 0) >= sizeof(struct nlmsgerr))
            said_error(t, h, err);
        else if (h->nlmsg_type == NLMSG_DONE)
            t->ended = true;
        else if (h->nlmsg_type >= NLMSG_MIN_TYPE && fn && !t->failed_rc)
            t->failed_rc = fn(arg, h, err);
        if (step >= n)
            return;
        data += step;
        n -= step;
    }
}

static int read_answers(int fd, struct talk *t, nl_answer_fn *fn, void *arg, struct err *err)
{
    AUTO_FREE char *data = malloc(ANSWER_BYTES);

    if (!data)
        return err_set(err, ERR_UNAVAILABLE, "netlink: out of memory");
    for (;;) {
        ssize_t n = recv(fd, data, ANSWER_BYTES, MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0 && !t->failed_rc) {
            t->failed_rc = err_sys(err, errno, "read from netlink");
            continue;
        }
        if (n <= 0)
            break;
        read_answer(t, data, (size_t)n, fn, arg, err);
    }
    if (!t->ended && !t->failed_rc)
        return err_set(err, ERR_IO, "the kernel did not answer on netlink");
    return t->failed_rc;
}

int nl_talk(int fd, struct nl_msgs *m, nl_answer_fn *fn, void *arg, int tolerate, struct err *err)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    struct talk t = { .tolerate = tolerate };
    size_t n = buf_len(&m->buf);
    ssize_t sent;

    if (n > 64 * 1024) {
        int room = n > INT32_MAX / 4 ? INT32_MAX / 2 : (int)(n * 2);

        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
            return err_sys(err, errno, "make room for %zu bytes of netlink", n);
    }
    do
        sent = sendto(fd, buf_at(&m->buf), n, 0, (struct sockaddr *)&kernel, sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    int failed = errno;

    nl_clear(m);
    if (sent < 0)
        return err_sys(err, failed, "write %zu bytes to netlink", n);
    return read_answers(fd, &t, fn, arg, err);
}
