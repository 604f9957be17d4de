#ifndef LIB_STREAM_CHANNEL_H
#define LIB_STREAM_CHANNEL_H
/*
 * channel - what WebSocket messages of *.channel.k8s.io and the SPDY error and resize streams carry. Pure functions. Thread: any.
 * Source: k8s.io/streaming pkg/httpstream/wsstream; apimachinery pkg/util/remotecommand.
 */
#include "lib/bytes.h"
#include "lib/err.h"

struct channel_codec {
    bool base64; /* text messages: digit and base64 */
    bool v5;     /* 255 closes a channel */
    bool json;   /* v4 and later: the status is a metav1.Status, not its message */
};

struct channel_message {
    int channel; /* -1: an empty message */
    bool close;
    struct slice data; /* in the message, or in scratch */
};

void channel_encode(const struct channel_codec *codec, int channel, const void *data, size_t n, struct buf *to);
/* Errors: BAD_REQUEST. */
CHECK_RC int channel_decode(const struct channel_codec *codec, const char *message, size_t n, struct buf *scratch,
                            struct channel_message *ret, struct err *err);

/* The last message on the error channel. Nothing (an empty text) for success where !json. */
void channel_exit_status(bool json, int exit_code, struct buf *to);
void channel_fail_status(bool json, const char *what, const struct err *why, struct buf *to); /* "error executing command in container" */

/* Takes whole {"Width":…,"Height":…} out of `pending`. 1: one was there; 0: more must come; Errors: BAD_REQUEST (also over 4 KB). */
CHECK_RC int channel_resize(struct buf *pending, int *ret_cols, int *ret_rows, struct err *err);

#endif
