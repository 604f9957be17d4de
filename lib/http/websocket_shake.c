/* The WebSocket handshake. Source: RFC 6455 section 4. */
#include "lib/crypto.h"
#include "lib/http/websocket.h"

#include <string.h>

enum { KEY_BYTES = 16, KEY_TEXT_BYTES = 24 };

static void accept_of(const char *key, struct buf *to)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[SHA1_BYTES];
    AUTO(buf) struct buf text = { 0 };

    buf_str(&text, key);
    buf_str(&text, guid);
    sha1_of(buf_at(&text), buf_len(&text), digest);
    base64_write(digest, sizeof(digest), to);
}

static bool key_ok(const char *key)
{
    AUTO(buf) struct buf raw = { 0 };

    return key && strlen(key) == KEY_TEXT_BYTES && base64_read(key, KEY_TEXT_BYTES, &raw) == 0 && buf_len(&raw) == KEY_BYTES;
}

int ws_accept(const struct http_headers *request, const char *const *protocols, struct http_headers *answer,
              const char **ret_protocol, struct err *err)
{
    const char *key = http_headers_get(request, "sec-websocket-key");
    const char *offered = http_headers_get(request, "sec-websocket-protocol"), *chosen = NULL;
    const char *version = http_headers_get(request, "sec-websocket-version");
    AUTO(buf) struct buf accept = { 0 };

    if (!http_headers_has_token(request, "connection", "upgrade") || !http_headers_has_token(request, "upgrade", "websocket"))
        return err_set(err, ERR_BAD_REQUEST, "the request is no WebSocket upgrade");
    if (!version || strcmp(version, "13") != 0) {
        http_headers_set(answer, "sec-websocket-version", "13");
        return err_set(err, ERR_BAD_REQUEST, "WebSocket version %.32s is not supported, only 13", version ? version : "(none)");
    }
    if (!key_ok(key))
        return err_set(err, ERR_BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64");
    for (size_t i = 0; protocols && protocols[i] && !chosen; i++) {
        if (http_headers_has_token(request, "sec-websocket-protocol", protocols[i]))
            chosen = protocols[i];
    }
    if (protocols && offered && !chosen)
        return err_set(err, ERR_BAD_REQUEST, "none of the WebSocket protocols offered (%.128s) is supported", offered);
    accept_of(key, &accept);
    http_headers_set(answer, "upgrade", "websocket");
    http_headers_set(answer, "connection", "Upgrade");
    http_headers_set(answer, "sec-websocket-accept", buf_at(&accept));
    if (chosen)
        http_headers_set(answer, "sec-websocket-protocol", chosen);
    *ret_protocol = chosen;
    return 0;
}

void ws_offer(const char *const *protocols, char ret_key[32], struct http_headers *request)
{
    unsigned char raw[KEY_BYTES];
    AUTO(buf) struct buf key = { 0 }, list = { 0 };

    random_bytes(raw, sizeof(raw));
    base64_write(raw, sizeof(raw), &key);
    memcpy(ret_key, buf_at(&key), buf_len(&key) + 1);
    http_headers_set(request, "upgrade", "websocket");
    http_headers_set(request, "connection", "Upgrade");
    http_headers_set(request, "sec-websocket-key", ret_key);
    http_headers_set(request, "sec-websocket-version", "13");
    for (size_t i = 0; protocols && protocols[i]; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", protocols[i]);
    if (buf_len(&list))
        http_headers_set(request, "sec-websocket-protocol", buf_at(&list));
}

int ws_check(const char *key, const struct http_headers *answer, struct err *err)
{
    const char *got = http_headers_get(answer, "sec-websocket-accept");
    AUTO(buf) struct buf want = { 0 };

    if (!http_headers_has_token(answer, "connection", "upgrade") || !http_headers_has_token(answer, "upgrade", "websocket"))
        return err_set(err, ERR_BAD_REQUEST, "the server did not switch to WebSocket");
    accept_of(key, &want);
    if (!got || strcmp(got, buf_at(&want)) != 0)
        return err_set(err, ERR_BAD_REQUEST, "the server's Sec-WebSocket-Accept is wrong");
    return 0;
}
