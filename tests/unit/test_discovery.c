#include "lib/json.h"
#include "lib/k8s/discovery.h"
#include "tests/unit/test.h"

static json_t *read_and_clear(struct buf *b)
{
    struct err err = { 0 };
    json_t *v = NULL;
    CHECK_INT(json_read(buf_at(b), buf_len(b), NULL, NULL, &v, &err), 0);
    buf_clear(b);
    return v;
}

static json_t *at(json_t *list, const char *key, const char *value)
{
    json_t *e;
    size_t i;
    json_array_foreach(list, i, e) {
        if (strcmp(json_str_or(e, key, ""), value) == 0)
            return e;
    }
    return NULL;
}

TEST(discovery_groups_in_upstreams_order)
{
    AUTO(buf) struct buf b = { 0 };
    discovery_groups(schema_builtin(), &b);
    AUTO(json) json_t *v = read_and_clear(&b);
    json_t *groups = json_at(v, "groups");
    CHECK_INT(json_array_size(groups), 21);
    CHECK_STR(json_str(json_array_get(groups, 0), "name"), "apiregistration.k8s.io");
    CHECK_STR(json_str(json_array_get(groups, 1), "preferredVersion.groupVersion"), "apps/v1");
    CHECK_STR(json_str(at(groups, "name", "autoscaling"), "preferredVersion.version"), "v2");
    CHECK_INT(json_array_size(json_at(at(groups, "name", "autoscaling"), "versions")), 2);
    CHECK_INT(discovery_group(schema_builtin(), "nonsense", &b), -ERR_NOT_FOUND);
    CHECK_INT(discovery_group(schema_builtin(), "", &b), -ERR_NOT_FOUND);
    CHECK_INT(buf_len(&b), 0);
    CHECK_INT(discovery_group(schema_builtin(), "apps", &b), 0);
    AUTO(json) json_t *apps = read_and_clear(&b);
    CHECK_STR(json_str(apps, "kind"), "APIGroup");
}

TEST(discovery_resources_of_a_version)
{
    AUTO(buf) struct buf b = { 0 };
    CHECK_INT(discovery_resources(schema_builtin(), "", "v1", &b), 0);
    AUTO(json) json_t *v = read_and_clear(&b);
    CHECK(!json_at(v, "apiVersion")); /* upstream leaves it out here, and only here */
    json_t *list = json_at(v, "resources");
    CHECK_STR(json_str(at(list, "name", "pods"), "storageVersionHash"), "xPOwRZ+Yhw8=");
    CHECK_STR(json_str(at(list, "name", "pods/eviction"), "group"), "policy");
    CHECK(!json_at(at(list, "name", "pods/status"), "group"));
    CHECK_INT(discovery_resources(schema_builtin(), "", "v2", &b), -ERR_NOT_FOUND);
}

TEST(discovery_aggregated_documents)
{
    AUTO(buf) struct buf b = { 0 };
    discovery_aggregated(schema_builtin(), true, &b);
    AUTO(json) json_t *core = read_and_clear(&b);
    CHECK_INT(json_array_size(json_at(core, "items")), 1);
    CHECK(!json_at(json_array_get(json_at(core, "items"), 0), "metadata.name"));
    discovery_aggregated(schema_builtin(), false, &b);
    AUTO(json) json_t *v = read_and_clear(&b);
    CHECK_INT(json_array_size(json_at(v, "items")), 21);
    json_t *apps = json_array_get(json_at(json_array_get(json_at(v, "items"), 1), "versions"), 0);
    json_t *deploy = at(json_at(apps, "resources"), "resource", "deployments");
    CHECK_STR(json_str(deploy, "scope"), "Namespaced");
    CHECK_STR(json_str(deploy, "responseKind.group"), "");
    CHECK_STR(json_str(json_array_get(json_at(deploy, "subresources"), 0), "responseKind.group"), "autoscaling");
}
