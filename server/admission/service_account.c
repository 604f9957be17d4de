/* ServiceAccount: pods get their account, its pull secrets and a token volume. Source: upstream plugin of that name. */
#include "server/admission/step.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"

#include <string.h>

static const char mount_path[] = "/var/run/secrets/kubernetes.io/serviceaccount";
enum { TOKEN_S = 3607 };

/* The account of a new namespace may be on its way: the client tries again, as upstream says. */
static int read_account(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *name, json_t **ret,
                        struct err *err)
{
    if (admission_read(ctx, a, "", "serviceaccounts", r->ns, name, ret, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -(int)err->code;
    return admission_forbid(ctx, r, err, "error looking up service account %s/%s: serviceaccount \"%s\" not found", r->ns, name, name);
}

static bool mounts_path(const json_t *container)
{
    size_t i = 0;
    json_t *m = NULL;

    json_array_foreach(json_object_get(container, "volumeMounts"), i, m) if (strcmp(json_str_or(m, "mountPath", ""), mount_path) == 0)
        return true;
    return false;
}

static const char *existing_volume(const json_t *pod)
{
    size_t i = 0;
    json_t *v = NULL;

    json_array_foreach(json_at(pod, "spec.volumes"), i, v) if (strncmp(json_str_or(v, "name", ""), "kube-api-access-", 16) == 0)
        return json_str_or(v, "name", "");
    return NULL;
}

static json_t *token_volume(const char *name)
{
    return json_pack("{s:s,s:{s:i,s:[{s:{s:i,s:s}},{s:{s:s,s:[{s:s,s:s}]}},{s:{s:[{s:s,s:{s:s,s:s}}]}}]}}", "name", name, "projected",
                     "defaultMode", 420, "sources", "serviceAccountToken", "expirationSeconds", TOKEN_S, "path", "token", "configMap",
                     "name", "kube-root-ca.crt", "items", "key", "ca.crt", "path", "ca.crt", "downwardAPI", "items", "path", "namespace",
                     "fieldRef", "apiVersion", "v1", "fieldPath", "metadata.namespace");
}

static void append(json_t *object, const char *field, json_t *v)
{
    json_t *list = json_object_get(object, field);

    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(object, field, list);
    }
    json_array_append_new(list, v);
}

static void mount_token(json_t *pod)
{
    static const char *const lists[] = { "spec.initContainers", "spec.containers" };
    const char *had = existing_volume(pod);
    char suffix[6];
    size_t i = 0;
    json_t *c = NULL;
    bool used = false;

    name_suffix(suffix, 5);
    AUTO_FREE char *name = had ? mem_strdup(had) : mem_printf("kube-api-access-%s", suffix);
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        json_array_foreach(json_at(pod, lists[k]), i, c)
        {
            if (mounts_path(c))
                continue;
            append(c, "volumeMounts", json_pack("{s:s,s:b,s:s}", "name", name, "readOnly", 1, "mountPath", mount_path));
            used = true;
        }
    if (used && !had)
        append(json_object_get(pod, "spec"), "volumes", token_volume(name));
}

static bool automount(const json_t *account, const json_t *pod)
{
    const json_t *p = json_at(pod, "spec.automountServiceAccountToken"), *s = json_object_get(account, "automountServiceAccountToken");

    if (p)
        return json_is_true(p);
    return !s || json_is_true(s);
}

static int check_mirror(struct ctx *ctx, const struct admission_request *r, struct err *err)
{
    if (*json_str_or(r->object, "spec.serviceAccountName", ""))
        return admission_forbid(ctx, r, err, "a mirror pod may not reference service accounts");
    return 0;
}

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    AUTO(json) json_t *account = NULL;

    if (!admission_is(r, "", "pods", "") || r->verb != ADMIT_CREATE)
        return 0;
    if (meta_annotation(r->object, "kubernetes.io/config.mirror"))
        return check_mirror(ctx, r, err);
    const char *name = json_str_or(r->object, "spec.serviceAccountName", "");
    AUTO_FREE char *copy = mem_strdup(*name ? name : "default");
    if (!index_plain_account(a->index, r->ns, copy) && read_account(ctx, a, r, copy, &account, err) < 0)
        return -(int)err->code;
    json_put(r->object, "spec.serviceAccountName", json_string(copy));
    json_put(r->object, "spec.serviceAccount", json_string(copy));
    json_t *secrets = json_object_get(account, "imagePullSecrets");
    if (json_array_size(secrets) > 0 && json_array_size(json_at(r->object, "spec.imagePullSecrets")) == 0)
        json_put(r->object, "spec.imagePullSecrets", json_deep_copy(secrets));
    if (automount(account, r->object))
        mount_token(r->object);
    *changed = true;
    return 0;
}

const struct admission_step admission_service_account = { "ServiceAccount", mutate, NULL };
