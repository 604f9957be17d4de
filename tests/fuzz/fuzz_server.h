#ifndef TESTS_FUZZ_SERVER_H
#define TESTS_FUZZ_SERVER_H
/* What the targets of both HTTP versions share: one server for all runs, fed through a socket pair. */
#include "lib/http/server_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FUZZ_BODY_MAX_BYTES = 4096 };

static void fuzz_closed(void *arg)
{
    (void)arg;
}

/* Answers at once, in one of the ways there are; looks at what it was given. */
static void fuzz_handle(void *arg, struct http_request *r)
{
    static const struct http_stream_ops ops = { .on_close = fuzz_closed };
    const struct http_request_info *i = http_request_info(r);

    (void)arg;
    assert(i->method && *i->method && i->target && i->host && i->body && i->body->n <= FUZZ_BODY_MAX_BYTES);
    assert(i->path.n + i->query.n <= strlen(i->target));
    for (size_t k = 0; k < i->headers->n; k++)
        assert(!strpbrk(i->headers->at[k].name, "\r\n: ") && !strpbrk(i->headers->at[k].value, "\r\n"));
    if (i->body->n % 2 == 0) {
        http_reply(r, 200, NULL, i->body);
        return;
    }
    http_stream_begin(r, 200, NULL, &ops, NULL);
    http_stream_write(r, i->body);
    if (i->body->n % 3)
        http_stream_end(r);
    else
        http_stream_abort(r);
}

static struct {
    struct http_server *server;
    struct loop *loop;
} fuzz;

static struct http_server *fuzz_server(void)
{
    struct http_server_options o = { .loops = &fuzz.loop, .n_loops = 1, .handler = fuzz_handle,
                                     .body_max_bytes = FUZZ_BODY_MAX_BYTES };
    struct err err;

    if (fuzz.server)
        return fuzz.server;
    int rc = loop_new("fuzz", &fuzz.loop, &err);
    assert(rc == 0);
    rc = http_server_new(&o, &fuzz.server, &err);
    assert(rc == 0);
    return fuzz.server;
}

/* For the corpus among the unit tests, which count descriptors. */
static inline void fuzz_end(void)
{
    http_server_free(fuzz.server);
    loop_free(fuzz.loop);
    uv_library_shutdown();
}

/* Sends the bytes, ends our side and reads the answer to its end. */
static void fuzz_exchange(const void *data, size_t n, struct buf *answer)
{
    struct timeval limit = { 10, 0 };
    int fds[2], rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);

    assert(rc == 0);
    rc = setsockopt(fds[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert(rc == 0);
    server_take(fuzz_server(), fds[0]);
    (void)!send(fds[1], data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fds[1], SHUT_WR);
    for (;;) {
        ssize_t got = read(fds[1], buf_space(answer, 65536), 65536);

        if (got < 0 && errno == EINTR) /* the fuzzer's own alarm */
            continue;
        assert(got >= 0 || errno == ECONNRESET); /* a server that neither answers nor closes hangs */
        if (got <= 0)
            break;
        buf_used(answer, (size_t)got);
    }
    close(fds[1]);
}

#endif
