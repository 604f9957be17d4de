/* NodeRestriction: a node's identity changes only its own node, its own pods' status, its own lease and such. */
#include "server/admission/node_restriction.h"

#include "lib/crypto.h"
#include "lib/k8s/meta.h"

#include <string.h>

static const char mirror[] = "kubernetes.io/config.mirror";

/* --- labels --- */

static bool ends_with(const char *s, size_t n, const char *suffix)
{
    size_t m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* The part before the slash is `space` or ends in ".<space>". */
static bool in_space(const char *key, const char *space)
{
    const char *slash = strchr(key, '/');
    size_t n = slash ? (size_t)(slash - key) : 0, m = strlen(space);

    return ends_with(key, n, space) && (n == m || key[n - m - 1] == '.');
}

static bool is_kubelet_label(const char *key)
{
    static const char *const own[] = {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    };

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strcmp(own[i], key) == 0)
            return true;
    return in_space(key, "kubelet.kubernetes.io") || in_space(key, "node.kubernetes.io");
}

static bool is_forbidden_label(const char *key)
{
    if (in_space(key, "node-restriction.kubernetes.io"))
        return true;
    return (in_space(key, "kubernetes.io") || in_space(key, "k8s.io")) && !is_kubelet_label(key);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "a, b" of the forbidden keys that differ; "" when there are none. */
static const char *forbidden_labels(struct ctx *ctx, const json_t *object, const json_t *old)
{
    const json_t *sides[] = { json_at(object, "metadata.labels"), json_at(old, "metadata.labels") };
    size_t n = 0, most = json_object_size(sides[0]) + json_object_size(sides[1]);
    const char **found = arena_alloc(ctx->arena, (most + 1) * sizeof(*found)), *text = "";
    const char *key = NULL;
    json_t *v = NULL;

    for (int s = 0; s < 2; s++)
        json_object_foreach((json_t *)sides[s], key, v)
        {
            const json_t *other = json_object_get(sides[!s], key);

            if (json_equal(v, other) || (s == 1 && other) || !is_forbidden_label(key))
                continue;
            found[n++] = key;
        }
    qsort(found, n, sizeof(*found), by_text);
    for (size_t i = 0; i < n; i++)
        text = i ? arena_printf(ctx->arena, "%s, %s", text, found[i]) : found[i];
    return text;
}

/* --- nodes --- */

static bool same(const json_t *a, const json_t *b, const char *path)
{
    const json_t *x = json_at(a, path), *y = json_at(b, path);

    if (json_array_size(x) == 0 && json_array_size(y) == 0 && json_object_size(x) == 0 && json_object_size(y) == 0)
        return true;
    return x && y && json_equal(x, y);
}

static int check_node(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    const char *labels = NULL;

    if (strcmp(admission_name(r), node) != 0)
        return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to modify node \"%s\"", node, admission_name(r));
    if (r->verb == ADMIT_CREATE) {
        if (json_at(r->object, "spec.configSource"))
            return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to create pods with a non-nil configSource", node);
        labels = forbidden_labels(ctx, r->object, NULL);
        if (*labels)
            return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to set the following labels: %s", node, labels);
    }
    if (r->verb != ADMIT_UPDATE)
        return 0;
    if (json_at(r->object, "spec.configSource") && !same(r->object, r->old, "spec.configSource"))
        return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to update configSource to a new non-nil configSource", node);
    if (!same(r->object, r->old, "spec.taints"))
        return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to modify taints", node);
    if (!same(r->object, r->old, "metadata.ownerReferences"))
        return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to modify ownerReferences", node);
    labels = forbidden_labels(ctx, r->object, r->old);
    if (*labels)
        return admission_forbid(ctx, r, err, "is not allowed to modify labels: %s", labels);
    return 0;
}

/* --- pods --- */

static int check_owner(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *node, struct err *err)
{
    const json_t *owners = json_at(r->object, "metadata.ownerReferences"), *o = json_array_get(owners, 0);
    AUTO(json) json_t *live = NULL;

    if (json_array_size(owners) > 1)
        return admission_forbid(ctx, r, err, "node \"%s\" can only create pods with a single owner reference set to itself", node);
    if (!o || strcmp(json_str_or(o, "apiVersion", ""), "v1") != 0 || strcmp(json_str_or(o, "kind", ""), "Node") != 0 ||
        strcmp(json_str_or(o, "name", ""), node) != 0)
        return admission_forbid(ctx, r, err, "node \"%s\" can only create pods with an owner reference set to itself", node);
    if (!json_bool_or(o, "controller", false))
        return admission_forbid(ctx, r, err, "node \"%s\" can only create pods with a controller owner reference set to itself", node);
    if (json_bool_or(o, "blockOwnerDeletion", false))
        return admission_forbid(ctx, r, err, "node \"%s\" must not set blockOwnerDeletion on an owner reference", node);
    if (admission_read(ctx, a, "", "nodes", NULL, node, &live, err) < 0)
        return -(int)err->code;
    if (strcmp(json_str_or(o, "uid", ""), meta_uid(live)) != 0)
        return admission_forbid(ctx, r, err, "node %s UID mismatch: expected %s got %s", node, json_str_or(o, "uid", ""), meta_uid(live));
    return 0;
}

static int check_new_pod(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *node, struct err *err)
{
    const char *what = NULL;

    if (!meta_annotation(r->object, mirror))
        return admission_forbid(ctx, r, err, "pod does not have \"%s\" annotation, node \"%s\" can only create mirror pods", mirror, node);
    if (strcmp(json_str_or(r->object, "spec.nodeName", ""), node) != 0)
        return admission_forbid(ctx, r, err, "node \"%s\" can only create pods with spec.nodeName set to itself", node);
    if (check_owner(ctx, a, r, node, err) < 0)
        return -(int)err->code;
    what = pod_reference(r->object);
    return what ? admission_forbid(ctx, r, err, "node \"%s\" can not create pods that reference %s", node, what) : 0;
}

static int check_pod_status(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    if (r->verb != ADMIT_UPDATE)
        return admission_forbid(ctx, r, err, "unexpected operation \"%s\"", r->verb == ADMIT_CREATE ? "CREATE" : "DELETE");
    if (strcmp(json_str_or(r->old, "spec.nodeName", ""), node) != 0)
        return admission_forbid(ctx, r, err, "node \"%s\" can only update pod status for pods with spec.nodeName set to itself", node);
    if (!same(r->object, r->old, "metadata.labels"))
        return admission_forbid(ctx, r, err, "node \"%s\" cannot update labels through pod status", node);
    if (!same(r->object, r->old, "status.resourceClaimStatuses"))
        return admission_forbid(ctx, r, err, "node \"%s\" cannot update resource claim statues", node);
    if (!same(r->object, r->old, "status.extendedResourceClaimStatus"))
        return admission_forbid(ctx, r, err, "node \"%s\" cannot update extended resource claim status", node);
    if (!same(r->object, r->old, "status.nodeAllocatableResourceClaimStatuses"))
        return admission_forbid(ctx, r, err, "node \"%s\" cannot update node allocatable resource claim statuses", node);
    return 0;
}

static int check_pod(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *node, struct err *err)
{
    if (strcmp(r->subresource, "status") == 0)
        return check_pod_status(ctx, r, node, err);
    if (strcmp(r->subresource, "eviction") == 0) {
        if (strcmp(json_str_or(r->old, "spec.nodeName", ""), node) != 0)
            return admission_forbid(ctx, r, err, "node %s can only evict pods with spec.nodeName set to itself", node);
        return 0;
    }
    if (*r->subresource)
        return admission_forbid(ctx, r, err, "unexpected pod subresource \"%s\", only 'status' and 'eviction' are allowed", r->subresource);
    if (r->verb == ADMIT_CREATE)
        return check_new_pod(ctx, a, r, node, err);
    if (r->verb != ADMIT_DELETE)
        return admission_forbid(ctx, r, err, "unexpected operation \"%s\", node \"%s\" can only create and delete mirror pods",
                                r->verb == ADMIT_UPDATE ? "UPDATE" : "CONNECT", node);
    if (strcmp(json_str_or(r->old, "spec.nodeName", ""), node) != 0)
        return admission_forbid(ctx, r, err, "node \"%s\" can only delete pods with spec.nodeName set to itself", node);
    return 0;
}

/* --- what else a node writes --- */

static int check_claim_status(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    static const char *const may[] = { "capacity", "conditions", "allocatedResourceStatuses", "allocatedResources" };

    if (strcmp(r->subresource, "status") != 0)
        return admission_forbid(ctx, r, err, "may only update PVC status");
    AUTO(json) json_t *is = json_deep_copy(r->object);
    AUTO(json) json_t *was = json_deep_copy(r->old);
    json_t *both[] = { is, was };
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < ARRAY_LEN(may); i++)
            json_object_del(json_object_get(both[s], "status"), may[i]);
        json_del(both[s], "metadata.managedFields");
        json_del(both[s], "metadata.resourceVersion");
    }
    if (!json_equal(is, was))
        return admission_forbid(ctx, r, err, "node \"%s\" is not allowed to update fields other than status.quantity and status.conditions", node);
    return 0;
}

static int check_lease(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    if (strcmp(r->ns, "kube-node-lease") != 0)
        return admission_forbid(ctx, r, err, "can only access leases in the \"kube-node-lease\" system namespace");
    if (strcmp(admission_name(r), node) != 0)
        return admission_forbid(ctx, r, err, "can only access node lease with the same name as the requesting node");
    return 0;
}

static int check_csi_node(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    if (strcmp(admission_name(r), node) != 0)
        return admission_forbid(ctx, r, err, "can only access CSINode with the same name as the requesting node");
    return 0;
}

static int check_slice(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    const json_t *slice = r->verb == ADMIT_DELETE ? r->old : r->object;

    if (r->verb == ADMIT_UPDATE || strcmp(json_str_or(slice, "spec.nodeName", ""), node) == 0)
        return 0;
    return admission_forbid(ctx, r, err, "can only %s ResourceSlice with the same NodeName as the requesting node",
                            r->verb == ADMIT_DELETE ? "delete" : "create");
}

static int check_request(struct ctx *ctx, const struct admission_request *r, const char *node, struct err *err)
{
    const char *signer = json_str_or(r->object, "spec.signerName", ""), *text = json_str_or(r->object, "spec.request", "");
    AUTO(buf) struct buf der = { 0 };
    struct cert_info info = { 0 };
    struct err bad;

    if (r->verb != ADMIT_CREATE ||
        (strcmp(signer, "kubernetes.io/kubelet-serving") != 0 && strcmp(signer, "kubernetes.io/kube-apiserver-client-kubelet") != 0))
        return 0;
    if (base64_read(text, strlen(text), &der) < 0)
        return admission_forbid(ctx, r, err, "unable to parse csr: illegal base64 data");
    if (csr_info(buf_at(&der), buf_len(&der), &info, &bad) < 0)
        return admission_forbid(ctx, r, err, "unable to parse csr: %s", bad.msg);
    const char *wanted = arena_printf(ctx->arena, "system:node:%s", node);
    bool ok = info.common_name && strcmp(info.common_name, wanted) == 0;
    cert_info_clear(&info);
    return ok ? 0 : admission_forbid(ctx, r, err, "can only create a node CSR with CN=%s", wanted);
}

/* --- dispatch --- */

/* NULL: not a node. */
static const char *node_of(const struct user *u)
{
    static const char prefix[] = "system:node:";

    if (!u || strncmp(u->name, prefix, sizeof(prefix) - 1) != 0)
        return NULL;
    for (size_t i = 0; i < u->n_groups; i++)
        if (strcmp(u->groups[i], "system:nodes") == 0)
            return u->name + sizeof(prefix) - 1;
    return NULL;
}

static int check(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    const char *node = node_of(ctx->user), *group = r->resource->group, *resource = r->resource->resource;

    (void)changed;
    if (!node)
        return 0;
    if (!*node)
        return admission_forbid(ctx, r, err, "could not determine node from user \"%s\"", ctx->user->name);
    if (!*group) {
        if (strcmp(resource, "pods") == 0)
            return check_pod(ctx, a, r, node, err);
        if (strcmp(resource, "nodes") == 0)
            return check_node(ctx, r, node, err);
        if (strcmp(resource, "persistentvolumeclaims") == 0)
            return check_claim_status(ctx, r, node, err);
        if (strcmp(resource, "serviceaccounts") == 0 && strcmp(r->subresource, "token") == 0 && r->verb == ADMIT_CREATE)
            return node_token_check(ctx, a, r, node, err);
        return 0;
    }
    if (strcmp(group, "coordination.k8s.io") == 0 && strcmp(resource, "leases") == 0)
        return check_lease(ctx, r, node, err);
    if (strcmp(group, "storage.k8s.io") == 0 && strcmp(resource, "csinodes") == 0)
        return check_csi_node(ctx, r, node, err);
    if (strcmp(group, "resource.k8s.io") == 0 && strcmp(resource, "resourceslices") == 0)
        return check_slice(ctx, r, node, err);
    if (strcmp(group, "certificates.k8s.io") == 0 && strcmp(resource, "certificatesigningrequests") == 0)
        return check_request(ctx, r, node, err);
    return 0;
}

const struct admission_step admission_node_restriction = { "NodeRestriction", check, NULL };
