#include "lib/http/server_int.h"

#include "lib/log.h"
#include "lib/mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum { BACKLOG = 1024, ACCEPT_BUDGET = 64, ACCEPT_AGAIN_MS = 200 };
enum { CONNECTIONS_DEFAULT = 4096, BODY_DEFAULT_BYTES = 3 * 1024 * 1024 + 64 * 1024, IDLE_DEFAULT_MS = 120000 };

/* --- the server's life --- */

int http_server_new(const struct http_server_options *options, struct http_server **ret, struct err *err)
{
    struct http_server *s = MEM_NEW(struct http_server);
    pthread_condattr_t monotonic;
    int rc = 0;

    assert(options->n_loops > 0 && options->handler);
    s->refs = 1;
    s->o = *options;
    s->o.connections_max = s->o.connections_max ? s->o.connections_max : CONNECTIONS_DEFAULT;
    s->o.body_max_bytes = s->o.body_max_bytes ? s->o.body_max_bytes : BODY_DEFAULT_BYTES;
    s->o.idle_ms = s->o.idle_ms ? s->o.idle_ms : IDLE_DEFAULT_MS;
    s->tls = options->tls ? tls_ctx_ref(options->tls) : NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->sites = mem_zalloc(options->n_loops * sizeof(*s->sites));
    for (; rc == 0 && s->n_sites < options->n_loops; s->n_sites += rc == 0)
        rc = site_init(&s->sites[s->n_sites], s, options->loops[s->n_sites], err);
    s->open_sites = (int)s->n_sites;
    if (rc < 0) {
        http_server_free(s);
        return err_wrap(err, "make an HTTP server");
    }
    *ret = s;
    return 0;
}

void server_unref(struct http_server *s)
{
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    for (size_t i = 0; i < s->n_sites; i++) {
        pthread_mutex_destroy(&s->sites[i].lock);
        pthread_mutex_destroy(&s->sites[i].cancel_lock);
    }
    tls_ctx_unref(s->tls);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s->sites);
    free(s);
}

void http_server_set_tls(struct http_server *s, struct tls_ctx *tls)
{
    LOCK_SCOPE(&s->lock);
    tls_ctx_unref(s->tls);
    s->tls = tls ? tls_ctx_ref(tls) : NULL;
}

struct tls_ctx *server_tls(struct http_server *s)
{
    LOCK_SCOPE(&s->lock);
    return s->tls ? tls_ctx_ref(s->tls) : NULL;
}

void http_server_stats(struct http_server *s, struct http_server_stats *ret)
{
    *ret = (struct http_server_stats){ s->connections, s->requests, s->streams, s->bytes_queued };
}

void server_peer_count(struct http_server *s, int change)
{
    s->connections += change;
    if (change < 0)
        server_accept_again(s);
    /* Last: who waits for the end of all peers frees the server. */
    pthread_mutex_lock(&s->lock);
    s->peers += change;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* --- stopping --- */

/* Waits until nobody is connected; with an end, at most that long. */
static void wait_for_peers(struct http_server *s, const struct timespec *end)
{
    LOCK_SCOPE(&s->lock);
    while (s->peers > 0)
        if (!end)
            pthread_cond_wait(&s->changed, &s->lock);
        else if (pthread_cond_timedwait(&s->changed, &s->lock, end) == ETIMEDOUT)
            return;
}

static void post_all(struct http_server *s, void (*fn)(void *arg))
{
    for (size_t i = 0; i < s->n_sites; i++)
        loop_post(s->sites[i].loop, fn, &s->sites[i]);
}

void http_server_stop(struct http_server *s, int64_t grace_ms)
{
    struct timespec end;

    if (s->stopped)
        return;
    for (size_t i = 0; i < s->n_sites; i++)
        assert(!loop_inside(s->sites[i].loop)); /* it waits for them */
    s->stopped = true;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = end.tv_nsec + grace_ms % 1000 * 1000000;
    end.tv_sec += (time_t)(grace_ms / 1000 + ns / 1000000000);
    end.tv_nsec = (long)(ns % 1000000000);

    s->stopping = true;
    post_all(s, site_stop);
    wait_for_peers(s, &end);
    post_all(s, site_kill);
    wait_for_peers(s, NULL);
    LOCK_SCOPE(&s->lock);
    while (s->open_sites > 0 || s->open_listeners > 0)
        pthread_cond_wait(&s->changed, &s->lock);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    http_server_stop(s, 0);
    server_unref(s);
}

/* --- accepting --- */

struct arrival {
    struct site *site;
    int fd;
};

static void arrive(void *arg)
{
    struct arrival *a = arg;

    if (a->site->open && !a->site->server->stopping) {
        peer_accept(a->site, a->fd);
    } else {
        (void)close(a->fd);
        a->site->server->handshakes--;
        server_peer_count(a->site->server, -1);
    }
    free(a);
}

static bool room(const struct http_server *s)
{
    return s->connections < s->o.connections_max && s->handshakes < HANDSHAKES_MAX;
}

void server_take(struct http_server *s, int fd)
{
    struct site *site = &s->sites[s->turn++ % s->n_sites];
    struct arrival *a = mem_alloc(sizeof(*a));

    *a = (struct arrival){ site, fd };
    s->handshakes++;
    server_peer_count(s, 1);
    if (loop_inside(site->loop))
        arrive(a);
    else
        loop_post(site->loop, arrive, a);
}

static void pause_accepting(struct http_server *s)
{
    s->accept_paused = true;
    for (struct listener *l = s->listeners; l; l = l->next) {
        if (l->polling)
            uv_poll_stop(&l->poll);
        l->polling = false;
    }
}

/* Idle ones and those who don't come through their handshake make room. */
static void press(struct http_server *s)
{
    s->refs += (int)s->n_sites;
    post_all(s, site_press);
}

static void accept_later(void *arg)
{
    struct http_server *s = arg;

    if (!s->stopping)
        listeners_resume(s);
    server_unref(s);
}

static bool out_of_something(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;
    struct http_server *s = l->server;

    (void)status, (void)events;
    for (int budget = ACCEPT_BUDGET; budget > 0; budget--) {
        if (!room(s)) {
            pause_accepting(s);
            press(s);
            server_accept_again(s); /* unless room came meanwhile, whose end asked too early */
            return;
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            server_take(s, fd);
        } else if (out_of_something(errno)) {
            /* The connection waits in the backlog; without the pause we would spin on it. */
            log_warn("accept", "err=%s", log_q(strerror(errno)));
            pause_accepting(s);
            s->refs++;
            loop_timer_start(s->sites->loop, ACCEPT_AGAIN_MS, accept_later, s);
            return;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

void listeners_resume(struct http_server *s)
{
    s->accept_paused = false;
    for (struct listener *l = s->listeners; l; l = l->next) {
        if (!l->polling)
            uv_poll_start(&l->poll, UV_READABLE, on_connection);
        l->polling = true;
    }
}

static void accept_again(void *arg)
{
    struct http_server *s = arg;

    if (s->accept_paused && !s->stopping && room(s))
        listeners_resume(s);
    server_unref(s);
}

void server_accept_again(struct http_server *s)
{
    if (!s->accept_paused || s->stopping || !room(s))
        return;
    s->refs++;
    loop_post(s->sites->loop, accept_again, s);
}

/* --- listening --- */

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    struct http_server *s = l->server;

    (void)close(l->fd);
    if (l->path)
        (void)unlink(l->path);
    free(l->path);
    free(l);
    pthread_mutex_lock(&s->lock);
    s->open_listeners--;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void listeners_close(struct http_server *s)
{
    while (s->listeners) {
        struct listener *l = s->listeners;

        s->listeners = l->next;
        uv_close((uv_handle_t *)&l->poll, on_listener_closed);
    }
}

static void listener_open(void *arg)
{
    struct listener *l = arg;
    struct http_server *s = l->server;

    uv_poll_init(loop_uv(s->sites->loop), &l->poll, l->fd);
    l->poll.data = l;
    l->next = s->listeners;
    s->listeners = l;
    if (!s->accept_paused)
        uv_poll_start(&l->poll, UV_READABLE, on_connection);
    l->polling = !s->accept_paused;
}

static int unix_address(const char *path, struct sockaddr_storage *to, socklen_t *ret_n)
{
    struct sockaddr_un *un = (void *)to;
    struct stat st;

    if (strlen(path) >= sizeof(un->sun_path))
        return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    *ret_n = sizeof(*un);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path); /* left behind by a process that was killed */
    return 0;
}

static int parse_address(const char *address, int port, struct sockaddr_storage *to, socklen_t *ret_n)
{
    struct sockaddr_in *in = (void *)to;
    struct sockaddr_in6 *in6 = (void *)to;

    memset(to, 0, sizeof(*to));
    if (address[0] == '/')
        return unix_address(address, to, ret_n);
    if (inet_pton(AF_INET, address, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        *ret_n = sizeof(*in);
        return 0;
    }
    if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        *ret_n = sizeof(*in6);
        return 0;
    }
    return -EADDRNOTAVAIL;
}

static int open_socket(const struct sockaddr_storage *sa, socklen_t n, const char **step)
{
    int on = 1;

    *step = "socket";
    AUTO_FD int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (sa->ss_family == AF_UNIX)
        (void)fchmod(fd, 0600); /* the mode the path will get */
    else
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    *step = "bind";
    if (bind(fd, (const struct sockaddr *)sa, n) < 0)
        return -errno;
    *step = "listen";
    if (listen(fd, BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int bound_port(int fd)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t n = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
        return 0;
    if (sa.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&sa)->sin_port);
    return sa.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&sa)->sin6_port) : 0;
}

int http_server_listen(struct http_server *s, const char *address, int port, int *ret_port, struct err *err)
{
    struct sockaddr_storage sa;
    socklen_t n = 0;
    const char *step = "address";
    bool path = address[0] == '/', v6 = strchr(address, ':') != NULL;
    int fd = parse_address(address, port, &sa, &n);

    if (fd == 0)
        fd = open_socket(&sa, n, &step);
    if (fd < 0) {
        char reason[64];

        snprintf(reason, sizeof(reason), "%s", strerror(-fd));
        if (reason[0] >= 'A' && reason[0] <= 'Z')
            reason[0] = (char)(reason[0] + 32); /* "address already in use", as Go says it */
        return path ? err_set(err, ERR_UNAVAILABLE, "listen unix %s: %s: %s", address, step, reason)
                    : err_set(err, ERR_UNAVAILABLE, v6 ? "listen tcp [%s]:%d: %s: %s" : "listen tcp %s:%d: %s: %s", address, port,
                              step, reason);
    }
    struct listener *l = MEM_NEW(struct listener);
    l->server = s;
    l->fd = fd;
    l->path = path ? mem_strdup(address) : NULL;
    if (ret_port)
        *ret_port = path ? 0 : bound_port(fd);
    pthread_mutex_lock(&s->lock);
    s->open_listeners++;
    pthread_mutex_unlock(&s->lock);
    loop_post(s->sites->loop, listener_open, l);
    return 0;
}
