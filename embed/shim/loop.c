#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int source_add(struct shim *sh, struct source *s, int fd, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = s };

    s->fd = fd;
    s->epoll = sh->epoll;
    s->watched = epoll_ctl(sh->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
    return s->watched ? 0 : errno;
}

void source_watch(struct shim *sh, struct source *s, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = s };

    /* Without events the descriptor leaves the set: epoll would go on reporting EPOLLHUP. */
    if (s->fd < 0 || (events == 0 && !s->watched))
        return;
    s->epoll = sh->epoll;
    if (epoll_ctl(sh->epoll, events == 0 ? EPOLL_CTL_DEL : s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &e) == 0)
        s->watched = events != 0;
}

/* Out of the set by name: the agent may hold the same file open, and then closing alone would leave it there, pointing at freed memory. */
void source_close(struct source *s)
{
    if (s->fd >= 0) {
        if (s->watched)
            epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->fd, NULL);
        close(s->fd);
    }
    s->fd = -1;
    s->watched = false;
}

int fd_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

char *must_dup(const char *s)
{
    return must(strdup(s ? s : ""));
}
