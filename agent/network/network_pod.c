/* Pods: an address, a veth pair whose other end is the pod's eth0, host ports. */
#include "agent/network/network_int.h"

#include "agent/network/link.h"
#include "lib/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* rv, 5 characters of the instance, 8 of the pod: 15, the most an interface name has. */
static void veth_name(const struct network *n, const char *uid, char to[NETWORK_NAME_BYTES])
{
    char hash[SHA256_HEX_BYTES];

    snprintf(to, NETWORK_NAME_BYTES, "rv%.5s%.8s", n->instance, sha256_hex(uid, strlen(uid), hash));
}

/* Errors: NOT_FOUND when the process is gone, BAD_REQUEST when it lives in our own namespace. */
static int open_netns(pid_t pid, int *ret_fd, struct err *err)
{
    char path[40];
    struct stat theirs, ours;

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &theirs) < 0)
        return err_sys(err, errno, "open the pod's network namespace %s", path);
    if (stat("/proc/self/ns/net", &ours) < 0)
        return err_sys(err, errno, "look at our network namespace");
    if (theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev)
        return err_set(err, ERR_BAD_REQUEST, "process %d is in the node's own network namespace", (int)pid);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Inside the pod: lo up, the address, everything through the gateway. */
static int configure(const struct network *n, int pod_fd, const struct link *eth0, uint32_t ip, struct err *err)
{
    struct link_route gateway = { .index = eth0->index, .to = n->gateway, .prefix = 32 };
    struct link_route all = { .index = eth0->index, .via = n->gateway };

    if (link_up(pod_fd, 1, err) < 0)
        return -(int)err->code;
    if (!eth0->up && link_up(pod_fd, eth0->index, err) < 0)
        return -(int)err->code;
    if (link_add_address(pod_fd, eth0->index, ip, 32, err) < 0 || link_route_set(pod_fd, &gateway, err) < 0)
        return -(int)err->code;
    return link_route_set(pod_fd, &all, err);
}

static int connect_pod(const struct network *n, const char *uid, uint32_t ip, pid_t pid, struct err *err)
{
    AUTO_FD int netns = -1, host_fd = -1, pod_fd = -1;
    unsigned char mac[6] = { 0x0a, 0x58, (unsigned char)(ip >> 24), (unsigned char)(ip >> 16), (unsigned char)(ip >> 8), (unsigned char)ip };
    char name[NETWORK_NAME_BYTES];
    struct link host = { 0 }, eth0 = { 0 };

    veth_name(n, uid, name);
    if (open_netns(pid, &netns, err) < 0 || nl_open(NETLINK_ROUTE, &host_fd, err) < 0 ||
        nl_open_in(netns, NETLINK_ROUTE, &pod_fd, err) < 0)
        return -(int)err->code;
    if (link_get(host_fd, name, &host, err) < 0 || link_get(pod_fd, "eth0", &eth0, err) < 0)
        return -(int)err->code;
    /* Ours already, when both ends are there and the pod's has the address's MAC; else of an earlier sandbox. */
    if (!host.index || !eth0.index || memcmp(eth0.mac, mac, 6) != 0) {
        if (host.index && link_del(host_fd, name, err) < 0)
            return -(int)err->code;
        if (link_add_veth(host_fd, name, n->bridge_index, n->mtu, netns, mac, err) < 0 ||
            link_get(pod_fd, "eth0", &eth0, err) < 0)
            return -(int)err->code;
    }
    return configure(n, pod_fd, &eth0, ip, err);
}

/* Under the lock: the pod's address, given now if it has none, and the table's entries. */
static int reserve(struct network *n, const char *uid, const struct network_host_port *ports, size_t n_ports, uint32_t *ret_ip,
                   struct err *err)
{
    AUTO(nft) struct nft b = { 0 };
    LOCK_SCOPE(&n->lock);
    const struct address *a = addresses_find(n->addresses, uid);

    if (!a && addresses_give(n->addresses, uid, ports, n_ports, &a, err) < 0)
        return -(int)err->code;
    *ret_ip = a->ip;
    nft_begin(&b, n->names.table);
    network_table_pod(&b, a, false); /* adding again what is there is fine */
    return nft_commit(&b, n->nft_fd, 0, err);
}

int network_attach(struct ctx *ctx, struct network *n, const char *pod_uid, pid_t netns_pid, const struct network_host_port *ports,
                   size_t n_ports, char **ret_ip, struct err *err)
{
    uint32_t ip = 0;
    char text[IPV4_TEXT_BYTES];

    if (ctx_check(ctx, err) < 0)
        return -(int)err->code;
    if (!pod_uid || !*pod_uid || strlen(pod_uid) > 255)
        return err_set(err, ERR_BAD_REQUEST, "a pod without a usable uid has no network");
    if (reserve(n, pod_uid, ports, n_ports, &ip, err) < 0 || connect_pod(n, pod_uid, ip, netns_pid, err) < 0)
        return err_wrap(err, "connect pod %s to the network", pod_uid);
    *ret_ip = mem_strdup(ipv4_text(ip, text));
    return 0;
}

int network_detach(struct ctx *ctx, struct network *n, const char *pod_uid, struct err *err)
{
    AUTO_FD int fd = -1;
    AUTO(nft) struct nft b = { 0 };
    char name[NETWORK_NAME_BYTES];

    if (ctx_check(ctx, err) < 0)
        return -(int)err->code;
    veth_name(n, pod_uid, name);
    if (nl_open(NETLINK_ROUTE, &fd, err) < 0 || link_del(fd, name, err) < 0)
        return err_wrap(err, "disconnect pod %s", pod_uid);

    LOCK_SCOPE(&n->lock);
    const struct address *a = addresses_find(n->addresses, pod_uid);

    if (!a)
        return 0;
    nft_begin(&b, n->names.table);
    network_table_pod(&b, a, true);
    if (nft_commit(&b, n->nft_fd, ENOENT, err) < 0 || addresses_drop(n->addresses, pod_uid, err) < 0)
        return err_wrap(err, "disconnect pod %s", pod_uid);
    return 0;
}

static bool is_kept(const char *const *uids, size_t n, const char *uid)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(uids[i], uid) == 0)
            return true;
    return false;
}

/* Copies the uids of pods that are not kept; the list may change as soon as the lock is gone. */
static size_t list_strays(struct network *n, const char *const *uids, size_t n_uids, char ***ret)
{
    LOCK_SCOPE(&n->lock);
    size_t found = 0;

    *ret = mem_zalloc((addresses_count(n->addresses) + 1) * sizeof(**ret));
    for (size_t i = 0; i < addresses_count(n->addresses); i++)
        if (!is_kept(uids, n_uids, addresses_at(n->addresses, i)->uid))
            (*ret)[found++] = mem_strdup(addresses_at(n->addresses, i)->uid);
    return found;
}

int network_retain(struct ctx *ctx, struct network *n, const char *const *pod_uids, size_t n_uids, struct err *err)
{
    AUTO_FREE char **strays = NULL;
    size_t found = list_strays(n, pod_uids, n_uids, &strays);
    int rc = 0;

    for (size_t i = 0; i < found; i++) {
        if (rc == 0)
            rc = network_detach(ctx, n, strays[i], err);
        free(strays[i]);
    }
    return rc;
}
