/* openapi - whole documents: which types and paths they hold. */
#include "lib/k8s/openapi_int.h"

#include "lib/json.h"
#include "lib/mem.h"

#include <string.h>

enum { FORM = 1 }; /* raise it when the same schema gives another document */

static const char meta_v1[] = "io.k8s.apimachinery.pkg.apis.meta.v1.";
/* Types that operations name beside the resources' own. */
static const char *const used_by_operations[] = { "Status", "DeleteOptions", "Patch", "APIResourceList", "WatchEvent" };

void openapi_hash(const struct schema *s, struct buf *to)
{
    uint64_t h = schema_hash(s) ^ FORM;
    for (const char *v = RANCHERD_VERSION; *v; v++)
        h = (h ^ (unsigned char)*v) * 1099511628211u;
    buf_printf(to, "%016llX", (unsigned long long)h);
}

static bool first_of_version(const struct schema *s, size_t i)
{
    const struct schema_resource *r = schema_resource_at(s, i);
    for (size_t j = 0; j < i; j++) {
        const struct schema_resource *other = schema_resource_at(s, j);
        if (strcmp(other->group, r->group) == 0 && strcmp(other->version, r->version) == 0)
            return false;
    }
    return true;
}

void openapi_v3_index(const struct schema *s, struct buf *to)
{
    AUTO(buf) struct buf hash = { 0 };
    const char *comma = "";
    openapi_hash(s, &hash);
    buf_str(to, "{\"paths\":{");
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        if (!first_of_version(s, i))
            continue;
        char gv[384];
        snprintf(gv, sizeof(gv), "%s%s/%s", *r->group ? "apis/" : "api", r->group, r->version);
        buf_printf(to, "%s\"%s\":{\"serverRelativeURL\":\"/openapi/v3/%s?hash=%s\"}", comma, gv, gv, buf_at(&hash));
        comma = ",";
    }
    buf_str(to, "}}");
}

/* --- the types a document needs: all that are reachable from its resources --- */

struct reach {
    const struct schema *s;
    bool *seen; /* by index of the named type */
};

static void reach_name(struct reach *r, const char *name);

static void reach_type(struct reach *r, const struct schema_type *t)
{
    while (schema_elem(t))
        t = schema_elem(t);
    if (*schema_type_name(t))
        reach_name(r, schema_type_name(t));
}

static void reach_name(struct reach *r, const char *name)
{
    const struct schema_type *t = schema_type_find(r->s, name);
    if (!t)
        return;
    size_t i = schema_type_index(r->s, t);
    if (r->seen[i])
        return;
    r->seen[i] = true;
    for (size_t f = 0; f < schema_fields(t); f++)
        reach_type(r, schema_field_type(schema_field_at(t, f)));
}

static void reach_resource(struct reach *r, const struct schema_resource *res)
{
    char list[128];
    reach_type(r, res->type);
    snprintf(list, sizeof(list), "%sList", res->kind);
    const struct schema_type *t = schema_kind(r->s, res->group, res->version, list);
    if (t)
        reach_type(r, t);
    for (size_t i = 0; i < res->n_subresources; i++) {
        const struct schema_subresource *sub = &res->subresources[i];
        t = schema_kind(r->s, sub->group, sub->version, sub->kind);
        if (t)
            reach_type(r, t);
    }
}

static void reach_operations(struct reach *r)
{
    for (size_t i = 0; i < ARRAY_LEN(used_by_operations); i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s%s", meta_v1, used_by_operations[i]);
        reach_name(r, name);
    }
}

/* --- documents --- */

struct path_writer {
    struct openapi *o;
    const char *comma;
};

static void write_path(void *arg, const struct openapi_path *p)
{
    struct path_writer *w = arg;
    buf_printf(w->o->to, "%s\"", w->comma);
    openapi_url(p, w->o->to);
    buf_str(w->o->to, "\":");
    openapi_path_item(w->o, p);
    w->comma = ",";
}

static void write_definitions(struct openapi *o, const bool *seen)
{
    const char *comma = "";
    for (size_t i = 0; i < schema_types(o->schema); i++) {
        if (!seen[i])
            continue;
        const struct schema_type *t = schema_type_at(o->schema, i);
        buf_printf(o->to, "%s\"%s\":", comma, schema_type_name(t));
        openapi_definition(o, t);
        comma = ",";
    }
}

int openapi_v3(const struct schema *s, const char *group, const char *version, struct buf *to)
{
    struct openapi o = { .schema = s, .to = to, .v3 = true, .group = group, .version = version };
    struct path_writer w = { .o = &o, .comma = "" };
    AUTO_FREE bool *seen = mem_zalloc(schema_types(s) * sizeof(bool));
    struct reach reach = { .s = s, .seen = seen };
    size_t before = buf_len(to);
    bool found = false;

    buf_str(to, "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"1.37\"},\"paths\":{");
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        if (strcmp(r->group, group) != 0 || strcmp(r->version, version) != 0)
            continue;
        found = true;
        openapi_each_path(r, write_path, &w);
        reach_resource(&reach, r);
    }
    if (!found) {
        buf_cut(to, before);
        return -ERR_NOT_FOUND;
    }
    reach_operations(&reach);
    buf_str(to, "},\"components\":{\"schemas\":{");
    write_definitions(&o, seen);
    buf_str(to, "},\"securitySchemes\":{\"BearerToken\":{\"type\":\"apiKey\",\"name\":\"authorization\",\"in\":\"header\"}}}}");
    return 0;
}

bool *openapi_v2_types(const struct schema *s)
{
    bool *seen = mem_zalloc(schema_types(s) * sizeof(bool));
    struct reach reach = { .s = s, .seen = seen };
    for (size_t i = 0; i < schema_resources(s); i++)
        reach_resource(&reach, schema_resource_at(s, i));
    reach_operations(&reach);
    return seen;
}

void openapi_v2(const struct schema *s, const char *version, struct buf *to)
{
    struct openapi o = { .schema = s, .to = to };
    struct path_writer w = { .o = &o, .comma = "" };
    AUTO_FREE bool *seen = openapi_v2_types(s);

    buf_printf(to, "{\"swagger\":\"2.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"%s\"},\"paths\":{", version);
    for (size_t i = 0; i < schema_resources(s); i++)
        openapi_each_path(schema_resource_at(s, i), write_path, &w);
    buf_str(to, "},\"definitions\":{");
    write_definitions(&o, seen);
    buf_str(to, "},\"securityDefinitions\":{\"BearerToken\":{\"type\":\"apiKey\",\"name\":\"authorization\",\"in\":\"header\"}},"
                "\"security\":[{\"BearerToken\":[]}]}");
}
