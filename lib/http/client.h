#ifndef LIB_HTTP_CLIENT_H
#define LIB_HTTP_CLIENT_H
/*
 * client - HTTP calls to one base URL: one shared HTTP/2 connection where the peer speaks it (ALPN, or known before), else kept-alive HTTP/1.1 ones.
 *
 * Limits: 4096 calls and streams at once (then TOO_MANY), 64 HTTP/1.1 connections (more calls wait; idle ones close after 60 s), answer headers
 * and trailers 64 KB.
 * Source: RFC 9112, RFC 9113. Thread: http_call and http_download block a worker (within pool_wait_*); http_stream_open's callbacks come on the loop.
 * Dead connections are noticed (HTTP/2 PING after 30 s of silence while streams are open); a call is retried once on a fresh connection only when
 * the request was not processed (refused stream, GOAWAY, connection failed before the first byte).
 */
#include "lib/ctx.h"
#include "lib/http/conn.h"
#include "lib/http/message.h"

struct http_client;

struct http_client_options {
    struct loop *loop;
    const char *url;      /* scheme://host:port, path ignored */
    struct tls_ctx *tls;  /* for https */
    struct tls_ctx *tls_http1; /* the same without "h2" in its ALPN: for upgrades and http1_only; NULL: tls */
    const char *server_name; /* NULL: the host */
    const char *bearer;   /* token; NULL: none */
    const char *const *headers; /* name, value, …, NULL: sent with each request */
    bool http1_only;
    bool http2_prior; /* connections without TLS begin with HTTP/2 at once (prior knowledge, RFC 9113 3.3), upgrades excepted */
    /* Other ways to the peer than dialling (tunnel): NULL: conn_dial. */
    struct conn *(*dial)(void *arg, const struct conn_ops *ops, void *ops_arg);
    void *dial_arg;
};
CHECK_RC int http_client_new(const struct http_client_options *options, struct http_client **ret, struct err *err);
/* Ends what runs with CANCELED; when it returns no callback will come any more. Not from a callback of this client; NULL allowed. */
void http_client_free(struct http_client *c);
/* Whether a connection to the peer ever came about; with HTTP/2: whether its SETTINGS came. Thread: any. */
bool http_client_connected(const struct http_client *c);

struct http_call {
    const char *method, *path;  /* path with query */
    const char *content_type, *accept; /* NULL allowed */
    struct bytes *body;         /* NULL: none */
    const char *const *headers; /* name, value, …, NULL; may be NULL */
    size_t max_bytes;           /* of the answer; 0: 64 MB */
};
struct http_answer {
    int status;
    struct http_headers headers;
    struct http_headers trailers; /* what HTTP/2 sent behind the body; HTTP/1.1's are passed over */
    struct bytes *body;
};
/* Any status is a success of the call. Errors: UNAVAILABLE (can't connect), TIMEOUT, CANCELED, TOO_LARGE, IO, UNAUTHORIZED (certificate).
 * Owner: http_answer_clear. */
CHECK_RC int http_call(struct ctx *ctx, struct http_client *c, const struct http_call *call, struct http_answer *ret,
                       struct err *err);
void http_answer_clear(struct http_answer *a);

/* The body in pieces to fn, on the calling worker thread, with back-pressure; fn < 0 stops. Only for 2xx; else the body is in ret. */
typedef int http_data_fn(void *arg, const void *data, size_t n, struct err *err);
CHECK_RC int http_download(struct ctx *ctx, struct http_client *c, const struct http_call *call, http_data_fn *fn, void *arg,
                           struct http_answer *ret, struct err *err);

/* A long-lived answer (watch, logs -f): callbacks on the loop. */
struct http_stream;
struct http_stream_cb {
    void (*on_headers)(void *arg, int status, const struct http_headers *headers);
    void (*on_data)(void *arg, const char *data, size_t n);
    void (*on_end)(void *arg, const struct err *why); /* why NULL: whole. Always comes, once; the stream is gone after it */
};
struct http_stream *http_stream_open(struct http_client *c, const struct http_call *call, const struct http_stream_cb *cb,
                                     void *arg);
void http_stream_close(struct http_stream *s); /* any thread, before on_end was called; on_end still comes, with CANCELED */
void http_stream_pause(struct http_stream *s); /* loop thread: back-pressure */
void http_stream_resume(struct http_stream *s);

/* Sends an HTTP/1.1 Upgrade request on a connection of its own. On 101 (or 200 to CONNECT) `take` gets the raw connection on the loop thread; else
 * `refuse` gets the answer (answer NULL and why when there was none; its body cut at 64 KB). `take` installs the new owner's ops before it returns:
 * bytes that came behind the 101 are given to them right after. call's headers name Upgrade and Connection. */
struct http_upgrade_cb {
    void (*take)(void *arg, struct conn *c, const struct http_headers *headers);
    void (*refuse)(void *arg, const struct http_answer *answer, const struct err *why);
};
void http_client_upgrade(struct http_client *c, const struct http_call *call, const struct http_upgrade_cb *cb, void *arg);

#endif
