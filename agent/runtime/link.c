/* One connection to a shim: frames are read on the loop, workers wait for their answers. */
#include "agent/runtime/runtime_int.h"

#include "lib/log.h"
#include "lib/mem.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { FRAME_IN_MAX = 8192, FRAMES_A_TURN = 32, CANCEL_LOOK_MS = 100, GREETING_MS = 10000 };

struct waiter {
    struct waiter *next;
    uint64_t id;
    bool done;
    struct reply *reply;
};

/* `lock` guards waiters, next_id, ready and dead. poll belongs to the loop. */
struct link {
    _Atomic int refs;
    struct pod *pod;
    int fd;
    uv_poll_t poll;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on the monotonic clock */
    struct waiter *waiters;
    uint64_t next_id;
    bool ready, dead, closing;
    int setup_errno;
    char setup_text[SHIM_TEXT_MAX + 1];
    pid_t shim_pid, init;
};

void link_unref(struct link *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) > 1)
        return;
    struct runtime *rt = l->pod->rt;
    if (l->fd >= 0)
        close(l->fd);
    pod_unref(l->pod);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->changed);
    free(l);
    pthread_mutex_lock(&rt->lock);
    if (--rt->links == 0)
        pthread_cond_broadcast(&rt->idle);
    pthread_mutex_unlock(&rt->lock);
}

static void on_closed(uv_handle_t *h)
{
    link_unref(h->data);
}

static void close_on_loop(void *arg)
{
    struct link *l = arg;

    pthread_mutex_lock(&l->lock);
    l->dead = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (!uv_is_closing((uv_handle_t *)&l->poll))
        uv_close((uv_handle_t *)&l->poll, on_closed);
    link_unref(l);
}

void link_close(struct link *l)
{
    atomic_fetch_add(&l->refs, 1);
    loop_post(l->pod->rt->loop, close_on_loop, l);
}

/* The shim hung up or talks nonsense. */
static void broken(struct link *l)
{
    struct pod *p = l->pod;

    pthread_mutex_lock(&l->lock);
    l->dead = true;
    bool was_ready = l->ready;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);

    pthread_mutex_lock(&p->rt->lock);
    bool mine = p->link == l;
    if (mine)
        p->link = NULL;
    bool look = mine && was_ready && !p->removing && !p->rt->closing;
    pthread_mutex_unlock(&p->rt->lock);
    if (look)
        pod_job(p, pod_lost);
    if (!uv_is_closing((uv_handle_t *)&l->poll))
        uv_close((uv_handle_t *)&l->poll, on_closed);
    if (mine)
        link_unref(l);
}

static void take_container(struct link *l, const struct shim_frame *f, const char *id)
{
    struct pod *p = l->pod;
    bool ended = false;

    pthread_mutex_lock(&p->rt->lock);
    struct runtime_container *c = pod_container(p, id);
    if (c) {
        ended = f->num[0] == SHIM_STATE_EXITED && c->at.state != CONTAINER_EXITED;
        c->at.state = f->num[0] == SHIM_STATE_EXITED ? CONTAINER_EXITED : f->num[0] == SHIM_STATE_RUNNING ? CONTAINER_RUNNING : CONTAINER_CREATED;
        c->at.pid = (pid_t)f->num[1];
        c->at.started_us = f->num[3];
        c->at.finished_us = f->num[4];
        c->at.exit_code = (int)f->num[5];
        c->at.signal = (int)f->num[6];
        c->at.oom_killed = f->num[7] != 0;
        c->known = true;
    }
    pthread_mutex_unlock(&p->rt->lock);
    if (ended)
        pod_event(p, RUNTIME_EXITED, id);
}

static void take_reply(struct link *l, const struct shim_frame *f, const char *text, int *fd)
{
    LOCK_SCOPE(&l->lock);

    for (struct waiter *w = l->waiters; w; w = w->next) {
        if (w->id != f->id)
            continue;
        memcpy(w->reply->num, f->num, sizeof(w->reply->num));
        snprintf(w->reply->text, sizeof(w->reply->text), "%s", text ? text : "");
        w->reply->fd = *fd;
        *fd = -1;
        w->done = true;
        pthread_cond_broadcast(&l->changed);
        return;
    }
}

static void take_frame(struct link *l, const struct shim_frame *f, const char *first, int *fd)
{
    switch (f->type) {
    case SHIM_HELLO:
        l->shim_pid = (pid_t)f->num[1];
        l->init = (pid_t)f->num[4];
        l->setup_errno = f->num[0] >= 1 ? (int)f->num[3] : EPROTO;
        snprintf(l->setup_text, sizeof(l->setup_text), "%s", first ? first : "");
        break;
    case SHIM_CONTAINER:
        if (first)
            take_container(l, f, first);
        break;
    case SHIM_READY:
        pthread_mutex_lock(&l->lock);
        l->ready = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->lock);
        break;
    case SHIM_REPLY:
        take_reply(l, f, first, fd);
        break;
    default: /* a newer shim's word */
        break;
    }
}

static ssize_t receive(struct link *l, char *at, size_t cap, int *ret_fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec v = { .iov_base = at, .iov_len = cap };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(l->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(h), sizeof(int));
    return n > 0 && (m.msg_flags & MSG_TRUNC) ? 0 : n;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct link *l = poll->data;
    char at[FRAME_IN_MAX];

    (void)events;
    for (int i = 0; i < FRAMES_A_TURN; i++) {
        struct shim_frame f;
        AUTO_FD int fd = -1;
        ssize_t n = status < 0 ? 0 : receive(l, at, sizeof(at), &fd);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || shim_frame_read(at, (size_t)n, &f) < 0) {
            broken(l);
            return;
        }
        struct shim_strings strings = shim_frame_strings(at, &f);
        take_frame(l, &f, shim_strings_next(&strings), &fd);
    }
}

static void begin_on_loop(void *arg)
{
    struct link *l = arg;

    l->poll.data = l;
    int rc = uv_poll_init(loop_uv(l->pod->rt->loop), &l->poll, l->fd);
    if (rc == 0)
        rc = uv_poll_start(&l->poll, UV_READABLE, on_readable);
    assert(rc == 0); /* a socket of ours */
}

/* Waiting. */

static struct timespec until(int64_t after_ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += after_ms / 1000;
    t.tv_nsec += after_ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* With the lock held. */
static CHECK_RC int await(struct ctx *ctx, struct link *l, const bool *done, struct err *err)
{
    while (!*done) {
        if (l->dead)
            return err_set(err, ERR_UNAVAILABLE, "the shim of pod %s is gone", l->pod->uid);
        int rc = ctx_check(ctx, err);
        if (rc < 0)
            return err_wrap(err, "wait for the shim of pod %s", l->pod->uid);
        int64_t ms = ctx_left_ms(ctx);
        if (ctx->cancel && ms > CANCEL_LOOK_MS)
            ms = CANCEL_LOOK_MS; /* the flag wakes nobody */
        if (ms > 3600000)
            ms = 3600000;
        struct timespec t = until(ms);
        pthread_cond_timedwait(&l->changed, &l->lock, &t);
    }
    return 0;
}

static CHECK_RC int await_locked(struct ctx *ctx, struct link *l, const bool *done, struct err *err)
{
    pool_wait_begin();
    pthread_mutex_lock(&l->lock);
    int rc = await(ctx, l, done, err);
    pthread_mutex_unlock(&l->lock);
    pool_wait_end();
    return rc;
}

/* Connecting. */

static CHECK_RC int dial(struct pod *p, int *ret, struct err *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int room = 1024 * 1024;

    if (fd < 0)
        return err_sys(err, errno, "make a socket");
    /* Through the folder's descriptor: socket paths are short, folders may be long. */
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%.*s.sock", p->rt->run_fd, UID_MAX_BYTES, p->uid);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        int rc = err_sys(err, errno, "connect to the shim of pod %s", p->uid);
        if (rc != -ERR_UNAVAILABLE)
            err->code = ERR_UNAVAILABLE;
        return -ERR_UNAVAILABLE;
    }
    *ret = TAKE_FD(fd);
    return 0;
}

static struct link *link_new(struct pod *p, int fd)
{
    struct link *l = MEM_NEW(struct link);
    pthread_condattr_t attr;

    l->refs = 2; /* the caller's and the loop's */
    l->pod = pod_ref(p);
    l->fd = fd;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&p->rt->lock);
    p->rt->links++;
    pthread_mutex_unlock(&p->rt->lock);
    loop_post(p->rt->loop, begin_on_loop, l);
    return l;
}

int link_open(struct ctx *ctx, struct pod *p, struct err *err)
{
    struct ctx wait = ctx_with_timeout(ctx, GREETING_MS);
    struct process_id id;
    int fd = -1;
    int rc = dial(p, &fd, err);

    if (rc < 0)
        return rc;
    AUTO(link) struct link *l = link_new(p, fd);
    rc = await_locked(&wait, l, &l->ready, err);
    if (rc == 0 && l->setup_errno)
        rc = err_set(err, ERR_IO, "%s", l->setup_text);
    if (rc == 0)
        rc = process_identify(p->rt, l->shim_pid, &id, err);
    if (rc < 0) {
        link_close(l);
        return rc;
    }
    pthread_mutex_lock(&p->rt->lock);
    p->shim = id;
    p->init = l->init;
    assert(!p->link);
    p->link = l;
    atomic_fetch_add(&l->refs, 1); /* the pod's */
    pthread_mutex_unlock(&p->rt->lock);
    pthread_mutex_lock(&l->lock);
    bool dead = l->dead; /* it broke before it was the pod's: then nobody has looked yet */
    pthread_mutex_unlock(&l->lock);
    if (!dead)
        return 0;
    pthread_mutex_lock(&p->rt->lock);
    bool mine = p->link == l;
    if (mine)
        p->link = NULL;
    pthread_mutex_unlock(&p->rt->lock);
    if (mine)
        link_unref(l);
    return err_set(err, ERR_UNAVAILABLE, "the shim of pod %s is gone", p->uid);
}

int pod_link(struct pod *p, struct link **ret, struct err *err)
{
    LOCK_SCOPE(&p->rt->lock);

    if (!p->link)
        return err_set(err, ERR_UNAVAILABLE, "pod %s has no running sandbox", p->uid);
    atomic_fetch_add(&p->link->refs, 1);
    *ret = p->link;
    return 0;
}

/* Calling. */

static CHECK_RC int send_frame(struct ctx *ctx, struct link *l, const struct shim_writer *w, const int *fds, int n_fds, struct err *err)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(SHIM_FDS_MAX * sizeof(int))];
    } control = { 0 };
    struct iovec v = { .iov_base = w->at, .iov_len = w->n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    size_t fd_bytes = (size_t)n_fds * sizeof(int);

    if (n_fds > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(fd_bytes);
        control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(fd_bytes), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.head), fds, fd_bytes);
    }
    while (sendmsg(l->fd, &m, MSG_NOSIGNAL) < 0) {
        if (errno == EPIPE || errno == ECONNRESET)
            return err_set(err, ERR_UNAVAILABLE, "the shim of pod %s is gone", l->pod->uid);
        if (errno != EAGAIN && errno != EINTR)
            return err_sys(err, errno, "send to the shim of pod %s", l->pod->uid);
        int rc = ctx_check(ctx, err);
        if (rc < 0)
            return err_wrap(err, "send to the shim of pod %s", l->pod->uid);
        struct pollfd p = { .fd = l->fd, .events = POLLOUT };
        poll(&p, 1, CANCEL_LOOK_MS);
    }
    return 0;
}

static void leave(struct link *l, struct waiter *w)
{
    LOCK_SCOPE(&l->lock);

    for (struct waiter **at = &l->waiters; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            return;
        }
}

static CHECK_RC int shim_error(const struct reply *r, struct err *err)
{
    static const struct {
        int sys;
        enum err_code code;
    } codes[] = { { ESRCH, ERR_NOT_FOUND }, { EEXIST, ERR_EXISTS }, { EINVAL, ERR_INVALID },  { E2BIG, ERR_TOO_MANY },
                  { EBUSY, ERR_CONFLICT },  { EAGAIN, ERR_CONFLICT }, { EALREADY, ERR_CONFLICT }, { ESHUTDOWN, ERR_UNAVAILABLE } };

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i].sys == r->num[0])
            return err_set(err, codes[i].code, "%s", r->text);
    return err_set(err, ERR_IO, "%s", r->text);
}

int link_call(struct ctx *ctx, struct link *l, struct shim_writer *w, const int *fds, int n_fds, struct reply *ret, struct err *err)
{
    struct reply reply = { .fd = -1 };
    struct waiter me = { .reply = &reply };

    assert(!loop_inside(l->pod->rt->loop));
    if (shim_frame_end(w) == 0)
        return err_set(err, ERR_TOO_LARGE, "a request to the shim of more than %zu bytes or %d strings", w->cap, SHIM_STRINGS_MAX);
    pthread_mutex_lock(&l->lock);
    me.id = ++l->next_id;
    me.next = l->waiters;
    l->waiters = &me;
    pthread_mutex_unlock(&l->lock);
    memcpy(w->at + offsetof(struct shim_frame, id), &me.id, sizeof(me.id));
    int rc = send_frame(ctx, l, w, fds, n_fds, err);
    if (rc == 0)
        rc = await_locked(ctx, l, &me.done, err);
    leave(l, &me);
    if (rc == 0 && reply.num[0])
        rc = shim_error(&reply, err);
    if (rc == 0)
        *ret = reply;
    else if (reply.fd >= 0)
        close(reply.fd);
    return rc;
}
