/* Which framing a client asks for. */
#include "lib/stream/stream_int.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char *const exec_ws[] = { "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                                       "base64.channel.k8s.io", NULL };
static const char *const exec_spdy[] = { "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", NULL };
static const char *const forward_ws[] = { "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", NULL };
static const char *const forward_spdy[] = { "portforward.k8s.io", NULL };

static void set_upgrade(struct http_headers *answer)
{
    http_headers_set(answer, "connection", "Upgrade");
    http_headers_set(answer, "upgrade", "SPDY/3.1");
}

static int choose_ws(const struct http_headers *request, bool forward, struct stream_choice *ret, struct err *err)
{
    const char *protocol = NULL, *asked = http_headers_get(request, "sec-websocket-protocol");
    int rc = ws_accept(request, forward ? forward_ws : exec_ws, &ret->answer, &protocol, err);

    if (rc < 0)
        return rc;
    if (!protocol && asked && *asked) {
        http_headers_clear(&ret->answer);
        return err_set(err, ERR_FORBIDDEN, "requested protocol(s) are not supported: [%.200s]", asked);
    }
    protocol = protocol ? protocol : "";
    ret->framing = strncmp(protocol, "SPDY/3.1+", 9) == 0 ? FRAMING_SPDY_IN_WS : FRAMING_CHANNELS;
    ret->codec.base64 = strstr(protocol, "base64.") != NULL;
    ret->codec.v5 = protocol[0] == 'v' && protocol[1] == '5';
    ret->codec.json = protocol[0] == 'v';
    ret->resize = true;
    return 0;
}

static const char *find_ours(const char *const *ours, const char *at, size_t n)
{
    for (size_t i = 0; ours[i]; i++)
        if (strlen(ours[i]) == n && memcmp(ours[i], at, n) == 0)
            return ours[i];
    return NULL;
}

/* The first of the client's that is one of ours; several fields and comma lists. */
static const char *match(const struct http_headers *request, const char *const *ours)
{
    for (size_t i = 0; i < request->n; i++) {
        const char *at = request->at[i].value;

        if (strcasecmp(request->at[i].name, "x-stream-protocol-version") != 0)
            continue;
        while (*at) {
            size_t skip = strspn(at, ", "), n = strcspn(at + skip, ", ");
            const char *found = find_ours(ours, at + skip, n);

            if (found)
                return found;
            at += skip + n;
        }
    }
    return NULL;
}

static int choose_spdy(const struct http_headers *request, bool forward, struct stream_choice *ret, struct err *err)
{
    const char *const *ours = forward ? forward_spdy : exec_spdy;
    const char *asked = http_headers_get(request, "x-stream-protocol-version");
    const char *protocol = match(request, ours);

    if (!asked)
        return err_set(err, ERR_BAD_REQUEST, "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with %zu headers",
                       request->n);
    if (!protocol) {
        for (size_t i = 0; ours[i]; i++)
            http_headers_add(&ret->answer, "x-accepted-stream-protocol-versions", ours[i]);
        return err_set(err, ERR_FORBIDDEN, "unable to upgrade: unable to negotiate protocol: client supports [%.200s]", asked);
    }
    ret->framing = FRAMING_SPDY;
    ret->codec.json = protocol[0] == 'v' && protocol[1] == '4';
    ret->resize = protocol[0] == 'v' && protocol[1] >= '3';
    set_upgrade(&ret->answer);
    http_headers_set(&ret->answer, "x-stream-protocol-version", protocol);
    return 0;
}

int stream_choose(const struct http_headers *request, bool forward, struct stream_choice *ret, struct err *err)
{
    const char *upgrade = http_headers_get(request, "upgrade");

    *ret = (struct stream_choice){ 0 };
    if (!upgrade || !http_headers_has_token(request, "connection", "upgrade"))
        return err_set(err, ERR_BAD_REQUEST, "unable to upgrade: missing upgrade headers in request");
    if (strcasecmp(upgrade, "websocket") == 0)
        return choose_ws(request, forward, ret, err);
    if (strcasecmp(upgrade, "SPDY/3.1") == 0)
        return choose_spdy(request, forward, ret, err);
    return err_set(err, ERR_BAD_REQUEST, "unable to upgrade: %.60s is neither websocket nor SPDY/3.1", upgrade);
}

void stream_refuse(struct http_request *r, const struct http_headers *headers, const struct err *why)
{
    struct http_headers h = { 0 };
    AUTO(buf) struct buf body = { 0 };

    http_headers_add(&h, "content-type", "text/plain; charset=utf-8");
    for (size_t i = 0; headers && i < headers->n; i++)
        http_headers_add(&h, headers->at[i].name, headers->at[i].value);
    buf_printf(&body, "%s\n", why->msg);

    struct bytes *b = buf_take(&body);

    http_reply(r, err_http(why), &h, b);
    bytes_unref(b);
    http_headers_clear(&h);
}

bool stream_negotiate(struct http_request *r, bool forward, struct stream_choice *ret)
{
    struct err err;

    if (stream_choose(http_request_info(r)->headers, forward, ret, &err) == 0)
        return true;
    stream_refuse(r, &ret->answer, &err);
    http_headers_clear(&ret->answer);
    return false;
}
