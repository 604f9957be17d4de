#ifndef LIB_STREAM_STREAM_INT_H
#define LIB_STREAM_STREAM_INT_H
/* stream_int - what sessions and port-forwards share: choosing a framing, and SPDY over its carrier. Thread: the connection's loop. */
#include "lib/http/websocket.h"
#include "lib/stream/channel.h"
#include "lib/stream/spdy.h"
#include "lib/stream/stream.h"

enum { WS_MESSAGE_BYTES = 1024 * 1024, STREAMS_WAIT_MS = 30000, END_WAIT_MS = 5000 };

enum stream_framing { FRAMING_CHANNELS, FRAMING_SPDY, FRAMING_SPDY_IN_WS };

struct stream_choice {
    enum stream_framing framing;
    struct channel_codec codec;
    bool resize; /* SPDY: the protocol has a resize stream */
    struct http_headers answer;
};

/* Errors: BAD_REQUEST, FORBIDDEN (no protocol in common; ret->answer then names ours). Owner: http_headers_clear of ret->answer, also on failure. */
CHECK_RC int stream_choose(const struct http_headers *request, bool forward, struct stream_choice *ret, struct err *err);
/* stream_choose, and the refusal sent. */
bool stream_negotiate(struct http_request *r, bool forward, struct stream_choice *ret);
void stream_refuse(struct http_request *r, const struct http_headers *headers, const struct err *why);

/* SPDY over a connection, or inside binary WebSocket messages. Gone after on_close; the spdy's streams have gone before it. */
struct wire;
struct wire_ops {
    void (*on_drain)(void *arg);
    void (*on_close)(void *arg);
};
struct wire *wire_new(struct conn *c, bool in_ws, const struct spdy_ops *spdy, const struct wire_ops *ops, void *arg);
struct spdy *wire_spdy(struct wire *w);
size_t wire_queued(const struct wire *w);
void wire_end(struct wire *w); /* everything was said: lets the peer close, for at most 5 s */

#endif
