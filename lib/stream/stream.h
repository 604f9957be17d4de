#ifndef LIB_STREAM_STREAM_H
#define LIB_STREAM_STREAM_H
/*
 * stream - the node's end of exec, attach and port-forward, whatever the client speaks.
 *
 * A session takes over the connection of an HTTP request (http_upgrade) and gives the owner channels; framing, negotiation, back-pressure and the
 * exit status are its business. Framings: WebSocket v5/v4.channel.k8s.io, channel.k8s.io, their base64 forms and none named; SPDY/3.1 with
 * v4…v1 stream protocols; for port-forward SPDY/3.1, SPDY/3.1 inside WebSocket (SPDY/3.1+portforward.k8s.io, kubectl >= 1.31) and the WebSocket channel form.
 *
 * The API server: it authorizes, sends the request on to the kubelet with http_client_upgrade (headers Upgrade, Connection, Sec-WebSocket-*,
 * X-Stream-Protocol-Version as they came), answers with http_upgrade and the kubelet's headers, and joins both by conn_relay. Upstream's
 * API server translates WebSocket to SPDY for its kubelet; ours needn't: this end speaks both. Left out until our API server shall serve a stock kubelet: the
 * client end of a session (stream_remote_open) and that translation.
 *
 * Thread: everything on the loop of the request's connection, callbacks too; hand over with loop_post. Calls are allowed from callbacks.
 * Lifetime: a session is gone after its on_close, which always comes, once. No call after it.
 * Back-pressure: write while stream_session_queued < CONN_HIGH_BYTES, go on at on_drain; pause stops what comes in.
 * Limits: 256 KB held for paused SPDY streams of a connection, a WebSocket message 1 MB, a resize message 4 KB, 1,000 SPDY streams, 126 forwarded ports of
 * the WebSocket form.
 * Source: SPDY draft 3.1; RFC 6455; k8s.io/streaming wsstream and httpstream; k8s.io/client-go tools/remotecommand and tools/portforward.
 */
#include "lib/http/server.h"

enum stream_channel { STREAM_IN = 0, STREAM_OUT = 1, STREAM_ERR = 2, STREAM_STATUS = 3, STREAM_RESIZE = 4, STREAM_CHANNELS = 5 };

/* --- exec and attach --- */

struct stream_session;

/* What the query asked for (stdin, stdout, stderr, tty). With tty stderr is not used. */
struct stream_want {
    bool in, out, err, tty;
    bool attach; /* only for the words of a failure */
};

struct stream_session_ops {
    void (*on_open)(void *arg, struct stream_session *s); /* every channel is there: start */
    void (*on_in)(void *arg, const char *data, size_t n);
    void (*on_in_end)(void *arg); /* the client closed stdin */
    void (*on_resize)(void *arg, int cols, int rows);
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg); /* the client left, or the end was told. Comes also when on_open never did */
};

/* Answers the request: takes it over, or refuses it (400, 403) with upstream's words and returns false; then no callback comes. */
bool stream_session_accept(struct http_request *r, const struct stream_want *want, const struct stream_session_ops *ops, void *arg);

void stream_session_write(struct stream_session *s, enum stream_channel channel, const void *data, size_t n); /* OUT or ERR */
size_t stream_session_queued(const struct stream_session *s);
void stream_session_pause(struct stream_session *s); /* stdin */
void stream_session_resume(struct stream_session *s);
/* Tells the exit code, or why it could not run, and closes in order; nothing is read or written after it. on_close comes later. */
void stream_session_exit(struct stream_session *s, int exit_code);
void stream_session_fail(struct stream_session *s, const struct err *why);

/* Ready-made wiring to the runtime's sockets (non-blocking; owned from here; -1: none): relays in, out and err, writes "resize <cols> <rows>\n" to control
 * and ends the session when control says "exit <code>\n" or ends (attach: when out and err ended), after the output is through.
 * Call it from on_open; it takes over the session: the ops given to accept get on_close only. */
struct stream_fds {
    int in, out, err, control;
};
void stream_session_wire(struct stream_session *s, const struct stream_fds *fds);

/* --- port-forward --- */

struct stream_forward;
struct stream_port; /* one forwarded connection; gone after its on_port_close */

struct stream_forward_ops {
    /* A client wants a connection to port. Dial, then stream_port_connect or stream_port_fail; it stays valid meanwhile, until on_port_close. */
    void (*on_port)(void *arg, struct stream_port *p, int port);
    void (*on_port_close)(void *arg, struct stream_port *p); /* also after connect and fail; the last word on p */
    void (*on_close)(void *arg);
};

/* ports: the `ports` of the query, for the WebSocket channel form (it refuses to do without). As stream_session_accept. */
bool stream_forward_accept(struct http_request *r, const int *ports, size_t n_ports, const struct stream_forward_ops *ops, void *arg);
void stream_forward_close(struct stream_forward *f);

void stream_port_set(struct stream_port *p, void *arg);
void *stream_port_arg(const struct stream_port *p);
void stream_port_connect(struct stream_port *p, int fd); /* a connected socket, owned from here: bytes go both ways until both ended */
/* E.g. "error forwarding port 80 to pod …, uid : …": goes to the error channel as it is. */
void stream_port_fail(struct stream_port *p, const char *message);

#endif
