#ifndef LIB_STREAM_SPDY_H
#define LIB_STREAM_SPDY_H
/*
 * spdy - SPDY/3.1 framing and streams, both ends, as Kubernetes clients speak it. Does no I/O: it is fed bytes and gives bytes.
 *
 * Thread: one at a time (the connection's loop). Callbacks are made from within spdy_feed and spdy_stream_resume only; calls on streams
 * are allowed from them, spdy_free is not.
 * Windows: the peers that exist (moby/spdystream) neither send WINDOW_UPDATE nor heed it. So we never wait for one; we do send them for
 * what was consumed; and what came for a paused stream is held, until SPDY_HELD_BYTES in all, when reading stops (`pause`).
 * Limits: control frames 64 KB, header blocks 64 KB and 100 headers, 1,000 streams (more are refused).
 * Source: SPDY Protocol draft 3.1.
 */
#include "lib/bytes.h"
#include "lib/err.h"
#include "lib/http/message.h"

enum { SPDY_CONTROL_BYTES = 64 * 1024, SPDY_HEADERS_MAX = 100, SPDY_STREAMS_MAX = 1000, SPDY_HELD_BYTES = 256 * 1024 };

struct spdy;
struct spdy_stream; /* until on_gone */

struct spdy_ops {
    void (*send)(void *arg, const void *data, size_t n);
    void (*pause)(void *arg, bool stop); /* stop or go on reading from the peer */
    /* The peer opened one. It is accepted on return, unless spdy_stream_reset was called. */
    void (*on_stream)(void *arg, struct spdy_stream *s, const struct http_headers *headers);
    void (*on_data)(void *arg, struct spdy_stream *s, const char *data, size_t n);
    void (*on_end)(void *arg, struct spdy_stream *s); /* the peer sends no more on it */
    /* Both ends are done, it was reset, or the connection ends (spdy_free). The last call. Not after our own spdy_stream_reset. */
    void (*on_gone)(void *arg, struct spdy_stream *s);
    void (*on_goaway)(void *arg);
};

struct spdy *spdy_new(bool client, const struct spdy_ops *ops, void *arg);
void spdy_free(struct spdy *c); /* on_gone for the streams there are; NULL allowed */
CHECK_RC int spdy_feed(struct spdy *c, const char *data, size_t n, struct err *err); /* Errors: IO: the connection is of no use any more */

struct spdy_stream *spdy_open(struct spdy *c, const struct http_headers *headers); /* NULL: too many */
void spdy_ping(struct spdy *c);
void spdy_goaway(struct spdy *c);

void spdy_stream_set(struct spdy_stream *s, void *arg);
void *spdy_stream_arg(const struct spdy_stream *s);
void spdy_stream_write(struct spdy_stream *s, const void *data, size_t n); /* nothing once we ended it */
void spdy_stream_end(struct spdy_stream *s);   /* we send no more; may end it: on_gone comes before the next event, at the latest in spdy_free */
void spdy_stream_reset(struct spdy_stream *s); /* gone at once, without on_gone */
void spdy_stream_pause(struct spdy_stream *s);
void spdy_stream_resume(struct spdy_stream *s); /* delivers what was held */

#endif
