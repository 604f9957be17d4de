/* grpc - the health check of gRPC's health protocol: one call of grpc.health.v1.Health/Check on a connection of its own, without TLS.
 * Source: gRPC over HTTP2 (PROTOCOL-HTTP2.md), GRPC Health Checking Protocol, protobuf encoding; messages as upstream's kubelet says them. */
#include "agent/pods/pods_int.h"

#include "lib/http/client.h"
#include "lib/pool.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { ANSWER_BYTES = 64 * 1024, FRAME_HEAD_BYTES = 5, AGAIN_MS = 1000, CANCEL_LOOK_MS = 100 };

enum { GRPC_OK = 0, GRPC_UNKNOWN = 2, GRPC_DEADLINE = 4, GRPC_PERMISSION = 7, GRPC_UNIMPLEMENTED = 12, GRPC_INTERNAL = 13, GRPC_UNAVAILABLE = 14,
       GRPC_UNAUTHENTICATED = 16 };

enum { HEALTH_SERVING = 1 };

static const char *const code_names[] = { "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
                                          "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
                                          "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated" };

/* What an answer that is not gRPC's amounts to. */
static const struct {
    int http;
    int64_t code;
} code_of_http[] = {
    { 400, GRPC_INTERNAL },    { 401, GRPC_UNAUTHENTICATED }, { 403, GRPC_PERMISSION },  { 404, GRPC_UNIMPLEMENTED },
    { 429, GRPC_UNAVAILABLE }, { 502, GRPC_UNAVAILABLE },     { 503, GRPC_UNAVAILABLE }, { 504, GRPC_UNAVAILABLE },
};

/* One check. */
struct check {
    struct ctx *ctx;
    const char *address, *service;
    const char *within; /* the timeout as Go writes it */
    /* how the call ended */
    int64_t code;
    const char *desc;
    int32_t serving;
};

static const char *go_seconds(struct arena *a, int64_t s)
{
    if (s < 60)
        return arena_printf(a, "%llds", (long long)s);
    if (s < 3600)
        return arena_printf(a, "%lldm%llds", (long long)(s / 60), (long long)(s % 60));
    return arena_printf(a, "%lldh%lldm%llds", (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60));
}

/* --- the messages --- */

static void add_varint(struct buf *to, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_char(to, (char)(v | 0x80));
    buf_char(to, (char)v);
}

/* HealthCheckRequest { string service = 1; } in its frame. */
static struct bytes *request_body(const char *service)
{
    AUTO(buf) struct buf message = { 0 };
    struct buf frame = { 0 };
    size_t n = strlen(service);

    if (n) {
        buf_char(&message, 1 << 3 | 2);
        add_varint(&message, n);
        buf_add(&message, service, n);
    }
    n = buf_len(&message);
    const char head[FRAME_HEAD_BYTES] = { 0, (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n };
    buf_add(&frame, head, sizeof(head));
    buf_add(&frame, buf_at(&message), n);
    return buf_take(&frame);
}

static bool read_varint(struct slice *in, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < 10 && i < in->n; i++) {
        uint8_t c = (uint8_t)in->at[i];

        v |= (uint64_t)(c & 0x7f) << (7 * i);
        if (c < 0x80) {
            *in = (struct slice){ in->at + i + 1, in->n - i - 1 };
            *ret = v;
            return true;
        }
    }
    return false;
}

/* One field; a varint's value is in *ret_value, what else it may be is passed over. */
static bool next_field(struct slice *in, uint64_t *ret_tag, uint64_t *ret_value)
{
    uint64_t skip = 0;

    if (!read_varint(in, ret_tag) || *ret_tag >> 3 == 0)
        return false;
    switch (*ret_tag & 7) {
    case 0: return read_varint(in, ret_value);
    case 1: skip = 8; break;
    case 2:
        if (!read_varint(in, &skip))
            return false;
        break;
    case 5: skip = 4; break;
    default: return false;
    }
    if (skip > in->n)
        return false;
    *in = (struct slice){ in->at + skip, in->n - skip };
    return true;
}

const char *grpc_health_read(struct slice body, int32_t *ret_status)
{
    const unsigned char *head = (const unsigned char *)body.at;
    uint64_t tag = 0, value = 0;
    int32_t status = 0;

    if (body.n == 0)
        return "cardinality violation: received no response message from non-server-streaming RPC";
    if (body.n < FRAME_HEAD_BYTES)
        return "unexpected EOF";
    if (head[0])
        return "grpc: compressed flag set with identity or empty encoding";
    size_t n = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    struct slice in = { body.at + FRAME_HEAD_BYTES, body.n - FRAME_HEAD_BYTES };
    if (n > in.n)
        return "unexpected EOF";
    if (n < in.n)
        return "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message";
    while (in.n) {
        if (!next_field(&in, &tag, &value))
            return "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data";
        if (tag == (1 << 3 | 0))
            status = (int32_t)(uint32_t)value;
    }
    *ret_status = status;
    return NULL;
}

/* --- the answer --- */

static void end_with(struct check *c, int64_t code, const char *desc)
{
    c->code = code;
    c->desc = desc;
}

static bool is_grpc(const char *content_type)
{
    static const char want[] = "application/grpc";

    return content_type && strncasecmp(content_type, want, sizeof(want) - 1) == 0 && strchr("+;", content_type[sizeof(want) - 1]);
}

static void read_foreign(struct check *c, const struct http_answer *answer, const char *content_type)
{
    struct arena *a = c->ctx->arena;
    int64_t code = GRPC_UNKNOWN;

    for (size_t i = 0; i < ARRAY_LEN(code_of_http); i++)
        if (code_of_http[i].http == answer->status)
            code = code_of_http[i].code;
    const char *what = content_type ? arena_printf(a, "transport: received unexpected content-type \"%s\"", content_type)
                                    : "malformed header: missing HTTP content-type";
    end_with(c, code,
             arena_printf(a, "unexpected HTTP status code received from server: %d (%s); %s", answer->status, http_status_text(answer->status), what));
}

/* grpc-message is percent-encoded; what is not so is shown as it came. */
static const char *decode_message(struct arena *a, const char *text)
{
    AUTO(buf) struct buf plain = { 0 };

    if (!text)
        return "";
    return url_decode(slice_of(text), false, &plain) < 0 ? arena_strdup(a, text) : arena_strdup(a, buf_at(&plain));
}

static void read_answer(struct check *c, const struct http_answer *answer)
{
    const char *content_type = http_headers_get(&answer->headers, "content-type");
    const struct http_headers *from = answer->trailers.n || answer->body->n ? &answer->trailers : &answer->headers; /* else "trailers only" */
    const char *status = http_headers_get(from, "grpc-status"), *wrong;
    char *end = NULL;

    if (!is_grpc(content_type)) {
        read_foreign(c, answer, content_type);
        return;
    }
    if (!status) {
        end_with(c, from->n ? GRPC_UNKNOWN : GRPC_INTERNAL, from->n ? "" : "server closed the stream without sending trailers");
        return;
    }
    errno = 0;
    long code = strtol(status, &end, 10);
    if (end == status || *end || errno || code < INT32_MIN || code > INT32_MAX)
        end_with(c, GRPC_UNKNOWN, arena_printf(c->ctx->arena, "transport: malformed grpc-status: \"%s\"", status));
    else if (code != GRPC_OK)
        end_with(c, (int64_t)(uint32_t)code, decode_message(c->ctx->arena, http_headers_get(from, "grpc-message")));
    else if ((wrong = grpc_health_read((struct slice){ answer->body->at, answer->body->n }, &c->serving)))
        end_with(c, GRPC_INTERNAL, wrong);
    else
        end_with(c, GRPC_OK, "");
}

/* --- the call --- */

/* False: the time is over, or nobody wants it any more. */
static bool wait_to_try_again(const struct ctx *ctx)
{
    struct err err;

    pool_wait_begin();
    for (int64_t ms = AGAIN_MS; ms > 0 && ctx_check(ctx, &err) == 0; ms -= CANCEL_LOOK_MS) {
        int64_t left = ctx_left_ms(ctx);

        (void)poll(NULL, 0, left < CANCEL_LOOK_MS ? (int)left : CANCEL_LOOK_MS);
    }
    pool_wait_end();
    return ctx_check(ctx, &err) == 0;
}

/* A server that is not there yet is waited for, until the time is over. Errors: http_call's. */
static int call_server(struct check *c, struct http_client *client, struct http_answer *ret, struct err *err)
{
    AUTO(bytes) struct bytes *body = request_body(c->service);
    int rc;

    do {
        int64_t left = ctx_left_ms(c->ctx);
        const char *timeout = arena_printf(c->ctx->arena, "%lldm", (long long)(left > 99999999 ? 99999999 : left)); /* at most 8 digits */
        const char *const headers[] = { "te", "trailers", "grpc-timeout", timeout, "user-agent", "kube-probe/1.37", NULL };
        struct http_call call = { .method = "POST", .path = "/grpc.health.v1.Health/Check", .content_type = "application/grpc",
                                  .headers = headers, .body = body, .max_bytes = ANSWER_BYTES };

        rc = http_call(c->ctx, client, &call, ret, err);
    } while (rc < 0 && !http_client_connected(client) && wait_to_try_again(c->ctx));
    return rc;
}

static char *verdict(const struct check *c)
{
    static const char *const states[] = { "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN" };

    if (c->code == GRPC_UNIMPLEMENTED)
        return mem_printf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", c->desc);
    if (c->code == GRPC_DEADLINE)
        return mem_printf("timeout: health rpc did not complete within %s", c->within);
    if (c->code >= (int64_t)ARRAY_LEN(code_names))
        return mem_printf("error: health rpc probe failed: rpc error: code = Code(%lld) desc = %s", (long long)c->code, c->desc);
    if (c->code != GRPC_OK)
        return mem_printf("error: health rpc probe failed: rpc error: code = %s desc = %s", code_names[c->code], c->desc);
    if (c->serving < 0 || c->serving >= (int32_t)ARRAY_LEN(states))
        return mem_printf("service unhealthy (responded with \"%d\")", c->serving);
    if (c->serving != HEALTH_SERVING)
        return mem_printf("service unhealthy (responded with \"%s\")", states[c->serving]);
    return mem_strdup("service healthy");
}

bool grpc_check(struct ctx *ctx, struct loop *loop, const struct action *a, char **ret_output)
{
    const json_t *spec = json_object_get(a->spec, "grpc");
    bool v6 = strchr(a->pod_ip, ':') != NULL;
    struct check c = { .ctx = ctx, .service = json_str_or(spec, "service", ""), .within = go_seconds(ctx->arena, a->timeout_ms / 1000) };
    struct http_client *client = NULL;
    struct http_answer answer = { 0 };
    struct err err;

    c.address = arena_printf(ctx->arena, v6 ? "[%s]:%d" : "%s:%d", a->pod_ip, (int)json_int_or(spec, "port", 0));
    struct http_client_options options = { .loop = loop, .url = arena_printf(ctx->arena, "http://%s", c.address), .http2_prior = true };
    if (http_client_new(&options, &client, &err) < 0) {
        *ret_output = mem_printf("error: failed to connect service at \"%s\": %s", c.address, err.msg);
        return false;
    }
    int rc = call_server(&c, client, &answer, &err);
    bool connected = http_client_connected(client);

    http_client_free(client);
    if (rc == 0) {
        read_answer(&c, &answer);
        http_answer_clear(&answer);
    } else if (!connected) {
        *ret_output = mem_printf("timeout: failed to connect service \"%s\" within %s: context deadline exceeded", c.address, c.within);
        return false;
    } else {
        end_with(&c, ctx_left_ms(ctx) == 0 ? GRPC_DEADLINE : GRPC_UNAVAILABLE, arena_strdup(ctx->arena, err.msg));
    }
    *ret_output = verdict(&c);
    return c.code == GRPC_OK && c.serving == HEALTH_SERVING;
}
