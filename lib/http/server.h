#ifndef LIB_HTTP_SERVER_H
#define LIB_HTTP_SERVER_H
/*
 * server - HTTP/1.1 and HTTP/2 (nghttp2) over TLS on loops; handlers are called with the whole request body.
 *
 * The handler runs on the loop thread and must not block: it answers at once or hands the request to the pool and answers
 * from there (all http_reply* and http_stream* calls may come from any thread). Every request gets exactly one reply.
 * Limits (DESIGN decision 3): connections, streams a connection (250), header bytes (64 KB) and time (30 s), body bytes (3 MB, configurable), handshakes.
 * Source: RFC 9112, RFC 9113.
 */
#include "lib/http/conn.h"
#include "lib/http/message.h"
#include "lib/tls.h"

struct http_server;
struct http_request; /* opaque; reference held by the server until the reply is finished or the stream closed */

/* Read-only view, valid until the reply ends. */
struct http_request_info {
    const char *method; /* "GET" … */
    const char *target; /* as sent: path?query */
    struct slice path;  /* not decoded */
    struct slice query; /* without '?' */
    const struct http_headers *headers;
    const char *host;   /* Host or :authority */
    struct bytes *body; /* never NULL */
    int http_major;     /* 1 or 2 */
    const char *peer_address; /* "10.0.0.1:4711" */
    bool has_peer_cert;
    struct tls_peer peer_cert;
    const char *peer_cert_error; /* why the presented certificate was not believed; NULL */
};
const struct http_request_info *http_request_info(const struct http_request *r);

/* One whole answer. Takes its own references. headers may be NULL. */
void http_reply(struct http_request *r, int status, const struct http_headers *headers, struct bytes *body);

/* An answer in pieces. Chunked on HTTP/1.1. After begin: write …, then end (or the peer goes away: on_close). */
struct http_stream_ops {
    void (*on_drain)(void *arg);  /* queued bytes fell under CONN_LOW_BYTES: time for more. Loop thread */
    void (*on_close)(void *arg);  /* gone or ended; the last call of all; always comes, once. Loop thread */
};
void http_stream_begin(struct http_request *r, int status, const struct http_headers *headers, const struct http_stream_ops *ops,
                       void *arg);
void http_stream_write(struct http_request *r, struct bytes *b); /* references b; order kept */
size_t http_stream_queued(struct http_request *r);               /* bytes not yet handed to the socket */
void http_stream_end(struct http_request *r);
void http_stream_abort(struct http_request *r); /* RST_STREAM or a closed connection: the client sees a broken answer */

/* Keeps the request's memory for whoever still holds it after its end: writes then do nothing, queued is 0. Any thread. */
void http_request_ref(struct http_request *r);
void http_request_unref(struct http_request *r);

/* Called when the client goes away before the reply was begun (cancels the work); loop thread. NULL removes,
 * and waits for a call that is running: after it fn will not be entered. */
void http_on_cancel(struct http_request *r, void (*fn)(void *arg), void *arg);

/* HTTP/1.1 Upgrade (WebSocket, SPDY/3.1) and CONNECT: answers `status` (101, or 200 for CONNECT) with headers and hands over the raw connection, on the loop
 * thread, a moment later; bytes that already came are given to on_data first. The request is finished. `take` gets NULL when the client
 * went away before, or speaks HTTP/2. Loop thread only (loop_post to it). */
void http_upgrade(struct http_request *r, int status, const struct http_headers *headers,
                  void (*take)(void *arg, struct conn *c), void *arg);
struct loop *http_request_loop(struct http_request *r);

/* Who goes on calling http_stream_* from another thread after on_close may have come holds a reference; the calls then
 * do nothing. */
void http_request_ref(struct http_request *r);
void http_request_unref(struct http_request *r);

typedef void http_handler_fn(void *arg, struct http_request *r);

struct http_server_options {
    struct loop *const *loops; /* connections are spread over them */
    size_t n_loops;
    struct tls_ctx *tls; /* NULL: plain HTTP (HTTP/2 with prior knowledge); replaceable with http_server_set_tls */
    http_handler_fn *handler;
    void *arg;
    int connections_max;   /* 0: 4096 */
    size_t body_max_bytes; /* 0: 3 MB + 64 KB */
    int64_t idle_ms;       /* keep-alive; 0: 120 s */
};

CHECK_RC int http_server_new(const struct http_server_options *options, struct http_server **ret, struct err *err);
/* address "0.0.0.0", "::", "127.0.0.1" or a path for a Unix socket; port 0: any free one, written to *ret_port (may be NULL).
 * Errors: UNAVAILABLE-coded with "listen tcp 0.0.0.0:6443: bind: address already in use". */
CHECK_RC int http_server_listen(struct http_server *s, const char *address, int port, int *ret_port, struct err *err);
void http_server_set_tls(struct http_server *s, struct tls_ctx *tls);
/* Stops accepting, GOAWAY, lets requests finish for at most grace_ms, closes. Blocks; not on a loop. */
void http_server_stop(struct http_server *s, int64_t grace_ms);
void http_server_free(struct http_server *s); /* NULL allowed */

struct http_server_stats {
    int64_t connections, requests, streams_open, bytes_queued;
};
void http_server_stats(struct http_server *s, struct http_server_stats *ret);

#endif
