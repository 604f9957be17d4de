/* rancherd-shim DIR --oci PROGRAM --oci-root DIR [--net] [--ipc] [--uts] [--pid] [--hostname NAME] [--sysctl NAME=VALUE]...
 * Descriptor 3 is the bound, not yet listening socket. */
#include "embed/shim/shim.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <fcntl.h>

static void take_signals(struct shim *sh)
{
    sigset_t set;

    /* Ends only by SHUTDOWN or SIGKILL: a service manager's SIGTERM to everything must not take the pods down. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sh->signals.ready = jobs_reap;
    if (source_add(sh, &sh->signals, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), EPOLLIN) != 0)
        abort();
}

int main(int argc, char **argv)
{
    struct shim sh = { .signals.fd = -1, .listener.fd = 3, .grace.fd = -1 };

    if (argc < 2)
        return 2;
    /* Buffers of a page and more go back to the system when freed. */
    mallopt(M_MMAP_THRESHOLD, 8 * 1024);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    sh.dir = argv[1];
    sh.buffer = must(malloc(SHIM_FRAME_MAX));
    sh.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (sh.epoll < 0)
        return 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setup(&sh, argv + 2);
    take_signals(&sh);
    conn_listen(&sh);
    while (!sh.ended) {
        struct epoll_event e;
        if (epoll_wait(sh.epoll, &e, 1, -1) == 1) {
            struct source *s = e.data.ptr;
            s->ready(s, e.events);
        }
    }
    return 0;
}
