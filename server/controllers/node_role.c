/* Node roles: the server's own node is shown as control plane. A node may not say so of itself (NodeRestriction). Source: K3s. */
#include "server/controllers/ctl.h"

#include <string.h>

static const char role[] = "node-role.kubernetes.io/control-plane";

static void on_node(void *arg, const json_t *node, bool first)
{
    struct ctl *c = arg;
    const char *own = c->all->o.server_node;

    (void)first;
    if (own && strcmp(meta_name(node), own) == 0 && !meta_label(node, role))
        ctl_add(c, node);
}

static void start(struct ctl *c)
{
    static const struct informer_handler nodes = { on_node, NULL, NULL };

    ctl_watch(c, "", "v1", "nodes", &nodes);
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct object_ref ref = { "", "v1", "nodes", NULL, key, NULL };
    AUTO(json) json_t *patch = json_pack("{s:{s:{s:s}}}", "metadata", "labels", role, "true");

    (void)again;
    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "role of node %s", key);
    return 0;
}

const struct ctl_def ctl_node_role = { "node-role-controller", "node-controller", 1, start, reconcile, NULL };
