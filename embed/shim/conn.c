#include "embed/shim/shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REPLY_BYTES = 4096 };

static struct conn *conn_of(const struct shim *sh, uint64_t serial)
{
    for (struct conn *c = sh->conns; c; c = c->next)
        if (c->serial == serial)
            return c;
    return NULL;
}

bool asker_there(const struct shim *sh, struct asker a)
{
    return a.conn && conn_of(sh, a.conn);
}

static void conn_close(struct conn *c)
{
    struct conn **at = &c->shim->conns;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    source_close(&c->src);
    free(c);
}

/* A connection that does not take what we say is closed: the agent comes back and is told the state anew. */
static void send_frame(struct conn *c, const struct shim_writer *w, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec v = { .iov_base = w->at, .iov_len = shim_frame_end(w) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    }
    if (sendmsg(c->src.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        shutdown(c->src.fd, SHUT_RDWR); /* its source sees the end, and closes */
}

void reply(struct shim *sh, struct asker to, int sys, const char *text, const int64_t *nums, int n, int fd)
{
    char at[REPLY_BYTES];
    struct shim_writer w;
    struct conn *c = conn_of(sh, to.conn);

    if (!c)
        return;
    shim_frame_begin(&w, at, sizeof(at), SHIM_REPLY, to.request);
    shim_frame_num(&w, 0, sys);
    for (int i = 0; i < n; i++)
        shim_frame_num(&w, i + 1, nums[i]);
    shim_frame_str(&w, sys && !text ? strerror(sys) : text);
    send_frame(c, &w, fd);
}

static void container_frame(struct shim_writer *w, char *at, size_t cap, const struct container *c)
{
    const int64_t nums[SHIM_NUMS] = { c->state, c->pid, c->created_us, c->started_us, c->finished_us, c->exit_code, c->signal, c->oom_killed };

    shim_frame_begin(w, at, cap, SHIM_CONTAINER, 0);
    for (int i = 0; i < SHIM_NUMS; i++)
        shim_frame_num(w, i, nums[i]);
    shim_frame_str(w, c->id);
}

void tell_container(struct shim *sh, const struct container *c)
{
    char at[REPLY_BYTES];
    struct shim_writer w;

    container_frame(&w, at, sizeof(at), c);
    for (struct conn *to = sh->conns; to; to = to->next)
        send_frame(to, &w, -1);
}

static void close_all(int *fds)
{
    for (int i = 0; i < SHIM_FDS_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Takes descriptors out of fds as it uses them. */
static void request(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings, int *fds)
{
    if (sh->ending && f->type != SHIM_KILL && f->type != SHIM_REMOVE && f->type != SHIM_SHUTDOWN) {
        reply(sh, a, ESHUTDOWN, "the pod is being removed", NULL, 0, -1);
        return;
    }
    switch (f->type) {
    case SHIM_START:    container_start(sh, a, f, strings); break;
    case SHIM_KILL:     container_kill(sh, a, f, strings); break;
    case SHIM_REMOVE:   container_remove(sh, a, strings); break;
    case SHIM_ROTATE:   container_rotate(sh, a, strings); break;
    case SHIM_EXEC:     session_exec(sh, a, f, strings, fds); break;
    case SHIM_ATTACH:   session_attach(sh, a, f, strings, fds); break;
    case SHIM_DIAL:     dial(sh, a, f); break;
    case SHIM_SHUTDOWN: shutdown_begin(sh, a); break;
    default:            reply(sh, a, EOPNOTSUPP, "this shim does not know such a request", NULL, 0, -1);
    }
}

static ssize_t receive(struct conn *c, int *fds)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(SHIM_FDS_MAX * sizeof(int))];
    } control = { 0 };
    struct iovec v = { .iov_base = c->shim->buffer, .iov_len = SHIM_FRAME_MAX };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(c->src.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
            memcpy(fds, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0) <= SHIM_FDS_MAX * sizeof(int) ? h->cmsg_len - CMSG_LEN(0) : 0);
    if (n > 0 && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 0;
    return n;
}

static void conn_ready(struct source *s, uint32_t events)
{
    struct conn *c = (struct conn *)s;
    struct shim *sh = c->shim;
    int fds[SHIM_FDS_MAX] = { -1, -1, -1, -1 };
    struct shim_frame f;
    ssize_t n = receive(c, fds);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || shim_frame_read(sh->buffer, (size_t)n, &f) < 0) {
        close_all(fds);
        conn_close(c);
        return;
    }
    struct asker a = { .conn = c->serial, .request = f.id };
    request(sh, a, &f, shim_frame_strings(sh->buffer, &f), fds);
    close_all(fds);
    if (n > 8 * 1024) /* long requests are rare: their pages go back */
        madvise((void *)(((uintptr_t)sh->buffer + 4095) & ~(uintptr_t)4095), SHIM_FRAME_MAX - 4096, MADV_DONTNEED);
}

static void greet(struct conn *c)
{
    struct shim *sh = c->shim;
    char at[REPLY_BYTES];
    struct shim_writer w;

    shim_frame_begin(&w, at, sizeof(at), SHIM_HELLO, 0);
    shim_frame_num(&w, 0, SHIM_PROTOCOL_FORMAT);
    shim_frame_num(&w, 1, getpid());
    shim_frame_num(&w, 3, sh->setup_errno);
    shim_frame_num(&w, 4, sh->init);
    shim_frame_str(&w, sh->setup_text);
    send_frame(c, &w, -1);
    for (const struct container *k = sh->containers; k; k = k->next) {
        container_frame(&w, at, sizeof(at), k);
        send_frame(c, &w, -1);
    }
    shim_frame_begin(&w, at, sizeof(at), SHIM_READY, 0);
    send_frame(c, &w, -1);
}

static void listener_ready(struct source *s, uint32_t events)
{
    struct shim *sh = (struct shim *)((char *)s - offsetof(struct shim, listener));
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), n = 0, room = 1024 * 1024;

    (void)events;
    if (fd < 0)
        return;
    for (struct conn *k = sh->conns; k; k = k->next)
        n++;
    if (n >= CONNS_MAX) {
        close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    struct conn *c = must(calloc(1, sizeof(*c)));
    *c = (struct conn){ .src.ready = conn_ready, .shim = sh, .next = sh->conns, .serial = ++sh->serial };
    sh->conns = c;
    if (source_add(sh, &c->src, fd, EPOLLIN) != 0)
        conn_close(c);
    else
        greet(c);
}

void conn_listen(struct shim *sh)
{
    sh->listener.ready = listener_ready;
    if (fd_nonblock(3) < 0 || listen(3, 16) < 0 || source_add(sh, &sh->listener, 3, EPOLLIN) != 0)
        abort();
}
