/* openapi_path - the URLs of a resource and what may be done at each. */
#include "lib/k8s/openapi_int.h"

#include "lib/json.h"

#include <ctype.h>
#include <string.h>

static const char meta_v1[] = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/* --- parameters --- */

struct param {
    const char *name, *type;
};
static const struct param list_params[] = {
    { "allowWatchBookmarks", "boolean" }, { "continue", "string" },        { "fieldSelector", "string" },
    { "labelSelector", "string" },        { "limit", "integer" },          { "resourceVersion", "string" },
    { "resourceVersionMatch", "string" }, { "sendInitialEvents", "boolean" }, { "timeoutSeconds", "integer" },
    { "watch", "boolean" },               { NULL, NULL },
};
static const struct param write_params[] = {
    { "dryRun", "string" }, { "fieldManager", "string" }, { "fieldValidation", "string" }, { NULL, NULL },
};
static const struct param patch_params[] = {
    { "dryRun", "string" }, { "fieldManager", "string" }, { "fieldValidation", "string" }, { "force", "boolean" }, { NULL, NULL },
};
static const struct param delete_params[] = {
    { "dryRun", "string" },
    { "gracePeriodSeconds", "integer" },
    { "ignoreStoreReadErrorWithClusterBreakingPotential", "boolean" },
    { "orphanDependents", "boolean" },
    { "propagationPolicy", "string" },
    { NULL, NULL },
};
static const struct param no_params[] = { { NULL, NULL } };

/* --- operations: which verb means which method where --- */

enum body { BODY_NONE, BODY_OBJECT, BODY_PATCH, BODY_DELETE };

struct operation {
    unsigned verb;
    bool item; /* at …/{name} and at subresources */
    const char *method, *action, *id;
    enum body body;
    const struct param *params, *more_params;
    const char *answer; /* a meta/v1 type; NULL: the object, "List": its list */
};
static const struct operation operations[] = {
    { SCHEMA_LIST_VERB, false, "get", "list", "list", BODY_NONE, list_params, no_params, "List" },
    { SCHEMA_CREATE, false, "post", "post", "create", BODY_OBJECT, write_params, no_params, NULL },
    { SCHEMA_DELETECOLLECTION, false, "delete", "deletecollection", "deleteCollection", BODY_DELETE, list_params, delete_params, "Status" },
    { SCHEMA_GET, true, "get", "get", "read", BODY_NONE, no_params, no_params, NULL },
    { SCHEMA_UPDATE, true, "put", "put", "replace", BODY_OBJECT, write_params, no_params, NULL },
    { SCHEMA_CREATE, true, "post", "post", "create", BODY_OBJECT, write_params, no_params, NULL },
    { SCHEMA_DELETE, true, "delete", "delete", "delete", BODY_DELETE, delete_params, no_params, "Status" },
    { SCHEMA_PATCH, true, "patch", "patch", "patch", BODY_PATCH, patch_params, no_params, NULL },
};

static bool is_here(const struct operation *op, const struct openapi_path *p)
{
    if (p->all_namespaces)
        return op->verb == SCHEMA_LIST_VERB;
    if (p->sub)
        return op->item && (p->sub->verbs & op->verb);
    return op->item == p->item && (p->r->verbs & op->verb) && !(op->item && op->verb == SCHEMA_CREATE);
}

/* A stream of bytes, not an object: its kind is that of its options. */
static bool is_connect(const struct openapi_path *p)
{
    size_t n = p->sub ? strlen(p->sub->kind) : 0;
    return n > 7 && strcmp(p->sub->kind + n - 7, "Options") == 0;
}

void openapi_each_path(const struct schema_resource *r, openapi_path_fn *fn, void *arg)
{
    struct openapi_path p = { .r = r };
    if (r->namespaced && (r->verbs & SCHEMA_LIST_VERB)) {
        p.all_namespaces = true;
        fn(arg, &p);
        p.all_namespaces = false;
    }
    if (r->verbs & (SCHEMA_LIST_VERB | SCHEMA_CREATE | SCHEMA_DELETECOLLECTION))
        fn(arg, &p);
    p.item = true;
    if (r->verbs & (SCHEMA_GET | SCHEMA_UPDATE | SCHEMA_PATCH | SCHEMA_DELETE))
        fn(arg, &p);
    for (size_t i = 0; i < r->n_subresources; i++) {
        p.sub = &r->subresources[i];
        fn(arg, &p);
    }
}

void openapi_url(const struct openapi_path *p, struct buf *to)
{
    const struct schema_resource *r = p->r;
    buf_printf(to, "%s%s/%s/", *r->group ? "/apis/" : "/api", r->group, r->version);
    if (r->namespaced && !p->all_namespaces)
        buf_str(to, "namespaces/{namespace}/");
    buf_str(to, r->resource);
    if (p->item)
        buf_str(to, "/{name}");
    if (p->sub)
        buf_printf(to, "/%s", p->sub->name);
}

/* --- one operation --- */

static const char *kind_of(const struct openapi_path *p)
{
    return p->sub ? p->sub->kind : p->r->kind;
}

/* The schema of a named type or, for what has none, a string. */
static void schema_of(struct openapi *o, const char *type_name)
{
    buf_str(o->to, "\"schema\":{");
    if (type_name)
        openapi_ref(o, type_name);
    else
        buf_str(o->to, "\"type\":\"string\"");
    buf_char(o->to, '}');
}

static const char *object_type(struct openapi *o, const struct openapi_path *p, bool list)
{
    const struct schema_type *t;
    char kind[160];
    snprintf(kind, sizeof(kind), "%s%s", kind_of(p), list ? "List" : "");
    if (p->sub)
        t = schema_kind(o->schema, p->sub->group, p->sub->version, kind);
    else
        t = schema_kind(o->schema, p->r->group, p->r->version, kind);
    return t && !is_connect(p) ? schema_type_name(t) : NULL;
}

/* "rbac.authorization.k8s.io" -> "RbacAuthorization", core -> "Core"; upper: else "rbacAuthorization" as tags have it. */
static void group_name(const char *group, bool upper, struct buf *to)
{
    const char *end = strstr(group, ".k8s.io");
    size_t n = end ? (size_t)(end - group) : strlen(group);
    bool up = upper;
    for (size_t i = 0; i < n; i++) {
        if (group[i] == '.') {
            up = true;
            continue;
        }
        buf_char(to, (char)(up ? toupper((unsigned char)group[i]) : group[i]));
        up = false;
    }
    if (n == 0)
        buf_str(to, upper ? "Core" : "core");
}

static void capital(const char *s, struct buf *to)
{
    buf_char(to, (char)toupper((unsigned char)*s));
    buf_str(to, s + 1);
}

static void operation_id(struct openapi *o, const struct openapi_path *p, const struct operation *op)
{
    struct buf *to = o->to;
    buf_str(to, "\"tags\":[\"");
    group_name(p->r->group, false, to);
    buf_printf(to, "_%s\"],\"operationId\":\"", p->r->version);
    if (is_connect(p)) {
        buf_str(to, "connect");
        capital(op->method, to);
    } else {
        buf_str(to, op->id);
    }
    group_name(p->r->group, true, to);
    capital(p->r->version, to);
    buf_str(to, p->r->namespaced && !p->all_namespaces ? "Namespaced" : "");
    buf_str(to, p->r->kind);
    if (p->sub)
        capital(p->sub->name, to);
    buf_str(to, p->all_namespaces ? "ForAllNamespaces\"" : "\"");
}

static void param(struct openapi *o, const char *name, const char *in, const char *type, const char **comma)
{
    buf_printf(o->to, "%s{\"name\":\"%s\",\"in\":\"%s\"%s", *comma, name, in, strcmp(in, "path") == 0 ? ",\"required\":true" : "");
    if (o->v3)
        buf_printf(o->to, ",\"schema\":{\"type\":\"%s\",\"uniqueItems\":true}}", type);
    else
        buf_printf(o->to, ",\"type\":\"%s\",\"uniqueItems\":true}", type);
    *comma = ",";
}

static void params(struct openapi *o, const struct param *list, const char **comma)
{
    for (; list->name; list++)
        param(o, list->name, "query", list->type, comma);
}

static const char *const patch_types[] = { "application/apply-patch+yaml", "application/json-patch+json",
                                           "application/merge-patch+json", "application/strategic-merge-patch+json" };

static const char *body_type(struct openapi *o, const struct openapi_path *p, const struct operation *op, char name[128])
{
    if (op->body == BODY_OBJECT)
        return object_type(o, p, false);
    snprintf(name, 128, "%s%s", meta_v1, op->body == BODY_PATCH ? "Patch" : "DeleteOptions");
    return name;
}

static void body_v3(struct openapi *o, const char *type, bool patch, bool required)
{
    buf_str(o->to, ",\"requestBody\":{\"content\":{");
    for (size_t i = 0; patch && i < ARRAY_LEN(patch_types); i++) {
        buf_printf(o->to, "%s\"%s\":{", i ? "," : "", patch_types[i]);
        schema_of(o, type);
        buf_char(o->to, '}');
    }
    if (!patch) {
        buf_str(o->to, "\"*/*\":{");
        schema_of(o, type);
        buf_char(o->to, '}');
    }
    buf_str(o->to, patch || required ? "},\"required\":true}" : "}}");
}

static void answers(struct openapi *o, const struct openapi_path *p, const struct operation *op)
{
    char name[128];
    const char *type = op->answer && strcmp(op->answer, "List") != 0 ? name : object_type(o, p, op->answer != NULL);
    snprintf(name, sizeof(name), "%s%s", meta_v1, op->answer ? op->answer : "");
    if (is_connect(p))
        type = NULL;
    buf_str(o->to, ",\"responses\":{\"200\":{\"description\":\"OK\",");
    if (o->v3)
        buf_str(o->to, "\"content\":{\"application/json\":{");
    schema_of(o, type);
    buf_str(o->to, o->v3 ? "}}}" : "}");
    buf_str(o->to, ",\"401\":{\"description\":\"Unauthorized\"}}");
}

static void media_v2(struct openapi *o, bool patch)
{
    buf_str(o->to, ",\"consumes\":[");
    for (size_t i = 0; patch && i < ARRAY_LEN(patch_types); i++)
        buf_printf(o->to, "%s\"%s\"", i ? "," : "", patch_types[i]);
    buf_str(o->to, patch ? "]" : "\"*/*\"]");
    buf_str(o->to, ",\"produces\":[\"application/json\",\"application/yaml\",\"application/vnd.kubernetes.protobuf\"],"
                   "\"schemes\":[\"https\"]");
}

static void write_operation(struct openapi *o, const struct openapi_path *p, const struct operation *op)
{
    char name[128];
    const char *comma = "", *type = op->body == BODY_NONE || is_connect(p) ? NULL : body_type(o, p, op, name);
    operation_id(o, p, op);
    buf_str(o->to, ",\"parameters\":[");
    if (type && !o->v3) {
        buf_printf(o->to, "{\"name\":\"body\",\"in\":\"body\"%s,", op->body == BODY_DELETE ? "" : ",\"required\":true");
        schema_of(o, type);
        buf_char(o->to, '}');
        comma = ",";
    }
    if (!is_connect(p)) {
        params(o, op->params, &comma);
        params(o, op->more_params, &comma);
    }
    buf_char(o->to, ']');
    if (type && o->v3)
        body_v3(o, type, op->body == BODY_PATCH, op->body == BODY_OBJECT);
    if (!o->v3)
        media_v2(o, op->body == BODY_PATCH);
    answers(o, p, op);
    buf_printf(o->to, ",\"x-kubernetes-action\":\"%s\",\"x-kubernetes-group-version-kind\":", is_connect(p) ? "connect" : op->action);
    openapi_gvk(o, p->sub ? p->sub->group : p->r->group, p->sub ? p->sub->version : p->r->version, kind_of(p));
}

void openapi_path_item(struct openapi *o, const struct openapi_path *p)
{
    const char *comma = "";
    buf_char(o->to, '{');
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (!is_here(&operations[i], p))
            continue;
        buf_printf(o->to, "%s\"%s\":{", comma, operations[i].method);
        write_operation(o, p, &operations[i]);
        buf_char(o->to, '}');
        comma = ",";
    }
    buf_printf(o->to, "%s\"parameters\":[", comma);
    comma = "";
    if (p->item)
        param(o, "name", "path", "string", &comma);
    if (p->r->namespaced && !p->all_namespaces)
        param(o, "namespace", "path", "string", &comma);
    param(o, "pretty", "query", "string", &comma);
    buf_str(o->to, "]}");
}
