#include "lib/k8s/object.h"
#include "lib/k8s/schema.h"
#include "tests/unit/test.h"

#include <time.h>

static struct buf unknown_words;

static void note_unknown(void *arg, const char *message)
{
    buf_printf(arg, "%s%s", buf_len(arg) ? ", " : "", message);
}

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err = { 0 };
    if (json_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        fprintf(stderr, "%s: %s\n", text, err.msg);
    CHECK(v);
    return v;
}

static const struct schema_type *kind(const char *group, const char *version, const char *name)
{
    const struct schema_type *t = schema_kind(schema_builtin(), group, version, name);
    CHECK(t);
    return t;
}

/* The pruned object as JSON, or the error's words. Borrowed until the next call. */
static const char *pruned(const struct schema_type *t, const char *text)
{
    static struct buf out;
    struct err err = { 0 };
    AUTO(json) json_t *v = tree(text);
    buf_clear(&out);
    buf_clear(&unknown_words);
    if (object_prune(t, v, note_unknown, &unknown_words, &err) < 0)
        buf_str(&out, err.msg);
    else
        json_write(v, &out);
    return buf_at(&out);
}

#define POD kind("", "v1", "Pod")

/* Each line: what goes into a pod's spec, and what upstream 1.37.2 said of it. */
TEST(object_prune_mismatches_in_upstreams_words)
{
    static const struct {
        const char *spec, *want;
    } cases[] = {
        { "5", "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec" },
        { "[]", "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec" },
        { "{\"hostNetwork\":\"x\"}", "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool" },
        { "{\"containers\":{}}", "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container" },
        { "{\"containers\":[1]}", "json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container" },
        { "{\"activeDeadlineSeconds\":1.5}",
          "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64" },
        { "{\"activeDeadlineSeconds\":\"1\"}",
          "json: cannot unmarshal string into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64" },
        { "{\"priority\":3000000000}",
          "json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32" },
        { "{\"priority\":-2147483649}",
          "json: cannot unmarshal number -2147483649 into Go struct field PodSpec.spec.priority of type int32" },
        { "{\"restartPolicy\":5}",
          "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy" },
        { "{\"nodeSelector\":[]}",
          "json: cannot unmarshal array into Go struct field PodSpec.spec.nodeSelector of type map[string]string" },
        { "{\"containers\":[{\"image\":5}]}",
          "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string" },
        { "{\"containers\":[{\"imagePullPolicy\":{}}]}",
          "json: cannot unmarshal object into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy" },
        { "{\"containers\":[{\"resources\":{\"limits\":5}}]}",
          "json: cannot unmarshal number into Go struct field ResourceRequirements.spec.containers.resources.limits of type "
          "v1.ResourceList" },
        { "{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":true}}}]}",
          "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
        { "{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"abc\"}}}]}",
          "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
        { "{\"containers\":[{\"livenessProbe\":{\"httpGet\":{\"port\":true}}}]}",
          "json: cannot unmarshal bool into Go struct field "
          "HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32" },
        { "{\"containers\":[{\"livenessProbe\":{\"httpGet\":{\"port\":99999999999}}}]}",
          "json: cannot unmarshal number 99999999999 into Go struct field "
          "HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32" },
        { "{\"ephemeralContainers\":[{\"image\":1}]}",
          "json: cannot unmarshal number into Go struct field "
          "EphemeralContainer.spec.ephemeralContainers.EphemeralContainerCommon.image of type string" },
        { "{\"volumes\":[{\"configMap\":{\"name\":5}}]}",
          "json: cannot unmarshal number into Go struct field "
          "ConfigMapVolumeSource.spec.volumes.VolumeSource.configMap.LocalObjectReference.name of type string" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = mem_printf("{\"spec\":%s}", cases[i].spec);
        CHECK_STR(pruned(POD, text), cases[i].want);
    }
    CHECK_STR(pruned(POD, "{\"metadata\":{\"labels\":{\"a\":5}}}"),
              "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string");
    CHECK_STR(pruned(POD, "[]"), "json: cannot unmarshal array into Go value of type v1.Pod");
}

TEST(object_prune_times)
{
    static const struct {
        const char *time, *want;
    } cases[] = {
        { "foo", "parsing time \"foo\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"foo\" as \"2006\"" },
        { "", "parsing time \"\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"2006\"" },
        { "2024", "parsing time \"2024\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"-\"" },
        { "2024-01-01", "parsing time \"2024-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"" },
        { "2024-1-01T00:00:00Z",
          "parsing time \"2024-1-01T00:00:00Z\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"1-01T00:00:00Z\" as \"01\"" },
        { "2024-13-01T00:00:00Z", "parsing time \"2024-13-01T00:00:00Z\": month out of range" },
        { "2024-02-30T00:00:00Z", "parsing time \"2024-02-30T00:00:00Z\": day out of range" },
        { "2023-02-29T00:00:00Z", "parsing time \"2023-02-29T00:00:00Z\": day out of range" },
        { "2024-01-01T25:00:00Z", "parsing time \"2024-01-01T25:00:00Z\": hour out of range" },
        { "2024-01-01T00:60:00Z", "parsing time \"2024-01-01T00:60:00Z\": minute out of range" },
        { "2024-01-01T00:00:00",
          "parsing time \"2024-01-01T00:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"" },
        { "2024-01-01T00:00:00.Z",
          "parsing time \"2024-01-01T00:00:00.Z\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \".Z\" as \"Z07:00\"" },
        { "2024-01-01T00:00:00Zx", "parsing time \"2024-01-01T00:00:00Zx\": extra text: \"x\"" },
        { "2024-01-01T00:00:00+25:00", "parsing time \"2024-01-01T00:00:00+25:00\": time zone offset hour out of range" },
        { "2024-02-29T00:00:00.123+02:00", "{\"deletionTimestamp\":\"2024-02-28T22:00:00Z\"}" },
        { "2024-01-01T1:00:00,5Z", "{\"deletionTimestamp\":\"2024-01-01T01:00:00Z\"}" },
        { "0012-12-31T23:59:59Z", "{\"deletionTimestamp\":\"0012-12-31T23:59:59Z\"}" },
        { "0001-01-01T00:00:00Z", "{}" }, /* Go's zero time */
        { "1969-12-31T23:59:59Z", "{\"deletionTimestamp\":\"1969-12-31T23:59:59Z\"}" },
    };
    const struct schema_type *meta = schema_type_find(schema_builtin(), "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = mem_printf("{\"deletionTimestamp\":\"%s\"}", cases[i].time);
        CHECK_STR(pruned(meta, text), cases[i].want);
    }
    CHECK_STR(pruned(meta, "{\"creationTimestamp\":5}"),
              "json: cannot unmarshal number into Go struct field ObjectMeta.creationTimestamp of type string");
    CHECK_STR(pruned(meta, "{\"creationTimestamp\":null}"), "{}");
    const struct schema_type *lease = kind("coordination.k8s.io", "v1", "Lease");
    CHECK_STR(pruned(lease, "{\"spec\":{\"renewTime\":\"2024-01-01T02:00:00.123456+02:00\"}}"),
              "{\"spec\":{\"renewTime\":\"2024-01-01T00:00:00.123456Z\"},\"metadata\":{}}");
    CHECK_STR(pruned(lease, "{\"spec\":{\"renewTime\":\"1012-01-01T00:00:00.000001Z\"}}"),
              "{\"spec\":{\"renewTime\":\"1012-01-01T00:00:00.000001Z\"},\"metadata\":{}}");
    CHECK_STR(pruned(lease, "{\"spec\":{\"renewTime\":\"2024-01-01T00:00:00.5Z\"}}"),
              "parsing time \"2024-01-01T00:00:00.5Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \".5Z\" as "
              "\".000000\"");
    CHECK_STR(pruned(lease, "{\"spec\":{\"renewTime\":\"2024-01-01T02:00:00.1234567Z\"}}"),
              "parsing time \"2024-01-01T02:00:00.1234567Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"7Z\" as "
              "\"Z07:00\"");
}

TEST(object_prune_unknown_fields)
{
    CHECK_STR(pruned(POD, "{\"metadata\":{\"Labels\":{}},\"spec\":{\"foo\":1,\"volumes\":[{\"name\":\"x\",\"emptyDir\":{\"foo\":1}}],"
                          "\"containers\":[{\"name\":\"x\",\"bar\":{}}]}}"),
              "{\"metadata\":{},\"spec\":{\"volumes\":[{\"name\":\"x\",\"emptyDir\":{}}],\"containers\":[{\"name\":\"x\","
              "\"resources\":{}}]},\"status\":{}}");
    CHECK_STR(buf_at(&unknown_words), "unknown field \"metadata.Labels\", unknown field \"spec.foo\", "
                                      "unknown field \"spec.volumes[0].emptyDir.foo\", unknown field \"spec.containers[0].bar\"");
}

/* What Go leaves out and what it writes though nothing was said; as upstream answers. */
TEST(object_prune_zero_values)
{
    CHECK_STR(pruned(POD, "{\"metadata\":{\"name\":\"a\",\"labels\":{},\"managedFields\":[],\"generation\":0},\"spec\":{\"hostIPC\":false,"
                          "\"hostname\":\"\",\"priority\":0,\"containers\":[{\"name\":\"\",\"command\":[],\"stdin\":false}]}}"),
              "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"priority\":0,\"containers\":[{\"name\":\"\",\"resources\":{}}]},\"status\":{}}");
    const struct schema_type *role = kind("rbac.authorization.k8s.io", "v1", "ClusterRole");
    CHECK_STR(pruned(role, "{\"rules\":[]}"), "{\"rules\":null,\"metadata\":{}}");
    CHECK_STR(pruned(role, "{}"), "{\"metadata\":{},\"rules\":null}");
    CHECK_STR(pruned(kind("", "v1", "Event"), "{\"metadata\":{\"name\":\"zz\"},\"involvedObject\":{\"namespace\":\"default\"}}"),
              "{\"metadata\":{\"name\":\"zz\"},\"involvedObject\":{\"namespace\":\"default\"},\"eventTime\":null,"
              "\"firstTimestamp\":null,\"lastTimestamp\":null,\"reportingComponent\":\"\",\"reportingInstance\":\"\",\"source\":{}}");
    CHECK_STR(pruned(kind("apps", "v1", "DaemonSet"), "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"selector\":null}}"),
              "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"selector\":null,\"template\":{\"metadata\":{},\"spec\":{\"containers\":null}},"
              "\"updateStrategy\":{}},\"status\":{\"currentNumberScheduled\":0,\"desiredNumberScheduled\":0,\"numberMisscheduled\":0,"
              "\"numberReady\":0}}");
    CHECK_STR(pruned(kind("", "v1", "Service"), "{\"metadata\":{},\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":0}]}}"),
              "{\"metadata\":{},\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":0}]},\"status\":{\"loadBalancer\":{}}}");
    CHECK_STR(pruned(POD, "{\"metadata\":{},\"spec\":{\"nodeSelector\":{\"a\":null},\"containers\":[null,{\"name\":\"a\",\"args\":[null],"
                          "\"resources\":{\"limits\":{\"cpu\":null,\"memory\":1024}},\"env\":[{\"name\":\"E\",\"valueFrom\":"
                          "{\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}}]}]},\"status\":{}}"),
              "{\"metadata\":{},\"spec\":{\"nodeSelector\":{\"a\":\"\"},\"containers\":[{\"name\":\"\",\"resources\":{}},{\"name\":\"a\","
              "\"args\":[\"\"],\"resources\":{\"limits\":{\"cpu\":\"0\",\"memory\":\"1024\"}},\"env\":[{\"name\":\"E\",\"valueFrom\":"
              "{\"resourceFieldRef\":{\"resource\":\"limits.cpu\",\"divisor\":\"0\"}}}]}]},\"status\":{}}");
}

/* An empty list that is always written is told from none; one with omitempty is not. */
TEST(object_prune_keeps_what_managed_fields_must_see)
{
    static const struct {
        const char *spec, *want;
        bool kept;
    } cases[] = {
        { "{\"drivers\":[]}", "{\"drivers\":[]}", true },
        { "{\"drivers\":null}", "{\"drivers\":null}", false },
        { "{}", "{\"drivers\":null}", false },
        { "{\"drivers\":[{\"name\":\"d\",\"nodeID\":\"n\",\"topologyKeys\":[]}]}", "{\"drivers\":[{\"name\":\"d\",\"nodeID\":\"n\",\"topologyKeys\":[]}]}", true },
        { "{\"drivers\":[{\"name\":\"d\",\"nodeID\":\"n\",\"topologyKeys\":null,\"allocatable\":{}}]}",
          "{\"drivers\":[{\"name\":\"d\",\"nodeID\":\"n\",\"topologyKeys\":null,\"allocatable\":{}}]}", false },
    };
    const struct schema_type *type = kind("storage.k8s.io", "v1", "CSINode");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(json) json_t *v = json_object();
        AUTO(buf) struct buf out = { 0 };
        struct err err = { 0 };
        bool kept = false;

        json_object_set_new(v, "spec", tree(cases[i].spec));
        CHECK(object_prune_keeping(type, v, NULL, NULL, &kept, &err) == 0);
        json_write(json_object_get(v, "spec"), &out);
        CHECK_STR(buf_at(&out), cases[i].want);
        CHECK(kept == cases[i].kept);
    }
    AUTO(json) json_t *map = tree("{\"metadata\":{\"labels\":{}},\"data\":{}}");
    struct err err = { 0 };
    bool kept = false;
    CHECK(object_prune_keeping(kind("", "v1", "ConfigMap"), map, NULL, NULL, &kept, &err) == 0);
    CHECK(!kept && json_object_size(json_object_get(map, "metadata")) == 0 && !json_object_get(map, "data"));
}

TEST(object_prune_bytes)
{
    static const struct {
        const char *data, *want;
    } cases[] = {
        { "\"@@\"", "illegal base64 data at input byte 0" },
        { "\"YQ\"", "illegal base64 data at input byte 0" },
        { "\"YWJj=\"", "illegal base64 data at input byte 4" },
        { "\"YQ=a\"", "illegal base64 data at input byte 3" },
        { "\"YQ==YQ==\"", "illegal base64 data at input byte 4" },
        { "5", "json: cannot unmarshal number into Go struct field Secret.data of type []uint8" },
        { "\"YQ\\n==\"", "YQ==" },
        { "\"YR==\"", "YQ==" },
        { "\"YWJjZA==\"", "YWJjZA==" },
        { "\"\"", "" },
        { "null", "" },
        { "[65,66]", "QUI=" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *text = mem_printf("{\"metadata\":{},\"data\":{\"a\":%s}}", cases[i].data);
        AUTO_FREE char *good = mem_printf("{\"metadata\":{},\"data\":{\"a\":\"%s\"}}", cases[i].want);
        bool fails = strstr(cases[i].want, " ") != NULL;
        CHECK_STR(pruned(kind("", "v1", "Secret"), text), fails ? cases[i].want : good);
    }
}

/* What came out goes in again unchanged, for every kind the server knows and nothing at all. */
TEST(object_prune_is_idempotent_on_every_kind)
{
    const struct schema *s = schema_builtin();
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_type *t = schema_resource_at(s, i)->type;
        AUTO_FREE char *once = mem_strdup(pruned(t, "{}"));
        CHECK_STR(pruned(t, once), once);
    }
}

TEST(object_default_sets_static_defaults)
{
    AUTO(buf) struct buf out = { 0 };
    AUTO(json) json_t *o = tree("{\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":1},{\"containerPort\":2,\"protocol\":\"UDP\"}]}],"
                                "\"volumes\":[{\"iscsi\":{\"lun\":1}}]}}");
    object_default(POD, o);
    json_write(o, &out);
    CHECK_STR(buf_at(&out), "{\"spec\":{\"containers\":[{\"ports\":[{\"containerPort\":1,\"protocol\":\"TCP\"},{\"containerPort\":2,"
                            "\"protocol\":\"UDP\"}]}],\"volumes\":[{\"iscsi\":{\"lun\":1,\"iscsiInterface\":\"default\"}}]}}");
}

TEST(object_validate_required_and_enums)
{
    AUTO(arena) struct arena *a = arena_new();
    struct field_errors errs = { .arena = a };
    struct err err = { 0 };
    AUTO(json) json_t *o = tree("{\"metadata\":{},\"spec\":{\"restartPolicy\":\"Sometimes\",\"containers\":[{\"name\":\"\"}]},\"status\":{"
                                "\"phase\":\"Nonsense\"}}");
    object_validate(POD, o, &errs);
    CHECK_INT(field_errors_end(&errs, "", "Pod", "x", &err), -ERR_INVALID);
    CHECK_STR(err.msg, "Pod \"x\" is invalid: [spec.containers[0].name: Required value, spec.restartPolicy: Unsupported value: "
                       "\"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"]");
    struct field_errors none = { .arena = a };
    AUTO(json) json_t *d = tree("{\"spec\":{\"selector\":null,\"template\":{\"spec\":{\"containers\":null}}}}");
    object_validate(kind("apps", "v1", "Deployment"), d, &none);
    CHECK_INT(none.n, 1);
    CHECK_STR(none.at[0].field, "spec.selector");
}

TEST(object_bytes_and_splice)
{
    AUTO(buf) struct buf to = { 0 };
    AUTO(json) json_t *o = tree("{\"apiVersion\":\"v1\",\"spec\":{\"a\":1},\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"7\"},\"kind\":\"Pod\"}");
    AUTO(bytes) struct bytes *b = object_bytes(o);
    CHECK_STR(b->at, "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"},\"spec\":{\"a\":1}}");
    object_splice((struct slice){ b->at, b->n }, 42, &to);
    CHECK_STR(buf_at(&to),
              "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"42\",\"name\":\"x\"},\"spec\":{\"a\":1}}");
    AUTO(json) json_t *bare = tree("{\"kind\":\"X\"}");
    AUTO(bytes) struct bytes *c = object_bytes(bare);
    CHECK_STR(c->at, "{\"kind\":\"X\",\"apiVersion\":\"\",\"metadata\":{}}");
    buf_clear(&to);
    object_splice((struct slice){ c->at, c->n }, INT64_MAX, &to);
    CHECK_STR(buf_at(&to), "{\"kind\":\"X\",\"apiVersion\":\"\",\"metadata\":{\"resourceVersion\":\"9223372036854775807\"}}");
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A guard against accidents, not a benchmark: the goal is 30 us a pod, sanitizers and busy machines get slack. */
TEST(object_prune_of_a_pod_is_fast)
{
    static const char pod[] =
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"labels\":{\"app\":\"web\",\"x\":\"y\"}},"
        "\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"nginx\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}],\"env\":[{\"name\":"
        "\"A\",\"value\":\"b\"}],\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"64Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"32Mi\"}},"
        "\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\"}],\"livenessProbe\":{\"httpGet\":{\"path\":\"/\",\"port\":80},"
        "\"periodSeconds\":5}}],\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"restartPolicy\":\"Always\",\"nodeName\":\"n\"}}";
    enum { ROUNDS = 200 };
    json_t *trees[ROUNDS];
    struct err err = { 0 };
    const struct schema_type *t = POD;
    for (int i = 0; i < ROUNDS; i++)
        trees[i] = tree(pod);
    int64_t start = now_ns();
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_INT(object_prune(t, trees[i], NULL, NULL, &err), 0);
        object_default(t, trees[i]);
    }
    int64_t each = (now_ns() - start) / ROUNDS;
    fprintf(stderr, "# prune and default of a pod: %lld ns\n", (long long)each);
    CHECK(each < 300000);
    for (int i = 0; i < ROUNDS; i++)
        json_decref(trees[i]);
}
