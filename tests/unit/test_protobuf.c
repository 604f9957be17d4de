#include "lib/k8s/protobuf.h"
#include "test.h"

#include "lib/auto.h"

/* Hand-made messages: tag bytes are number << 3 | wire type. */
static void check(const char *kind, const char *bytes, size_t n, const char *want)
{
    json_t *got = NULL;
    struct err err;
    AUTO(buf) struct buf text = { 0 };

    fprintf(stderr, "# %s %s\n", kind, want);
    const struct schema_type *type = schema_type_find(schema_builtin(), kind);
    CHECK(type != NULL);
    if (protobuf_read(type, (struct slice){ bytes, n }, &got, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    json_write(got, &text);
    CHECK_STR(buf_at(&text), want);
    json_decref(got);
}
#define CHECK_PB(kind, bytes, want) check(kind, bytes, sizeof(bytes) - 1, want)

TEST(protobuf_reads_scalars_lists_maps_and_inlined_messages)
{
    CHECK_PB("io.k8s.api.core.v1.ContainerPort", "\x0a\x01w\x18\x50\x22\x03TCP", "{\"name\":\"w\",\"containerPort\":80,\"protocol\":\"TCP\"}");
    /* int32 -1 is ten bytes */
    CHECK_PB("io.k8s.api.core.v1.ContainerPort", "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "{\"containerPort\":-1}");
    CHECK_PB("io.k8s.api.core.v1.ConfigMap", "\x12\x06\x0a\x01k\x12\x01v\x1a\x06\x0a\x01z\x12\x01\xff", "{\"data\":{\"k\":\"v\"},\"binaryData\":{\"z\":\"/w==\"}}");
    /* Volume{name: v, VolumeSource(2){ EmptyDir(2){} }} */
    CHECK_PB("io.k8s.api.core.v1.Volume", "\x0a\x01v\x12\x02\x12\x00", "{\"name\":\"v\",\"emptyDir\":{}}");
    /* map<string, Quantity>, IntOrString, Time */
    CHECK_PB("io.k8s.api.core.v1.ResourceRequirements", "\x0a\x0b\x0a\x03" "cpu\x12\x04\x0a\x02" "1m", "{\"limits\":{\"cpu\":\"1m\"}}");
    CHECK_PB("io.k8s.api.core.v1.TCPSocketAction", "\x0a\x04\x08\x00\x10\x50", "{\"port\":80}");
    CHECK_PB("io.k8s.api.core.v1.TCPSocketAction", "\x0a\x05\x08\x01\x1a\x01h", "{\"port\":\"h\"}");
    CHECK_PB("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "\x42\x04\x08\x80\xa3\x05", "{\"creationTimestamp\":\"1970-01-02T00:00:00Z\"}");
    /* unknown fields are passed over */
    CHECK_PB("io.k8s.api.core.v1.ContainerPort", "\xfa\x07\x01x\x0a\x01w", "{\"name\":\"w\"}");
    /* UserInfo.extra: map<string, ExtraValue{items}> */
    CHECK_PB("io.k8s.api.authentication.v1.UserInfo", "\x22\x08\x0a\x01k\x12\x03\x0a\x01v", "{\"extra\":{\"k\":[\"v\"]}}");
}

TEST(protobuf_refuses_what_is_broken)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = { { "\x0a\x05w", 3 }, { "\x0a", 1 }, { "\x00", 1 }, { "\x18", 1 }, { "\x0f", 1 }, { "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13 }, { "\x08\x01", 2 } };
    const struct schema_type *type = schema_type_find(schema_builtin(), "io.k8s.api.core.v1.ContainerPort");
    struct protobuf_envelope e;
    struct err err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *got = NULL;

        fprintf(stderr, "# case %zu\n", i);
        CHECK_INT(protobuf_read(type, (struct slice){ cases[i].bytes, cases[i].n }, &got, &err), -ERR_BAD_REQUEST);
        CHECK(got == NULL);
    }
    CHECK_INT(protobuf_open(SLICE_LIT("{}"), &e, &err), -ERR_BAD_REQUEST);
    CHECK_INT(protobuf_open((struct slice){ "k8s\0\x0a\x0a\x0a\x02v1\x12\x04Node\x12\x00", 18 }, &e, &err), 0);
    CHECK_STR(e.kind, "Node");
    CHECK_STR(e.api_version, "v1");
}
