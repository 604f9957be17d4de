#include "agent/network/netlink.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int make_socket(int protocol)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    int on = 1;

    /* Both only add words to failures; old kernels lack them. */
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
        (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
    }
    return fd;
}

int nl_open(int protocol, int *ret_fd, struct err *err)
{
    int fd = make_socket(protocol);

    if (fd < 0)
        return err_sys(err, errno, "open a netlink socket");
    *ret_fd = fd;
    return 0;
}

struct visit {
    int netns_fd, protocol;
    int fd, sys;
};

/* Runs in a child that shares our memory and descriptor table while the caller's thread is held: only system calls. */
__attribute__((no_sanitize("address", "undefined", "thread"))) static int visit_namespace(void *arg)
{
    struct visit *v = arg;

    if (setns(v->netns_fd, CLONE_NEWNET) < 0)
        v->sys = errno;
    else if ((v->fd = make_socket(v->protocol)) < 0)
        v->sys = errno;
    syscall(SYS_exit, 0);
    return 0;
}

int nl_open_in(int netns_fd, int protocol, int *ret_fd, struct err *err)
{
    enum { STACK_BYTES = 64 * 1024 };
    AUTO_FREE char *stack = malloc(STACK_BYTES);
    struct visit v = { .netns_fd = netns_fd, .protocol = protocol, .fd = -1 };
    sigset_t all, before;
    pid_t pid;

    if (!stack)
        return err_set(err, ERR_UNAVAILABLE, "netlink: out of memory");
    /* A handler must not run in the child, on our memory. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    /* No exit signal: nobody else's wait can take this child. */
    pid = clone(visit_namespace, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_FILES, &v);
    int failed = errno;
    if (pid >= 0)
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return err_sys(err, failed, "start a child for another network namespace");
    if (v.fd < 0)
        return err_sys(err, v.sys ? v.sys : EIO, "open a netlink socket in another network namespace");
    *ret_fd = v.fd;
    return 0;
}
