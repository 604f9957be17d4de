/* Defaults of pod specs. */
#include "server/schema/kinds/pod_spec.h"

#include "server/schema/kinds/set.h"

#include <string.h>

static const char *const container_lists[] = { "containers", "initContainers", "ephemeralContainers" };

/* Whether an image has the tag latest, or neither tag nor digest. */
static bool is_latest(const char *image)
{
    const char *digest = strchr(image, '@'), *end = digest ? digest : image + strlen(image), *colon = NULL;

    for (const char *s = image; s < end; s++)
        colon = *s == '/' ? NULL : *s == ':' ? s : colon;
    return colon ? slice_is((struct slice){ colon, (size_t)(end - colon) }, ":latest") : !digest;
}

static void default_http(json_t *action)
{
    json_t *http = json_object_get(action, "httpGet");
    json_t *grpc = json_object_get(action, "grpc");

    if (json_is_object(http)) {
        set_text(http, "path", "/");
        set_text(http, "scheme", "HTTP");
    }
    if (json_is_object(grpc) && !member(grpc, "service"))
        json_object_set_new(grpc, "service", json_string(""));
}

static void default_probe(json_t *probe)
{
    if (!json_is_object(probe))
        return;
    default_http(probe);
    set_int_zero(probe, "timeoutSeconds", 1);
    set_int_zero(probe, "periodSeconds", 10);
    set_int_zero(probe, "successThreshold", 1);
    set_int_zero(probe, "failureThreshold", 3);
}

static void default_env(json_t *env)
{
    size_t i;
    json_t *e;

    json_array_foreach(env, i, e)
    {
        json_t *ref = json_at(e, "valueFrom.fieldRef"), *file = json_at(e, "valueFrom.fileKeyRef");

        if (json_is_object(ref))
            set_text(ref, "apiVersion", "v1");
        if (json_is_object(file))
            set_bool(file, "optional", false);
    }
}

static void default_container(json_t *c)
{
    set_text(c, "imagePullPolicy", is_latest(json_str_or(c, "image", "")) ? "Always" : "IfNotPresent");
    set_text(c, "terminationMessagePath", "/dev/termination-log");
    set_text(c, "terminationMessagePolicy", "File");
    default_probe(json_object_get(c, "livenessProbe"));
    default_probe(json_object_get(c, "readinessProbe"));
    default_probe(json_object_get(c, "startupProbe"));
    default_http(json_at(c, "lifecycle.postStart"));
    default_http(json_at(c, "lifecycle.preStop"));
    json_del(c, "lifecycle.stopSignal"); /* upstream has it behind a gate that is off */
    if (json_object_get(c, "lifecycle") && json_object_size(json_object_get(c, "lifecycle")) == 0)
        json_object_del(c, "lifecycle");
    default_env(json_object_get(c, "env"));
}

static void default_items(json_t *items)
{
    size_t i;
    json_t *item;

    json_array_foreach(items, i, item)
    {
        json_t *ref = json_object_get(item, "fieldRef");

        if (json_is_object(ref))
            set_text(ref, "apiVersion", "v1");
    }
}

static void default_projected(json_t *projected)
{
    size_t i;
    json_t *source;

    set_int(projected, "defaultMode", 0644);
    json_array_foreach(json_object_get(projected, "sources"), i, source)
    {
        json_t *token = json_object_get(source, "serviceAccountToken");
        json_t *certificate = json_object_get(source, "podCertificate");

        if (json_is_object(token))
            set_int(token, "expirationSeconds", 3600);
        if (json_is_object(certificate))
            set_int(certificate, "maxExpirationSeconds", 86400);
        default_items(json_at(source, "downwardAPI.items"));
    }
}

static void default_ephemeral(json_t *ephemeral)
{
    json_t *spec = json_at(ephemeral, "volumeClaimTemplate.spec");

    if (json_is_object(spec))
        set_text(spec, "volumeMode", "Filesystem");
}

static void default_volume(json_t *volume)
{
    static const char *const with_mode[] = { "secret", "configMap", "downwardAPI" };
    json_t *source = NULL;

    if (json_object_size(volume) == (json_object_get(volume, "name") ? 1u : 0u))
        json_object_set_new(volume, "emptyDir", json_object());
    for (size_t i = 0; i < ARRAY_LEN(with_mode); i++) {
        source = json_object_get(volume, with_mode[i]);
        if (json_is_object(source))
            set_int(source, "defaultMode", 0644);
    }
    default_items(json_at(volume, "downwardAPI.items"));
    source = json_object_get(volume, "projected");
    if (json_is_object(source))
        default_projected(source);
    source = json_object_get(volume, "hostPath");
    if (json_is_object(source) && !member(source, "type"))
        json_object_set_new(source, "type", json_string(""));
    default_ephemeral(json_object_get(volume, "ephemeral"));
    source = json_object_get(volume, "image");
    if (json_is_object(source))
        set_text(source, "pullPolicy", is_latest(json_str_or(source, "reference", "")) ? "Always" : "IfNotPresent");
}

static void default_account(json_t *spec)
{
    const char *old = json_str_or(spec, "serviceAccount", "");

    if (*old)
        set_text(spec, "serviceAccountName", old);
    const char *name = json_str_or(spec, "serviceAccountName", "");
    if (*name)
        json_object_set_new(spec, "serviceAccount", json_string(name));
    else
        json_object_del(spec, "serviceAccount");
}

void pod_spec_default(json_t *spec)
{
    size_t i;
    json_t *e;

    if (!json_is_object(spec))
        return;
    default_account(spec);
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set_object(spec, "securityContext");
    set_int(spec, "terminationGracePeriodSeconds", 30);
    set_text(spec, "schedulerName", "default-scheduler");
    for (size_t l = 0; l < ARRAY_LEN(container_lists); l++)
        json_array_foreach(json_object_get(spec, container_lists[l]), i, e)
            default_container(e);
    json_array_foreach(json_object_get(spec, "volumes"), i, e)
        default_volume(e);
}

static void requests_from_limits(json_t *container)
{
    json_t *resources = json_object_get(container, "resources");
    const json_t *limits = json_object_get(resources, "limits");

    if (json_object_size(limits) == 0)
        return;
    json_t *requests = set_object(resources, "requests");
    if (requests)
        set_missing(requests, limits);
}

static void host_ports(json_t *container)
{
    size_t i;
    json_t *port;

    json_array_foreach(json_object_get(container, "ports"), i, port)
        set_int_zero(port, "hostPort", json_int_or(port, "containerPort", 0));
}

void pod_spec_default_pod(json_t *spec)
{
    bool host = json_bool_or(spec, "hostNetwork", false);
    size_t i;
    json_t *c;

    if (!json_is_object(spec))
        return;
    if (json_int_or(spec, "terminationGracePeriodSeconds", 0) < 0)
        json_object_set_new(spec, "terminationGracePeriodSeconds", json_integer(1));
    for (size_t l = 0; l < 2; l++)
        json_array_foreach(json_object_get(spec, container_lists[l]), i, c)
        {
            requests_from_limits(c);
            if (host)
                host_ports(c);
        }
    set_bool(spec, "enableServiceLinks", true);
}
