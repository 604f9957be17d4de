#ifndef LIB_HTTP_WEBSOCKET_H
#define LIB_HTTP_WEBSOCKET_H
/*
 * websocket - RFC 6455 frames over a conn, both ends. No extensions. Thread: the loop's.
 */
#include "lib/http/conn.h"
#include "lib/http/message.h"

struct ws;

enum ws_op { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_ops {
    /* A whole message (fragments joined, at most ws max_bytes; more closes with 1009; text is UTF-8, else 1007) or a PONG.
     * PINGs are answered inside. data is valid for the call. None comes after ws_close. */
    void (*on_message)(struct ws *w, void *arg, enum ws_op op, const char *data, size_t n);
    void (*on_drain)(struct ws *w, void *arg); /* NULL allowed */
    /* Last call: the connection is gone. code: the peer's; 1005 when it gave none, 1006 without a close frame;
     * 1002, 1007 or 1009 when the peer broke the protocol. Never inside one of the functions below. */
    void (*on_close)(struct ws *w, void *arg, int code);
};

/* Takes over the connection after the 101. client: frames we send are masked. */
struct ws *ws_new(struct conn *c, bool client, size_t max_bytes, const struct ws_ops *ops, void *arg);
void ws_send(struct ws *w, enum ws_op op, const void *data, size_t n); /* text, binary, PING; copies; nothing after ws_close */
size_t ws_queued(const struct ws *w);
void ws_pause(struct ws *w); /* no message until ws_resume; also stops hearing a close */
void ws_resume(struct ws *w);
/* Sends what is queued and a close frame (reason cut at 123 bytes, NULL: none), waits at most 5 s for the peer's, closes. */
void ws_close(struct ws *w, int code, const char *reason);

/* Handshake. Server: checks the request's headers and picks the first of `protocols` the client offered; fills the answer's headers.
 * protocols ends with NULL, NULL: none asked. Errors: BAD_REQUEST, also when it offered others only.
 * *ret_protocol is one of protocols, or NULL when the client offered none. */
CHECK_RC int ws_accept(const struct http_headers *request, const char *const *protocols, struct http_headers *answer,
                       const char **ret_protocol, struct err *err);
/* Client: headers to send (Upgrade, Connection, key, version, protocols). */
void ws_offer(const char *const *protocols, char ret_key[32], struct http_headers *request);
CHECK_RC int ws_check(const char *key, const struct http_headers *answer, struct err *err);

#endif
