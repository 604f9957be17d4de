/* Granting roles, certificates. */
#include "tests/unit/admission_fixture.h"

#define ROLE(kind, name, rest) "{apiVersion: rbac.authorization.k8s.io/v1, kind: " kind ", metadata: {name: " name "}, " rest "}"
#define BIND(role) "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: " role "}, subjects: [{kind: User, name: joe}]"

TEST(admission_escalation)
{
    struct adm f;

    adm_open(&f);
    adm_put(&f, ROLE("ClusterRole", "reader", "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get, list]}]"));
    adm_put(&f, ROLE("ClusterRole", "writer", "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get, create]}]"));
    adm_put(&f, ROLE("ClusterRoleBinding", "reader", BIND("reader")));
    CHECK_STR(adm_create(&f, ROLE("ClusterRole", "x", "rules: [{apiGroups: [\"*\"], resources: [\"*\"], verbs: [\"*\"]}]")), "");
    adm_user(&f, "joe", NULL);
    CHECK_STR(adm_create(&f, ROLE("ClusterRole", "x", "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [list]}]")), "");
    CHECK_STR(adm_create(&f, ROLE("ClusterRole", "x", "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [list, watch, create]}]")),
              "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"joe\" (groups=[\"system:authenticated\"]) is attempting to "
              "grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\" \"create\"]}");
    CHECK_STR(adm_create(&f, ROLE("ClusterRoleBinding", "bnd", BIND("reader"))), "");
    CHECK_STR(adm_create(&f, ROLE("ClusterRoleBinding", "bnd", BIND("writer"))),
              "clusterrolebindings.rbac.authorization.k8s.io \"bnd\" is forbidden: user \"joe\" (groups=[\"system:authenticated\"]) is "
              "attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"create\"]}");
    CHECK_STR(adm_create(&f, ROLE("ClusterRoleBinding", "bnd", BIND("absent"))), "clusterroles.rbac.authorization.k8s.io \"absent\" not found");
    CHECK_STR(adm_create(&f, ROLE("ClusterRole", "x", "aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}")),
              "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: must have cluster-admin privileges to use the aggregationRule");
    adm_put(&f, ROLE("ClusterRole", "reader",
                     "rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind, escalate], resourceNames: [writer]}]"));
    CHECK_STR(adm_create(&f, ROLE("ClusterRoleBinding", "bnd", BIND("writer"))), "");
    adm_close(&f);
}

#define CSR(signer, status)                                                   \
    "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: c}, spec: {signerName: " signer "}, status: {" status "}}"

TEST(admission_signers)
{
    struct adm f;

    adm_open(&f);
    adm_put(&f, ROLE("ClusterRole", "approver",
                     "rules: [{apiGroups: [certificates.k8s.io], resources: [signers], resourceNames: [\"a.io/*\", b.io/x], verbs: [approve, sign]}]"));
    adm_put(&f, ROLE("ClusterRoleBinding", "approver", BIND("approver")));
    adm_user(&f, "joe", NULL);
    CHECK_STR(adm_update(&f, "approval", CSR("a.io/any", ""), CSR("a.io/any", "")), "");
    CHECK_STR(adm_update(&f, "approval", CSR("b.io/x", ""), CSR("b.io/x", "")), "");
    CHECK_STR(adm_update(&f, "approval", CSR("a.io/any", ""), CSR("b.io/y", "")),
              "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests with signerName "
              "\"b.io/y\"");
    CHECK_STR(adm_update(&f, "status", CSR("b.io/y", ""), CSR("b.io/y", "")), "");
    CHECK_STR(adm_update(&f, "status", CSR("b.io/y", "certificate: eA=="), CSR("b.io/y", "")),
              "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to sign requests with signerName "
              "\"b.io/y\"");
    CHECK_STR(adm_update(&f, "status", CSR("b.io/x", "certificate: eA=="), CSR("b.io/x", "")), "");
    adm_close(&f);
}
