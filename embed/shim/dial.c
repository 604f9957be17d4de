/* Port-forward: a connection from inside the pod's network namespace, which is ours. */
#include "embed/shim/shim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct dialing {
    struct source src; /* first */
    struct shim *shim;
    struct asker asker;
    int port;
    bool v6;
};

static void dial_next(struct dialing *d, int sys);

static void dial_ready(struct source *src, uint32_t events)
{
    struct dialing *d = (struct dialing *)src;
    int sys = 0;
    socklen_t n = sizeof(sys);

    (void)events;
    if (getsockopt(src->fd, SOL_SOCKET, SO_ERROR, &sys, &n) < 0)
        sys = errno;
    if (sys) {
        source_close(src);
        dial_next(d, sys);
        return;
    }
    reply(d->shim, d->asker, 0, "", NULL, 0, src->fd);
    source_close(src);
    free(d);
}

static int begin(struct dialing *d)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)d->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)d->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(d->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return errno;
    int rc = d->v6 ? connect(fd, (struct sockaddr *)&a6, sizeof(a6)) : connect(fd, (struct sockaddr *)&a4, sizeof(a4));
    int sys = rc < 0 && errno != EINPROGRESS ? errno : source_add(d->shim, &d->src, fd, EPOLLOUT);
    if (sys)
        close(fd);
    return sys;
}

/* 127.0.0.1 first, then ::1; the first failure is what the caller hears. */
static void dial_next(struct dialing *d, int sys)
{
    if (!d->v6) {
        d->v6 = true;
        if (begin(d) == 0)
            return;
    }
    reply(d->shim, d->asker, sys, NULL, NULL, 0, -1);
    free(d);
}

void dial(struct shim *sh, struct asker a, const struct shim_frame *f)
{
    if (f->num[0] <= 0 || f->num[0] > 65535) {
        reply(sh, a, EINVAL, NULL, NULL, 0, -1);
        return;
    }
    struct dialing *d = must(calloc(1, sizeof(*d)));
    *d = (struct dialing){ .src = { -1, dial_ready }, .shim = sh, .asker = a, .port = (int)f->num[0] };
    int sys = begin(d);
    if (sys)
        dial_next(d, sys);
}
