/* The client: its streams, its links, and which stream goes where. */
#include "lib/http/client_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <string.h>

void client_ref(struct http_client *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void client_unref(struct http_client *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    url_clear(&c->url);
    http_headers_clear(&c->headers);
    if (c->tls)
        tls_ctx_unref(c->tls);
    if (c->tls_http1)
        tls_ctx_unref(c->tls_http1);
    free(c->host_header);
    free(c->server_name);
    free(c);
}

void client_add(struct http_client *c, struct http_stream *s)
{
    s->prev = c->last;
    s->next = NULL;
    *(c->last ? &c->last->next : &c->first) = s;
    c->last = s;
    c->n_streams++;
}

void client_remove(struct http_client *c, struct http_stream *s)
{
    *(s->prev ? &s->prev->next : &c->first) = s->next;
    *(s->next ? &s->next->prev : &c->last) = s->prev;
    s->next = s->prev = NULL;
    c->n_streams--;
}

/* A link that can take one more stream now; NULL: none. *ret_coming: links being dialled that may. */
static struct link *free_link(const struct http_client *c, int *ret_coming)
{
    int coming = 0;

    for (struct link *l = c->links; l; l = l->next) {
        if (l->only || l->draining)
            continue;
        if (l->kind == LINK_DIALLING)
            coming++;
        else if (l->kind == LINK_H1 && !l->current)
            return l;
        else if (l->kind == LINK_H2 && h2_has_room(l->h2))
            return l;
    }
    *ret_coming = coming;
    return NULL;
}

static void run_on(struct http_stream *s, struct link *l)
{
    struct err err;

    s->state = STREAM_RUNNING;
    s->link = l;
    if (l->kind == LINK_H1)
        h1_start(l, s);
    else if (h2_start(l->h2, s, &err) < 0)
        stream_end(s, &err);
    link_running(l);
}

static struct http_stream *next_waiting(const struct http_client *c)
{
    for (struct http_stream *s = c->first; s; s = s->next)
        if (s->state == STREAM_WAITING && !s->on_switch)
            return s;
    return NULL;
}

static int count_waiting(const struct http_client *c)
{
    int n = 0;

    for (const struct http_stream *s = c->first; s; s = s->next)
        n += s->state == STREAM_WAITING && !s->on_switch;
    return n;
}

void client_dispatch(struct http_client *c)
{
    struct http_stream *s;
    struct link *l;
    int coming = 0;

    if (c->closed)
        return;
    while ((s = next_waiting(c)) && (l = free_link(c, &coming)))
        run_on(s, l);
    if (!s)
        return;
    /* What does not speak HTTP/2 needs a link a stream; else one at a time is dialled and shared. */
    for (int want = c->http1 ? count_waiting(c) : 1; coming < want && c->n_links < H1_LINKS_MAX; coming++)
        if (!link_dial(c, NULL))
            return;
}

static int check_options(const struct http_client_options *o, const struct url *url, struct err *err)
{
    if (strcmp(url->scheme, "https") == 0 && !o->tls)
        return err_set(err, ERR_BAD_REQUEST, "%s needs a TLS context", o->url);
    if (strcmp(url->scheme, "http") != 0 && strcmp(url->scheme, "https") != 0)
        return err_set(err, ERR_BAD_REQUEST, "unsupported protocol scheme \"%s\"", url->scheme);
    return 0;
}

static char *host_header(const struct url *u)
{
    bool usual = u->port == (strcmp(u->scheme, "https") == 0 ? 443 : 80);
    bool six = strchr(u->host, ':') != NULL;

    if (usual)
        return mem_printf("%s%s%s", six ? "[" : "", u->host, six ? "]" : "");
    return mem_printf("%s%s%s:%d", six ? "[" : "", u->host, six ? "]" : "", u->port);
}

int http_client_new(const struct http_client_options *o, struct http_client **ret, struct err *err)
{
    struct url url = { 0 };
    int rc = url_parse(o->url, &url, err);

    if (rc < 0)
        return rc;
    rc = check_options(o, &url, err);
    if (rc < 0) {
        url_clear(&url);
        return rc;
    }

    struct http_client *c = MEM_NEW(struct http_client);
    bool https = strcmp(url.scheme, "https") == 0;

    atomic_init(&c->refs, 1);
    c->loop = o->loop;
    c->url = url;
    c->host_header = host_header(&url);
    c->server_name = mem_strdup(o->server_name ? o->server_name : url.host);
    c->http2_prior = o->http2_prior && !https;
    c->http1 = o->http1_only || !(https || c->http2_prior);
    c->tls = https ? tls_ctx_ref(o->tls) : NULL;
    c->tls_http1 = https && o->tls_http1 ? tls_ctx_ref(o->tls_http1) : NULL;
    c->dial = o->dial;
    c->dial_arg = o->dial_arg;
    for (size_t i = 0; o->headers && o->headers[i]; i += 2)
        http_headers_add(&c->headers, o->headers[i], o->headers[i + 1]);
    if (o->bearer) {
        AUTO_FREE char *value = mem_printf("Bearer %s", o->bearer);

        http_headers_set(&c->headers, "authorization", value);
    }
    *ret = c;
    return 0;
}

bool http_client_connected(const struct http_client *c)
{
    return atomic_load_explicit(&c->connected, memory_order_acquire);
}

struct closing {
    struct http_client *client;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void close_client(struct http_client *c)
{
    struct err err;

    ERR_IGNORE(err_set(&err, ERR_CANCELED, "the client was closed"));
    c->closed = true;
    for (struct link *l = c->links, *next; l; l = next) {
        next = l->next;
        link_abort(l, &err); /* ends what runs on it */
    }
    while (c->first)
        stream_end(c->first, &err);
}

static void close_posted(void *arg)
{
    struct closing *closing = arg;

    close_client(closing->client);
    pthread_mutex_lock(&closing->lock);
    closing->done = true;
    pthread_cond_signal(&closing->wake);
    pthread_mutex_unlock(&closing->lock);
}

void http_client_free(struct http_client *c)
{
    struct closing closing = { .client = c, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

    if (!c)
        return;
    if (loop_inside(c->loop)) {
        close_client(c);
    } else {
        loop_post(c->loop, close_posted, &closing);
        pthread_mutex_lock(&closing.lock);
        while (!closing.done)
            pthread_cond_wait(&closing.wake, &closing.lock);
        pthread_mutex_unlock(&closing.lock);
        pthread_mutex_destroy(&closing.lock);
        pthread_cond_destroy(&closing.wake);
    }
    client_unref(c);
}
