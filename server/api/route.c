#include "server/api/api_int.h"

#include <string.h>

/* Cuts the next decoded path segment. */
static bool segment(struct api_request *r, struct slice *rest, const char **ret, struct err *err, int *rc)
{
    if (rest->n == 0)
        return false;
    const char *slash = memchr(rest->at, '/', rest->n);
    struct slice raw = { rest->at, slash ? (size_t)(slash - rest->at) : rest->n };
    AUTO(buf) struct buf text = { 0 };

    if (url_decode(raw, false, &text) < 0 || memchr(buf_at(&text), 0, buf_len(&text))) {
        *rc = err_set(err, ERR_BAD_REQUEST, "invalid path");
        return false;
    }
    *ret = arena_strdup(r->arena, buf_at(&text));
    rest->at += raw.n + (slash != NULL);
    rest->n -= raw.n + (slash != NULL);
    return true;
}

enum { SEGMENTS_MAX = 12 };

struct parts {
    const char *at[SEGMENTS_MAX];
    const char *after[SEGMENTS_MAX]; /* raw text from the slash behind that segment */
    size_t n;
};

static int split(struct api_request *r, struct parts *p, struct err *err)
{
    struct slice rest = { r->path.at + 1, r->path.n ? r->path.n - 1 : 0 };
    int rc = 0;

    while (p->n < SEGMENTS_MAX && segment(r, &rest, &p->at[p->n], err, &rc)) {
        p->after[p->n] = rest.n ? rest.at - 1 : "";
        p->n++;
    }
    return rc;
}

static enum api_verb verb_of(struct api_request *r, bool collection)
{
    const char *m = r->method;

    if (strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0) {
        if (!collection)
            return VERB_GET;
        return api_query_true(r, "watch") ? VERB_WATCH : VERB_LIST;
    }
    if (strcmp(m, "POST") == 0)
        return VERB_CREATE;
    if (strcmp(m, "PUT") == 0)
        return collection ? VERB_NONE : VERB_UPDATE;
    if (strcmp(m, "PATCH") == 0)
        return collection ? VERB_NONE : VERB_PATCH;
    if (strcmp(m, "DELETE") == 0)
        return collection ? VERB_DELETECOLLECTION : VERB_DELETE;
    return VERB_NONE;
}

const char *api_verb_text(enum api_verb v)
{
    static const char *const names[] = {
        [VERB_NONE] = "",         [VERB_GET] = "get",       [VERB_LIST] = "list",
        [VERB_WATCH] = "watch",   [VERB_CREATE] = "create", [VERB_UPDATE] = "update",
        [VERB_PATCH] = "patch",   [VERB_DELETE] = "delete", [VERB_DELETECOLLECTION] = "deletecollection",
    };

    return names[v];
}

static unsigned verb_bit(enum api_verb v)
{
    static const unsigned bits[] = {
        [VERB_GET] = SCHEMA_GET,       [VERB_LIST] = SCHEMA_LIST_VERB, [VERB_WATCH] = SCHEMA_WATCH,
        [VERB_CREATE] = SCHEMA_CREATE, [VERB_UPDATE] = SCHEMA_UPDATE,  [VERB_PATCH] = SCHEMA_PATCH,
        [VERB_DELETE] = SCHEMA_DELETE, [VERB_DELETECOLLECTION] = SCHEMA_DELETECOLLECTION,
    };

    return bits[v];
}

static bool verb_served(const struct api_route *t)
{
    if (!t->sub)
        return (t->resource->verbs & verb_bit(t->verb)) != 0;
    /* exec, attach, port-forward and proxies take any method: the kubelet's or the backend's matter. */
    if (strcmp(t->sub->name, "proxy") == 0 || strcmp(t->sub->name, "exec") == 0 || strcmp(t->sub->name, "attach") == 0 ||
        strcmp(t->sub->name, "portforward") == 0)
        return true;
    return (t->sub->verbs & verb_bit(t->verb)) != 0;
}

static int not_found(struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static int method_not_allowed(struct err *err)
{
    return err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
}

/* Where the resource name stands: behind the version, behind watch/, behind namespaces/x. */
static int place(struct api_request *r, const struct parts *p, size_t i, const struct slice group, struct slice version,
                 struct err *err)
{
    struct api_route *t = &r->route;
    bool old_watch = false;

    if (i < p->n && strcmp(p->at[i], "watch") == 0) {
        old_watch = true;
        i++;
    }
    if (i + 2 < p->n && strcmp(p->at[i], "namespaces") == 0 &&
        schema_resource_find(r->api->schema, group, version, slice_of(p->at[i + 2]))) {
        t->ns = p->at[i + 1];
        i += 2;
    }
    if (i >= p->n)
        return not_found(err);
    t->resource = schema_resource_find(r->api->schema, group, version, slice_of(p->at[i]));
    if (!t->resource)
        return not_found(err);
    if (!t->resource->namespaced && *t->ns) {
        /* /namespaces/x/status and /namespaces/x/finalize: the name is the namespace's own */
        return not_found(err);
    }
    if (i + 1 < p->n)
        t->name = p->at[i + 1];
    if (i + 2 < p->n) {
        t->sub = schema_subresource(t->resource, slice_of(p->at[i + 2]));
        if (!t->sub)
            return not_found(err);
        t->rest = p->after[i + 2];
        if (*t->rest && strcmp(t->sub->name, "proxy") != 0)
            return not_found(err);
    }
    t->verb = verb_of(r, !*t->name);
    if (old_watch && (t->verb == VERB_LIST || t->verb == VERB_GET))
        t->verb = VERB_WATCH;
    return 0;
}

int api_route(struct api_request *r, struct err *err)
{
    struct parts p = { 0 };
    struct api_route *t = &r->route;

    *t = (struct api_route){ .ns = "", .name = "", .rest = "" };
    if (split(r, &p, err) < 0)
        return -(int)err->code;

    size_t i = 0;
    struct slice group = { "", 0 }, version;
    if (p.n >= 3 && strcmp(p.at[0], "api") == 0) {
        version = slice_of(p.at[1]);
        i = 2;
    } else if (p.n >= 4 && strcmp(p.at[0], "apis") == 0) {
        group = slice_of(p.at[1]);
        version = slice_of(p.at[2]);
        i = 3;
    } else {
        return 0;
    }
    if (place(r, &p, i, group, version, err) < 0)
        return -(int)err->code;
    t->stored = key_stored(r->api->schema, t->resource);
    t->ops = kind_ops(t->resource->group, t->resource->kind);
    if (t->resource->namespaced && !*t->ns && *t->name)
        return not_found(err);
    if (t->verb == VERB_NONE || !verb_served(t))
        return method_not_allowed(err);
    if (t->resource->namespaced && !*t->ns && t->verb != VERB_LIST && t->verb != VERB_WATCH) {
        /* reviews and such are created without a namespace only when cluster-scoped */
        return method_not_allowed(err);
    }
    return 0;
}

bool api_is_long_running(const struct api_request *r)
{
    const struct schema_subresource *s = r->route.sub;

    if (r->route.verb == VERB_WATCH)
        return true;
    return s && (strcmp(s->name, "proxy") == 0 || strcmp(s->name, "exec") == 0 || strcmp(s->name, "attach") == 0 ||
                 strcmp(s->name, "portforward") == 0 || strcmp(s->name, "log") == 0);
}
