#include "server/auth/node_graph.h"
#include "server/auth/rbac_index.h"
#include "server/auth/authz.h"
#include "test.h"

static void observe(struct authz *a, const char *resource, const char *ns, const char *name, const char *text)
{
    authz_observe(a, strcmp(resource, "pods") == 0 ? "" : "rbac.authorization.k8s.io", resource, ns, name,
                  (struct slice){ text, text ? strlen(text) : 0 });
}

static bool may(struct authz *a, const struct user *u, const char *verb, const char *group, const char *resource, const char *sub, const char *ns,
                const char *name)
{
    struct authz_request q = { .user = u, .verb = verb, .group = group, .version = "v1", .resource = resource, .subresource = sub, .ns = ns, .name = name };
    struct ctx ctx = ctx_background(NULL);
    struct err err;

    return authz_check(&ctx, a, &q, NULL, &err) == 0;
}

static struct authz *open_authz(void)
{
    struct authz *a = NULL;
    struct err err;

    CHECK_INT(authz_new(NULL, &a, &err), 0);
    return a;
}

static const struct user ann = { .name = "ann", .uid = "", .groups = (const char *const[]){ "devs", "system:authenticated" }, .n_groups = 2 };
static const struct user root = { .name = "r", .uid = "", .groups = (const char *const[]){ "system:masters" }, .n_groups = 1 };
static const struct user robot = { .name = "system:serviceaccount:d:bot", .uid = "", .groups = (const char *const[]){ "system:serviceaccounts" }, .n_groups = 1 };

TEST(authz_roles_bindings_and_their_end)
{
    struct authz *a = open_authz();

    CHECK(!may(a, &ann, "get", "", "pods", "", "d", "x"));
    CHECK(may(a, &root, "delete", "", "nodes", "", "", "x"));
    observe(a, "roles", "d", "reader", "{\"rules\":[{\"verbs\":[\"get\",\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\",\"pods/log\"]}]}");
    observe(a, "rolebindings", "d", "b", "{\"roleRef\":{\"kind\":\"Role\",\"name\":\"reader\"},\"subjects\":[{\"kind\":\"Group\",\"name\":\"devs\"},"
                                         "{\"kind\":\"ServiceAccount\",\"name\":\"bot\",\"namespace\":\"d\"}]}");
    CHECK(may(a, &ann, "get", "", "pods", "", "d", "x"));
    CHECK(may(a, &ann, "get", "", "pods", "log", "d", "x"));
    CHECK(may(a, &robot, "list", "", "pods", "", "d", ""));
    CHECK(!may(a, &ann, "get", "", "pods", "exec", "d", "x"));
    CHECK(!may(a, &ann, "get", "", "pods", "", "other", "x"));
    CHECK(!may(a, &ann, "delete", "", "pods", "", "d", "x"));
    CHECK(!may(a, &ann, "get", "apps", "pods", "", "d", "x"));
    observe(a, "rolebindings", "d", "b", NULL);
    CHECK(!may(a, &ann, "get", "", "pods", "", "d", "x"));
    authz_free(a);
}

TEST(authz_names_wildcards_and_aggregation)
{
    struct authz *a = open_authz();

    observe(a, "clusterroles", "", "one", "{\"rules\":[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"resourceNames\":[\"s\"]},"
                                          "{\"verbs\":[\"*\"],\"apiGroups\":[\"apps\"],\"resources\":[\"*/scale\"]}]}");
    observe(a, "clusterroles", "", "part", "{\"metadata\":{\"labels\":{\"agg\":\"yes\"}},\"rules\":[{\"verbs\":[\"watch\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}]}");
    observe(a, "clusterroles", "", "whole", "{\"aggregationRule\":{\"clusterRoleSelectors\":[{\"matchLabels\":{\"agg\":\"yes\"}}]},\"rules\":null}");
    observe(a, "clusterrolebindings", "", "b1", "{\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"one\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"ann\"}]}");
    CHECK(may(a, &ann, "get", "", "secrets", "", "any", "s"));
    CHECK(!may(a, &ann, "get", "", "secrets", "", "any", "t"));
    CHECK(may(a, &ann, "patch", "apps", "deployments", "scale", "any", "x"));
    CHECK(!may(a, &ann, "patch", "apps", "deployments", "", "any", "x"));
    observe(a, "clusterrolebindings", "", "b2", "{\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"whole\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"ann\"}]}");
    CHECK(may(a, &ann, "watch", "batch", "jobs", "", "", ""));
    observe(a, "clusterroles", "", "part", NULL);
    CHECK(!may(a, &ann, "watch", "batch", "jobs", "", "", ""));
    authz_free(a);
}

TEST(authz_nodes_reach_what_their_pods_name)
{
    static const char *const nodes[] = { "system:nodes" };
    static const struct user node = { .name = "system:node:n1", .uid = "", .groups = nodes, .n_groups = 1 };
    struct authz *a = open_authz();

    CHECK(!may(a, &node, "get", "", "secrets", "", "d", "s"));
    observe(a, "pods", "d", "p", "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"s\"}}]}}"); /* not bound */
    CHECK(!may(a, &node, "get", "", "secrets", "", "d", "s"));
    observe(a, "pods", "d", "p", "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n1\",\"serviceAccountName\":\"bot\",\"volumes\":[{\"name\":\"v\",\"secret\":{\"secretName\":\"s\"}},"
                                 "{\"name\":\"w\",\"projected\":{\"sources\":[{\"configMap\":{\"name\":\"c\"}}]}}]}}");
    CHECK(may(a, &node, "get", "", "secrets", "", "d", "s"));
    CHECK(may(a, &node, "get", "", "configmaps", "", "d", "c"));
    CHECK(may(a, &node, "create", "", "serviceaccounts", "token", "d", "bot"));
    CHECK(!may(a, &node, "get", "", "secrets", "", "e", "s"));
    CHECK(!may(a, &node, "list", "", "secrets", "", "d", ""));
    CHECK(!may(a, &node, "delete", "", "secrets", "", "d", "s"));
    CHECK(may(a, &node, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"));
    CHECK(!may(a, &node, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"));
    observe(a, "pods", "d", "p", NULL);
    CHECK(!may(a, &node, "get", "", "secrets", "", "d", "s"));
    authz_free(a);
}

TEST(authz_nobody_grants_what_they_lack)
{
    struct authz *a = open_authz();
    struct arena *arena = arena_new();
    struct ctx ctx = ctx_background(arena);
    struct err err;
    json_t *small = NULL, *big = NULL;
    const char *s = "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]", *b = "[{\"verbs\":[\"*\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]";

    CHECK_INT(json_read(s, strlen(s), NULL, NULL, &small, &err), 0);
    CHECK_INT(json_read(b, strlen(b), NULL, NULL, &big, &err), 0);
    observe(a, "roles", "d", "r", "{\"rules\":[{\"verbs\":[\"get\",\"list\"],\"apiGroups\":[\"\"],\"resources\":[\"*\"]}]}");
    observe(a, "rolebindings", "d", "b", "{\"roleRef\":{\"kind\":\"Role\",\"name\":\"r\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"ann\"}]}");
    CHECK_INT(authz_may_grant(&ctx, a, &ann, "d", small, &err), 0);
    CHECK_INT(authz_may_grant(&ctx, a, &ann, "d", big, &err), -ERR_FORBIDDEN);
    CHECK_INT(authz_may_grant(&ctx, a, &ann, "e", small, &err), -ERR_FORBIDDEN);
    CHECK_INT(authz_may_grant(&ctx, a, &root, "e", big, &err), 0);
    json_decref(small);
    json_decref(big);
    authz_free(a);
    arena_free(arena);
}
