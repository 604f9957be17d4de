#include "agent/network/link.h"

#include "agent/network/netlink.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static void begin_route(struct nl_msgs *m, int type, int flags, const struct link_route *r)
{
    struct rtmsg t = {
        .rtm_family = AF_INET,
        .rtm_dst_len = (uint8_t)r->prefix,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = r->via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK,
        .rtm_type = RTN_UNICAST,
        .rtm_flags = r->onlink ? RTNH_F_ONLINK : 0,
    };

    nl_begin(m, type, flags | NLM_F_ACK, &t, sizeof(t));
    if (r->prefix)
        nl_be32(m, RTA_DST, r->to);
    if (r->via)
        nl_be32(m, RTA_GATEWAY, r->via);
    nl_u32(m, RTA_OIF, (uint32_t)r->index);
    if (r->source)
        nl_be32(m, RTA_PREFSRC, r->source);
}

int link_route_set(int fd, const struct link_route *route, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };

    begin_route(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "set a route over interface %d", route->index);
    return 0;
}

int link_route_del(int fd, const struct link_route *route, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };

    begin_route(&m, RTM_DELROUTE, 0, route);
    if (nl_talk(fd, &m, NULL, NULL, ESRCH, err) < 0)
        return err_wrap(err, "remove a route over interface %d", route->index);
    return 0;
}

static struct ndmsg neighbour(int index, int family, int flags)
{
    return (struct ndmsg){
        .ndm_family = (uint8_t)family, .ndm_ifindex = index, .ndm_state = NUD_PERMANENT, .ndm_flags = (uint8_t)flags
    };
}

int link_neighbour_set(int fd, int index, uint32_t ip, const unsigned char mac[6], struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ndmsg n = neighbour(index, AF_INET, 0);

    nl_begin(&m, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &n, sizeof(n));
    nl_be32(&m, NDA_DST, ip);
    nl_put(&m, NDA_LLADDR, mac, 6);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "set a neighbour on interface %d", index);
    return 0;
}

int link_neighbour_del(int fd, int index, uint32_t ip, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ndmsg n = neighbour(index, AF_INET, 0);

    nl_begin(&m, RTM_DELNEIGH, NLM_F_ACK, &n, sizeof(n));
    nl_be32(&m, NDA_DST, ip);
    if (nl_talk(fd, &m, NULL, NULL, ENOENT, err) < 0)
        return err_wrap(err, "remove a neighbour from interface %d", index);
    return 0;
}

int link_forward_set(int fd, int index, const unsigned char mac[6], uint32_t remote_ip, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ndmsg n = neighbour(index, AF_BRIDGE, NTF_SELF);

    nl_begin(&m, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &n, sizeof(n));
    nl_put(&m, NDA_LLADDR, mac, 6);
    nl_be32(&m, NDA_DST, remote_ip);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "set a forwarding entry on interface %d", index);
    return 0;
}

int link_forward_del(int fd, int index, const unsigned char mac[6], struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ndmsg n = neighbour(index, AF_BRIDGE, NTF_SELF);

    nl_begin(&m, RTM_DELNEIGH, NLM_F_ACK, &n, sizeof(n));
    nl_put(&m, NDA_LLADDR, mac, 6);
    if (nl_talk(fd, &m, NULL, NULL, ENOENT, err) < 0)
        return err_wrap(err, "remove a forwarding entry from interface %d", index);
    return 0;
}
