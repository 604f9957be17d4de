#include "agent/network/network_int.h"

#include "agent/network/link.h"
#include "lib/crypto.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

int network_names(const char *instance, struct network_names *ret, struct err *err)
{
    size_t n = instance ? strspn(instance, "0123456789abcdefghijklmnopqrstuvwxyz") : 0;

    if (n < 1 || n > 8 || instance[n])
        return err_set(err, ERR_BAD_REQUEST, "instance \"%s\": 1 to 8 lower-case letters or digits", instance ? instance : "");
    snprintf(ret->bridge, sizeof(ret->bridge), "rd%s", instance);
    snprintf(ret->vxlan, sizeof(ret->vxlan), "rdx%s", instance);
    snprintf(ret->table, sizeof(ret->table), "rancherd-%s", instance);
    return 0;
}

/* Writes a setting under /proc/sys; `must` false: the kernel may lack it. */
static int sysctl(const char *path, const char *value, bool must, struct err *err)
{
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT && !must)
        return 0;
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return err_sys(err, errno, "set %s to %s", path, value);
    return 0;
}

static int set_sysctls(struct network *n, struct err *err)
{
    char path[96];

    if (sysctl("/proc/sys/net/ipv4/ip_forward", "1", true, err) < 0)
        return -(int)err->code;
    /* 127.0.0.1:<host or node port> of the host leads to a pod; the table's input chain keeps pods out of 127.0.0.0/8. */
    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/route_localnet", n->names.bridge);
    if (sysctl(path, "1", true, err) < 0)
        return -(int)err->code;
    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/route_localnet", n->names.vxlan);
    if (n->vxlan_index && sysctl(path, "1", true, err) < 0)
        return -(int)err->code;
    /* The gateway is on every way between pods; redirects would use up the rate limit of ICMP errors. The kernel takes "all" or the
     * interface's own: the others keep theirs. */
    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/send_redirects", n->names.bridge);
    if (sysctl("/proc/sys/net/ipv4/conf/all/send_redirects", "0", true, err) < 0 || sysctl(path, "0", true, err) < 0)
        return -(int)err->code;
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", n->names.bridge);
    return sysctl(path, "1", false, err);
}

static void mac_of_ip(uint32_t ip, unsigned char mac[6])
{
    unsigned char bytes[6] = { 0x0a, 0x58, (unsigned char)(ip >> 24), (unsigned char)(ip >> 16), (unsigned char)(ip >> 8), (unsigned char)ip };

    memcpy(mac, bytes, 6);
}

static int choose_mtu(struct network *n, int fd, int wanted, struct err *err)
{
    struct link to_others = { 0 };

    if (wanted == 0 && n->node_ip && link_of_address(fd, n->node_ip, &to_others, err) < 0)
        return -(int)err->code;
    /* The loopback's 65536 says nothing about the way to other nodes. */
    if (wanted == 0)
        wanted = (to_others.index && to_others.mtu <= 16384 ? to_others.mtu : 1500) - NETWORK_VXLAN_BYTES;
    if (wanted < 576 || wanted > 65535)
        return err_set(err, ERR_BAD_REQUEST, "an MTU is 576 to 65535, not %d", wanted);
    n->mtu = wanted;
    return 0;
}

static int open_bridge(struct network *n, int fd, struct err *err)
{
    unsigned char mac[6];
    struct link bridge = { 0 };
    struct link_route services = { .to = n->services_range.ip, .prefix = n->services_range.prefix, .source = n->gateway };
    bool ours = false;

    mac_of_ip(n->gateway, mac);
    if (link_get(fd, n->names.bridge, &bridge, err) < 0)
        return -(int)err->code;
    if (bridge.index && link_has_address(fd, bridge.index, n->gateway, &ours, err) < 0)
        return -(int)err->code;
    if (bridge.index && !ours) { /* of a node with another range */
        if (link_del_members(fd, bridge.index, err) < 0 || link_del(fd, n->names.bridge, err) < 0)
            return -(int)err->code;
        bridge.index = 0;
    }
    if (!bridge.index && (link_add_bridge(fd, n->names.bridge, mac, n->mtu, err) < 0 ||
                          link_get(fd, n->names.bridge, &bridge, err) < 0))
        return -(int)err->code;
    if (!bridge.up && link_up(fd, bridge.index, err) < 0)
        return -(int)err->code;
    if (bridge.mtu != n->mtu && link_set_mtu(fd, bridge.index, n->mtu, err) < 0)
        return -(int)err->code;
    n->bridge_index = services.index = bridge.index;
    if (link_add_address(fd, bridge.index, n->gateway, n->pods.prefix, err) < 0)
        return -(int)err->code;
    /* So that the host has a way to service addresses even without a default route, and never sends unserved ones abroad. */
    return link_route_set(fd, &services, err);
}

static int read_options(struct network *n, const struct network_options *o, struct err *err)
{
    char text[160];
    char hash[SHA256_HEX_BYTES];

    if (network_names(o->instance, &n->names, err) < 0)
        return -(int)err->code;
    snprintf(n->instance, sizeof(n->instance), "%s", o->instance);
    if (cidr_read(o->pod_cidr, &n->pods, err) < 0 || cidr_read(o->cluster_cidr, &n->cluster, err) < 0 ||
        cidr_read(o->service_cidr, &n->services_range, err) < 0)
        return -(int)err->code;
    if (o->node_ip && *o->node_ip && ipv4_read(o->node_ip, &n->node_ip, err) < 0)
        return err_wrap(err, "node address");
    n->gateway = n->pods.ip + 1;
    n->clock = o->clock;
    snprintf(text, sizeof(text), "%u/%d %u/%d %u/%d", n->pods.ip, n->pods.prefix, n->cluster.ip, n->cluster.prefix,
             n->services_range.ip, n->services_range.prefix);
    snprintf(n->format, sizeof(n->format), "format-1-%.16s", sha256_hex(text, strlen(text), hash));
    return 0;
}

static int open_kernel(struct network *n, const struct network_options *o, struct err *err)
{
    AUTO_FD int fd = -1;

    if (nl_open(NETLINK_ROUTE, &fd, err) < 0 || nl_open(NETLINK_NETFILTER, &n->nft_fd, err) < 0)
        return -(int)err->code;
    if (choose_mtu(n, fd, o->mtu, err) < 0 || open_bridge(n, fd, err) < 0 || network_vxlan_open(n, fd, o->node_name, err) < 0 ||
        set_sysctls(n, err) < 0)
        return -(int)err->code;
    return network_table_open(n, err);
}

int network_open(const struct network_options *options, struct network **ret, struct err *err)
{
    struct network *n = MEM_NEW(struct network);
    AUTO_FREE char *dir = mem_printf("%s/network/ips", options->data_dir);

    n->nft_fd = -1;
    pthread_mutex_init(&n->lock, NULL);
    if (read_options(n, options, err) < 0 || addresses_open(dir, n->pods, &n->addresses, err) < 0 ||
        open_kernel(n, options, err) < 0) {
        network_close(n);
        return err_wrap(err, "open the pod network");
    }
    *ret = n;
    return 0;
}

int network_own_address(struct network *n, const char *ip, struct err *err)
{
    AUTO_FD int fd = -1;
    uint32_t address = 0;

    if (ipv4_read(ip, &address, err) < 0 || nl_open(NETLINK_ROUTE, &fd, err) < 0)
        return -(int)err->code;
    return link_add_address(fd, n->bridge_index, address, 32, err);
}

void network_close(struct network *n)
{
    if (!n)
        return;
    network_services_clear(n);
    network_nodes_clear(n);
    addresses_free(n->addresses);
    if (n->nft_fd >= 0)
        close(n->nft_fd);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static int purge_links(const struct network_names *names, int fd, struct err *err)
{
    struct link bridge = { 0 };

    if (link_get(fd, names->bridge, &bridge, err) < 0)
        return -(int)err->code;
    if (bridge.index && link_del_members(fd, bridge.index, err) < 0)
        return -(int)err->code;
    if (link_del(fd, names->bridge, err) < 0 || link_del(fd, names->vxlan, err) < 0)
        return -(int)err->code;
    return 0;
}

int network_purge(const char *instance, struct err *err)
{
    struct network_names names;
    AUTO_FD int route_fd = -1, nft_fd = -1;
    AUTO(nft) struct nft b = { 0 };

    if (network_names(instance, &names, err) < 0 || nl_open(NETLINK_ROUTE, &route_fd, err) < 0 ||
        nl_open(NETLINK_NETFILTER, &nft_fd, err) < 0)
        return -(int)err->code;
    if (purge_links(&names, route_fd, err) < 0)
        return err_wrap(err, "purge the pod network");
    nft_begin(&b, names.table);
    nft_table_del(&b);
    if (nft_commit(&b, nft_fd, ENOENT, err) < 0)
        return err_wrap(err, "purge the pod network");
    return 0;
}
