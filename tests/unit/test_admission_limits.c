/* LimitRanger, RuntimeClass, storage and ingress classes. */
#include "tests/unit/admission_fixture.h"

#define RES(r) "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: i, resources: {" r "}}]}}"
#define POD(spec)                                                             \
    "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: i}]" spec "}}"
#define RANGE(limits) "{apiVersion: v1, kind: LimitRange, metadata: {name: l, namespace: default}, spec: {limits: [" limits "]}}"
#define CLAIM(size, rest)                                                     \
    "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: d, namespace: default}, spec: {resources: {requests: {storage: " size \
    "}}" rest "}}"

static void open_default(struct adm *f)
{
    adm_open(f);
    adm_put(f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}}");
    adm_put(f, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}");
}

TEST(admission_limit_defaults)
{
    struct adm f;

    open_default(&f);
    adm_put(&f, RANGE("{type: Container, default: {cpu: 500m, memory: 1Gi}, defaultRequest: {cpu: 100m}}"));
    CHECK_STR(adm_create(&f, POD("")), "");
    const json_t *c = json_array_get(json_at(f.object, "spec.containers"), 0);
    CHECK_STR(json_str_or(c, "resources.limits.cpu", ""), "500m");
    CHECK_STR(json_str_or(c, "resources.limits.memory", ""), "1Gi");
    CHECK_STR(json_str_or(c, "resources.requests.cpu", ""), "100m");
    CHECK_STR(json_string_value(json_object_get(json_at(f.object, "metadata.annotations"), "kubernetes.io/limit-ranger")),
              "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c");
    CHECK_STR(adm_create(&f, RES("limits: {cpu: 1}")), "");
    CHECK_STR(json_str_or(json_array_get(json_at(f.object, "spec.containers"), 0), "resources.limits.memory", ""), "1Gi");
    adm_close(&f);
}

TEST(admission_limit_checks)
{
    struct adm f;

    open_default(&f);
    adm_put(&f, RANGE("{type: Container, min: {cpu: 100m}, max: {cpu: 1}}"));
    CHECK_STR(adm_create(&f, POD("")),
              "pods \"p\" is forbidden: [minimum cpu usage per Container is 100m.  No request is specified, maximum cpu usage per Container is "
              "1.  No limit is specified]");
    CHECK_STR(adm_create(&f, RES("requests: {cpu: 50m}, limits: {cpu: 1}")),
              "pods \"p\" is forbidden: minimum cpu usage per Container is 100m, but request is 50m");
    CHECK_STR(adm_create(&f, RES("requests: {cpu: 100m}, limits: {cpu: 1001m}")),
              "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 1001m");
    CHECK_STR(adm_create(&f, RES("requests: {cpu: 100m}, limits: {cpu: 1}")), "");
    adm_put(&f, RANGE("{type: Container, maxLimitRequestRatio: {memory: 2}}"));
    CHECK_STR(adm_create(&f, RES("requests: {memory: 1Gi}, limits: {memory: 3Gi}")),
              "pods \"p\" is forbidden: memory max limit to request ratio per Container is 2, but provided ratio is 3.000000");
    adm_put(&f, RANGE("{type: Pod, max: {memory: 2Gi}}"));
    CHECK_STR(adm_create(&f, RES("limits: {memory: 3Gi}")), "pods \"p\" is forbidden: maximum memory usage per Pod is 2Gi, but limit is 3Gi");
    CHECK_STR(adm_create(&f, RES("limits: {memory: 2Gi}")), "");
    adm_put(&f, RANGE("{type: PersistentVolumeClaim, max: {storage: 2Gi}, min: {storage: 1Gi}}"));
    CHECK_STR(adm_create(&f, CLAIM("3Gi", "")),
              "persistentvolumeclaims \"d\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi");
    adm_del(&f, RANGE(""));
    CHECK_STR(adm_create(&f, RES("limits: {memory: 9Gi}")), "");
    adm_close(&f);
}

TEST(admission_runtime_class)
{
    struct adm f;

    open_default(&f);
    CHECK_STR(adm_create(&f, POD(", runtimeClassName: fast")), "pods \"p\" is forbidden: pod rejected: RuntimeClass \"fast\" not found");
    CHECK_STR(adm_create(&f, POD(", overhead: {cpu: 1}")),
              "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    adm_put(&f, "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: fast}, handler: h, overhead: {podFixed: {cpu: 10m}}, "
                "scheduling: {nodeSelector: {disk: ssd}, tolerations: [{key: a, operator: Exists}]}}");
    CHECK_STR(adm_create(&f, POD(", runtimeClassName: fast")), "");
    CHECK_STR(adm_at(&f, "spec.overhead"), "{\"cpu\":\"10m\"}");
    CHECK_STR(adm_at(&f, "spec.nodeSelector"), "{\"disk\":\"ssd\"}");
    CHECK_INT((int64_t)json_array_size(json_at(f.object, "spec.tolerations")), 3);
    CHECK_STR(adm_create(&f, POD(", runtimeClassName: fast, nodeSelector: {disk: hdd}")),
              "pods \"p\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[disk] = ssd; pod.spec.nodeSelector[disk] = hdd");
    CHECK_STR(adm_create(&f, POD(", runtimeClassName: fast, overhead: {cpu: 1}")),
              "pods \"p\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
    adm_close(&f);
}

#define SC(name, when, rest)                                                  \
    "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: " name ", creationTimestamp: \"" when \
    "\", annotations: {storageclass.kubernetes.io/is-default-class: \"true\"}}" rest "}"

TEST(admission_claims)
{
    struct adm f;

    open_default(&f);
    CHECK_STR(adm_create(&f, CLAIM("1Gi", "")), "");
    CHECK_STR(adm_at(&f, "spec.storageClassName"), "");
    CHECK_STR(adm_at(&f, "metadata.finalizers"), "[\"kubernetes.io/pvc-protection\"]");
    adm_put(&f, SC("b", "2026-01-01T00:00:00Z", ""));
    adm_put(&f, SC("a", "2026-01-02T00:00:00Z", ""));
    adm_put(&f, SC("c", "2026-01-02T00:00:00Z", ", allowVolumeExpansion: true"));
    CHECK_STR(adm_create(&f, CLAIM("1Gi", "")), "");
    CHECK_STR(adm_at(&f, "spec.storageClassName"), "\"a\"");
    CHECK_STR(adm_create(&f, CLAIM("1Gi", ", storageClassName: \"\"")), "");
    CHECK_STR(adm_at(&f, "spec.storageClassName"), "\"\"");
    CHECK_STR(adm_update(&f, "", CLAIM("2Gi", ""), CLAIM("1Gi", "")),
              "persistentvolumeclaims \"d\" is forbidden: Only bound persistent volume claims can be expanded");
#define BOUND(size, class) CLAIM(size, ", storageClassName: " class "}, status: {phase: Bound")
    CHECK_STR(adm_update(&f, "", BOUND("2Gi", "a"), BOUND("1Gi", "a")),
              "persistentvolumeclaims \"d\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions "
              "the pvc must support resize");
    CHECK_STR(adm_update(&f, "", BOUND("2Gi", "c"), BOUND("1Gi", "c")), "");
    adm_close(&f);
}

TEST(admission_ingress_class)
{
    struct adm f;
    static const char ingress[] = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: default}, spec: {}}";

    open_default(&f);
    adm_put(&f, "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: web, annotations: "
                "{ingressclass.kubernetes.io/is-default-class: \"true\"}}}");
    CHECK_STR(adm_create(&f, ingress), "");
    CHECK_STR(adm_at(&f, "spec.ingressClassName"), "\"web\"");
    adm_close(&f);
}
