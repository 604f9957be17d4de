#ifndef LIB_HTTP_SERVER_INT_H
#define LIB_HTTP_SERVER_INT_H
/*
 * server_int - what the server's files share.
 *
 * server.c         listening, stopping, the public face
 * server_site.c    a site: one loop's share of the server; its peers (connections), posts and deadlines
 * server_request.c a request and its answer: calls from any thread become posts to the site
 * server_h1.c, server_h2.c the two protocols
 *
 * Callers' side of an answer (`asked`, `in`) is guarded by the site's lock; a request with something asked stands in the
 * site's list of posts, and the site takes the list once an iteration of its loop. Everything else belongs to the loop.
 */
#include "lib/http/h1_parse.h"
#include "lib/http/server.h"

#include <pthread.h>

enum {
    HANDSHAKE_MS = 10000,
    HEAD_MS = 30000,   /* from a request's first byte to the end of its head */
    BODY_MS = 120000,  /* of one request */
    PRESSED_MS = 1000, /* idle and handshaking ones, while others have to wait for a place */
    STALL_MS = 120000, /* an answer nobody reads */
    LINGER_MS = 2000,  /* after an early answer: reading on so that it isn't lost to a reset */
    SWEEP_MS = 100,    /* deadlines are this coarse */
    HANDSHAKES_MAX = 256,
    STREAMS_MAX = 250, /* a connection */
    UNFINISHED_MAX = 2 * STREAMS_MAX, /* requests a connection keeps busy, given up ones included */
    SLICE_BYTES = 64 * 1024, /* encrypted at a time */
    UPLOADS_MAX_BYTES = 64 * 1024 * 1024, /* bodies being received, a site */
};

struct site;
struct peer;

/* Bytes on their way out, in order. */
struct pieces {
    struct bytes **at;
    size_t first, n, cap, off; /* at[first] from off on … at[n - 1] */
    size_t bytes;
};
void pieces_add(struct pieces *p, struct bytes *b); /* takes b */
void pieces_move(struct pieces *to, struct pieces *from);
struct slice pieces_head(const struct pieces *p);
void pieces_drop(struct pieces *p, size_t n); /* at most the head */
void pieces_clear(struct pieces *p);

/* Who is at the other end; shared by a connection and its requests, which may outlive it. */
struct identity {
    _Atomic int refs;
    _Atomic int unfinished; /* requests whose answer is not through, given up ones included */
    char *address;
    bool has_cert;
    struct tls_peer cert; /* copies */
    char *cert_error;
};
struct identity *identity_new(const struct conn *c);
struct identity *identity_ref(struct identity *id);
void identity_unref(struct identity *id);

enum { ASK_BEGIN = 1, ASK_END = 2, ASK_ABORT = 4, ASK_CANCEL = 8, ASK_UPGRADE = 16 };

struct http_request {
    _Atomic int refs;
    struct site *site;
    struct peer *peer; /* NULL: gone */
    struct http_request *prev, *next; /* the peer's */
    struct identity *identity;
    struct http_request_info info;
    char *method, *target, *host;
    struct http_headers headers;
    size_t head_bytes;
    struct buf body;
    size_t uploaded; /* counted in the site's upload_bytes */
    int64_t born_ms;
    int32_t stream_id; /* HTTP/2 */
    bool receiving, refused, done;

    /* guarded by the site's lock */
    struct http_request *posted_next;
    bool posted, begun, ended, gone;
    unsigned asked;
    struct pieces in;
    int status;
    struct http_headers answer;
    bool whole;            /* the body is complete and its length known: in body_bytes */
    size_t body_bytes;
    const struct http_stream_ops *ops;
    void *ops_arg;
    void (*take)(void *arg, struct conn *c);
    void *take_arg;

    /* guarded by the site's cancel lock */
    void (*cancel_fn)(void *arg);
    void *cancel_arg;

    /* the loop's view */
    struct pieces out;
    bool started, finishing, head_sent, drain_due;
    _Atomic size_t queued;
};

struct http_request *request_new(struct peer *p);
void request_ref(struct http_request *r);
void request_unref(struct http_request *r);
/* The head is complete and valid: fills info and hands the request to the handler, with its body. */
void request_dispatch(struct http_request *r);
void request_refuse(struct http_request *r, int status, const char *why); /* our own answer instead of the handler's */
void request_step(struct http_request *r); /* looks at what was asked */
void request_gone(struct http_request *r); /* the client went away */
void request_done(struct http_request *r); /* the answer is out, or given up */
void request_receiving(struct http_request *r); /* a body is coming */
void request_body_grew(struct http_request *r, size_t n);
void request_cancel(struct http_request *r); /* tells who works on it that nobody waits */
void request_sent(struct http_request *r, size_t n); /* drops n bytes of `out`, tells the producer */

enum peer_state { PEER_HANDSHAKE, PEER_H1, PEER_H2, PEER_LINGER };

struct peer {
    struct site *site;
    struct conn *conn;
    struct peer *prev, *next;
    struct peer *dirty_next;
    bool dirty, plain;
    enum peer_state state;
    struct identity *identity;
    struct http_request *requests;
    int n_requests, n_receiving;
    int64_t active_ms, since_ms; /* last movement; entry into what the deadline counts from */
    struct h1 *h1;
    struct h2 *h2;
};

void peer_accept(struct site *s, int fd);
void peer_dirty(struct peer *p);  /* flush it at the iteration's end */
void peer_touch(struct peer *p, int64_t deadline_after_ms); /* something moved */
void peer_linger(struct peer *p); /* what was written goes out; input is thrown away for a while */
struct conn *peer_hand_over(struct peer *p); /* an upgraded connection gets a new owner; p is gone */
int64_t peer_now(const struct peer *p);
int64_t peer_idle_due_ms(const struct peer *p);

struct site {
    struct http_server *server;
    struct loop *loop;
    uv_idle_t idle;
    uv_timer_t timer;
    int handles;
    bool open;     /* the handles may be used */
    int64_t due_ms; /* when the timer fires; INT64_MAX: not armed */
    struct peer *peers, *dirty;
    struct buf out; /* scratch of one peer's flush */
    size_t upload_bytes;
    char date[32];
    int64_t date_s;

    pthread_mutex_t lock;
    struct http_request *posted, *posted_last;
    bool woken;
    pthread_mutex_t cancel_lock; /* recursive: a cancel function may remove itself */
};

CHECK_RC int site_init(struct site *s, struct http_server *server, struct loop *l, struct err *err);
void site_post(struct site *s, struct http_request *r); /* under the lock */
void site_press(void *site); /* on the loop: there are too many connections. Drops a reference to the server */
void site_stop(void *site);  /* on the loop: no new work */
void site_kill(void *site);  /* on the loop: everything at once, handles too */
void site_arm(struct site *s, int64_t due_ms);
const char *site_date(struct site *s); /* the Date header's value */

struct listener {
    struct http_server *server;
    struct listener *next;
    int fd;
    char *path; /* Unix socket, to be removed; else NULL */
    uv_poll_t poll;
    bool polling;
};

struct http_server {
    _Atomic int refs; /* the owner's and one a request */
    struct http_server_options o;
    struct site *sites;
    size_t n_sites;
    _Atomic size_t turn;
    _Atomic int64_t connections, requests, streams, bytes_queued;
    _Atomic int handshakes;
    _Atomic bool stopping, accept_paused;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct tls_ctx *tls;
    struct listener *listeners;
    int open_listeners, open_sites, peers;
    bool stopped;
};

void server_unref(struct http_server *s);
void server_take(struct http_server *s, int fd); /* any thread: a connection that came from wherever */
void server_peer_count(struct http_server *s, int change);
void server_accept_again(struct http_server *s); /* any thread: there may be room again */
struct tls_ctx *server_tls(struct http_server *s); /* a reference, or NULL */
void listeners_close(struct http_server *s); /* on the first site's loop */
void listeners_resume(struct http_server *s);

/* Written into answers whatever the protocol: is this header ours to set? */
bool answer_skips(const struct http_request *r, const char *name);
bool answer_has_body(const struct http_request *r);

/* server_h1.c */
void peer_h1_new(struct peer *p);
void peer_h1_free(struct h1 *h);
void peer_h1_data(struct peer *p, const char *data, size_t n);
void peer_h1_eof(struct peer *p);
void peer_h1_step(struct peer *p, struct http_request *r);
void peer_h1_flush(struct peer *p);
void peer_h1_stop(struct peer *p);
void peer_h1_late(struct peer *p, int64_t now_ms);
int64_t peer_h1_due_ms(const struct peer *p);
void peer_h1_abort(struct peer *p, struct http_request *r);

/* server_h2.c */
void peer_h2_new(struct peer *p);
void peer_h2_free(struct h2 *h);
void peer_h2_data(struct peer *p, const char *data, size_t n);
void peer_h2_step(struct peer *p, struct http_request *r);
void peer_h2_flush(struct peer *p);
void peer_h2_stop(struct peer *p);
void peer_h2_late(struct peer *p, int64_t now_ms);
int64_t peer_h2_due_ms(const struct peer *p);
void peer_h2_abort(struct peer *p, struct http_request *r);

#endif
