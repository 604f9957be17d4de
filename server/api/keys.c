#include "server/api/keys.h"

#include "server/schema/kind.h"

#include <string.h>

/* Where upstream's prefix is not /registry/<resource>. */
static const struct {
    const char *group, *resource, *prefix;
} special[] = {
    { "", "services", "services/specs" },
    { "", "endpoints", "services/endpoints" },
    { "", "nodes", "minions" },
    { "", "replicationcontrollers", "controllers" },
    { "networking.k8s.io", "ingresses", "ingress" },
    { "apiextensions.k8s.io", "customresourcedefinitions", "apiextensions.k8s.io/customresourcedefinitions" },
    { "apiregistration.k8s.io", "apiservices", "apiregistration.k8s.io/apiservices" },
    { "certificates.k8s.io", "podcertificaterequests", "podcertificaterequests" },
};

static const char root[] = "/registry/";

static const char *prefix_of(const struct schema_resource *r)
{
    for (size_t i = 0; i < ARRAY_LEN(special); i++)
        if (strcmp(special[i].resource, r->resource) == 0 && strcmp(special[i].group, r->group) == 0)
            return special[i].prefix;
    return r->resource;
}

void key_write(const struct schema_resource *stored, const char *ns, const char *name, struct buf *to)
{
    buf_printf(to, "%s%s/", root, prefix_of(stored));
    if (ns && *ns)
        buf_printf(to, "%s/", ns);
    if (name)
        buf_str(to, name);
}

void key_range_end(struct slice prefix, struct buf *to)
{
    buf_slice(to, prefix);
    to->b->at[buf_len(to) - 1]++; /* prefixes end in '/' */
}

const struct schema_resource *key_stored(const struct schema *s, const struct schema_resource *served)
{
    const struct kind_conversion *c = kind_conversion(served->group, served->version, served->kind);

    return c ? schema_resource_of_kind(s, c->storage_group, c->storage_version, served->kind) : served;
}

bool key_parse(const struct schema *s, struct slice key, const struct schema_resource **ret, struct slice *ret_ns,
               struct slice *ret_name)
{
    if (key.n < sizeof(root) || memcmp(key.at, root, sizeof(root) - 1) != 0)
        return false;
    key.at += sizeof(root) - 1;
    key.n -= sizeof(root) - 1;
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        const char *prefix = prefix_of(r);
        size_t n = strlen(prefix);

        if (key.n <= n || key.at[n] != '/' || memcmp(key.at, prefix, n) != 0 || key_stored(s, r) != r)
            continue;
        struct slice rest = { key.at + n + 1, key.n - n - 1 };
        const char *slash = memchr(rest.at, '/', rest.n);

        if (r->namespaced != (slash != NULL))
            continue;
        *ret = r;
        *ret_ns = slash ? (struct slice){ rest.at, (size_t)(slash - rest.at) } : (struct slice){ "", 0 };
        *ret_name = slash ? (struct slice){ slash + 1, (size_t)(rest.at + rest.n - slash - 1) } : rest;
        return true;
    }
    return false;
}
