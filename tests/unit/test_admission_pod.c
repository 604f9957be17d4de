/* Steps that complete pods: ServiceAccount, Priority, DefaultTolerationSeconds. */
#include "tests/unit/admission_fixture.h"

#define POD(spec)                                                             \
    "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: i}]" spec "}}"
#define CLASS(name, rest) "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: " name "}" rest "}"

static void open_default(struct adm *f)
{
    adm_open(f);
    adm_put(f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}}");
    adm_put(f, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}");
}

TEST(admission_namespace)
{
    struct adm f;

    adm_open(&f);
    CHECK_STR(adm_create(&f, POD("")), "namespaces \"default\" not found");
    adm_put(&f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}, status: {phase: Terminating}}");
    CHECK_STR(adm_create(&f, POD("")),
              "pods \"p\" is forbidden: unable to create new content in namespace default because it is being terminated");
    adm_put(&f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}, status: {phase: Active}}");
    CHECK_STR(adm_create(&f, POD("")),
              "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found");
    adm_del(&f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}}");
    CHECK_STR(adm_create(&f, POD("")), "namespaces \"default\" not found");
    adm_close(&f);
}

TEST(admission_account)
{
    struct adm f;

    open_default(&f);
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.serviceAccountName"), "\"default\"");
    CHECK_INT((int64_t)json_array_size(json_at(f.object, "spec.volumes")), 1);
    adm_put(&f, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}, automountServiceAccountToken: false, "
                "imagePullSecrets: [{name: s}]}");
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.volumes"), "");
    CHECK_STR(adm_at(&f, "spec.imagePullSecrets"), "[{\"name\":\"s\"}]");
    adm_close(&f);
}

TEST(admission_priority)
{
    struct adm f;

    open_default(&f);
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.priority"), "0");
    CHECK_STR(adm_at(&f, "spec.preemptionPolicy"), "\"PreemptLowerPriority\"");
    CHECK_STR(adm_create(&f, POD(", priority: 5")),
              "pods \"p\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller "
              "computed 0 from the given PriorityClass name");
    CHECK_STR(adm_create(&f, POD(", priorityClassName: high")), "pods \"p\" is forbidden: no PriorityClass with name high was found");
    adm_put(&f, CLASS("high", ", value: 1000, preemptionPolicy: Never"));
    CHECK_STR(adm_create(&f, POD(", priorityClassName: high")), "");
    CHECK_STR(adm_at(&f, "spec.priority"), "1000");
    CHECK_STR(adm_at(&f, "spec.preemptionPolicy"), "\"Never\"");
    CHECK_STR(adm_create(&f, POD(", priorityClassName: high, preemptionPolicy: PreemptLowerPriority")),
              "pods \"p\" is forbidden: the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; "
              "priority admission controller computed Never from the given PriorityClass name");
    CHECK_STR(adm_update(&f, "", POD(""), POD(", priority: 7")), "");
    CHECK_STR(adm_at(&f, "spec.priority"), "7");
    adm_close(&f);
}

TEST(admission_default_priority)
{
    struct adm f;

    open_default(&f);
    adm_put(&f, CLASS("base", ", value: 10, globalDefault: true, preemptionPolicy: PreemptLowerPriority"));
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.priorityClassName"), "\"base\"");
    CHECK_STR(adm_at(&f, "spec.priority"), "10");
    CHECK_STR(adm_create(&f, CLASS("other", ", value: 1, globalDefault: true")),
              "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass base is already marked as default. Only one default "
              "can exist");
    CHECK_STR(adm_create(&f, CLASS("other", ", value: 1")), "");
    CHECK_STR(adm_update(&f, "", CLASS("base", ", value: 10, globalDefault: true"), CLASS("base", ", value: 10, globalDefault: true")), "");
    adm_del(&f, CLASS("base", ""));
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.priority"), "0");
    adm_close(&f);
}

TEST(admission_tolerations)
{
    struct adm f;

    open_default(&f);
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.tolerations"),
              "[{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300},"
              "{\"key\":\"node.kubernetes.io/unreachable\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}]");
    CHECK_STR(adm_create(&f, POD(", tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists}]")), "");
    CHECK_INT((int64_t)json_array_size(json_at(f.object, "spec.tolerations")), 2);
    CHECK_STR(adm_create(&f, POD(", tolerations: [{operator: Exists}]")), "");
    CHECK_INT((int64_t)json_array_size(json_at(f.object, "spec.tolerations")), 1);
    adm_close(&f);
}

/* What is in the store before the start counts, too. */
TEST(admission_load)
{
    struct adm f;
    struct err err = { 0 };

    open_default(&f);
    adm_put(&f, CLASS("base", ", value: 10, globalDefault: true"));
    admission_free(f.a);
    f.a = admission_new(&(struct admission_options){ .store = f.store.s, .clock = f.ctx.clock, .schema = schema_builtin() });
    CHECK(admission_load(&f.ctx, f.a, &err) == 0);
    CHECK_STR(adm_create(&f, POD("")), "");
    CHECK_STR(adm_at(&f, "spec.priority"), "10");
    adm_close(&f);
}
