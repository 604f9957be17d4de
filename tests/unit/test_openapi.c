#include "lib/json.h"
#include "lib/k8s/openapi.h"
#include "tests/unit/test.h"

static json_t *read_and_clear(struct buf *b)
{
    struct err err = { 0 };
    json_t *v = NULL;
    CHECK_INT(json_read(buf_at(b), buf_len(b), NULL, NULL, &v, &err), 0);
    buf_clear(b);
    return v;
}

static json_t *get(json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (!v)
        fprintf(stderr, "no %s\n", key);
    CHECK(v);
    return v;
}

/* Every $ref names something the document defines. */
static void check_refs(json_t *v, const char *prefix, json_t *defined)
{
    const char *key;
    json_t *e;
    size_t i;
    if (json_is_array(v)) {
        json_array_foreach(v, i, e)
            check_refs(e, prefix, defined);
        return;
    }
    json_object_foreach(v, key, e) {
        if (strcmp(key, "$ref") != 0 || !json_is_string(e)) {
            check_refs(e, prefix, defined);
            continue;
        }
        CHECK(strncmp(json_string_value(e), prefix, strlen(prefix)) == 0);
        get(defined, json_string_value(e) + strlen(prefix));
    }
}

TEST(openapi_v3_of_every_group_version)
{
    const struct schema *s = schema_builtin();
    AUTO(buf) struct buf b = { 0 };
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        CHECK_INT(openapi_v3(s, r->group, r->version, &b), 0);
        AUTO(json) json_t *v = read_and_clear(&b);
        CHECK_STR(json_str(v, "openapi"), "3.0.0");
        json_t *schemas = json_at(v, "components.schemas");
        get(schemas, schema_type_name(r->type));
        check_refs(v, "#/components/schemas/", schemas);
    }
    CHECK_INT(openapi_v3(s, "nonsense", "v1", &b), -ERR_NOT_FOUND);
    CHECK_INT(buf_len(&b), 0);
}

TEST(openapi_v3_index_names_all_with_a_hash)
{
    AUTO(buf) struct buf b = { 0 };
    openapi_v3_index(schema_builtin(), &b);
    AUTO(json) json_t *v = read_and_clear(&b);
    json_t *paths = get(v, "paths");
    CHECK_INT(json_object_size(paths), 23);
    const char *url = json_str(get(paths, "apis/apps/v1"), "serverRelativeURL");
    CHECK(strncmp(url, "/openapi/v3/apis/apps/v1?hash=", 30) == 0 && strlen(url) == 46);
    get(paths, "api/v1");
}

TEST(openapi_v3_details_kubectl_reads)
{
    AUTO(buf) struct buf b = { 0 };
    CHECK_INT(openapi_v3(schema_builtin(), "apps", "v1", &b), 0);
    AUTO(json) json_t *v = read_and_clear(&b);
    json_t *item = get(get(v, "paths"), "/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    CHECK_STR(json_str(get(item, "patch"), "x-kubernetes-group-version-kind.kind"), "Deployment");
    CHECK(json_at(get(item, "patch"), "requestBody.content"));
    bool validates = false;
    json_t *e;
    size_t i;
    json_array_foreach(json_at(item, "patch.parameters"), i, e)
        validates |= strcmp(json_str_or(e, "name", ""), "fieldValidation") == 0;
    CHECK(validates);
    json_t *schemas = json_at(v, "components.schemas");
    json_t *c = get(get(schemas, "io.k8s.api.core.v1.Container"), "properties");
    CHECK_STR(json_str(get(c, "ports"), "x-kubernetes-patch-merge-key"), "containerPort");
    CHECK_INT(json_array_size(get(get(c, "ports"), "x-kubernetes-list-map-keys")), 2);
    CHECK_STR(json_str(get(c, "env"), "x-kubernetes-list-type"), "map");
    CHECK_STR(json_string_value(json_array_get(get(get(c, "imagePullPolicy"), "enum"), 1)), "IfNotPresent");
    CHECK_STR(json_str(get(c, "name"), "default"), "");
    CHECK(json_is_object(json_at(get(c, "resources"), "default")));
    CHECK(!json_object_get(get(c, "lifecycle"), "default"));
    json_t *volumes = json_at(get(schemas, "io.k8s.api.core.v1.PodSpec"), "properties.volumes");
    CHECK_STR(json_str(volumes, "x-kubernetes-patch-strategy"), "merge,retainKeys");
    CHECK_STR(json_str(get(schemas, "io.k8s.apimachinery.pkg.util.intstr.IntOrString"), "format"), "int-or-string");
}

TEST(openapi_v2_document)
{
    AUTO(buf) struct buf b = { 0 };
    openapi_v2(schema_builtin(), "v1.37.2", &b);
    AUTO(json) json_t *v = read_and_clear(&b);
    json_t *defined = get(v, "definitions");
    check_refs(v, "#/definitions/", defined);
    CHECK(json_object_size(defined) > 600);
    CHECK_STR(json_str(get(defined, "io.k8s.apimachinery.pkg.api.resource.Quantity"), "type"), "string");
    CHECK_STR(json_str(json_array_get(get(get(defined, "io.k8s.api.core.v1.Pod"), "x-kubernetes-group-version-kind"), 0), "kind"), "Pod");
    json_t *patch = json_at(get(get(v, "paths"), "/api/v1/namespaces/{namespace}/pods/{name}"), "patch");
    CHECK_INT(json_array_size(get(patch, "consumes")), 4);
}

/* Walks one message's fields; counts those with `number`, and the last one's content. */
static size_t fields(struct slice m, int number, struct slice *ret_last)
{
    size_t at = 0, n = 0;
    while (at < m.n) {
        uint64_t v[2] = { 0, 0 };
        for (int part = 0; part < 2; part++) {
            for (int shift = 0;; shift += 7) {
                CHECK(at < m.n && shift < 64);
                unsigned char c = (unsigned char)m.at[at++];
                v[part] |= (uint64_t)(c & 0x7f) << shift;
                if (!(c & 0x80))
                    break;
            }
        }
        bool bytes = (v[0] & 7) == 2;
        CHECK(bytes || (v[0] & 7) == 0);
        CHECK(!bytes || v[1] <= m.n - at);
        if ((int)(v[0] >> 3) == number) {
            n++;
            *ret_last = (struct slice){ m.at + at, bytes ? (size_t)v[1] : 0 };
        }
        at += bytes ? (size_t)v[1] : 0;
    }
    return n;
}

TEST(openapi_v2_protobuf)
{
    AUTO(buf) struct buf b = { 0 }, text = { 0 };
    openapi_v2_proto(schema_builtin(), "v1.37.2", &b);
    openapi_v2(schema_builtin(), "v1.37.2", &text);
    AUTO(json) json_t *v = read_and_clear(&text);
    struct slice doc = { buf_at(&b), buf_len(&b) }, part, last, name;
    CHECK_INT(fields(doc, 1, &part), 1);
    CHECK(slice_is(part, "2.0"));
    CHECK_INT(fields(doc, 9, &part), 1);
    CHECK_INT(fields(part, 1, &last), json_object_size(get(v, "definitions")));
    CHECK_INT(fields(last, 1, &name), 1); /* NamedSchema.name of the last: sorted */
    CHECK(slice_is(name, "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference"));
    CHECK_INT(fields(doc, 8, &part), 1);
    CHECK_INT(fields(part, 2, &last), json_object_size(get(v, "paths")));
    CHECK_INT(fields(last, 2, &part), 1);
    CHECK_INT(fields(part, 2, &last), 1); /* get */
}
