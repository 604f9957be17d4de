/* What a pod refers to in the API. Source: upstream pkg/api/pod (HasAPIObjectReference). */
#include "server/admission/node_restriction.h"

#include <string.h>

static const char *const container_lists[] = { "spec.containers", "spec.initContainers", "spec.ephemeralContainers" };

/* env[].valueFrom.<key> or envFrom[].<source> */
static bool env_refers(const json_t *container, const char *key, const char *source)
{
    size_t i = 0;
    json_t *e = NULL;

    json_array_foreach(json_object_get(container, "env"), i, e) if (json_object_get(json_object_get(e, "valueFrom"), key)) return true;
    json_array_foreach(json_object_get(container, "envFrom"), i, e) if (json_object_get(e, source)) return true;
    return false;
}

static bool containers_refer(const json_t *pod, const char *key, const char *source)
{
    size_t i = 0;
    json_t *c = NULL;

    for (size_t k = 0; k < ARRAY_LEN(container_lists); k++)
        json_array_foreach(json_at(pod, container_lists[k]), i, c) if (env_refers(c, key, source)) return true;
    return false;
}

static bool projected_has(const json_t *volume, const char *source)
{
    size_t i = 0;
    json_t *s = NULL;

    json_array_foreach(json_at(volume, "projected.sources"), i, s) if (json_object_get(s, source)) return true;
    return false;
}

static bool has_secret(const json_t *volume)
{
    static const char *const by_ref[] = { "cephfs.secretRef",    "cinder.secretRef",  "flexVolume.secretRef", "rbd.secretRef",
                                          "scaleIO.secretRef",   "iscsi.secretRef",   "storageos.secretRef",  "csi.nodePublishSecretRef",
                                          "azureFile.secretName", "secret.secretName" };

    for (size_t i = 0; i < ARRAY_LEN(by_ref); i++)
        if (json_at(volume, by_ref[i]))
            return true;
    return projected_has(volume, "secret");
}

static bool refers_to_secrets(const json_t *pod)
{
    size_t i = 0;
    json_t *v = NULL;

    if (json_array_size(json_at(pod, "spec.imagePullSecrets")) > 0 || containers_refer(pod, "secretKeyRef", "secretRef"))
        return true;
    json_array_foreach(json_at(pod, "spec.volumes"), i, v) if (has_secret(v)) return true;
    return false;
}

static bool refers_to_config_maps(const json_t *pod)
{
    size_t i = 0;
    json_t *v = NULL;

    if (containers_refer(pod, "configMapKeyRef", "configMapRef"))
        return true;
    json_array_foreach(json_at(pod, "spec.volumes"), i, v) if (json_object_get(v, "configMap") || projected_has(v, "configMap")) return true;
    return false;
}

static const char *volume_reference(const json_t *volume)
{
    static const struct {
        const char *source, *what;
    } direct[] = {
        { "csi", "csidrivers (via CSI volumes)" },
        { "glusterfs", "endpoints (via glusterFS volumes)" },
        { "persistentVolumeClaim", "persistentvolumeclaims" },
        { "ephemeral", "persistentvolumeclaims (via ephemeral volumes)" },
    }, projected[] = {
        { "serviceAccountToken", "serviceaccounts (via projected volumes)" },
        { "clusterTrustBundle", "clustertrustbundles" },
        { "podCertificate", "podcertificates" },
    };

    for (size_t i = 0; i < ARRAY_LEN(direct); i++)
        if (json_object_get(volume, direct[i].source))
            return direct[i].what;
    for (size_t i = 0; i < ARRAY_LEN(projected); i++)
        if (projected_has(volume, projected[i].source))
            return projected[i].what;
    return NULL;
}

const char *pod_reference(const json_t *pod)
{
    size_t i = 0;
    json_t *v = NULL;
    const char *what = NULL;

    if (*json_str_or(pod, "spec.serviceAccountName", ""))
        return "serviceaccounts";
    if (refers_to_secrets(pod))
        return "secrets";
    if (refers_to_config_maps(pod))
        return "configmaps";
    if (json_array_size(json_at(pod, "spec.resourceClaims")) > 0)
        return "resourceclaims";
    json_array_foreach(json_at(pod, "spec.volumes"), i, v) if ((what = volume_reference(v))) return what;
    return NULL;
}
