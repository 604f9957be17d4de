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
    if (epoll_ctl(sh->epoll, EPOLL_CTL_ADD, fd, &e) == 0)
        return 0;
    return errno;
}

void source_watch(struct shim *sh, struct source *s, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = s };

    /* Without events the descriptor leaves the set: epoll would go on reporting EPOLLHUP. */
    if (s->fd < 0)
        return;
    if (events == 0)
        epoll_ctl(sh->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    else if (epoll_ctl(sh->epoll, EPOLL_CTL_MOD, s->fd, &e) < 0 && errno == ENOENT)
        epoll_ctl(sh->epoll, EPOLL_CTL_ADD, s->fd, &e);
}

/* Closing takes it out of the set only when no other descriptor stands for the same file: those the agent passed and terminals' masters
 * may have such, but never both in the set, or removed by source_watch before. */
void source_close(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
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
