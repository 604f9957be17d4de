#ifndef LIB_HTTP_CLIENT_INT_H
#define LIB_HTTP_CLIENT_INT_H
/*
 * client_int - how the client's files share the work. Everything here runs on the client's loop, except where it says otherwise.
 *
 * A stream is one request and its answer. It waits in the client's list until a link (a connection) takes it; client_h1.c and
 * client_h2.c say what came by stream_headers, stream_data and stream_end. A link belongs to its client until its conn is closed.
 */
#include "lib/http/answer.h"
#include "lib/http/client.h"

#include <pthread.h>

enum { STREAMS_MAX = 4096, H1_LINKS_MAX = 64, H1_IDLE_MS = 60000, DIAL_MS = 15000, PING_AFTER_MS = 30000, PING_LOST_MS = 15000,
       UPGRADE_ANSWER_MS = 30000 };
enum { H2_STREAM_WINDOW = 512 * 1024, H2_CONNECTION_WINDOW = 4 * 1024 * 1024, REFUSE_BODY_BYTES = 64 * 1024 };

enum stream_state { STREAM_NEW, STREAM_WAITING, STREAM_RUNNING, STREAM_ENDED };

struct http_stream {
    _Atomic int refs;
    struct http_client *client;
    struct http_stream *next, *prev; /* the client's list */
    char *method, *path;
    struct http_headers headers; /* of the request; without host */
    char *host;
    struct bytes *body;
    size_t body_sent;
    struct http_stream_cb cb;
    void *arg;
    /* An upgrade: gets a link of its own. Called instead of on_headers when the connection switches. */
    void (*on_switch)(void *arg, struct conn *c, const struct http_headers *headers);

    enum stream_state state;
    struct link *link;
    int32_t id; /* on HTTP/2 */
    struct h2 *h2;
    struct http_stream *h2_next, *h2_prev;
    struct http_headers incoming;
    int incoming_status;
    size_t incoming_bytes;
    bool got_headers, paused, ended_whole, retried, close_asked;
    struct http_headers answer, trailers; /* kept for http_call when keep_answer */
    bool keep_answer;
    struct buf held; /* came while paused; at most the HTTP/2 window or what one read gave */
};

enum link_kind { LINK_DIALLING, LINK_H1, LINK_H2, LINK_DEAD };

struct link {
    struct http_client *client;
    struct link *next;
    struct conn *conn;
    enum link_kind kind;
    struct http_stream *only; /* made for this upgrade */
    bool draining;            /* takes no new streams */
    /* HTTP/1.1 */
    struct http_stream *current;
    struct answer_parser parser;
    struct http_headers switched; /* of a 101 */
    /* HTTP/2 */
    struct h2 *h2;
    struct loop_timer *timer; /* idle (h1) or silence (h2) */
    uint64_t heard_ms;        /* uv_now of the last bytes */
    bool pinged;
};

struct http_client {
    _Atomic int refs; /* the user, each link, each posted job */
    struct loop *loop;
    struct url url;
    char *host_header, *server_name;
    struct tls_ctx *tls, *tls_http1;
    struct http_headers headers; /* sent with each request */
    struct conn *(*dial)(void *arg, const struct conn_ops *ops, void *ops_arg);
    void *dial_arg;
    bool http1; /* asked for, or what the peer chose */
    bool http2_prior;
    _Atomic bool connected;
    bool closed;
    struct http_stream *first, *last;
    int n_streams, n_links;
    struct link *links;
};

/* client_stream.c */
struct http_stream *stream_new(struct http_client *c, const struct http_call *call); /* any thread */
struct http_stream *stream_ref(struct http_stream *s);                               /* any thread */
void stream_unref(struct http_stream *s);                                            /* any thread */
void stream_start(struct http_stream *s); /* any thread */
void stream_headers(struct http_stream *s, int status, struct http_headers *headers);
void stream_trailers(struct http_stream *s, struct http_headers *trailers);
bool stream_data(struct http_stream *s, const char *data, size_t n); /* false: held back, credit it when it is delivered */
void stream_end(struct http_stream *s, const struct err *why);
/* The link failed it. unprocessed: the peer surely did nothing. Starts it once more where that is allowed. */
void stream_fail(struct http_stream *s, const struct err *why, bool unprocessed);

/* client.c */
void client_ref(struct http_client *c);   /* any thread */
void client_unref(struct http_client *c); /* any thread */
void client_dispatch(struct http_client *c); /* gives waiting streams to links */
void client_add(struct http_client *c, struct http_stream *s);
void client_remove(struct http_client *c, struct http_stream *s);

/* link.c */
bool link_dial(struct http_client *c, struct http_stream *only); /* false: no way to the peer; who waited was told */
void link_abort(struct link *l, const struct err *why); /* ends its streams, then the conn; l may be gone after it */
void link_retire(struct link *l); /* takes nothing more; the caller closes the conn */
void link_running(struct link *l); /* a stream was given to it */
void link_cancel(struct link *l, struct http_stream *s); /* the stream is not wanted any more; it is ended by the caller */
void link_resume(struct link *l, struct http_stream *s, size_t delivered);
void link_pause(struct link *l, struct http_stream *s);
void link_idle(struct link *l); /* its HTTP/1.1 answer is over: the next one, or wait for one */
void link_hand_over(struct link *l, struct http_headers *headers, const char *rest, size_t n); /* an upgrade's conn; l is gone */

/* client_h1.c */
void h1_start(struct link *l, struct http_stream *s);
void h1_data(struct link *l, const char *data, size_t n);
void h1_closed(struct link *l, const struct err *why);

/* client_h2.c: a session that only moves bytes, testable without sockets. */
struct h2_ops {
    void (*send)(void *arg, const void *data, size_t n);
    size_t (*queued)(void *arg);      /* bytes not yet on the wire: nothing is produced over CONN_HIGH_BYTES */
    void (*on_idle)(void *arg);       /* the last stream ended */
    void (*on_goaway)(void *arg);     /* the peer takes no more streams */
    void (*on_settings)(void *arg);   /* the peer speaks HTTP/2 indeed */
};
struct h2;
CHECK_RC int h2_new(const struct h2_ops *ops, void *arg, struct h2 **ret, struct err *err);
void h2_free(struct h2 *h);
bool h2_has_room(const struct h2 *h); /* one more stream is allowed */
int h2_open_streams(const struct h2 *h);
CHECK_RC int h2_start(struct h2 *h, struct http_stream *s, struct err *err);
CHECK_RC int h2_feed(struct h2 *h, const char *data, size_t n, struct err *err); /* Errors: IO */
CHECK_RC int h2_flush(struct h2 *h, struct err *err);
void h2_cancel(struct h2 *h, struct http_stream *s);
void h2_credit(struct h2 *h, struct http_stream *s, size_t n);
void h2_fail(struct h2 *h, const struct err *why); /* the connection is gone: ends all its streams */
void h2_ping(struct h2 *h);

#endif
