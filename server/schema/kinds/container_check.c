#include "server/schema/kinds/container_check.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>

static json_t *empty_text(struct field_errors *errs)
{
    json_t *v = json_string("");

    arena_on_free(errs->arena, (void (*)(void *))json_decref, v);
    return v;
}

/* Earlier element of the list with the same text member. */
static bool came_before(const json_t *list, size_t i, const char *key, const char *text)
{
    for (size_t j = 0; j < i; j++)
        if (is_text(json_array_get(list, j), key, text))
            return true;
    return false;
}

void check_port_or_name(struct field_errors *errs, const json_t *v, const char *path)
{
    if (json_is_string(v))
        check_name(errs, v, port_name_invalid, path);
    else
        check_port(errs, v, path);
}

void check_descending(struct field_errors *errs, const json_t *v, const char *path)
{
    const char *s = json_string_value(v);

    if (!s)
        return;
    if (*s == '/')
        field_error(errs, FIELD_INVALID, v, "must be a relative path", "%s", path);
    for (const char *at = s; (at = strstr(at, "..")); at += 2)
        if ((at == s || at[-1] == '/') && (at[2] == '/' || !at[2])) {
            field_error(errs, FIELD_INVALID, v, "must not contain '..'", "%s", path);
            return;
        }
}

/* --- ports --- */

static void check_ports(struct field_errors *errs, const json_t *ports, const char *path)
{
    size_t i;
    json_t *port;

    json_array_foreach(ports, i, port)
    {
        const json_t *name = json_object_get(port, "name"), *number = json_object_get(port, "containerPort"),
                     *host = json_object_get(port, "hostPort");
        const char *why = json_string_length(name) ? port_name_invalid(json_string_value(name)) : NULL;

        if (why)
            field_error(errs, FIELD_INVALID, name, why, "%s.ports[%zu].name", path, i);
        else if (json_string_length(name) && came_before(ports, i, "name", json_string_value(name)))
            field_error(errs, FIELD_DUPLICATE, name, "", "%s.ports[%zu].name", path, i);
        if (json_integer_value(number) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "", "%s.ports[%zu].containerPort", path, i);
        else if (json_integer_value(number) < 1 || json_integer_value(number) > 65535)
            check_port(errs, number, check_path(errs, "%s.ports[%zu].containerPort", path, i));
        if (json_integer_value(host) < 0 || json_integer_value(host) > 65535)
            check_port(errs, host, check_path(errs, "%s.ports[%zu].hostPort", path, i));
    }
}

/* --- environment --- */

static const char *const env_fields[] = { "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
                                          "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP",
                                          "status.podIPs" };
static const char *const env_resources[] = { "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
                                             "requests.ephemeral-storage", "requests.memory" };

/* A field of the pod that a variable may show; others of its fields are known but not for variables. */
static void check_env_field(struct field_errors *errs, const json_t *field, const char *path)
{
    static const char *const others[] = { "metadata.labels", "metadata.annotations", "spec.restartPolicy", "spec.schedulerName",
                                          "spec.hostNetwork", "status.phase" };
    const char *s = json_string_length(field) ? json_string_value(field) : NULL;

    if (!s || strncmp(s, "metadata.annotations['", 22) == 0 || strncmp(s, "metadata.labels['", 17) == 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(env_fields); i++)
        if (strcmp(s, env_fields[i]) == 0)
            return;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (strcmp(s, others[i]) == 0) {
            field_not_supported(errs, s, env_fields, ARRAY_LEN(env_fields), "%s.fieldRef.fieldPath", path);
            return;
        }
    field_error(errs, FIELD_INVALID, field, arena_printf(errs->arena, "error converting fieldPath: field label not supported: %s", s),
                "%s.fieldRef.fieldPath", path);
}

static void check_env_resource(struct field_errors *errs, const json_t *resource, const char *path)
{
    const char *s = json_string_length(resource) ? json_string_value(resource) : NULL;

    if (s && strncmp(s, "requests.hugepages-", 19) != 0 && strncmp(s, "limits.hugepages-", 17) != 0)
        check_one_of(errs, resource, false, env_resources, ARRAY_LEN(env_resources), path);
}

static void check_env_source(struct field_errors *errs, const json_t *env, const char *path)
{
    static const char *const sources[] = { "fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef" };
    const json_t *from = json_object_get(env, "valueFrom");
    size_t n = 0;

    if (!from)
        return;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        n += json_object_get(from, sources[i]) != NULL;
    check_env_field(errs, json_at(from, "fieldRef.fieldPath"), path);
    check_env_resource(errs, json_at(from, "resourceFieldRef.resource"), check_path(errs, "%s.resourceFieldRef.resource", path));
    for (size_t i = 2; i < 4; i++) {
        const json_t *ref = json_object_get(from, sources[i]);

        if (!ref)
            continue;
        if (!*json_str_or(ref, "name", ""))
            field_error(errs, FIELD_INVALID, empty_text(errs), name_is_dns_subdomain(""), "%s.%s.name", path, sources[i]);
        if (*json_str_or(ref, "key", ""))
            check_name(errs, json_object_get(ref, "key"), config_key_invalid, check_path(errs, "%s.%s.key", path, sources[i]));
    }
    if (n == 0)
        field_error(errs, FIELD_INVALID, empty_text(errs),
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`", "%s", path);
    else if (*json_str_or(env, "value", ""))
        field_error(errs, FIELD_INVALID, empty_text(errs), "may not be specified when `value` is not empty", "%s", path);
    else if (n > 1)
        field_error(errs, FIELD_INVALID, empty_text(errs), "may not have more than one field specified at a time", "%s", path);
}

static void check_env(struct field_errors *errs, const json_t *container, const char *path)
{
    size_t i;
    json_t *env;

    json_array_foreach(json_object_get(container, "env"), i, env)
    {
        const json_t *name = json_object_get(env, "name");
        const char *why = json_string_length(name) ? env_name_invalid(json_string_value(name)) : NULL;

        if (why)
            field_error(errs, FIELD_INVALID, name, why, "%s.env[%zu].name", path, i);
        if (json_object_get(env, "valueFrom"))
            check_env_source(errs, env, check_path(errs, "%s.env[%zu].valueFrom", path, i));
    }
}

static void check_env_from(struct field_errors *errs, const json_t *container, const char *path)
{
    size_t i;
    json_t *from;

    json_array_foreach(json_object_get(container, "envFrom"), i, from)
    {
        const json_t *config = json_object_get(from, "configMapRef"), *secret = json_object_get(from, "secretRef");
        const char *prefix = json_str_or(from, "prefix", ""), *why = *prefix ? env_name_invalid(prefix) : NULL;

        if (why)
            field_error(errs, FIELD_INVALID, json_object_get(from, "prefix"), why, "%s.envFrom[%zu].prefix", path, i);
        if (config)
            check_text(errs, config, "name", check_path(errs, "%s.envFrom[%zu].configMapRef.name", path, i));
        if (secret)
            check_text(errs, secret, "name", check_path(errs, "%s.envFrom[%zu].secretRef.name", path, i));
        if (!config && !secret)
            field_error(errs, FIELD_INVALID, empty_text(errs), "must specify one of: `configMapRef` or `secretRef`", "%s.envFrom", path);
        else if (config && secret)
            field_error(errs, FIELD_INVALID, empty_text(errs), "may not have more than one field specified at a time", "%s.envFrom", path);
    }
}

/* --- mounts --- */

static void check_mount(struct field_errors *errs, const json_t *mount, const json_t *container, const char *path)
{
    const json_t *sub = json_object_get(mount, "subPath"), *expr = json_object_get(mount, "subPathExpr");
    const char *parent = check_path(errs, "%.*s", (int)(strrchr(path, '[') - path), path);

    check_descending(errs, sub, check_path(errs, "%s.subPath", parent)); /* upstream leaves the index out here */
    if (json_string_length(expr) && json_string_length(sub))
        field_error(errs, FIELD_INVALID, expr, "subPathExpr and subPath are mutually exclusive", "%s.subPathExpr", path);
    check_descending(errs, expr, check_path(errs, "%s.subPathExpr", parent));
    if (is_text(mount, "mountPropagation", "Bidirectional") && !json_bool_or(container, "securityContext.privileged", false))
        field_error(errs, FIELD_FORBIDDEN, NULL, "Bidirectional mount propagation is available only to privileged containers",
                    "%s.mountPropagation", parent);
}

static void check_mounts(struct field_errors *errs, const json_t *container, const json_t *spec, const char *path)
{
    const json_t *mounts = json_object_get(container, "volumeMounts");
    size_t i;
    json_t *mount;

    json_array_foreach(mounts, i, mount)
    {
        const json_t *name = json_object_get(mount, "name"), *where = json_object_get(mount, "mountPath");

        if (json_is_string(name) && !volume_named(spec, json_string_value(name)))
            field_error(errs, FIELD_NOT_FOUND, name, "", "%s.volumeMounts[%zu].name", path, i);
        if (json_is_string(where) && came_before(mounts, i, "mountPath", json_string_value(where)))
            field_error(errs, FIELD_INVALID, where, "must be unique", "%s.volumeMounts[%zu].mountPath", path, i);
        if (json_object_get(mount, "subPath") || json_object_get(mount, "subPathExpr") || json_object_get(mount, "mountPropagation"))
            check_mount(errs, mount, container, check_path(errs, "%s.volumeMounts[%zu]", path, i));
    }
}

/* --- security --- */

void check_seccomp(struct field_errors *errs, const json_t *profile, const char *path)
{
    const json_t *local = json_object_get(profile, "localhostProfile");

    if (!profile)
        return;
    if (is_text(profile, "type", "Localhost") && !local)
        field_error(errs, FIELD_REQUIRED, NULL, "must be set when seccomp type is Localhost", "%s.localhostProfile", path);
    else if (!is_text(profile, "type", "Localhost") && local)
        field_error(errs, FIELD_INVALID, profile, "can only be set when seccomp type is Localhost", "%s.localhostProfile", path);
    else
        check_descending(errs, local, check_path(errs, "%s.localhostProfile", path));
}

static void check_security(struct field_errors *errs, const json_t *container, const char *path)
{
    const json_t *sc = json_object_get(container, "securityContext"), *escalate = json_object_get(sc, "allowPrivilegeEscalation");
    size_t i;
    json_t *cap;

    if (!sc)
        return;
    check_seccomp(errs, json_object_get(sc, "seccompProfile"), check_path(errs, "%s.securityContext.seccompProfile", path));
    check_between(errs, json_object_get(sc, "runAsUser"), 0, INT32_MAX, check_path(errs, "%s.securityContext.runAsUser", path));
    check_between(errs, json_object_get(sc, "runAsGroup"), 0, INT32_MAX, check_path(errs, "%s.securityContext.runAsGroup", path));
    if (!json_is_false(escalate))
        return;
    if (json_bool_or(sc, "privileged", false))
        field_error(errs, FIELD_INVALID, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
                    "%s.securityContext", path);
    json_array_foreach(json_at(sc, "capabilities.add"), i, cap)
        if (json_is_string(cap) && strcmp(json_string_value(cap), "CAP_SYS_ADMIN") == 0)
            field_error(errs, FIELD_INVALID, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
                        "%s.securityContext", path);
}

static void check_devices(struct field_errors *errs, const json_t *container, const json_t *spec, const char *path)
{
    const json_t *devices = json_object_get(container, "volumeDevices");
    size_t i;
    json_t *device;

    json_array_foreach(devices, i, device)
    {
        const char *name = json_str_or(device, "name", "");
        const json_t *volume = volume_named(spec, name);

        if (came_before(devices, i, "name", name))
            field_error(errs, FIELD_INVALID, json_object_get(device, "name"), "must be unique", "%s.volumeDevices[%zu].name", path, i);
        if (!volume)
            field_error(errs, FIELD_NOT_FOUND, json_object_get(device, "name"), "", "%s.volumeDevices[%zu].name", path, i);
        else if (!json_object_get(volume, "persistentVolumeClaim") && !json_object_get(volume, "ephemeral"))
            field_error(errs, FIELD_INVALID, json_object_get(device, "name"),
                        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                        "%s.volumeDevices[%zu].name", path, i);
    }
}

static void check_image(struct field_errors *errs, const json_t *image, const char *path)
{
    const char *s = json_string_length(image) ? json_string_value(image) : "";

    if (!*s)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s.image", path);
    else if (isspace((unsigned char)*s) || isspace((unsigned char)s[strlen(s) - 1]))
        field_error(errs, FIELD_INVALID, image, "must not have leading or trailing whitespace", "%s.image", path);
}

static void check_resizing(struct field_errors *errs, const json_t *container, const char *path)
{
    size_t i;
    json_t *policy;

    json_array_foreach(json_object_get(container, "resizePolicy"), i, policy)
    {
        CHECK_ONE_OF(errs, json_object_get(policy, "resourceName"), false, check_path(errs, "%s.resizePolicy", path), "cpu", "memory");
        CHECK_ONE_OF(errs, json_object_get(policy, "restartPolicy"), false, check_path(errs, "%s.resizePolicy", path), "NotRequired",
                     "RestartContainer");
    }
}

void container_check(const json_t *container, const json_t *spec, const char *path, struct field_errors *errs)
{
    const json_t *name = json_object_get(container, "name"), *resources = json_object_get(container, "resources");
    const char *why = json_string_length(name) ? name_is_dns_label(json_string_value(name)) : NULL;

    if (why)
        field_error(errs, FIELD_INVALID, name, why, "%s.name", path);
    check_image(errs, json_object_get(container, "image"), path);
    check_ports(errs, json_object_get(container, "ports"), path);
    check_env(errs, container, path);
    check_env_from(errs, container, path);
    check_mounts(errs, container, spec, path);
    check_devices(errs, container, spec, path);
    if (json_object_size(resources))
        resources_validate(resources, check_path(errs, "%s.resources", path), errs);
    check_security(errs, container, path);
    check_resizing(errs, container, path);
}

/* --- probes --- */

static void check_action(struct field_errors *errs, const json_t *action, const char *kind, const char *path)
{
    const json_t *port = json_object_get(action, "port");
    size_t i;
    json_t *header;

    if (strcmp(kind, "exec") == 0) {
        if (json_array_size(json_object_get(action, "command")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "", "%s.exec.command", path);
        return;
    }
    if (strcmp(kind, "sleep") == 0)
        return;
    if (port)
        check_port_or_name(errs, port, check_path(errs, "%s.%s.port", path, kind));
    json_array_foreach(json_object_get(action, "httpHeaders"), i, header)
    {
        const json_t *name = json_object_get(header, "name");
        const char *s = json_string_value(name);

        if (s && *s && strspn(s, "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != strlen(s))
            field_error(errs, FIELD_INVALID, name,
                        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
                        "validation is '[-A-Za-z0-9]+')",
                        "%s.%s.httpHeaders", path, kind);
    }
}

static void check_handler(struct field_errors *errs, const json_t *handler, const json_t *spec, const char *path)
{
    static const char *const kinds[] = { "exec", "httpGet", "tcpSocket", "grpc", "sleep" };
    const json_t *sleep = json_at(handler, "sleep.seconds");
    int64_t grace = json_int_or(spec, "terminationGracePeriodSeconds", 0);
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const json_t *action = json_object_get(handler, kinds[i]);

        if (action && n++)
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not specify more than 1 handler type", "%s.%s", path, kinds[i]);
        else if (action)
            check_action(errs, action, kinds[i], path);
    }
    if (n == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify a handler type", "%s", path);
    if (sleep && (json_integer_value(sleep) < 0 || json_integer_value(sleep) > grace))
        field_error(errs, FIELD_INVALID, sleep,
                    arena_printf(errs->arena, "must be non-negative and less than terminationGracePeriodSeconds (%lld)", (long long)grace),
                    "%s.sleep", path);
}

static void check_probe(struct field_errors *errs, const json_t *container, const json_t *spec, const char *which, const char *path)
{
    static const char *const counts[] = { "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold",
                                          "failureThreshold" };
    const json_t *probe = json_object_get(container, which);
    const char *at = NULL;

    if (!probe)
        return;
    at = check_path(errs, "%s.%s", path, which);
    check_handler(errs, probe, spec, at);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (json_int_or(probe, counts[i], 0) < 0)
            check_not_negative(errs, json_object_get(probe, counts[i]), check_path(errs, "%s.%s", at, counts[i]));
    check_positive(errs, json_object_get(probe, "terminationGracePeriodSeconds"),
                   check_path(errs, "%s.terminationGracePeriodSeconds", at));
    if (strcmp(which, "readinessProbe") == 0) {
        if (json_object_get(probe, "terminationGracePeriodSeconds"))
            field_error(errs, FIELD_INVALID, json_object_get(probe, "terminationGracePeriodSeconds"), "must not be set for readinessProbes",
                        "%s.terminationGracePeriodSeconds", at);
    } else if (json_int_or(probe, "successThreshold", 1) != 1) {
        field_error(errs, FIELD_INVALID, json_object_get(probe, "successThreshold"), "must be 1", "%s.successThreshold", at);
    }
}

void container_check_life(const json_t *container, const json_t *spec, const char *path, struct field_errors *errs)
{
    const json_t *start = json_at(container, "lifecycle.postStart"), *stop = json_at(container, "lifecycle.preStop");

    check_probe(errs, container, spec, "livenessProbe", path);
    check_probe(errs, container, spec, "readinessProbe", path);
    check_probe(errs, container, spec, "startupProbe", path);
    if (start)
        check_handler(errs, start, spec, check_path(errs, "%s.lifecycle.postStart", path));
    if (stop)
        check_handler(errs, stop, spec, check_path(errs, "%s.lifecycle.preStop", path));
}
