#include "embed/schema.h"
#include "lib/k8s/schema.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

static const struct schema_type *type_of(const struct schema_type *t, const char *field)
{
    const struct schema_field *f = schema_field(t, field, strlen(field));
    CHECK(f);
    return schema_field_type(f);
}

TEST(schema_types_and_fields)
{
    const struct schema *s = schema_builtin();
    const struct schema_type *pod = schema_kind(s, "", "v1", "Pod");
    CHECK(pod);
    CHECK_STR(schema_type_name(pod), "io.k8s.api.core.v1.Pod");
    CHECK_STR(schema_proto_name(pod), "k8s.io.api.core.v1.Pod");
    CHECK(schema_type_find(s, "io.k8s.api.core.v1.Pod") == pod);
    CHECK(!schema_type_find(s, "io.k8s.api.core.v1.Pot"));
    CHECK_INT(schema_shape(pod), SCHEMA_OBJECT);
    const struct schema_type *containers = type_of(type_of(pod, "spec"), "containers");
    CHECK_INT(schema_shape(containers), SCHEMA_LIST);
    CHECK_INT(schema_list_type(containers), SCHEMA_LIST_MAP);
    CHECK_INT(schema_list_keys(containers), 1);
    CHECK_STR(schema_list_key(containers, 0), "name");
    CHECK_INT(schema_patch_strategy(containers), SCHEMA_PATCH_MERGE);
    CHECK_STR(schema_patch_key(containers), "name");
    const struct schema_type *container = schema_elem(containers);
    CHECK_STR(schema_type_name(container), "io.k8s.api.core.v1.Container");
    const struct schema_type *ports = type_of(container, "ports");
    CHECK_INT(schema_list_keys(ports), 2);
    CHECK_STR(schema_list_key(ports, 1), "protocol");
    const struct schema_field *protocol = schema_field(schema_elem(ports), "protocol", 8);
    CHECK_STR(schema_field_default(protocol), "\"TCP\"");
    CHECK_INT(schema_enum(schema_field_type(protocol)), 3);
    CHECK_STR(schema_enum_at(schema_field_type(protocol), 1), "UDP");
    const int *numbers;
    CHECK_INT(schema_field_proto(protocol, &numbers), 1);
    CHECK_INT(numbers[0], 4);
    CHECK(!schema_field(container, "imag", 4) && !schema_field(container, "imagee", 6) && !schema_field(container, "", 0));
}

TEST(schema_flags_of_fields)
{
    const struct schema *s = schema_builtin();
    const struct schema_type *c = schema_type_find(s, "io.k8s.api.core.v1.Container");
    const struct schema_field *name = schema_field(c, "name", 4), *probe = schema_field(c, "livenessProbe", 13);
    CHECK(schema_field_required(name) && schema_field_always(name) && !schema_field_pointer(name));
    CHECK(!schema_field_required(probe) && !schema_field_always(probe) && schema_field_pointer(probe));
    CHECK_STR(schema_field_prototype(probe), "Probe");
    const struct schema_type *meta = schema_type_find(s, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    CHECK(schema_field_omit_zero(schema_field(meta, "creationTimestamp", 17)));
    CHECK_INT(schema_shape(type_of(meta, "creationTimestamp")), SCHEMA_TIME);
    CHECK_INT(schema_shape(schema_elem(type_of(meta, "labels"))), SCHEMA_STRING);
    const struct schema_type *probe_type = schema_type_find(s, "io.k8s.api.core.v1.Probe");
    const int *numbers; /* inlined through ProbeHandler */
    CHECK_INT(schema_field_proto(schema_field(probe_type, "exec", 4), &numbers), 2);
    CHECK_INT(numbers[0], 1);
    CHECK(schema_atomic(type_of(schema_type_find(s, "io.k8s.api.core.v1.PodSpec"), "nodeSelector")));
    CHECK(schema_atomic(schema_type_find(s, "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")));
    /* The place overrides the type. */
    CHECK(schema_atomic(schema_type_find(s, "io.k8s.api.core.v1.ObjectReference")));
    CHECK(!schema_atomic(type_of(schema_type_find(s, "io.k8s.api.core.v1.PersistentVolumeSpec"), "claimRef")));
}

TEST(schema_fields_are_found_by_name_everywhere)
{
    const struct schema *s = schema_builtin();
    size_t seen = 0;
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_type *t = schema_resource_at(s, i)->type;
        for (size_t f = 0; f < schema_fields(t); f++, seen++) {
            const struct schema_field *field = schema_field_at(t, f);
            CHECK(schema_field(t, schema_field_name(field), strlen(schema_field_name(field))) == field);
        }
    }
    CHECK(seen > 300);
}

TEST(schema_resources_and_kinds)
{
    const struct schema *s = schema_builtin();
    CHECK_INT(schema_resources(s), 72);
    const struct schema_resource *r = schema_resource_find(s, SLICE_LIT("apps"), SLICE_LIT("v1"), SLICE_LIT("deployments"));
    CHECK(r);
    CHECK_STR(r->kind, "Deployment");
    CHECK(r->namespaced && (r->verbs & SCHEMA_DELETECOLLECTION));
    CHECK_STR(r->short_names[0], "deploy");
    CHECK(!r->short_names[1]);
    CHECK_STR(r->categories[0], "all");
    CHECK(schema_resource_at(s, (size_t)r->index) == r);
    CHECK(schema_resource_of_kind(s, "apps", "v1", "Deployment") == r);
    CHECK(!schema_resource_of_kind(s, "apps", "v2", "Deployment"));
    const struct schema_subresource *scale = schema_subresource(r, SLICE_LIT("scale"));
    CHECK_STR(scale->group, "autoscaling");
    CHECK_STR(schema_subresource(r, SLICE_LIT("status"))->group, "apps");
    CHECK_STR(schema_subresource(r, SLICE_LIT("status"))->version, "v1");
    CHECK(!schema_subresource(r, SLICE_LIT("sta")));
    for (size_t i = 0; i < schema_resources(s); i++)
        CHECK(schema_kind(s, schema_resource_at(s, i)->group, schema_resource_at(s, i)->version, schema_resource_at(s, i)->kind) ==
              schema_resource_at(s, i)->type);
    CHECK(schema_kind(s, "autoscaling", "v1", "Scale") && schema_kind(s, "policy", "v1", "Eviction"));
    CHECK(schema_kind(s, "authentication.k8s.io", "v1", "TokenRequest") && schema_kind(s, "", "v1", "Status"));
    CHECK(schema_kind(s, "", "v1", "DeleteOptions"));
    CHECK(schema_kind(s, "apps", "v1", "DeleteOptions") == schema_kind(s, "", "v1", "DeleteOptions"));
    CHECK(schema_kind(s, "", "v1", "PodList") && !schema_kind(s, "", "v1", "Nonsense"));
}

TEST(schema_columns_of_resources)
{
    const struct schema *s = schema_builtin();
    const struct schema_column *c;
    CHECK_INT(schema_columns(schema_resource_of_kind(s, "", "v1", "Pod"), &c), 9);
    CHECK_STR(c[0].name, "Name");
    CHECK_STR(c[0].format, "name");
    CHECK_STR(c[3].name, "Restarts");
    CHECK_INT(c[5].priority, 1);
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        CHECK(!(r->verbs & SCHEMA_LIST_VERB) || schema_columns(r, &c) > 1);
    }
    CHECK_INT(schema_kind_columns(s, "", "Status", &c), 3);
    CHECK_INT(schema_kind_columns(s, "", "Nonsense", &c), 0);
}

TEST(schema_embedded_lines)
{
    CHECK(embed_rbac().n > 1000 && embed_rbac().at[0] == '{' && embed_rbac().at[embed_rbac().n - 1] == '\n');
    CHECK(embed_bootstrap().n > 1000 && embed_bootstrap().at[0] == '{');
}

/* A damaged blob is refused or harmless; never a read outside (the sanitizer tells). */
TEST(schema_damaged_blob_is_refused)
{
    extern const char embed_schema_blob[], embed_schema_blob_end[];
    size_t n = (size_t)(embed_schema_blob_end - embed_schema_blob);
    struct err err = { 0 };
    const struct schema *s = NULL;
    AUTO_FREE char *copy = mem_alloc(n);
    memcpy(copy, embed_schema_blob, n);
    CHECK_INT(schema_open(copy, n, &s, &err), 0);
    schema_close(s);
    CHECK_INT(schema_open(copy, n - 1, &s, &err), -ERR_INVALID);
    CHECK_INT(schema_open(copy, 10, &s, &err), -ERR_INVALID);
    copy[8] = 9;
    CHECK_INT(schema_open(copy, n, &s, &err), -ERR_INVALID);
    CHECK_STR(err.msg, "schema blob has version 9, this program reads 1");
    copy[8] = 1;
    unsigned random = 1, refused = 0;
    for (int i = 0; i < 300; i++) {
        random = random * 1103515245 + 12345;
        size_t at = 24 + (random >> 4) % (n - 24);
        char was = copy[at];
        copy[at] = (char)(was ^ 0x55);
        if (schema_open(copy, n, &s, &err) == 0)
            schema_close(s);
        else
            refused++;
        copy[at] = was;
    }
    CHECK(refused > 0);
}
