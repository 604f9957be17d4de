#include "lib/k8s/client.h"

#include "lib/http/message.h"
#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

struct client {
    struct client_transport transport;
};

struct client *client_new(const struct client_transport *transport)
{
    struct client *c = MEM_NEW(struct client);

    c->transport = *transport;
    return c;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    if (c->transport.free)
        c->transport.free(c->transport.self);
    free(c);
}

void object_ref_path(const struct object_ref *ref, struct buf *to)
{
    if (ref->group && *ref->group)
        buf_printf(to, "/apis/%s/%s", ref->group, ref->version);
    else
        buf_printf(to, "/api/%s", ref->version);
    if (ref->ns && *ref->ns) {
        buf_str(to, "/namespaces/");
        url_encode(slice_of(ref->ns), to);
    }
    buf_printf(to, "/%s", ref->resource);
    if (ref->name) {
        buf_char(to, '/');
        url_encode(slice_of(ref->name), to);
    }
    if (ref->sub)
        buf_printf(to, "/%s", ref->sub);
}

/* Builds "?a=b&c=d" piece by piece. */
static void add_param(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_char(path, memchr(buf_at(path), '?', buf_len(path)) ? '&' : '?');
    buf_printf(path, "%s=", name);
    url_encode(slice_of(value), path);
}

static void add_list_params(struct buf *path, const struct client_list_opts *opts)
{
    char limit[24];

    if (!opts)
        return;
    add_param(path, "labelSelector", opts->label_selector);
    add_param(path, "fieldSelector", opts->field_selector);
    add_param(path, "resourceVersion", opts->resource_version);
    add_param(path, "resourceVersionMatch", opts->resource_version_match);
    add_param(path, "continue", opts->continue_token);
    if (opts->limit > 0) {
        snprintf(limit, sizeof(limit), "%d", opts->limit);
        add_param(path, "limit", limit);
    }
}

int client_raw(struct ctx *ctx, struct client *c, const struct client_call *call, struct bytes **ret, struct err *err)
{
    struct client_answer answer = { 0 };
    int rc = c->transport.call(c->transport.self, ctx, call, &answer, err);

    if (rc < 0)
        return rc;
    AUTO(bytes) struct bytes *body = answer.body;

    if (answer.status >= 400)
        return status_read(ctx, answer.status, (struct slice){ body ? body->at : "", body ? body->n : 0 }, err);
    if (ret)
        *ret = TAKE(body);
    return 0;
}

/* A call whose answer is one object. */
static int object_call(struct ctx *ctx, struct client *c, const struct client_call *call, json_t **ret, struct err *err)
{
    AUTO(bytes) struct bytes *body = NULL;
    int rc = client_raw(ctx, c, call, &body, err);

    if (rc < 0 || !ret)
        return rc;
    if (json_read(body->at, body->n, NULL, NULL, ret, err) < 0)
        return err_wrap(err, "answer to %s %s", call->method, call->path);
    return 0;
}

int client_get(struct ctx *ctx, struct client *c, const struct object_ref *ref, json_t **ret, struct err *err)
{
    AUTO(buf) struct buf path = { 0 };

    object_ref_path(ref, &path);
    return object_call(ctx, c, &(struct client_call){ .method = "GET", .path = buf_at(&path) }, ret, err);
}

int client_list(struct ctx *ctx, struct client *c, const struct object_ref *ref, const struct client_list_opts *opts,
                json_t **ret, struct err *err)
{
    AUTO(buf) struct buf path = { 0 };

    object_ref_path(ref, &path);
    add_list_params(&path, opts);
    return object_call(ctx, c, &(struct client_call){ .method = "GET", .path = buf_at(&path) }, ret, err);
}

static int send_object(struct ctx *ctx, struct client *c, const char *method, const struct object_ref *ref,
                       const json_t *object, json_t **ret, struct err *err)
{
    AUTO(buf) struct buf path = { 0 }, text = { 0 };

    object_ref_path(ref, &path);
    json_write(object, &text);
    AUTO(bytes) struct bytes *body = buf_take(&text);
    return object_call(ctx, c, &(struct client_call){ .method = method, .path = buf_at(&path), .body = body }, ret, err);
}

int client_create(struct ctx *ctx, struct client *c, const struct object_ref *ref, const json_t *object, json_t **ret,
                  struct err *err)
{
    return send_object(ctx, c, "POST", ref, object, ret, err);
}

int client_update(struct ctx *ctx, struct client *c, const struct object_ref *ref, const json_t *object, json_t **ret,
                  struct err *err)
{
    return send_object(ctx, c, "PUT", ref, object, ret, err);
}

int client_patch(struct ctx *ctx, struct client *c, const struct object_ref *ref, enum client_patch_type type,
                 const json_t *patch, const char *field_manager, json_t **ret, struct err *err)
{
    static const char *const types[] = {
        [CLIENT_PATCH_JSON] = "application/json-patch+json",
        [CLIENT_PATCH_MERGE] = "application/merge-patch+json",
        [CLIENT_PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
        [CLIENT_PATCH_APPLY] = "application/apply-patch+yaml",
    };
    AUTO(buf) struct buf path = { 0 }, text = { 0 };

    object_ref_path(ref, &path);
    add_param(&path, "fieldManager", field_manager);
    if (type == CLIENT_PATCH_APPLY)
        add_param(&path, "force", "true");
    json_write(patch, &text);
    AUTO(bytes) struct bytes *body = buf_take(&text);
    struct client_call call = { .method = "PATCH", .path = buf_at(&path), .content_type = types[type], .body = body };
    return object_call(ctx, c, &call, ret, err);
}

int client_delete(struct ctx *ctx, struct client *c, const struct object_ref *ref, const struct client_delete_opts *opts,
                  struct err *err)
{
    AUTO(buf) struct buf path = { 0 }, text = { 0 };
    AUTO(bytes) struct bytes *body = NULL;

    object_ref_path(ref, &path);
    if (opts) {
        AUTO(json) json_t *o = json_pack("{s:s,s:s}", "kind", "DeleteOptions", "apiVersion", "v1");

        if (opts->uid)
            json_put(o, "preconditions.uid", json_string(opts->uid));
        if (opts->resource_version)
            json_put(o, "preconditions.resourceVersion", json_string(opts->resource_version));
        if (opts->propagation)
            json_put(o, "propagationPolicy", json_string(opts->propagation));
        if (opts->grace_s >= 0)
            json_put(o, "gracePeriodSeconds", json_integer(opts->grace_s));
        json_write(o, &text);
        body = buf_take(&text);
    }
    return object_call(ctx, c, &(struct client_call){ .method = "DELETE", .path = buf_at(&path), .body = body }, NULL, err);
}

struct client_watch *client_watch(struct client *c, const struct object_ref *ref, const struct client_list_opts *opts,
                                  const struct client_watch_cb *cb, void *arg)
{
    AUTO(buf) struct buf path = { 0 };

    object_ref_path(ref, &path);
    add_list_params(&path, opts);
    add_param(&path, "watch", "true");
    add_param(&path, "allowWatchBookmarks", "true");
    return c->transport.watch(c->transport.self, &(struct client_call){ .method = "GET", .path = buf_at(&path) }, cb, arg);
}

void client_watch_close(struct client *c, struct client_watch *w)
{
    c->transport.watch_close(c->transport.self, w);
}
