#include "lib/k8s/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void member_str(struct buf *to, bool *any, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(to, "%s\"%s\":", *any ? "," : "", key);
    json_write_string(slice_of(value), to);
    *any = true;
}

static void write_causes(const struct k8s_status *s, struct buf *to, bool *any)
{
    if (s->n_causes == 0)
        return;
    buf_printf(to, "%s\"causes\":[", *any ? "," : "");
    for (size_t i = 0; i < s->n_causes; i++) {
        bool member = false;

        buf_str(to, i ? ",{" : "{");
        member_str(to, &member, "reason", s->causes[i].type);
        member_str(to, &member, "message", s->causes[i].message);
        member_str(to, &member, "field", s->causes[i].field);
        buf_char(to, '}');
    }
    buf_char(to, ']');
    *any = true;
}

static void write_details(const struct k8s_status *s, struct buf *to)
{
    size_t from = buf_len(to);
    bool any = false;

    buf_str(to, ",\"details\":{");
    member_str(to, &any, "name", s->name);
    member_str(to, &any, "group", s->group);
    member_str(to, &any, "kind", s->kind);
    member_str(to, &any, "uid", s->uid);
    write_causes(s, to, &any);
    if (s->retry_after_s) {
        buf_printf(to, "%s\"retryAfterSeconds\":%d", any ? "," : "", s->retry_after_s);
        any = true;
    }
    if (any || s->empty_details)
        buf_char(to, '}');
    else
        buf_cut(to, from);
}

/* What upstream's NewInternalError says of a failure that is ours. */
static void write_internal(const struct err *err, struct buf *to)
{
    char message[ERR_MSG_BYTES + 32];

    snprintf(message, sizeof(message), "Internal error occurred: %s", err->msg);
    buf_str(to, "\"message\":");
    json_write_string(slice_of(message), to);
    buf_printf(to, ",\"reason\":\"%s\",\"details\":{\"causes\":[{\"message\":", err_reason(err));
    json_write_string(slice_of(err->msg), to);
    buf_printf(to, "}]},\"code\":%d}", err_http(err));
}

void status_write(const struct err *err, struct buf *to)
{
    const struct k8s_status *s = err->status;
    bool any = false;

    buf_str(to, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{");
    member_str(to, &any, "continue", s ? s->go_on : NULL);
    buf_str(to, "},\"status\":\"Failure\",");
    any = false;
    if (!s && strcmp(err_reason(err), "InternalError") == 0) {
        write_internal(err, to);
        return;
    }
    member_str(to, &any, "message", s && s->message ? s->message : err->msg);
    member_str(to, &any, "reason", s && s->reason ? s->reason : err_reason(err));
    if (s)
        write_details(s, to);
    buf_printf(to, ",\"code\":%d}", s && s->http ? s->http : err_http(err));
}

static const char *kept(struct arena *a, const json_t *o, const char *key)
{
    return arena_strdup(a, json_string_value(json_object_get(o, key)));
}

enum { CAUSES_MAX = 1000 };

static void read_details(struct arena *a, const json_t *d, struct k8s_status *s)
{
    const json_t *causes = json_object_get(d, "causes");
    size_t n = json_array_size(causes);

    s->group = kept(a, d, "group");
    s->kind = kept(a, d, "kind");
    s->name = kept(a, d, "name");
    s->uid = kept(a, d, "uid");
    int64_t wait_s = json_integer_value(json_object_get(d, "retryAfterSeconds"));
    s->retry_after_s = wait_s < 0 || wait_s > INT32_MAX ? 0 : (int)wait_s;
    if (n > CAUSES_MAX)
        n = CAUSES_MAX;
    struct k8s_cause *at = arena_alloc(a, (n + 1) * sizeof(*at));
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(causes, i);

        at[i] = (struct k8s_cause){ kept(a, c, "reason"), kept(a, c, "message"), kept(a, c, "field") };
    }
    s->causes = at;
    s->n_causes = n;
}

/* The words of upstream's client for an answer that is no Status. */
static const char *words_for(int http)
{
    switch (http) {
    case 400: return "the server rejected our request for an unknown reason";
    case 401: return "the server has asked for the client to provide credentials";
    case 404: return "the server could not find the requested resource";
    case 405: return "the server does not allow this method on the requested resource";
    case 409: return "the server reported a conflict";
    case 422: return "the server rejected our request due to an error in our request";
    case 429: return "the server has received too many requests and has asked us to try again later";
    case 503: return "the server is currently unable to handle the request";
    case 504: return "the server was unable to return a response in the time allotted, but may still be processing the request";
    default:  return NULL;
    }
}

static int plain_answer(struct ctx *ctx, int http, struct slice body, struct err *err)
{
    enum err_code code = err_code_of(http, NULL);
    const char *words = words_for(http);
    char *text = arena_strndup(ctx->arena, body.at, body.n < ERR_MSG_BYTES ? body.n : ERR_MSG_BYTES);

    for (size_t n = strlen(text); n && (unsigned char)text[n - 1] <= ' ';)
        text[--n] = '\0';
    if (words)
        return err_set(err, code, "%s", words);
    if (http >= 500)
        return err_set(err, code, "an error on the server (%s) has prevented the request from succeeding",
                       go_quote(ctx->arena, text));
    if (*text)
        return err_set(err, code, "%s", text);
    return err_set(err, code, "the server responded with the status code %d but did not return more information", http);
}

int status_read(struct ctx *ctx, int http, struct slice body, struct err *err)
{
    AUTO(json) json_t *tree = NULL;
    struct err unreadable;
    const char *kind = NULL;

    if (body.n && json_read(body.at, body.n, NULL, NULL, &tree, &unreadable) == 0)
        kind = json_string_value(json_object_get(tree, "kind"));
    if (!kind || strcmp(kind, "Status") != 0)
        return plain_answer(ctx, http, body, err);

    struct k8s_status *s = arena_alloc(ctx->arena, sizeof(*s));
    int64_t code = json_integer_value(json_object_get(tree, "code"));
    s->http = code >= 100 && code < 1000 ? (int)code : http;
    s->message = kept(ctx->arena, tree, "message");
    s->reason = kept(ctx->arena, tree, "reason");
    read_details(ctx->arena, json_object_get(tree, "details"), s);
    int rc = err_set(err, err_code_of(s->http, s->reason), "%s", s->message ? s->message : "unknown");
    err->status = s;
    return rc;
}

/* --- the usual failures --- */

/* "deployments.apps", or "pods" of the core group. */
static char *group_resource(struct arena *a, const char *group, const char *resource)
{
    return group && *group ? arena_printf(a, "%s.%s", resource, group) : arena_strdup(a, resource);
}

static int failure(struct ctx *ctx, enum err_code code, struct k8s_status what, struct err *err)
{
    struct k8s_status *s = arena_alloc(ctx->arena, sizeof(*s));

    *s = what;
    s->group = arena_strdup(ctx->arena, s->group);
    s->kind = arena_strdup(ctx->arena, s->kind);
    s->name = arena_strdup(ctx->arena, s->name);
    int rc = err_set(err, code, "%s", s->message);
    err->status = s;
    return rc;
}

int status_not_found(struct ctx *ctx, const char *group, const char *resource, const char *name, struct err *err)
{
    const char *message = arena_printf(ctx->arena, "%s %s not found", group_resource(ctx->arena, group, resource),
                                       go_quote(ctx->arena, name));

    return failure(ctx, ERR_NOT_FOUND,
                   (struct k8s_status){ .message = message, .group = group, .kind = resource, .name = name }, err);
}

int status_already_exists(struct ctx *ctx, const char *group, const char *resource, const char *name, struct err *err)
{
    const char *message = arena_printf(ctx->arena, "%s %s already exists", group_resource(ctx->arena, group, resource),
                                       go_quote(ctx->arena, name));

    return failure(ctx, ERR_EXISTS, (struct k8s_status){ .message = message, .group = group, .kind = resource, .name = name },
                   err);
}

int status_conflict(struct ctx *ctx, const char *group, const char *resource, const char *name, const char *why,
                    struct err *err)
{
    const char *message = arena_printf(ctx->arena, "Operation cannot be fulfilled on %s %s: %s",
                                       group_resource(ctx->arena, group, resource), go_quote(ctx->arena, name), why);

    return failure(ctx, ERR_CONFLICT,
                   (struct k8s_status){ .message = message, .group = group, .kind = resource, .name = name }, err);
}

int status_forbidden(struct ctx *ctx, const char *group, const char *resource, const char *name, const char *why,
                     struct err *err)
{
    const char *what = resource && *resource ? group_resource(ctx->arena, group, resource) : "";
    const char *message;

    if (!*what)
        message = arena_printf(ctx->arena, "forbidden: %s", why);
    else if (!name || !*name)
        message = arena_printf(ctx->arena, "%s is forbidden: %s", what, why);
    else
        message = arena_printf(ctx->arena, "%s %s is forbidden: %s", what, go_quote(ctx->arena, name), why);
    return failure(ctx, ERR_FORBIDDEN,
                   (struct k8s_status){ .message = message, .group = group, .kind = resource, .name = name }, err);
}

int status_bad_request(struct ctx *ctx, struct err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    const char *message = arena_vprintf(ctx->arena, fmt, args);
    va_end(args);
    return failure(ctx, ERR_BAD_REQUEST, (struct k8s_status){ .message = message }, err);
}

int status_plain(struct ctx *ctx, struct err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    const char *message = arena_vprintf(ctx->arena, fmt, args);
    va_end(args);
    return failure(ctx, ERR_IO, (struct k8s_status){ .message = message, .reason = "" }, err);
}

int status_rejected(struct ctx *ctx, const char *cause, struct err *err)
{
    struct k8s_status *s = arena_alloc(ctx->arena, sizeof(*s));

    s->message = "the server rejected our request due to an error in our request";
    s->empty_details = true;
    int rc = err_set(err, ERR_INVALID, "%s", cause);
    err->status = s;
    return rc;
}
