/* Dialling: a name's addresses one after the other, each with its share of the time. */
#include "lib/http/conn_int.h"

#include "lib/mem.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* Outlives the conn when that is aborted while the resolver works: then conn is NULL. */
struct conn_dialing {
    struct conn *conn;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    bool resolving, connecting;
    struct addrinfo *found, *next; /* what to try next */
    struct sockaddr_storage literal;
    char *host;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of a Unix socket; else "" */
    int port;
    uint64_t end_ms; /* on the loop's clock */
    struct err last;
};

static void try_next(struct conn *c);

static void dialing_free(struct conn_dialing *d)
{
    if (d->resolving || d->connecting || d->conn)
        return;
    if (d->found)
        uv_freeaddrinfo(d->found);
    free(d->host);
    free(d);
}

void conn_dial_cancel(struct conn *c)
{
    struct conn_dialing *d = TAKE(c->dialing);

    if (!d)
        return;
    d->conn = NULL;
    if (d->resolving)
        uv_cancel((uv_req_t *)&d->resolve); /* its callback comes either way */
    dialing_free(d);
}

static int64_t left_ms(const struct conn *c)
{
    uint64_t now = uv_now(loop_uv(c->loop));

    return c->dialing->end_ms > now ? (int64_t)(c->dialing->end_ms - now) : 0;
}

static void dial_failed(struct conn *c)
{
    struct err err = c->dialing->last;

    conn_abort(c, &err);
}

static void too_slow(void *arg)
{
    struct conn *c = arg;
    struct conn_dialing *d = c->dialing;

    c->timer = NULL;
    ERR_IGNORE(err_set(&d->last, ERR_TIMEOUT, "dial %s: i/o timeout", *d->path ? d->path : c->peer));
    if (d->next && c->state == CONN_DIALING && c->io_open)
        try_next(c);
    else
        dial_failed(c);
}

static void handshake_too_slow(void *arg)
{
    struct conn *c = arg;
    struct err err;

    c->timer = NULL;
    ERR_IGNORE(err_set(&err, ERR_TIMEOUT, "TLS handshake with %s timed out", c->peer));
    conn_abort(c, &err);
}

static void on_connect(uv_connect_t *req, int rc)
{
    struct conn_dialing *d = req->data;
    struct conn *c = d->conn;

    d->connecting = false;
    if (!c) {
        dialing_free(d);
        return;
    }
    if (rc == UV_ECANCELED) /* timed out: try_next closed the handle and goes on from there */
        return;
    if (rc < 0) {
        ERR_IGNORE(err_set(&d->last, ERR_UNAVAILABLE, "dial %s %s: connect: %s", *d->path ? "unix" : "tcp",
                           *d->path ? d->path : c->peer, uv_strerror(rc)));
        if (d->next)
            try_next(c);
        else
            dial_failed(c);
        return;
    }
    int64_t left = left_ms(c);
    conn_dial_cancel(c);
    conn_timer(c, left, handshake_too_slow);
    conn_connected(c);
}

static void connect_tcp(struct conn *c, const struct sockaddr *sa, size_t tries)
{
    struct conn_dialing *d = c->dialing;
    int rc = uv_tcp_init(loop_uv(c->loop), &c->io.tcp);

    conn_address_text(sa, c->peer);
    if (rc == 0) {
        c->io_open = true;
        c->handles++;
        c->io.handle.data = c;
        d->connect.data = d;
        rc = uv_tcp_connect(&d->connect, &c->io.tcp, sa, on_connect);
    }
    if (rc < 0) {
        ERR_IGNORE(err_set(&d->last, ERR_UNAVAILABLE, "dial tcp %s: connect: %s", c->peer, uv_strerror(rc)));
        if (d->next && c->io_open)
            try_next(c);
        else
            dial_failed(c);
        return;
    }
    d->connecting = true;
    conn_timer(c, left_ms(c) / (int64_t)tries, too_slow);
}

/* The handle of the last try is closed. */
static void on_retired(uv_handle_t *h)
{
    struct conn *c = h->data;
    size_t tries = 1;

    c->handles--;
    if (c->state == CONN_GONE) {
        c->handles++;
        conn_handle_closed(h);
        return;
    }
    struct addrinfo *now = c->dialing->next;
    c->dialing->next = now->ai_next;
    for (struct addrinfo *a = c->dialing->next; a; a = a->ai_next)
        tries++;
    connect_tcp(c, now->ai_addr, tries);
}

static void try_next(struct conn *c)
{
    conn_timer(c, 0, NULL);
    c->io_open = false;
    uv_close(&c->io.handle, on_retired);
}

static void on_resolved(uv_getaddrinfo_t *req, int rc, struct addrinfo *found)
{
    struct conn_dialing *d = req->data;
    struct conn *c = d->conn;
    size_t tries = 0;

    d->resolving = false;
    d->found = found;
    if (!c) {
        dialing_free(d);
        return;
    }
    if (rc < 0 || !found) {
        ERR_IGNORE(err_set(&d->last, ERR_UNAVAILABLE, "dial tcp: lookup %s: %s", d->host,
                           rc == UV_EAI_NONAME || rc == 0 ? "no such host" : uv_strerror(rc)));
        dial_failed(c);
        return;
    }
    for (struct addrinfo *a = found; a; a = a->ai_next)
        tries++;
    d->next = found->ai_next;
    connect_tcp(c, found->ai_addr, tries);
}

static void connect_unix(struct conn *c)
{
    struct conn_dialing *d = c->dialing;

    uv_pipe_init(loop_uv(c->loop), &c->io.pipe, 0);
    c->io_open = true;
    c->handles++;
    c->io.handle.data = c;
    d->connect.data = d;
    d->connecting = true;
    uv_pipe_connect(&d->connect, &c->io.pipe, d->path, on_connect);
}

/* Runs a moment later, so that no failure comes before conn_dial returned. */
static void dial_start(void *arg)
{
    struct conn *c = arg;
    struct conn_dialing *d = c->dialing;
    char port[16];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };

    c->timer = NULL;
    conn_timer(c, left_ms(c), too_slow);
    if (d->host[0] == '/') {
        connect_unix(c);
        return;
    }
    if (uv_ip4_addr(d->host, d->port, (struct sockaddr_in *)&d->literal) == 0 ||
        uv_ip6_addr(d->host, d->port, (struct sockaddr_in6 *)&d->literal) == 0) {
        connect_tcp(c, (struct sockaddr *)&d->literal, 1);
        return;
    }
    snprintf(port, sizeof(port), "%d", d->port);
    snprintf(c->peer, sizeof(c->peer), "%.50s:%d", d->host, d->port);
    d->resolve.data = d;
    d->resolving = uv_getaddrinfo(loop_uv(c->loop), &d->resolve, on_resolved, d->host, port, &hints) == 0;
    if (!d->resolving) {
        ERR_IGNORE(err_set(&d->last, ERR_UNAVAILABLE, "dial tcp: lookup %s: no such host", d->host));
        dial_failed(c);
    }
}

struct conn *conn_dial(struct loop *l, const struct conn_target *target, const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_new(l, ops, arg);
    struct conn_dialing *d = MEM_NEW(struct conn_dialing);

    c->dialing = d;
    d->conn = c;
    d->host = mem_strdup(target->host);
    d->port = target->port;
    d->end_ms = uv_now(loop_uv(l)) + (uint64_t)target->timeout_ms;
    if (target->tls)
        c->tls = tls_new(target->tls, target->server_name ? target->server_name : target->host);
    if (target->host[0] == '/' && strlen(target->host) >= sizeof(d->path)) {
        struct err err;

        ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "dial unix %.200s: the path is longer than %zu bytes", target->host,
                           sizeof(d->path) - 1));
        conn_abort(c, &err);
        return c;
    }
    snprintf(d->path, sizeof(d->path), "%s", target->host[0] == '/' ? target->host : "");
    conn_timer(c, 0, dial_start);
    return c;
}
