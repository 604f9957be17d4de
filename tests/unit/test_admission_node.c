/* NodeRestriction, TaintNodesByCondition. */
#include "tests/unit/admission_fixture.h"

#define NODE "{apiVersion: v1, kind: Node, metadata: {name: n1, uid: u1, labels: {%s}}, spec: {%s}}"
#define POD(annotations, owner, spec)                                         \
    "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default, annotations: {" annotations "}, ownerReferences: [" owner "]}, " \
    "spec: {nodeName: n1, containers: [{name: c, image: i}], " spec "}}"
#define MIRROR "kubernetes.io/config.mirror: x"
#define OWNER  "{apiVersion: v1, kind: Node, name: n1, uid: u1, controller: true}"

static const char *node(const char *labels, const char *spec)
{
    static char at[4][1024];
    static int i;

    i = (i + 1) % 4;
    snprintf(at[i], sizeof(at[i]), NODE, labels, spec);
    return at[i];
}

TEST(admission_new_node_is_tainted)
{
    struct adm f;

    adm_open(&f);
    adm_user(&f, "system:node:n1", "system:nodes");
    CHECK_STR(adm_create(&f, node("kubernetes.io/hostname: n1, node.kubernetes.io/x: y, mine/a: b", "")), "");
    CHECK_STR(adm_at(&f, "spec.taints"), "[{\"key\":\"node.kubernetes.io/not-ready\",\"effect\":\"NoSchedule\"}]");
    CHECK_STR(adm_create(&f, node("", "taints: [{key: node.kubernetes.io/not-ready, effect: NoSchedule}, {key: a, effect: NoExecute}]")), "");
    CHECK_INT((int64_t)json_array_size(json_at(f.object, "spec.taints")), 2);
    adm_close(&f);
}

TEST(admission_node_labels)
{
    struct adm f;

    adm_open(&f);
    adm_user(&f, "system:node:n1", "system:nodes");
    CHECK_STR(adm_create(&f, node("node-role.kubernetes.io/control-plane: \"\", a.k8s.io/x: y, kubernetes.io/os: linux", "")),
              "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: a.k8s.io/x, "
              "node-role.kubernetes.io/control-plane");
    CHECK_STR(adm_update(&f, "", node("a.node-restriction.kubernetes.io/x: y", ""), node("", "")),
              "nodes \"n1\" is forbidden: is not allowed to modify labels: a.node-restriction.kubernetes.io/x");
    CHECK_STR(adm_update(&f, "", node("", ""), node("k8s.io/x: y", "")), "nodes \"n1\" is forbidden: is not allowed to modify labels: k8s.io/x");
    CHECK_STR(adm_update(&f, "", node("k8s.io/x: y, free: z", ""), node("k8s.io/x: y", "")), "");
    CHECK_STR(adm_update(&f, "", node("", ""), node("", "taints: [{key: a, effect: NoExecute}]")),
              "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints");
    adm_user(&f, "system:node:n2", "system:nodes");
    CHECK_STR(adm_update(&f, "status", node("", ""), node("", "")),
              "nodes \"n1\" is forbidden: node \"n2\" is not allowed to modify node \"n1\"");
    adm_user(&f, "system:node:n2", NULL); /* no node without the group */
    CHECK_STR(adm_update(&f, "status", node("", ""), node("", "")), "");
    adm_close(&f);
}

TEST(admission_mirror_pods)
{
    struct adm f;

    adm_open(&f);
    adm_put(&f, "{apiVersion: v1, kind: Namespace, metadata: {name: default}}");
    adm_put(&f, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}");
    adm_put(&f, node("", ""));
    adm_user(&f, "system:node:n1", "system:nodes");
    CHECK_STR(adm_create(&f, POD(MIRROR, OWNER, "")), "");
    CHECK_STR(adm_create(&f, POD("", OWNER, "")),
              "pods \"p\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods");
    CHECK_STR(adm_create(&f, POD(MIRROR, "", "")),
              "pods \"p\" is forbidden: node \"n1\" can only create pods with an owner reference set to itself");
    CHECK_STR(adm_create(&f, POD(MIRROR, "{apiVersion: v1, kind: Node, name: n1, uid: u2, controller: true}", "")),
              "pods \"p\" is forbidden: node n1 UID mismatch: expected u2 got u1");
    CHECK_STR(adm_create(&f, POD(MIRROR, OWNER, "volumes: [{name: v, secret: {secretName: s}}]")),
              "pods \"p\" is forbidden: node \"n1\" can not create pods that reference secrets");
    CHECK_STR(adm_create(&f, POD(MIRROR, OWNER, "volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]")),
              "pods \"p\" is forbidden: node \"n1\" can not create pods that reference persistentvolumeclaims");
    CHECK_STR(adm_create(&f, POD(MIRROR, OWNER, "volumes: [{name: v, hostPath: {path: /}}]")), "");
    adm_user(&f, "system:node:n2", "system:nodes");
    CHECK_STR(adm_delete(&f, POD(MIRROR, OWNER, "")),
              "pods \"p\" is forbidden: node \"n2\" can only delete pods with spec.nodeName set to itself");
    CHECK_STR(adm_update(&f, "status", POD(MIRROR, OWNER, ""), POD(MIRROR, OWNER, "")),
              "pods \"p\" is forbidden: node \"n2\" can only update pod status for pods with spec.nodeName set to itself");
    adm_close(&f);
}

TEST(admission_node_lease)
{
    struct adm f;
    static const char lease[] = "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: n1, namespace: kube-node-lease}}";

    adm_open(&f);
    adm_put(&f, "{apiVersion: v1, kind: Namespace, metadata: {name: kube-node-lease}}");
    adm_user(&f, "system:node:n1", "system:nodes");
    CHECK_STR(adm_create(&f, lease), "");
    adm_user(&f, "system:node:n2", "system:nodes");
    CHECK_STR(adm_create(&f, lease),
              "leases.coordination.k8s.io \"n1\" is forbidden: can only access node lease with the same name as the requesting node");
    adm_close(&f);
}
