/* Two controllers that keep one object in each namespace: the default service account and the root CA's config map. */
#include "server/controllers/ctl.h"

#include <string.h>

static void on_namespace(void *arg, const json_t *ns, bool first)
{
    (void)first;
    if (!meta_deleting(ns))
        ctl_add(arg, ns);
}

static const struct informer_handler namespaces = { on_namespace, NULL, NULL };

/* The kept object was deleted or changed: its namespace is the key. */
static void add_namespace(struct ctl *c, const json_t *object)
{
    queue_add(c->queue, meta_namespace(object));
}

static void on_account_gone(void *arg, const json_t *last)
{
    if (strcmp(meta_name(last), "default") == 0)
        add_namespace(arg, last);
}

static const char map_name[] = "kube-root-ca.crt";

static void on_map(void *arg, const json_t *map, bool first)
{
    (void)first;
    if (strcmp(meta_name(map), map_name) == 0)
        add_namespace(arg, map);
}

static void on_map_gone(void *arg, const json_t *last)
{
    on_map(arg, last, false);
}

static void start_accounts(struct ctl *c)
{
    static const struct informer_handler accounts = { NULL, on_account_gone, NULL };

    ctl_watch(c, "", "v1", "namespaces", &namespaces);
    ctl_watch(c, "", "v1", "serviceaccounts", &accounts);
}

static void start_maps(struct ctl *c)
{
    static const struct informer_handler maps = { on_map, on_map_gone, NULL };

    ctl_watch(c, "", "v1", "namespaces", &namespaces);
    ctl_watch(c, "", "v1", "configmaps", &maps);
}

/* A namespace that is gone or going needs nothing. */
static bool refused_by_namespace(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->code == ERR_FORBIDDEN;
}

static int create_unless_there(struct ctx *ctx, struct ctl *c, const struct object_ref *ref, const json_t *object, struct err *err)
{
    struct object_ref collection = *ref;

    collection.name = NULL;
    if (client_create(ctx, c->client, &collection, object, NULL, err) < 0 && err->code != ERR_EXISTS && !refused_by_namespace(err))
        return -(int)err->code;
    return 0;
}

static int reconcile_account(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct object_ref ref = { "", "v1", "serviceaccounts", key, "default", NULL };
    AUTO(json) json_t *account = NULL;

    (void)again;
    if (client_get(ctx, c->all->o.reader, &ref, NULL, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -(int)err->code;
    account = json_pack("{s:s,s:s,s:{s:s,s:s}}", "kind", "ServiceAccount", "apiVersion", "v1", "metadata", "name", "default", "namespace", key);
    return create_unless_there(ctx, c, &ref, account, err);
}

static int reconcile_map(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct object_ref ref = { "", "v1", "configmaps", key, map_name, NULL };
    AUTO(json) json_t *map = NULL;
    AUTO(json) json_t *data = json_object();

    (void)again;
    json_object_set_new(data, "ca.crt", json_string(c->all->o.root_ca_pem));
    if (client_get(ctx, c->all->o.reader, &ref, &map, err) == 0) {
        if (json_equal(json_object_get(map, "data"), data))
            return 0;
        json_object_set(map, "data", data);
        if (client_update(ctx, c->client, &ref, map, NULL, err) < 0 && err->code != ERR_CONFLICT)
            return -(int)err->code;
        return 0;
    }
    if (err->code != ERR_NOT_FOUND)
        return -(int)err->code;
    map = json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s}},s:O}", "kind", "ConfigMap", "apiVersion", "v1", "metadata", "name", map_name, "namespace",
                    key, "annotations", "kubernetes.io/description",
                    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
                    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
                    "data", data);
    return create_unless_there(ctx, c, &ref, map, err);
}

const struct ctl_def ctl_service_account = { "serviceaccount-controller", "service-account-controller", 2, start_accounts, reconcile_account, NULL };
const struct ctl_def ctl_root_ca = { "root-ca-certificate-publisher", "root-ca-cert-publisher", 2, start_maps, reconcile_map, NULL };
