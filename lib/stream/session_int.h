#ifndef LIB_STREAM_SESSION_INT_H
#define LIB_STREAM_SESSION_INT_H
/* session_int - a session's insides, for fds.c and tests. */
#include "lib/stream/stream_int.h"

struct stream_session {
    struct loop *loop;
    struct stream_want want;
    struct stream_choice choice;
    struct stream_session_ops ops;
    void *arg;
    struct ws *ws;     /* one of the two */
    struct wire *wire;
    struct spdy_stream *channel[STREAM_CHANNELS];
    struct buf resize, scratch;
    bool opened, ended, closed, paused, in_ended, posted;
    struct loop_timer *timer;
};

struct stream_session *session_new(const struct stream_want *want, const struct stream_choice *choice, const struct stream_session_ops *ops,
                                   void *arg);
void session_start(struct stream_session *s, struct conn *c);

#endif
