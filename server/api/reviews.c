/* Kinds that are only answered: access and token reviews, tokens for service accounts, component statuses. */
#include "server/api/special.h"

#include "lib/http/message.h"
#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"

#include <string.h>

static int decode_review(struct api_request *r, json_t **ret, struct err *err)
{
    const struct schema_resource *res = r->route.resource;

    return api_decode_object(r, res->type, api_version_text(r->arena, res), res->kind, ret, err);
}

static const char *const *strings_of(struct arena *a, const json_t *list, size_t *ret_n)
{
    size_t n = json_array_size(list);
    const char **at = arena_alloc(a, (n + 1) * sizeof(*at));

    for (size_t i = 0; i < n; i++)
        at[i] = json_string_value(json_array_get(list, i));
    if (ret_n)
        *ret_n = n;
    return at;
}

static json_t *user_tree(const struct user *u)
{
    json_t *t = json_object(), *groups = json_array();

    json_object_set_new(t, "username", json_string(u->name));
    if (u->uid && *u->uid)
        json_object_set_new(t, "uid", json_string(u->uid));
    for (size_t i = 0; i < u->n_groups; i++)
        json_array_append_new(groups, json_string(u->groups[i]));
    json_object_set_new(t, "groups", groups);
    if (u->n_extra) {
        json_t *extra = json_object();

        for (size_t i = 0; i < u->n_extra; i++) {
            json_t *list = json_object_get(extra, u->extra[2 * i]);

            if (!list) {
                list = json_array();
                json_object_set_new(extra, u->extra[2 * i], list);
            }
            json_array_append_new(list, json_string(u->extra[2 * i + 1]));
        }
        json_object_set_new(t, "extra", extra);
    }
    return t;
}

int special_self_review(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *review = NULL;
    char when[CLOCK_TEXT_BYTES];

    if (decode_review(r, &review, err) < 0)
        return -(int)err->code;
    json_put(review, "metadata.creationTimestamp", json_string(clock_time_text(clock_wall_s(r->api->o.clock), when)));
    json_put(review, "status.userInfo", user_tree(r->user));
    return api_answer_tree(r, 201, review, err);
}

int special_token_review(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *review = NULL;
    const struct user *user = NULL;
    const char *const *audiences = NULL;
    struct err refused;

    if (decode_review(r, &review, err) < 0)
        return -(int)err->code;
    const char *token = json_str_or(review, "spec.token", "");
    if (!*token)
        return status_bad_request(&r->ctx, err, "token is required for TokenReview in authentication");
    AUTO_FREE char *copy = mem_strdup(token);
    size_t n = 0;
    const char *const *wanted = strings_of(r->arena, json_at(review, "spec.audiences"), &n);
    json_t *status = json_object();
    if (authn_review(&r->ctx, r->api->o.authn, copy, n ? wanted : NULL, &user, &audiences, &refused) == 0) {
        json_t *list = json_array();

        json_object_set_new(status, "authenticated", json_true());
        json_object_set_new(status, "user", user_tree(user));
        for (const char *const *a = audiences; a && *a; a++)
            json_array_append_new(list, json_string(*a));
        json_object_set_new(status, "audiences", list);
    } else {
        json_t *why = json_string(refused.msg);
        json_object_set_new(status, "user", json_object());
        json_object_set_new(status, "error", why ? why : json_string("invalid bearer token"));
    }
    json_object_set_new(review, "status", status);
    return api_answer_tree(r, 201, review, err);
}

static struct user *subject_of(struct api_request *r, const json_t *spec)
{
    struct user *u = arena_alloc(r->arena, sizeof(*u));
    const char *name = json_str_or(spec, "user", "");

    *u = (struct user){ .name = arena_strdup(r->arena, name), .uid = arena_strdup(r->arena, json_str_or(spec, "uid", "")) };
    u->groups = strings_of(r->arena, json_object_get(spec, "groups"), &u->n_groups);
    return u;
}

static int review_request(struct api_request *r, const json_t *spec, struct authz_request *q, struct err *err)
{
    const json_t *res = json_object_get(spec, "resourceAttributes"), *non = json_object_get(spec, "nonResourceAttributes");

    if ((res != NULL) == (non != NULL))
        return err_set(err, ERR_INVALID,
                       "%s.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of "
                       "nonResourceAttributes or resourceAttributes must be specified",
                       r->route.resource->kind);
    *q = (struct authz_request){ .user = r->user, .verb = "", .group = "", .version = "", .resource = "", .subresource = "", .name = "",
                                 .ns = "" };
    if (non) {
        q->path = json_str_or(non, "path", "");
        q->verb = json_str_or(non, "verb", "");
        return 0;
    }
    q->verb = json_str_or(res, "verb", "");
    q->group = json_str_or(res, "group", "");
    q->version = json_str_or(res, "version", "");
    q->resource = json_str_or(res, "resource", "");
    q->subresource = json_str_or(res, "subresource", "");
    q->name = json_str_or(res, "name", "");
    q->ns = json_str_or(res, "namespace", "");
    return 0;
}

int special_access_review(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *review = NULL;
    struct authz_request q;
    const char *reason = NULL, *resource = r->route.resource->resource;
    struct err denied;

    if (decode_review(r, &review, err) < 0)
        return -(int)err->code;
    const json_t *spec = json_object_get(review, "spec");
    if (review_request(r, spec, &q, err) < 0)
        return -(int)err->code;
    if (strcmp(resource, "selfsubjectaccessreviews") != 0) {
        q.user = subject_of(r, spec);
        if (!*q.user->name && q.user->n_groups == 0)
            return err_set(err, ERR_INVALID,
                           "%s.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be "
                           "specified",
                           r->route.resource->kind);
    }
    if (*r->route.ns && strcmp(q.ns, r->route.ns) != 0)
        return status_bad_request(&r->ctx, err, "spec.resourceAttributes.namespace must match namespace: %s", r->route.ns);
    bool allowed = authz_check(&r->ctx, r->api->o.authz, &q, &reason, &denied) == 0;
    json_t *status = json_object();
    json_object_set_new(status, "allowed", json_boolean(allowed));
    if (reason && *reason)
        json_object_set_new(status, "reason", json_string(reason));
    if (!allowed && denied.code != ERR_FORBIDDEN)
        json_object_set_new(status, "evaluationError", json_string(denied.msg));
    json_object_set_new(review, "status", status);
    return api_answer_tree(r, 201, review, err);
}

int special_rules_review(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *review = NULL;

    if (decode_review(r, &review, err) < 0)
        return -(int)err->code;
    const char *ns = json_str_or(review, "spec.namespace", "");
    if (!*ns)
        return status_bad_request(&r->ctx, err, "no namespace on request");
    json_object_set_new(review, "status", authz_rules(&r->ctx, r->api->o.authz, r->user, ns));
    return api_answer_tree(r, 201, review, err);
}

/* --- serviceaccounts/token --- */

static int bound_object(struct api_request *r, const json_t *request, struct authn_token_spec *spec, struct err *err)
{
    const json_t *ref = json_at(request, "spec.boundObjectRef");
    struct store_row row = { 0 };
    AUTO(buf) struct buf key = { 0 };
    AUTO(json) json_t *bound = NULL;

    if (!json_is_object(ref))
        return 0;
    const char *kind = json_str_or(ref, "kind", ""), *name = json_str_or(ref, "name", ""), *uid = json_str_or(ref, "uid", "");
    const struct schema_resource *res = schema_resource_of_kind(r->api->schema, "", "v1", kind);
    if (!res || (strcmp(kind, "Pod") != 0 && strcmp(kind, "Secret") != 0 && strcmp(kind, "Node") != 0))
        return status_bad_request(&r->ctx, err, "cannot bind token to object of type \"%s\"", kind);
    key_write(res, res->namespaced ? r->route.ns : NULL, name, &key);
    if (store_get(&r->ctx, r->api->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, &row, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? status_not_found(&r->ctx, "", res->resource, name, err) : -(int)err->code;
    int rc = json_read(row.value->at, row.value->n, NULL, NULL, &bound, err);
    store_row_clear(&row);
    if (rc < 0)
        return err_wrap(err, "stored %s", kind);
    if (*uid && strcmp(uid, meta_uid(bound)) != 0)
        return status_conflict(&r->ctx, "", res->resource, name,
                               arena_printf(r->arena, "the UID in the bound object reference (%s) does not match the UID in record. The object might "
                                                      "have been deleted and then recreated", uid), err);
    if (strcmp(kind, "Pod") == 0 && strcmp(json_str_or(bound, "spec.serviceAccountName", ""), r->route.name) != 0)
        return status_bad_request(&r->ctx, err, "cannot bind token for serviceaccount \"%s\" to pod running with different serviceaccount name.",
                                  r->route.name);
    spec->bound_kind = arena_strdup(r->arena, kind);
    spec->bound_name = arena_strdup(r->arena, name);
    spec->bound_uid = arena_strdup(r->arena, meta_uid(bound));
    if (strcmp(kind, "Pod") == 0 && *json_str_or(bound, "spec.nodeName", ""))
        spec->node_name = arena_strdup(r->arena, json_str_or(bound, "spec.nodeName", ""));
    return 0;
}

static int admit_token(struct api_request *r, json_t *request, struct err *err)
{
    struct admission_request a = {
        .verb = ADMIT_CREATE, .resource = r->route.resource, .subresource = "token", .ns = r->route.ns, .name = r->route.name,
        .object = request, .dry_run = r->dry_run,
    };
    bool changed = false;

    if (admission_mutate(&r->ctx, r->api->o.admission, &a, &changed, err) < 0)
        return -(int)err->code;
    return admission_validate(&r->ctx, r->api->o.admission, &a, err);
}

int special_token(struct api_request *r, struct err *err)
{
    const struct schema_type *type = schema_kind(r->api->schema, "authentication.k8s.io", "v1", "TokenRequest");
    enum { DEFAULT_S = 3600, LEAST_S = 600 };
    static const int64_t most_s = (int64_t)1 << 32;
    AUTO(json) json_t *request = NULL;
    AUTO(json) json_t *account = NULL;
    AUTO(buf) struct buf token = { 0 };
    struct store_row row = { 0 };
    char when[CLOCK_TEXT_BYTES];
    int64_t expires = 0;

    if (api_decode_object(r, type, "authentication.k8s.io/v1", "TokenRequest", &request, err) < 0 || api_live(r, &row, err) < 0)
        return -(int)err->code;
    int rc = api_tree(r, row.value, row.mod_revision, &account, err);
    store_row_clear(&row);
    if (rc < 0)
        return rc;
    size_t n = 0;
    const char *const *audiences = strings_of(r->arena, json_at(request, "spec.audiences"), &n);
    struct authn_token_spec spec = {
        .ns = r->route.ns, .service_account = r->route.name, .service_account_uid = meta_uid(account),
        .audiences = n ? audiences : NULL, .expires_s = json_int_or(request, "spec.expirationSeconds", DEFAULT_S),
    };
    struct field_errors errs = { .arena = r->arena };
    if (spec.expires_s < LEAST_S)
        field_error(&errs, FIELD_INVALID, json_at(request, "spec.expirationSeconds"), "may not specify a duration less than 10 minutes",
                    "spec.expirationSeconds");
    if (spec.expires_s > most_s)
        field_error(&errs, FIELD_INVALID, json_at(request, "spec.expirationSeconds"), "may not specify a duration larger than 2^32 seconds",
                    "spec.expirationSeconds");
    if (field_errors_end(&errs, "authentication.k8s.io", "TokenRequest", "", err) < 0 || admit_token(r, request, err) < 0 ||
        bound_object(r, request, &spec, err) < 0)
        return -(int)err->code;
    if (authn_issue(&r->ctx, r->api->o.authn, &spec, &token, &expires, err) < 0)
        return -(int)err->code;
    json_put(request, "metadata.name", json_string(r->route.name));
    json_put(request, "metadata.namespace", json_string(r->route.ns));
    json_put(request, "spec.expirationSeconds", json_integer(spec.expires_s));
    json_put(request, "status.token", json_string(buf_at(&token)));
    json_put(request, "status.expirationTimestamp", json_string(clock_time_text(expires, when)));
    return api_answer_tree(r, 201, request, err);
}

/* --- componentstatuses: deprecated, still listed by old tools --- */

static int store_part(void *arg, struct err *err)
{
    return api_check_store(arg, err);
}

static json_t *component(const struct ready_check *c)
{
    struct err why;
    bool ok = c->fn(c->arg, &why) == 0;

    return json_pack("{s:{s:s},s:[{s:s,s:s,s:s}]}", "metadata", "name", c->name, "conditions", "type", "Healthy", "status",
                     ok ? "True" : "False", "message", ok ? "ok" : why.msg);
}

int special_component_status(struct api_request *r, struct err *err)
{
    const struct ready_check store = { "etcd-0", store_part, r };
    AUTO(json) json_t *items = json_array();

    api_warn(r, "v1 ComponentStatus is deprecated in v1.19+");
    for (size_t i = 0; i <= r->api->n_components; i++) {
        const struct ready_check *c = i < r->api->n_components ? &r->api->components[i] : &store;

        if (!*r->route.name || strcmp(r->route.name, c->name) == 0)
            json_array_append_new(items, component(c));
    }
    if (!*r->route.name)
        return api_answer_trees(r, items, err);
    json_t *one = json_array_get(items, 0);
    if (!one)
        return status_not_found(&r->ctx, "", "componentstatus", r->route.name, err);
    json_object_set_new(one, "kind", json_string("ComponentStatus"));
    json_object_set_new(one, "apiVersion", json_string("v1"));
    return api_answer_tree(r, 200, one, err);
}
