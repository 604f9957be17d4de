#include "lib/k8s/discovery.h"

#include "lib/json.h"

#include <string.h>

static const struct {
    unsigned bit;
    const char *name;
} verbs_by_name[] = {
    { SCHEMA_CREATE, "create" }, { SCHEMA_DELETE, "delete" }, { SCHEMA_DELETECOLLECTION, "deletecollection" },
    { SCHEMA_GET, "get" },       { SCHEMA_LIST_VERB, "list" }, { SCHEMA_PATCH, "patch" },
    { SCHEMA_UPDATE, "update" }, { SCHEMA_WATCH, "watch" },
};

/* --- small pieces of JSON; names in the schema need no escapes, but a custom resource's are outside data --- */

static void text(struct buf *to, const char *before, const char *s)
{
    buf_str(to, before);
    json_write_string(slice_of(s), to);
}

static void verbs(unsigned set, struct buf *to)
{
    const char *comma = "";
    buf_str(to, ",\"verbs\":[");
    for (size_t i = 0; i < ARRAY_LEN(verbs_by_name); i++) {
        if (!(set & verbs_by_name[i].bit))
            continue;
        buf_printf(to, "%s\"%s\"", comma, verbs_by_name[i].name);
        comma = ",";
    }
    buf_char(to, ']');
}

/* A member with a list of texts, left out when there are none. */
static void texts(const char *name, const char *const *list, struct buf *to)
{
    if (!*list)
        return;
    buf_printf(to, ",\"%s\":", name);
    for (size_t i = 0; list[i]; i++)
        text(to, i ? "," : "[", list[i]);
    buf_char(to, ']');
}

static void group_version(const struct schema_resource *r, struct buf *to)
{
    AUTO(buf) struct buf gv = { 0 };
    buf_printf(&gv, "%s%s%s", r->group, *r->group ? "/" : "", r->version);
    text(to, "{\"groupVersion\":", buf_at(&gv));
    text(to, ",\"version\":", r->version);
    buf_char(to, '}');
}

/* --- walking: resources of a group, and the first of each group or version --- */

static bool first_of_group(const struct schema *s, size_t i)
{
    const char *group = schema_resource_at(s, i)->group;
    for (size_t j = 0; j < i; j++) {
        if (strcmp(schema_resource_at(s, j)->group, group) == 0)
            return false;
    }
    return true;
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

/* --- the legacy documents --- */

void discovery_core_versions(const char *server_address, struct buf *to)
{
    text(to, "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"],\"serverAddressByClientCIDRs\":[{\"clientCIDR\":\"0.0.0.0/0\","
             "\"serverAddress\":", server_address);
    buf_str(to, "}]}");
}

/* The members of an APIGroup from "name" on. */
static void group_members(const struct schema *s, const char *group, struct buf *to)
{
    const struct schema_resource *preferred = NULL;
    text(to, "\"name\":", group);
    buf_str(to, ",\"versions\":[");
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        if (strcmp(r->group, group) != 0 || !first_of_version(s, i))
            continue;
        if (preferred)
            buf_char(to, ',');
        else
            preferred = r;
        group_version(r, to);
    }
    buf_str(to, "],\"preferredVersion\":");
    group_version(preferred, to);
}

void discovery_groups(const struct schema *s, struct buf *to)
{
    const char *comma = "";
    buf_str(to, "{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[");
    for (size_t i = 0; i < schema_resources(s); i++) {
        const char *group = schema_resource_at(s, i)->group;
        if (!*group || !first_of_group(s, i))
            continue;
        buf_printf(to, "%s{", comma);
        group_members(s, group, to);
        buf_char(to, '}');
        comma = ",";
    }
    buf_str(to, "]}");
}

int discovery_group(const struct schema *s, const char *group, struct buf *to)
{
    for (size_t i = 0; *group && i < schema_resources(s); i++) {
        if (strcmp(schema_resource_at(s, i)->group, group) != 0)
            continue;
        buf_str(to, "{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",");
        group_members(s, group, to);
        buf_char(to, '}');
        return 0;
    }
    return -ERR_NOT_FOUND;
}

static void resource(const struct schema_resource *r, struct buf *to)
{
    text(to, "{\"name\":", r->resource);
    text(to, ",\"singularName\":", r->singular);
    buf_printf(to, ",\"namespaced\":%s", r->namespaced ? "true" : "false");
    text(to, ",\"kind\":", r->kind);
    verbs(r->verbs, to);
    texts("shortNames", r->short_names, to);
    texts("categories", r->categories, to);
    if (*r->storage_hash)
        text(to, ",\"storageVersionHash\":", r->storage_hash);
    buf_char(to, '}');
}

/* Another group's kind says so; the resource's own group version goes without saying. */
static bool is_foreign(const struct schema_resource *r, const struct schema_subresource *sub)
{
    return strcmp(sub->group, r->group) != 0 || strcmp(sub->version, r->version) != 0;
}

static void subresource(const struct schema_resource *r, const struct schema_subresource *sub, struct buf *to)
{
    AUTO(buf) struct buf name = { 0 };
    buf_printf(&name, "%s/%s", r->resource, sub->name);
    text(to, ",{\"name\":", buf_at(&name));
    buf_printf(to, ",\"singularName\":\"\",\"namespaced\":%s", r->namespaced ? "true" : "false");
    if (is_foreign(r, sub)) {
        text(to, ",\"group\":", sub->group);
        text(to, ",\"version\":", sub->version);
    }
    text(to, ",\"kind\":", sub->kind);
    verbs(sub->verbs, to);
    buf_char(to, '}');
}

int discovery_resources(const struct schema *s, const char *group, const char *version, struct buf *to)
{
    bool found = false;
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        if (strcmp(r->group, group) != 0 || strcmp(r->version, version) != 0)
            continue;
        if (!found)
            buf_printf(to, "{\"kind\":\"APIResourceList\",%s\"groupVersion\":\"%s%s%s\",\"resources\":[",
                       *group ? "\"apiVersion\":\"v1\"," : "", group, *group ? "/" : "", version);
        else
            buf_char(to, ',');
        found = true;
        resource(r, to);
        for (size_t j = 0; j < r->n_subresources; j++)
            subresource(r, &r->subresources[j], to);
    }
    if (!found)
        return -ERR_NOT_FOUND;
    buf_str(to, "]}");
    return 0;
}

/* --- the aggregated document --- */

static void response_kind(const char *group, const char *version, const char *kind, struct buf *to)
{
    text(to, ",\"responseKind\":{\"group\":", group);
    text(to, ",\"version\":", version);
    text(to, ",\"kind\":", kind);
    buf_char(to, '}');
}

static void aggregated_resource(const struct schema_resource *r, struct buf *to)
{
    text(to, "{\"resource\":", r->resource);
    response_kind("", "", r->kind, to);
    buf_printf(to, ",\"scope\":\"%s\"", r->namespaced ? "Namespaced" : "Cluster");
    text(to, ",\"singularResource\":", r->singular);
    verbs(r->verbs, to);
    texts("shortNames", r->short_names, to);
    texts("categories", r->categories, to);
    for (size_t i = 0; i < r->n_subresources; i++) {
        const struct schema_subresource *sub = &r->subresources[i];
        bool foreign = is_foreign(r, sub);
        text(to, i ? ",{\"subresource\":" : ",\"subresources\":[{\"subresource\":", sub->name);
        response_kind(foreign ? sub->group : "", foreign ? sub->version : "", sub->kind, to);
        verbs(sub->verbs, to);
        buf_char(to, '}');
    }
    buf_str(to, r->n_subresources ? "]}" : "}");
}

static void aggregated_version(const struct schema *s, size_t first, struct buf *to)
{
    const struct schema_resource *v = schema_resource_at(s, first);
    const char *comma = "";
    text(to, "{\"version\":", v->version);
    buf_str(to, ",\"resources\":[");
    for (size_t i = first; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        if (strcmp(r->group, v->group) != 0 || strcmp(r->version, v->version) != 0)
            continue;
        buf_str(to, comma);
        aggregated_resource(r, to);
        comma = ",";
    }
    buf_str(to, "],\"freshness\":\"Current\"}");
}

static void aggregated_group(const struct schema *s, size_t first, struct buf *to)
{
    const char *group = schema_resource_at(s, first)->group, *comma = "";
    buf_str(to, "{\"metadata\":{");
    if (*group)
        text(to, "\"name\":", group);
    buf_str(to, "},\"versions\":[");
    for (size_t i = first; i < schema_resources(s); i++) {
        if (strcmp(schema_resource_at(s, i)->group, group) != 0 || !first_of_version(s, i))
            continue;
        buf_str(to, comma);
        aggregated_version(s, i, to);
        comma = ",";
    }
    buf_str(to, "]}");
}

void discovery_aggregated(const struct schema *s, bool core, struct buf *to)
{
    const char *comma = "";
    buf_str(to, "{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/v2\",\"metadata\":{},\"items\":[");
    for (size_t i = 0; i < schema_resources(s); i++) {
        if ((*schema_resource_at(s, i)->group == 0) != core || !first_of_group(s, i))
            continue;
        buf_str(to, comma);
        aggregated_group(s, i, to);
        comma = ",";
    }
    buf_str(to, "]}");
}
