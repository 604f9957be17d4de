#include "agent/network/link.h"

#include "agent/network/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>

enum { MAKE = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK };

static int read_link(void *arg, const struct nlmsghdr *h, struct err *err)
{
    struct link *l = arg;
    const struct ifinfomsg *i = NLMSG_DATA(h);
    const char *attrs = (const char *)i + NLMSG_ALIGN(sizeof(*i));
    const struct nlattr *a;

    (void)err;
    if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*i)))
        return 0;
    size_t n = NLMSG_PAYLOAD(h, sizeof(*i));

    l->index = i->ifi_index;
    l->up = i->ifi_flags & IFF_UP;
    if ((a = nl_attr_find(attrs, n, IFLA_MTU)) && nl_attr_len(a) == 4)
        memcpy(&l->mtu, nl_attr_data(a), 4);
    if ((a = nl_attr_find(attrs, n, IFLA_MASTER)) && nl_attr_len(a) == 4)
        memcpy(&l->master, nl_attr_data(a), 4);
    if ((a = nl_attr_find(attrs, n, IFLA_ADDRESS)) && nl_attr_len(a) == 6)
        memcpy(l->mac, nl_attr_data(a), 6);
    return 0;
}

int link_get(int fd, const char *name, struct link *ret, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
    struct link found = { 0 };

    nl_begin(&m, RTM_GETLINK, NLM_F_ACK, &i, sizeof(i));
    nl_str(&m, IFLA_IFNAME, name);
    if (nl_talk(fd, &m, read_link, &found, ENODEV, err) < 0)
        return err_wrap(err, "look up interface %s", name);
    *ret = found;
    return 0;
}

static int link_by_index(int fd, int index, struct link *ret, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_family = AF_UNSPEC, .ifi_index = index };

    nl_begin(&m, RTM_GETLINK, NLM_F_ACK, &i, sizeof(i));
    if (nl_talk(fd, &m, read_link, ret, ENODEV, err) < 0)
        return err_wrap(err, "look up interface %d", index);
    return 0;
}

int link_up(int fd, int index, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

    nl_begin(&m, RTM_NEWLINK, NLM_F_ACK, &i, sizeof(i));
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "bring interface %d up", index);
    return 0;
}

int link_set_mtu(int fd, int index, int mtu, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_index = index };

    nl_begin(&m, RTM_NEWLINK, NLM_F_ACK, &i, sizeof(i));
    nl_u32(&m, IFLA_MTU, (uint32_t)mtu);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "set MTU %d of interface %d", mtu, index);
    return 0;
}

int link_del(int fd, const char *name, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_family = AF_UNSPEC };

    nl_begin(&m, RTM_DELLINK, NLM_F_ACK, &i, sizeof(i));
    nl_str(&m, IFLA_IFNAME, name);
    if (nl_talk(fd, &m, NULL, NULL, ENODEV, err) < 0)
        return err_wrap(err, "remove interface %s", name);
    return 0;
}

/* --- members of a bridge --- */

struct members {
    int master;
    struct nl_msgs del;
};

static int add_member(void *arg, const struct nlmsghdr *h, struct err *err)
{
    struct members *all = arg;
    struct link l = { 0 };
    struct ifinfomsg i = { .ifi_family = AF_UNSPEC };

    if (read_link(&l, h, err) < 0 || l.master != all->master || l.index == 0)
        return 0;
    i.ifi_index = l.index;
    nl_begin(&all->del, RTM_DELLINK, NLM_F_ACK, &i, sizeof(i));
    return 0;
}

int link_del_members(int fd, int index, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
    struct members all = { .master = index };
    int rc;

    nl_begin(&m, RTM_GETLINK, NLM_F_DUMP, &i, sizeof(i));
    nl_u32(&m, IFLA_MASTER, (uint32_t)index);
    rc = nl_talk(fd, &m, add_member, &all, 0, err);
    if (rc == 0 && buf_len(&all.del.buf) > 0)
        rc = nl_talk(fd, &all.del, NULL, NULL, ENODEV, err);
    nl_clear(&all.del);
    return rc < 0 ? err_wrap(err, "remove the members of interface %d", index) : 0;
}

/* --- making interfaces --- */

static void begin_link(struct nl_msgs *m, const char *name, const unsigned char mac[6], int mtu)
{
    struct ifinfomsg i = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

    nl_begin(m, RTM_NEWLINK, MAKE, &i, sizeof(i));
    nl_str(m, IFLA_IFNAME, name);
    nl_u32(m, IFLA_MTU, (uint32_t)mtu);
    if (mac)
        nl_put(m, IFLA_ADDRESS, mac, 6);
}

int link_add_bridge(int fd, const char *name, const unsigned char mac[6], int mtu, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };

    begin_link(&m, name, mac, mtu);
    size_t info = nl_nest(&m, IFLA_LINKINFO);
    nl_str(&m, IFLA_INFO_KIND, "bridge");
    nl_nest_end(&m, info);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "make bridge %s", name);
    return 0;
}

int link_add_vxlan(int fd, const char *name, const unsigned char mac[6], int mtu, uint32_t local_ip, int vni, int port,
                   struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };

    begin_link(&m, name, mac, mtu);
    size_t info = nl_nest(&m, IFLA_LINKINFO);
    nl_str(&m, IFLA_INFO_KIND, "vxlan");
    size_t data = nl_nest(&m, IFLA_INFO_DATA);
    nl_u32(&m, IFLA_VXLAN_ID, (uint32_t)vni);
    nl_be32(&m, IFLA_VXLAN_LOCAL, local_ip);
    nl_u16(&m, IFLA_VXLAN_PORT, htons((uint16_t)port));
    nl_u8(&m, IFLA_VXLAN_LEARNING, 0);
    nl_nest_end(&m, data);
    nl_nest_end(&m, info);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "make VXLAN interface %s", name);
    return 0;
}

/* With bridge netfilter a packet that a service sends back to its pod leaves by the port it came from. */
static void let_hairpin(struct nl_msgs *m, const char *name)
{
    struct ifinfomsg i = { 0 };

    nl_begin(m, RTM_NEWLINK, NLM_F_ACK, &i, sizeof(i));
    nl_str(m, IFLA_IFNAME, name);
    size_t info = nl_nest(m, IFLA_LINKINFO);
    nl_str(m, IFLA_INFO_SLAVE_KIND, "bridge");
    size_t data = nl_nest(m, IFLA_INFO_SLAVE_DATA);
    nl_u8(m, IFLA_BRPORT_MODE, 1);
    nl_nest_end(m, data);
    nl_nest_end(m, info);
}

int link_add_veth(int fd, const char *name, int master, int mtu, int netns_fd, const unsigned char mac[6], struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifinfomsg peer = { 0 }; /* comes up later: the kernel ties the two together only after making it */

    begin_link(&m, name, NULL, mtu);
    if (master)
        nl_u32(&m, IFLA_MASTER, (uint32_t)master);
    size_t info = nl_nest(&m, IFLA_LINKINFO);
    nl_str(&m, IFLA_INFO_KIND, "veth");
    size_t data = nl_nest(&m, IFLA_INFO_DATA);
    size_t other = nl_nest(&m, VETH_INFO_PEER);
    nl_raw(&m, &peer, sizeof(peer));
    nl_str(&m, IFLA_IFNAME, "eth0");
    nl_u32(&m, IFLA_MTU, (uint32_t)mtu);
    nl_put(&m, IFLA_ADDRESS, mac, 6);
    nl_u32(&m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    nl_nest_end(&m, other);
    nl_nest_end(&m, data);
    nl_nest_end(&m, info);
    if (master)
        let_hairpin(&m, name);
    if (nl_talk(fd, &m, NULL, NULL, 0, err) < 0)
        return err_wrap(err, "make veth pair %s", name);
    return 0;
}

/* --- addresses --- */

int link_add_address(int fd, int index, uint32_t ip, int prefix, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = (uint32_t)index };

    nl_begin(&m, RTM_NEWADDR, MAKE, &a, sizeof(a));
    nl_be32(&m, IFA_LOCAL, ip);
    nl_be32(&m, IFA_ADDRESS, ip);
    if (nl_talk(fd, &m, NULL, NULL, EEXIST, err) < 0)
        return err_wrap(err, "add an address to interface %d", index);
    return 0;
}

struct address_search {
    int index; /* 0: any; then the one found */
    uint32_t be_ip;
    bool found;
};

static int look_at_address(void *arg, const struct nlmsghdr *h, struct err *err)
{
    struct address_search *s = arg;
    const struct ifaddrmsg *i = NLMSG_DATA(h);
    const struct nlattr *a;

    (void)err;
    if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*i)) || (s->index && (int)i->ifa_index != s->index))
        return 0;
    a = nl_attr_find((const char *)i + NLMSG_ALIGN(sizeof(*i)), NLMSG_PAYLOAD(h, sizeof(*i)), IFA_LOCAL);
    if (!s->found && a && nl_attr_len(a) == 4 && memcmp(nl_attr_data(a), &s->be_ip, 4) == 0) {
        s->found = true;
        s->index = (int)i->ifa_index;
    }
    return 0;
}

static int find_address(int fd, struct address_search *s, struct err *err)
{
    AUTO(nl) struct nl_msgs m = { 0 };
    struct ifaddrmsg a = { .ifa_family = AF_INET };

    nl_begin(&m, RTM_GETADDR, NLM_F_DUMP, &a, sizeof(a));
    if (nl_talk(fd, &m, look_at_address, s, 0, err) < 0)
        return err_wrap(err, "list addresses");
    return 0;
}

int link_has_address(int fd, int index, uint32_t ip, bool *ret, struct err *err)
{
    struct address_search s = { .index = index, .be_ip = htonl(ip) };
    int rc = find_address(fd, &s, err);

    if (rc == 0)
        *ret = s.found;
    return rc;
}

int link_of_address(int fd, uint32_t ip, struct link *ret, struct err *err)
{
    struct address_search s = { .be_ip = htonl(ip) };
    struct link found = { 0 };

    if (find_address(fd, &s, err) < 0)
        return -(int)err->code;
    if (s.found && link_by_index(fd, s.index, &found, err) < 0)
        return -(int)err->code;
    *ret = found;
    return 0;
}
