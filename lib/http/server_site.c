#include "lib/http/server_int.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- identity --- */

static void copy_cert(const struct tls_peer *from, struct tls_peer *to)
{
    const char **organizations = mem_alloc((from->n_organizations + 1) * sizeof(char *));
    struct slice der = from->der;

    for (size_t i = 0; i < from->n_organizations; i++)
        organizations[i] = mem_strdup(from->organizations[i]);
    organizations[from->n_organizations] = NULL;
    *to = *from;
    to->common_name = mem_strdup(from->common_name);
    to->organizations = organizations;
    to->der.at = slice_dup(der);
}

struct identity *identity_new(const struct conn *c)
{
    struct identity *id = MEM_NEW(struct identity);
    const struct tls *tls = conn_tls(c);
    struct tls_peer cert;

    id->refs = 1;
    id->address = mem_strdup(conn_peer_address(c));
    if (!tls)
        return id;
    id->has_cert = tls_peer(tls, &cert);
    if (id->has_cert)
        copy_cert(&cert, &id->cert);
    else
        id->cert_error = mem_strdup(tls_peer_error(tls));
    return id;
}

struct identity *identity_ref(struct identity *id)
{
    id->refs++;
    return id;
}

void identity_unref(struct identity *id)
{
    if (!id || atomic_fetch_sub(&id->refs, 1) > 1)
        return;
    if (id->has_cert) {
        for (size_t i = 0; i < id->cert.n_organizations; i++)
            free((char *)id->cert.organizations[i]);
        free((void *)id->cert.organizations);
        free((char *)id->cert.common_name);
        free((char *)id->cert.der.at);
    }
    free(id->cert_error);
    free(id->address);
    free(id);
}

/* --- peers --- */

int64_t peer_now(const struct peer *p)
{
    return (int64_t)uv_now(loop_uv(p->site->loop));
}

static void site_wake(struct site *s);

void peer_dirty(struct peer *p)
{
    if (p->dirty || !p->conn)
        return;
    p->dirty = true;
    p->dirty_next = p->site->dirty;
    p->site->dirty = p;
    site_wake(p->site);
}

void peer_touch(struct peer *p, int64_t deadline_after_ms)
{
    p->active_ms = peer_now(p);
    site_arm(p->site, p->active_ms + deadline_after_ms);
}

void peer_linger(struct peer *p)
{
    p->state = PEER_LINGER;
    p->since_ms = peer_now(p);
    conn_resume(p->conn);
    conn_shutdown(p->conn);
    peer_touch(p, LINGER_MS);
}

static void handshake_over(struct peer *p)
{
    p->site->server->handshakes--;
    server_accept_again(p->site->server);
}

static void on_ready(struct conn *c, void *arg)
{
    struct peer *p = arg;
    const struct tls *tls = conn_tls(c);

    handshake_over(p);
    p->identity = identity_new(c);
    p->plain = !tls;
    if (tls && strcmp(tls_alpn(tls), "h2") == 0)
        peer_h2_new(p);
    else
        peer_h1_new(p);
    if (p->site->server->stopping)
        (p->state == PEER_H2 ? peer_h2_stop : peer_h1_stop)(p);
    peer_touch(p, HEAD_MS < p->site->server->o.idle_ms ? HEAD_MS : p->site->server->o.idle_ms);
}

static void on_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct peer *p = arg;

    (void)c;
    p->active_ms = peer_now(p);
    if (p->state == PEER_H1)
        peer_h1_data(p, data, n);
    else if (p->state == PEER_H2)
        peer_h2_data(p, data, n);
}

static void on_drain(struct conn *c, void *arg)
{
    (void)c;
    peer_dirty(arg);
}

static void on_eof(struct conn *c, void *arg)
{
    struct peer *p = arg;

    if (p->state == PEER_H1)
        peer_h1_eof(p);
    else
        conn_close(c);
}

/* The peer's memory goes after the requests heard of it and no list holds it. */
static void peer_free(struct peer *p)
{
    struct site *s = p->site;

    while (p->requests)
        request_gone(p->requests);
    peer_h1_free(p->h1);
    peer_h2_free(p->h2);
    identity_unref(p->identity);
    if (p->prev)
        p->prev->next = p->next;
    else
        s->peers = p->next;
    if (p->next)
        p->next->prev = p->prev;
    for (struct peer **at = &s->dirty; p->dirty && *at; at = &(*at)->dirty_next)
        if (*at == p) {
            *at = p->dirty_next;
            break;
        }
    struct http_server *server = s->server;
    free(p);
    server_peer_count(server, -1);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct peer *p = arg;

    (void)c;
    p->conn = NULL;
    if (p->state == PEER_HANDSHAKE) {
        handshake_over(p);
        /* Scanners and probes: no matter for the log, unless somebody is looking. */
        if (why)
            log_debug("connection refused", "err=%s", log_q(why->msg));
    }
    peer_free(p);
}

static const struct conn_ops peer_ops = { on_ready, on_data, on_drain, on_eof, on_close };

static const char not_tls[] = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
                              "Client sent an HTTP request to an HTTPS server.\n";

static void nobody_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)arg, (void)data, (void)n;
    conn_abort(c, NULL);
}

static void nobody_close(struct conn *c, void *arg, const struct err *why)
{
    (void)c, (void)arg, (void)why;
}

static const struct conn_ops nobody = { .on_data = nobody_data, .on_close = nobody_close };

struct conn *peer_hand_over(struct peer *p)
{
    struct conn *c = TAKE(p->conn);

    conn_set_ops(c, &nobody, NULL); /* until the new owner sets his own */
    peer_free(p);
    return c;
}

void peer_accept(struct site *s, int fd)
{
    struct peer *p = MEM_NEW(struct peer);
    struct tls_ctx *tls = server_tls(s->server);

    p->site = s;
    p->next = s->peers;
    if (p->next)
        p->next->prev = p;
    s->peers = p;
    p->conn = conn_accept(s->loop, fd, tls, 0, &peer_ops, p);
    conn_set_not_tls(p->conn, not_tls);
    tls_ctx_unref(tls);
    p->since_ms = peer_now(p);
    peer_touch(p, HANDSHAKE_MS);
}

static int64_t peer_due_ms(const struct peer *p)
{
    switch (p->state) {
    case PEER_HANDSHAKE:
        return p->since_ms + (p->site->server->accept_paused ? PRESSED_MS : HANDSHAKE_MS);
    case PEER_LINGER:
        return p->since_ms + LINGER_MS;
    case PEER_H1:
        return peer_h1_due_ms(p);
    case PEER_H2:
        return peer_h2_due_ms(p);
    }
    return INT64_MAX;
}

static void peer_late(struct peer *p, int64_t now_ms)
{
    if (p->state == PEER_H1)
        peer_h1_late(p, now_ms);
    else if (p->state == PEER_H2)
        peer_h2_late(p, now_ms);
    else
        conn_abort(p->conn, NULL);
}

/* --- the site --- */

static void on_timer(uv_timer_t *timer)
{
    struct site *s = timer->data;
    int64_t now_ms = (int64_t)uv_now(loop_uv(s->loop)), due_ms = INT64_MAX;

    s->due_ms = INT64_MAX;
    for (struct peer *p = s->peers, *next; p; p = next) {
        next = p->next;
        if (peer_due_ms(p) <= now_ms)
            peer_late(p, now_ms); /* never frees: a conn closes later */
        int64_t due = peer_due_ms(p);
        if (due <= now_ms) /* being closed */
            due = now_ms + LINGER_MS;
        due_ms = due < due_ms ? due : due_ms;
    }
    if (s->server->accept_paused && s->peers && due_ms > now_ms + PRESSED_MS)
        due_ms = now_ms + PRESSED_MS; /* who falls idle meanwhile */
    if (due_ms < INT64_MAX)
        site_arm(s, due_ms > now_ms + SWEEP_MS ? due_ms : now_ms + SWEEP_MS);
}

void site_arm(struct site *s, int64_t due_ms)
{
    int64_t now_ms = (int64_t)uv_now(loop_uv(s->loop));

    if (due_ms >= s->due_ms || !s->open)
        return;
    s->due_ms = due_ms;
    uv_timer_start(&s->timer, on_timer, due_ms > now_ms ? (uint64_t)(due_ms - now_ms) : 0, 0);
}

static void run_posts(struct site *s)
{
    pthread_mutex_lock(&s->lock);
    struct http_request *r = s->posted;
    s->posted = s->posted_last = NULL;
    s->woken = false;
    pthread_mutex_unlock(&s->lock);

    while (r) {
        /* What is asked until now is seen by this step; later it is posted anew, which changes the link. */
        pthread_mutex_lock(&s->lock);
        struct http_request *next = r->posted_next;
        r->posted = false;
        pthread_mutex_unlock(&s->lock);
        request_step(r);
        request_unref(r);
        r = next;
    }
}

/* Once an iteration: what was asked for, then one flush a connection. */
static void on_idle(uv_idle_t *idle)
{
    struct site *s = idle->data;

    uv_idle_stop(idle);
    run_posts(s);
    while (s->dirty) {
        struct peer *p = s->dirty;

        s->dirty = p->dirty_next;
        p->dirty = false;
        if (p->state == PEER_H2)
            peer_h2_flush(p);
        else if (p->state == PEER_H1)
            peer_h1_flush(p);
        if (p->conn)
            conn_flush(p->conn);
    }
    if (s->out.cap > (size_t)2 * CONN_HIGH_BYTES)
        buf_clear(&s->out);
}

static void site_wake(struct site *s)
{
    if (s->open)
        uv_idle_start(&s->idle, on_idle);
}

/* Posted by other threads. */
static void woken(void *arg)
{
    struct site *s = arg;
    struct http_server *server = s->server;

    if (s->open)
        site_wake(s);
    else
        run_posts(s); /* stopped: late answers go nowhere */
    server_unref(server);
}

void site_post(struct site *s, struct http_request *r)
{
    if (r->posted)
        return;
    r->posted = true;
    r->posted_next = NULL;
    request_ref(r);
    if (s->posted_last)
        s->posted_last->posted_next = r;
    else
        s->posted = r;
    s->posted_last = r;
    if (s->woken)
        return;
    s->woken = true;
    if (loop_inside(s->loop) && s->open) {
        site_wake(s);
        return;
    }
    s->server->refs++;
    loop_post(s->loop, woken, s);
}

static void site_open(void *arg)
{
    struct site *s = arg;

    uv_idle_init(loop_uv(s->loop), &s->idle);
    uv_timer_init(loop_uv(s->loop), &s->timer);
    s->idle.data = s->timer.data = s;
    s->handles = 2;
    s->due_ms = INT64_MAX;
    s->open = true;
}

int site_init(struct site *s, struct http_server *server, struct loop *l, struct err *err)
{
    pthread_mutexattr_t recursive;

    s->server = server;
    s->loop = l;
    s->date_s = -1;
    int rc = pthread_mutexattr_init(&recursive);
    if (rc)
        return err_sys(err, rc, "make a lock");
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->cancel_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_mutex_init(&s->lock, NULL);
    loop_post(l, site_open, s);
    return 0;
}

void site_press(void *arg)
{
    struct site *s = arg;
    struct http_server *server = s->server;

    site_arm(s, (int64_t)uv_now(loop_uv(s->loop)) + SWEEP_MS);
    server_unref(server);
}

int64_t peer_idle_due_ms(const struct peer *p)
{
    const struct http_server *s = p->site->server;

    return p->active_ms + (s->accept_paused && s->o.idle_ms > PRESSED_MS ? PRESSED_MS : s->o.idle_ms);
}

void site_stop(void *arg)
{
    struct site *s = arg;

    if (s == s->server->sites)
        listeners_close(s->server);
    for (struct peer *p = s->peers, *next; p; p = next) {
        next = p->next;
        if (p->state == PEER_H1)
            peer_h1_stop(p);
        else if (p->state == PEER_H2)
            peer_h2_stop(p);
        else if (p->state == PEER_HANDSHAKE)
            conn_abort(p->conn, NULL);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct site *s = h->data;
    struct http_server *server = s->server;

    if (--s->handles > 0)
        return;
    buf_clear(&s->out);
    pthread_mutex_lock(&server->lock);
    server->open_sites--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void site_kill(void *arg)
{
    struct site *s = arg;

    run_posts(s);
    for (struct peer *p = s->peers, *next; p; p = next) {
        next = p->next;
        conn_abort(p->conn, NULL);
    }
    s->open = false;
    uv_close((uv_handle_t *)&s->idle, on_handle_closed);
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
}

/* Source: RFC 9110 5.6.7 (IMF-fixdate). Written once a second. */
const char *site_date(struct site *s)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)clock_wall_s(&clock_system);
    struct tm tm;

    if (s->date_s == (int64_t)now)
        return s->date;
    gmtime_r(&now, &tm);
    snprintf(s->date, sizeof(s->date), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday % 100u,
             months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000u, tm.tm_hour % 100u, tm.tm_min % 100u, tm.tm_sec % 100u);
    s->date_s = (int64_t)now;
    return s->date;
}
