#ifndef LIB_STREAM_LOG_H
#define LIB_STREAM_LOG_H
/*
 * log - bytes one way to a client: a chunked text/plain answer, or binary WebSocket messages when the request asks for an upgrade.
 *
 * Used by the node's log endpoint; the API server relays either form (see stream.h), or uses it itself on what it reads from a stock kubelet.
 * Thread: the loop of the request's connection. The handle is gone after on_close, which always comes, once.
 * Back-pressure: write while stream_log_queued < CONN_HIGH_BYTES, go on at on_drain.
 * Source: k8s.io/streaming wsstream (binary.k8s.io, base64.binary.k8s.io and no subprotocol).
 */
#include "lib/http/server.h"

struct stream_log;

struct stream_log_ops {
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg); /* the client left, or the end went out */
};

/* NULL: refused and answered (a subprotocol that is not ours). Writing may begin at once. */
struct stream_log *stream_log_accept(struct http_request *r, const struct stream_log_ops *ops, void *arg);
void stream_log_write(struct stream_log *l, struct bytes *b);
size_t stream_log_queued(const struct stream_log *l);
void stream_log_end(struct stream_log *l);

#endif
