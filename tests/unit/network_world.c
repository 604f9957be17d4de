#include "network_world.h"

#include "agent/network/link.h"
#include "agent/network/netlink.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void must(int rc, const struct err *err)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", err->msg);
        exit(1);
    }
}

static void enter(pid_t ns)
{
    char path[40];

    if (!ns)
        return;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", ns);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        _exit(99);
}

static pid_t child(struct world *w)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    else if (w) {
        CHECK(w->n_children < (int)ARRAY_LEN(w->children));
        w->children[w->n_children++] = pid;
    }
    return pid;
}

static void await_byte(int fd)
{
    char c;

    CHECK_INT(read(fd, &c, 1), 1);
}

pid_t world_namespace(struct world *w)
{
    int ready[2];

    CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = child(w);
    if (pid == 0) {
        if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    await_byte(ready[0]);
    close(ready[0]);
    return pid;
}

static void connect_outside(struct world *w)
{
    struct err err = { 0 };
    AUTO_FD int here = -1, there = -1, ns = -1;
    struct link node = { 0 }, world = { 0 };
    char path[40];

    snprintf(path, sizeof(path), "/proc/%d/ns/net", w->outside);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    must(nl_open(NETLINK_ROUTE, &here, &err), &err);
    must(nl_open_in(ns, NETLINK_ROUTE, &there, &err), &err);
    must(link_up(here, 1, &err), &err);
    must(link_up(there, 1, &err), &err);
    must(link_add_veth(here, "out0", 0, 1500, ns, (const unsigned char[]){ 2, 0, 0, 0, 0, 2 }, &err), &err);
    must(link_get(here, "out0", &node, &err), &err);
    must(link_get(there, "eth0", &world, &err), &err);
    must(link_up(there, world.index, &err), &err);
    must(link_add_address(here, node.index, 0xc0000201, 24, &err), &err);
    must(link_add_address(there, world.index, 0xc0000202, 24, &err), &err);
}

bool world_init(struct world *w)
{
    *w = (struct world){ 0 };
    if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
        printf("# skip: no right to make network namespaces\n");
        return false;
    }
    snprintf(w->dir, sizeof(w->dir), "/tmp/test_network.XXXXXX");
    CHECK(mkdtemp(w->dir));
    w->outside = world_namespace(w);
    connect_outside(w);
    return true;
}

void world_open(struct world *w)
{
    struct err err = { 0 };
    struct network_options o = {
        .data_dir = w->dir,
        .instance = "0a1b2c3d",
        .node_name = "one",
        .node_ip = "192.0.2.1",
        .pod_cidr = "10.42.0.0/24",
        .cluster_cidr = "10.42.0.0/16",
        .service_cidr = "10.43.0.0/16",
    };

    must(network_open(&o, &w->net, &err), &err);
}

/* In a child, which stays in the world's namespace: "<mac> <address of the pod>" on fd. */
static void second_node(const struct world *w, pid_t pod, const char *mac_of_first, int fd)
{
    struct ctx ctx = ctx_background(NULL);
    struct err err = { 0 };
    struct network *n = NULL;
    char dir[96], *ip = NULL;
    struct network_options o = {
        .data_dir = dir,
        .instance = "second",
        .node_name = "two",
        .node_ip = "192.0.2.2",
        .pod_cidr = "10.42.1.0/24",
        .cluster_cidr = "10.42.0.0/16",
        .service_cidr = "10.43.0.0/16",
    };

    snprintf(dir, sizeof(dir), "%s/second", w->dir);
    enter(w->outside);
    must(network_open(&o, &n, &err), &err);
    must(network_node_set(n, "one", "10.42.0.0/24", "192.0.2.1", mac_of_first, &err), &err);
    must(network_attach(&ctx, n, "uid-second", pod, NULL, 0, &ip, &err), &err);
    dprintf(fd, "%s %s", network_vtep_mac(n), ip);
    free(ip);
    network_close(n);
}

char *world_second_node(struct world *w, pid_t pod)
{
    struct err err = { 0 };
    char text[64], mac[18] = "", ip[16] = "";
    int out[2];

    CHECK_INT(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = child(NULL);
    if (pid == 0) {
        second_node(w, pod, network_vtep_mac(w->net), out[1]);
        _exit(0);
    }
    close(out[1]);
    ssize_t n = read(out[0], text, sizeof(text) - 1);
    close(out[0]);
    waitpid(pid, NULL, 0);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK_INT(sscanf(text, "%17s %15s", mac, ip), 2);
    must(network_node_set(w->net, "two", "10.42.1.0/24", "192.0.2.2", mac, &err), &err);
    return strdup(ip);
}

void world_stop(struct world *w, pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < w->n_children; i++)
        if (w->children[i] == pid)
            w->children[i] = w->children[--w->n_children];
}

void world_clear(struct world *w)
{
    char command[128];

    network_close(w->net);
    while (w->n_children > 0)
        world_stop(w, w->children[w->n_children - 1]);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    CHECK_INT(system(command), 0);
}

char *world_attach(struct world *w, const char *uid, pid_t pid, const struct network_host_port *ports, size_t n_ports)
{
    struct ctx ctx = ctx_background(NULL);
    struct err err = { 0 };
    char *ip = NULL;

    must(network_attach(&ctx, w->net, uid, pid, ports, n_ports, &ip, &err), &err);
    return ip;
}

/* --- talking --- */

static void serve_one(int fd, bool udp, const char *tag)
{
    struct sockaddr_in peer;
    socklen_t n = sizeof(peer);
    char text[WORLD_TEXT_BYTES], ip[16], got[16];
    int at = fd;

    if (udp ? recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *)&peer, &n) < 0
            : (at = accept(fd, (struct sockaddr *)&peer, &n)) < 0)
        return;
    inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof(ip));
    int len = snprintf(text, sizeof(text), "%s %s", tag, ip);

    if (sendto(at, text, (size_t)len, MSG_NOSIGNAL, udp ? (struct sockaddr *)&peer : NULL, udp ? n : 0) < 0)
        perror("sendto");
    if (!udp)
        close(at);
}

pid_t world_serve(struct world *w, pid_t ns, bool udp, int port, const char *tag)
{
    int ready[2], on = 1;

    CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = child(w);
    if (pid == 0) {
        struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

        enter(ns);
        int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, (struct sockaddr *)&me, sizeof(me)) < 0 || (!udp && listen(fd, 16) < 0) || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            serve_one(fd, udp, tag);
    }
    close(ready[1]);
    await_byte(ready[0]);
    close(ready[0]);
    return pid;
}

static void call_there(bool udp, int from_port, const char *ip, int port, char to[WORLD_TEXT_BYTES])
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons((uint16_t)from_port) };
    struct timeval limit = { .tv_sec = 3 };
    int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    ssize_t n = -1;

    inet_pton(AF_INET, ip, &peer.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (from_port && bind(fd, (struct sockaddr *)&me, sizeof(me)) < 0)
        _exit(98);
    if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)) == 0 && (!udp || send(fd, "?", 1, 0) == 1))
        n = recv(fd, to, WORLD_TEXT_BYTES - 1, 0);
    if (n >= 0)
        to[n] = '\0';
    else
        snprintf(to, WORLD_TEXT_BYTES, "%s",
                 errno == ECONNREFUSED                         ? "refused"
                 : errno == EHOSTUNREACH || errno == ENETUNREACH ? "unreachable"
                 : errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT ? "timeout"
                                                               : strerror(errno));
    close(fd);
}

static const char *call_from(pid_t ns, bool udp, int from_port, const char *ip, int port, char to[WORLD_TEXT_BYTES])
{
    int out[2];

    CHECK_INT(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = child(NULL);
    if (pid == 0) {
        enter(ns);
        call_there(udp, from_port, ip, port, to);
        _exit(write(out[1], to, strlen(to)) < 0);
    }
    close(out[1]);
    ssize_t n = read(out[0], to, WORLD_TEXT_BYTES - 1);
    to[n > 0 ? n : 0] = '\0';
    close(out[0]);
    waitpid(pid, NULL, 0);
    return to;
}

const char *world_call(pid_t ns, bool udp, const char *ip, int port, char to[WORLD_TEXT_BYTES])
{
    return call_from(ns, udp, 0, ip, port, to);
}

const char *world_call_from(pid_t ns, int from_port, const char *ip, int port, char to[WORLD_TEXT_BYTES])
{
    return call_from(ns, true, from_port, ip, port, to);
}
