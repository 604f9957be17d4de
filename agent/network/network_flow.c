/* Conntrack entries of UDP services, whose endpoint has gone or only now came: forgotten, so that the next datagram chooses anew. */
#include "agent/network/network_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

struct search {
    const struct network_flow *flows;
    size_t n_flows;
    struct nl_msgs del;
};

struct tuple {
    uint32_t be_source, be_destination;
    uint16_t be_source_port, be_destination_port;
    uint8_t protocol;
};

static bool value_of(const struct nlattr *nest, int type, void *to, size_t n)
{
    const struct nlattr *a = nl_attr_in(nest, type);

    if (!a || nl_attr_len(a) != n)
        return false;
    memcpy(to, nl_attr_data(a), n);
    return true;
}

static bool read_tuple(const struct nlattr *nest, struct tuple *t)
{
    const struct nlattr *ip = nl_attr_in(nest, CTA_TUPLE_IP), *proto = nl_attr_in(nest, CTA_TUPLE_PROTO);

    return value_of(ip, CTA_IP_V4_SRC, &t->be_source, 4) && value_of(ip, CTA_IP_V4_DST, &t->be_destination, 4) &&
           value_of(proto, CTA_PROTO_NUM, &t->protocol, 1) && value_of(proto, CTA_PROTO_SRC_PORT, &t->be_source_port, 2) &&
           value_of(proto, CTA_PROTO_DST_PORT, &t->be_destination_port, 2);
}

/* Does the flow go to a service of the search, but to none of its endpoints? */
static bool is_stale(const struct search *s, const struct tuple *to, const struct tuple *back)
{
    for (size_t i = 0; i < s->n_flows; i++) {
        const struct network_flow *f = &s->flows[i];
        bool is_ip = f->be_ip && to->be_destination == f->be_ip && to->be_destination_port == f->be_port;
        bool is_node_port = f->be_node_port && to->be_destination_port == f->be_node_port;
        bool alive = false;

        if (!is_ip && !is_node_port)
            continue;
        for (size_t k = 0; k < f->n_targets && !alive; k++)
            alive = f->targets[k].be_ip == back->be_source && f->targets[k].be_port == back->be_source_port;
        return !alive;
    }
    return false;
}

static int look_at_flow(void *arg, const struct nlmsghdr *h, struct err *err)
{
    struct search *s = arg;
    const struct nfgenmsg *g = NLMSG_DATA(h);
    const struct nlattr *orig, *reply;
    struct tuple to, back;

    (void)err;
    if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*g)) || buf_len(&s->del.buf) > 1024 * 1024)
        return 0;
    orig = nl_attr_find(g + 1, NLMSG_PAYLOAD(h, sizeof(*g)), CTA_TUPLE_ORIG);
    reply = nl_attr_find(g + 1, NLMSG_PAYLOAD(h, sizeof(*g)), CTA_TUPLE_REPLY);
    if (!read_tuple(orig, &to) || !read_tuple(reply, &back) || to.protocol != IPPROTO_UDP || !is_stale(s, &to, &back))
        return 0;
    struct nfgenmsg del = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };

    nl_begin(&s->del, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, NLM_F_ACK, &del, sizeof(del));
    nl_put(&s->del, CTA_TUPLE_ORIG | NLA_F_NESTED, nl_attr_data(orig), nl_attr_len(orig));
    return 0;
}

int network_flows_forget(int fd, const struct network_flow *flows, size_t n_flows, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct nfgenmsg g = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };
    struct search s = { .flows = flows, .n_flows = n_flows };
    int rc;

    nl_begin(&m, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, &g, sizeof(g));
    rc = nl_talk(fd, &m, look_at_flow, &s, 0, err);
    if (rc == 0 && buf_len(&s.del.buf) > 0)
        rc = nl_talk(fd, &s.del, NULL, NULL, ENOENT, err);
    nl_clear(&s.del);
    return rc < 0 ? err_wrap(err, "forget UDP flows of services") : 0;
}
