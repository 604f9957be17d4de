/* The client's HTTP/2 session against a server session of nghttp2, in memory. */
#include "lib/http/client_int.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

#include <nghttp2/nghttp2.h>

enum { BIG = 2 * 1000 * 1000 };

struct pair {
    struct h2 *h2;
    nghttp2_session *server;
    struct http_client *client;
    struct loop *loop;
    struct buf to_server, seen; /* seen: what the server got, as text */
    size_t sent;                /* of the big body */
    int idle, goaway, settings;
    bool hold;                  /* the server does not answer by itself */
};

static void send_out(void *arg, const void *data, size_t n)
{
    buf_add(&((struct pair *)arg)->to_server, data, n);
}

static size_t queued(void *arg)
{
    return buf_len(&((struct pair *)arg)->to_server);
}

static void on_idle(void *arg)
{
    ((struct pair *)arg)->idle++;
}

static void on_goaway(void *arg)
{
    ((struct pair *)arg)->goaway++;
}

static void on_settings(void *arg)
{
    ((struct pair *)arg)->settings++;
}

static ssize_t read_big(nghttp2_session *s, int32_t id, uint8_t *to, size_t n, uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct pair *p = arg;
    size_t size = (size_t)source->fd;

    (void)s, (void)id;
    if (n > size - p->sent)
        n = size - p->sent;
    memset(to, 'x', n);
    p->sent += n;
    if (p->sent == size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void answer(struct pair *p, int32_t id, const char *status, int size)
{
    nghttp2_nv nv[] = { { (uint8_t *)":status", (uint8_t *)status, 7, 3, 0 }, { (uint8_t *)"x-answer", (uint8_t *)"yes", 8, 3, 0 } };
    nghttp2_data_provider body = { .source.fd = size, .read_callback = read_big };

    p->sent = 0;
    CHECK(nghttp2_submit_response(p->server, id, nv, 2, &body) == 0);
}

static int srv_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t nn, const uint8_t *value, size_t vn, uint8_t flags, void *arg)
{
    (void)s, (void)f, (void)flags;
    buf_printf(&((struct pair *)arg)->seen, "%.*s=%.*s\n", (int)nn, name, (int)vn, value);
    return 0;
}

static int srv_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *arg)
{
    (void)s, (void)flags, (void)id;
    buf_add(&((struct pair *)arg)->seen, data, n);
    return 0;
}

static int srv_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
    struct pair *p = arg;

    (void)s;
    if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) && f->hd.flags & NGHTTP2_FLAG_END_STREAM && !p->hold)
        answer(p, f->hd.stream_id, "200", strstr(buf_at(&p->seen), "/big") ? BIG : 5);
    return 0;
}

/* Moves bytes both ways until nothing moves. */
static int pump(struct pair *p, struct err *err)
{
    for (bool moved = true; moved;) {
        const uint8_t *data = NULL;

        moved = false;
        if (buf_len(&p->to_server)) {
            struct bytes *b = buf_take(&p->to_server);

            CHECK(nghttp2_session_mem_recv(p->server, (const uint8_t *)b->at, b->n) == (ssize_t)b->n);
            bytes_unref(b);
            moved = true;
        }
        ssize_t n = nghttp2_session_mem_send(p->server, &data);

        CHECK(n >= 0);
        if (n > 0) {
            int rc = h2_feed(p->h2, (const char *)data, (size_t)n, err);

            if (rc < 0)
                return rc;
            moved = true;
        }
        CHECK(h2_flush(p->h2, err) == 0);
    }
    return 0;
}

static void setup(struct pair *p)
{
    static const struct h2_ops ops = { send_out, queued, on_idle, on_goaway, on_settings };
    nghttp2_settings_entry limit = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2 };
    nghttp2_session_callbacks *cb;
    struct err err = { 0 };

    *p = (struct pair){ 0 };
    CHECK(loop_new("test", &p->loop, &err) == 0);
    CHECK(http_client_new(&(struct http_client_options){ .loop = p->loop, .url = "http://server:1" }, &p->client, &err) == 0);
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, srv_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, srv_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, srv_frame);
    nghttp2_session_server_new(&p->server, cb, p);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(p->server, 0, &limit, 1);
    CHECK(h2_new(&ops, p, &p->h2, &err) == 0);
    CHECK(pump(p, &err) == 0);
    CHECK_INT(p->settings, 1);
}

static void teardown(struct pair *p)
{
    h2_free(p->h2);
    nghttp2_session_del(p->server);
    buf_clear(&p->to_server);
    buf_clear(&p->seen);
    http_client_free(p->client);
    loop_free(p->loop);
}

struct result {
    int status, ends;
    size_t n;
    bool failed;
    struct err why;
};

static void r_headers(void *arg, int status, const struct http_headers *headers)
{
    ((struct result *)arg)->status = status;
    CHECK_STR(http_headers_get(headers, "x-answer"), "yes");
}

static void r_data(void *arg, const char *data, size_t n)
{
    CHECK(data[0] == 'x');
    ((struct result *)arg)->n += n;
}

static void r_end(void *arg, const struct err *why)
{
    struct result *r = arg;

    r->ends++;
    r->failed = why != NULL;
    if (why)
        r->why = *why;
}

static struct http_stream *start(struct pair *p, const char *method, const char *path, struct bytes *body, struct result *r)
{
    struct http_stream *s = stream_new(p->client, &(struct http_call){ .method = method, .path = path, .accept = "a/b", .body = body });
    struct err err = { 0 };

    s->cb = (struct http_stream_cb){ r_headers, r_data, r_end };
    s->arg = r;
    client_add(p->client, s);
    s->state = STREAM_RUNNING;
    CHECK(h2_start(p->h2, s, &err) == 0);
    return s;
}

TEST(http_h2_requests)
{
    struct pair p;
    struct result r = { 0 }, second = { 0 };
    struct err err = { 0 };
    struct bytes *body = bytes_new("the body", 8);

    setup(&p);
    (void)start(&p, "POST", "/a?b", body, &r);
    CHECK(pump(&p, &err) == 0);
    CHECK_STR(buf_at(&p.seen), ":method=POST\n:scheme=http\n:authority=server:1\n:path=/a?b\naccept=a/b\nuser-agent=rancherd/" RANCHERD_VERSION
                               "\ncontent-length=8\nthe body");
    CHECK_INT(r.status, 200);
    CHECK_INT((int64_t)r.n, 5);
    CHECK_INT(r.ends, 1);
    CHECK(!r.failed);
    CHECK_INT(p.idle, 1);

    p.hold = true;
    (void)start(&p, "GET", "/1", NULL, &r);
    CHECK(h2_has_room(p.h2));
    (void)start(&p, "GET", "/2", NULL, &second);
    CHECK(pump(&p, &err) == 0);
    CHECK(!h2_has_room(p.h2)); /* the server takes two */
    answer(&p, 5, "404", 7);
    CHECK(pump(&p, &err) == 0);
    CHECK_INT(second.status, 404);
    CHECK_INT((int64_t)second.n, 7);
    CHECK_INT(r.ends, 1);
    ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "gone"));
    r.status = 0;
    client_ref(p.client);
    p.client->closed = true; /* no second try: there is no way to the peer */
    h2_fail(p.h2, &err);
    CHECK_INT(r.ends, 2);
    CHECK_INT(r.why.code, ERR_UNAVAILABLE);
    client_unref(p.client);
    bytes_unref(body);
    teardown(&p);
}

TEST(http_h2_backpressure)
{
    struct pair p;
    struct result r = { 0 };
    struct err err = { 0 };

    setup(&p);
    struct http_stream *s = start(&p, "GET", "/big", NULL, &r);

    http_stream_pause(s);
    CHECK(pump(&p, &err) == 0);
    CHECK_INT((int64_t)r.n, 0);
    CHECK_INT((int64_t)buf_len(&s->held), H2_STREAM_WINDOW); /* and no byte more */
    CHECK_INT((int64_t)p.sent, H2_STREAM_WINDOW);
    /* What link.c does on resume. */
    size_t held = buf_len(&s->held);

    http_stream_resume(s);
    CHECK_INT((int64_t)r.n, H2_STREAM_WINDOW);
    h2_credit(p.h2, s, held);
    CHECK(pump(&p, &err) == 0);
    CHECK_INT((int64_t)r.n, BIG);
    CHECK_INT(r.ends, 1);
    CHECK(!r.failed);
    teardown(&p);
}

TEST(http_h2_refusals)
{
    struct pair p;
    struct result r = { 0 }, other = { 0 };
    struct err err = { 0 };

    setup(&p);
    p.hold = true;
    p.client->closed = true; /* as above: ends show themselves */
    struct http_stream *s = start(&p, "GET", "/1", NULL, &r);

    (void)start(&p, "GET", "/2", NULL, &other);
    CHECK(pump(&p, &err) == 0);
    h2_cancel(p.h2, s);
    CHECK_INT(h2_open_streams(p.h2), 1);
    ERR_IGNORE(err_set(&err, ERR_CANCELED, "x"));
    stream_end(s, &err);
    nghttp2_submit_rst_stream(p.server, 0, 3, NGHTTP2_REFUSED_STREAM);
    CHECK(pump(&p, &err) == 0);
    CHECK_INT(other.ends, 1);
    CHECK_INT(other.why.code, ERR_UNAVAILABLE);
    CHECK_INT(p.goaway, 1);

    (void)start(&p, "GET", "/3", NULL, &other);
    CHECK(pump(&p, &err) == 0);
    nghttp2_submit_goaway(p.server, 0, 3, NGHTTP2_NO_ERROR, NULL, 0);
    CHECK_INT(pump(&p, &err), -ERR_UNAVAILABLE); /* nothing is open any more */
    CHECK_INT(other.ends, 2);
    CHECK_INT(p.goaway, 3); /* the frame, and the refusal of what came after its last stream */
    CHECK_INT(h2_feed(p.h2, "garbage that is no frame", 24, &err) < 0, 1);
    teardown(&p);
}

static ssize_t read_with_trailers(nghttp2_session *s, int32_t id, uint8_t *to, size_t n, uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    nghttp2_nv nv[] = { { (uint8_t *)"x-sum", (uint8_t *)"5", 5, 1, 0 }, { (uint8_t *)"x-big", source->ptr, 5, 0, 0 } };

    (void)n, (void)arg;
    memcpy(to, "xxxxx", 5);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nv[1].valuelen = source->ptr ? strlen(source->ptr) : 0;
    CHECK_INT(nghttp2_submit_trailer(s, id, nv, source->ptr ? 2 : 1), 0);
    return 5;
}

TEST(http_h2_trailers)
{
    nghttp2_nv nv[] = { { (uint8_t *)":status", (uint8_t *)"200", 7, 3, 0 }, { (uint8_t *)"x-answer", (uint8_t *)"yes", 8, 3, 0 } };
    nghttp2_data_provider body = { .read_callback = read_with_trailers };
    struct pair p;
    struct result r = { 0 };
    struct err err = { 0 };

    setup(&p);
    p.hold = true;
    for (int kept = 1; kept >= 0; kept--) {
        struct http_stream *s = stream_ref(start(&p, "GET", "/", NULL, &r));

        s->keep_answer = kept;
        CHECK(pump(&p, &err) == 0);
        CHECK_INT(nghttp2_submit_response(p.server, s->id, nv, 2, &body), 0);
        CHECK(pump(&p, &err) == 0);
        CHECK_INT((int64_t)s->trailers.n, kept);
        if (kept)
            CHECK_STR(http_headers_get(&s->trailers, "x-sum"), "5");
        CHECK(!http_headers_get(&s->answer, "x-sum"));
        stream_unref(s);
    }
    CHECK_INT(r.ends, 2);
    CHECK(!r.failed);

    /* They count against the same limit as the headers. */
    char *big = mem_alloc(ANSWER_HEADER_BYTES + 1);

    for (int over = 0; over <= 1; over++) {
        size_t used = strlen("x-answer") + strlen("yes") + strlen("x-sum") + 1 + strlen("x-big") + strlen(":status") + 3 + 4 * 32;

        memset(big, 'y', ANSWER_HEADER_BYTES);
        big[ANSWER_HEADER_BYTES - used + (size_t)over] = '\0';
        body.source.ptr = big;
        struct http_stream *s = start(&p, "POST", "/", NULL, &r);

        CHECK(pump(&p, &err) == 0);
        CHECK_INT(nghttp2_submit_response(p.server, s->id, nv, 2, &body), 0);
        CHECK(pump(&p, &err) == 0);
        CHECK_INT(r.ends, 3 + over);
        CHECK_INT(r.failed, over);
    }
    free(big);
    teardown(&p);
}
