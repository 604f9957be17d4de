/* The way through: identity, authorization, dispatch, answer. */
#include "server/api/api_int.h"

#include "lib/k8s/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { DEADLINE_MS = 60000 };

const char *api_query(struct api_request *r, const char *name)
{
    return url_query_get(&r->query, name);
}

bool api_query_true(struct api_request *r, const char *name)
{
    const char *v = api_query(r, name);

    return v && (!*v || strcmp(v, "true") == 0 || strcmp(v, "1") == 0 || strcmp(v, "True") == 0 || strcmp(v, "t") == 0);
}

void api_warn(struct api_request *r, const char *fmt, ...)
{
    va_list args;

    if (r->n_warnings >= WARNINGS_MAX)
        return;
    va_start(args, fmt);
    const char *text = arena_vprintf(r->arena, fmt, args);
    va_end(args);
    for (size_t i = 0; i < r->n_warnings; i++)
        if (strcmp(r->warnings[i], text) == 0)
            return;
    r->warnings[r->n_warnings++] = text;
}

static void add_warning(struct http_headers *to, const char *text)
{
    AUTO(buf) struct buf v = { 0 };

    buf_str(&v, "299 - \"");
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_char(&v, '\\');
        buf_char(&v, (unsigned char)*c < 0x20 ? ' ' : *c);
    }
    buf_char(&v, '"');
    http_headers_add(to, "warning", buf_at(&v));
}

void api_answer_headers(struct api_request *r, struct http_headers *to)
{
    http_headers_add(to, "audit-id", r->ctx.request_id);
    http_headers_add(to, "cache-control", "no-cache, private");
    http_headers_add(to, "content-type", r->answer.content_type ? r->answer.content_type : "application/json");
    if (r->answer.location)
        http_headers_add(to, "location", r->answer.location);
    for (size_t i = 0; i < r->n_warnings; i++)
        add_warning(to, r->warnings[i]);
}

/* --- who --- */

struct impersonation {
    const char *user, *uid;
    const char *groups[64];
    size_t n_groups;
};

static int may_impersonate(struct api_request *r, const char *resource, const char *group, const char *name, const char *ns,
                           struct err *err)
{
    struct authz_request q = {
        .user = r->user, .verb = "impersonate", .group = group, .version = "v1", .resource = resource, .subresource = "",
        .name = name, .ns = ns,
    };
    const char *reason = NULL;

    if (authz_check(&r->ctx, r->api->o.authz, &q, &reason, err) == 0)
        return 0;
    return err->code == ERR_FORBIDDEN ? authz_forbidden(&r->ctx, &q, reason, err) : -(int)err->code;
}

static void read_impersonation(struct api_request *r, struct impersonation *im)
{
    const struct http_headers *h = http_request_info(r->http)->headers;

    for (size_t i = 0; i < h->n; i++) {
        if (strcmp(h->at[i].name, "impersonate-user") == 0)
            im->user = h->at[i].value;
        else if (strcmp(h->at[i].name, "impersonate-uid") == 0)
            im->uid = h->at[i].value;
        else if (strcmp(h->at[i].name, "impersonate-group") == 0 && im->n_groups < ARRAY_LEN(im->groups) - 3)
            im->groups[im->n_groups++] = h->at[i].value;
    }
}

/* system:serviceaccount:ns:name as its parts; false for other users. */
static bool service_account_name(struct arena *a, const char *user, const char **ret_ns, const char **ret_name)
{
    static const char prefix[] = "system:serviceaccount:";

    if (strncmp(user, prefix, sizeof(prefix) - 1) != 0)
        return false;
    char *ns = arena_strdup(a, user + sizeof(prefix) - 1), *colon = strchr(ns, ':');
    if (!colon)
        return false;
    *colon = '\0';
    *ret_ns = ns;
    *ret_name = colon + 1;
    return true;
}

static int impersonate(struct api_request *r, struct err *err)
{
    struct impersonation im = { 0 };
    const char *ns = NULL, *name = NULL;

    read_impersonation(r, &im);
    if (!im.user) {
        if (im.n_groups || im.uid)
            return err_set(err, ERR_BAD_REQUEST, "requested [{Group  %s      }] without impersonating a user",
                           im.n_groups ? im.groups[0] : "");
        return 0;
    }
    bool is_sa = service_account_name(r->arena, im.user, &ns, &name);
    int rc = is_sa ? may_impersonate(r, "serviceaccounts", "", name, ns, err) : may_impersonate(r, "users", "", im.user, "", err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < im.n_groups; i++)
        if (may_impersonate(r, "groups", "", im.groups[i], "", err) < 0)
            return -(int)err->code;
    if (im.uid && may_impersonate(r, "uids", "authentication.k8s.io", im.uid, "", err) < 0)
        return -(int)err->code;

    if (is_sa && im.n_groups == 0) {
        im.groups[im.n_groups++] = "system:serviceaccounts";
        im.groups[im.n_groups++] = arena_printf(r->arena, "system:serviceaccounts:%s", ns);
    }
    im.groups[im.n_groups++] = strcmp(im.user, "system:anonymous") == 0 ? "system:unauthenticated" : "system:authenticated";
    const char **groups = arena_alloc(r->arena, im.n_groups * sizeof(*groups));
    for (size_t i = 0; i < im.n_groups; i++)
        groups[i] = arena_strdup(r->arena, im.groups[i]);
    struct user *u = arena_alloc(r->arena, sizeof(*u));
    *u = (struct user){
        .name = arena_strdup(r->arena, im.user),
        .uid = im.uid ? arena_strdup(r->arena, im.uid) : "",
        .groups = groups,
        .n_groups = im.n_groups,
    };
    r->user = u;
    return 0;
}

static const char *websocket_bearer(struct api_request *r, const struct http_headers *h)
{
    static const char prefix[] = "base64url.bearer.authorization.k8s.io.";
    const char *list = http_headers_get(h, "sec-websocket-protocol");
    const char *at = list ? strstr(list, prefix) : NULL;

    return at ? arena_strndup(r->arena, at + sizeof(prefix) - 1, strcspn(at + sizeof(prefix) - 1, ", ")) : NULL;
}

static int authenticate(struct api_request *r, struct err *err)
{
    if (!r->http)
        return 0; /* in-process: the identity came with the client */
    const struct http_request_info *info = http_request_info(r->http);
    struct authn_request q = {
        .authorization = http_headers_get(info->headers, "authorization"),
        .bearer_protocol = websocket_bearer(r, info->headers),
        .has_cert = info->has_peer_cert,
        .cert_common_name = info->peer_cert.common_name,
        .cert_organizations = info->peer_cert.organizations,
        .n_cert_organizations = info->peer_cert.n_organizations,
        .cert_error = info->peer_cert_error,
    };
    if (authn_check(&r->ctx, r->api->o.authn, &q, &r->user, err) < 0)
        return -(int)err->code;
    if (impersonate(r, err) < 0)
        return -(int)err->code;
    r->ctx.user = r->user;
    return 0;
}

/* --- may they --- */

/* Open to everybody (DESIGN §5: anonymous callers get nothing but health, version and the CA). */
static bool is_public(struct api_request *r)
{
    static const char *const paths[] = { "/healthz", "/livez", "/readyz", "/version" };

    if (r->route.resource)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        size_t n = strlen(paths[i]);

        if (r->path.n >= n && memcmp(r->path.at, paths[i], n) == 0 && (r->path.n == n || r->path.at[n] == '/'))
            return true;
    }
    return false;
}

static int authorize(struct api_request *r, struct err *err)
{
    static const char *const lower[][2] = { { "GET", "get" },     { "HEAD", "head" },   { "POST", "post" },    { "PUT", "put" },
                                            { "PATCH", "patch" }, { "DELETE", "delete" }, { "OPTIONS", "options" } };
    const struct api_route *t = &r->route;
    const char *reason = NULL;
    struct authz_request q = { .user = r->user, .verb = "", .group = "", .version = "", .resource = "", .subresource = "",
                               .name = t->name, .ns = t->ns };

    if (is_public(r))
        return 0;
    if (t->resource) {
        q.verb = api_verb_text(t->verb);
        q.group = t->resource->group;
        q.version = t->resource->version;
        q.resource = t->resource->resource;
        q.subresource = t->sub ? t->sub->name : "";
        /* list and watch by exact name are authorized with it, as upstream's request info does */
        if (!*q.name && (t->verb == VERB_LIST || t->verb == VERB_WATCH || t->verb == VERB_DELETECOLLECTION)) {
            struct api_filter f;

            if (api_filter(r, &f, err) == 0 && f.name)
                q.name = f.name;
        }
    } else {
        for (size_t i = 0; i < ARRAY_LEN(lower); i++)
            if (strcmp(r->method, lower[i][0]) == 0)
                q.verb = lower[i][1];
        q.path = arena_strndup(r->arena, r->path.at, r->path.n);
    }
    if (authz_check(&r->ctx, r->api->o.authz, &q, &reason, err) == 0)
        return 0;
    return err->code == ERR_FORBIDDEN ? authz_forbidden(&r->ctx, &q, reason, err) : -(int)err->code;
}

/* --- what --- */

int api_dispatch(struct api_request *r, struct err *err)
{
    const struct api_route *t = &r->route;
    api_special_fn *special = NULL;

    if (!t->resource)
        return api_nonresource(r, err);
    if (api_read_options(r, err) < 0)
        return -(int)err->code;
    if ((special = api_special(t)))
        return special(r, err);
    switch (t->verb) {
    case VERB_GET: return api_get(r, err);
    case VERB_LIST: return api_list(r, err);
    case VERB_WATCH: return api_watch(r, err);
    case VERB_CREATE: return api_create(r, err);
    case VERB_UPDATE: return api_update(r, err);
    case VERB_PATCH: return api_patch(r, err);
    case VERB_DELETE: return api_delete(r, err);
    case VERB_DELETECOLLECTION: return api_deletecollection(r, err);
    case VERB_NONE: break;
    }
    return err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
}

static int way(struct api_request *r, struct err *err)
{
    if (r->raw_query && url_query_parse(slice_of(r->raw_query), &r->query) < 0)
        return err_set(err, ERR_BAD_REQUEST, "invalid query");
    int routed = api_route(r, err);
    struct err denied;

    /* An unknown path is told only to those who proved to be somebody. */
    if (authenticate(r, &denied) < 0) {
        *err = denied;
        return -(int)err->code;
    }
    if (routed < 0 && err->code != ERR_METHOD)
        r->route.resource = NULL;
    if (authorize(r, &denied) < 0) {
        *err = denied;
        return -(int)err->code;
    }
    return routed < 0 ? routed : api_dispatch(r, err);
}

static void fail(struct api_request *r, const struct err *err)
{
    struct buf text = { 0 };

    status_write(err, &text);
    bytes_unref(r->answer.body);
    r->answer = (struct api_answer){
        .status = err->status && err->status->http ? err->status->http : err_http(err),
        .body = buf_take(&text),
    };
    if (r->answer.status >= 500 && err->code != ERR_CANCELED)
        log_warn("request failed", "method=%s path=%.*s code=%d err=%s", r->method, (int)r->path.n, r->path.at, r->answer.status,
                 log_q(err->msg));
}

void api_request_run(struct api_request *r)
{
    const bool *streaming = r->streaming; /* r may be gone when way returns */
    struct err err;

    r->ctx = ctx_with_timeout(&r->ctx, DEADLINE_MS);
    if (way(r, &err) < 0 && !*streaming)
        fail(r, &err);
}

void api_reply(struct api_request *r)
{
    struct http_headers headers = { 0 };

    api_answer_headers(r, &headers);
    if (r->answer.status == 429)
        http_headers_add(&headers, "retry-after", "1");
    if (r->answer.status == 401)
        http_headers_add(&headers, "www-authenticate", "Basic realm=\"kubernetes\"");
    http_reply(r->http, r->answer.status ? r->answer.status : 200, &headers, r->answer.body);
    http_headers_clear(&headers);
}

void api_request_free(struct api_request *r)
{
    if (!r)
        return;
    url_query_clear(&r->query);
    bytes_unref(r->body);
    bytes_unref(r->answer.body);
    arena_free(r->arena); /* r itself lives in it */
}
