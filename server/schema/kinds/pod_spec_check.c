/* Checks of pod specs. Source: upstream ValidatePodSpec. */
#include "server/schema/kinds/pod_spec.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/amounts.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/container_check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

enum { NAMESERVERS_MAX = 3, SEARCHES_MAX = 32, SEARCH_CHARS_MAX = 2048 };

/* --- resources --- */

static void check_request(struct field_errors *errs, const json_t *resources, const char *name, const json_t *request, const char *path)
{
    const json_t *limit = json_object_get(json_object_get(resources, "limits"), name);

    if (!limit) {
        if (!amount_overcommits(name))
            field_error(errs, FIELD_REQUIRED, NULL, "Limit must be set for non overcommitable resources", "%s.limits", path);
        return;
    }
    int order = amount_cmp(request, limit);
    if (order != 0 && !amount_overcommits(name))
        field_error(errs, FIELD_INVALID, request,
                    arena_printf(errs->arena, "must be equal to %s limit of %s", name, json_string_value(limit)), "%s.requests", path);
    else if (order > 0)
        field_error(errs, FIELD_INVALID, request,
                    arena_printf(errs->arena, "must be less than or equal to %s limit of %s", name, json_string_value(limit)),
                    "%s.requests", path);
}

void resources_validate(const json_t *resources, const char *path, struct field_errors *errs)
{
    static const char *const lists[] = { "limits", "requests" };
    bool huge = false, plain = false;
    const char *name;
    json_t *v;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        json_object_foreach(json_object_get(resources, lists[i]), name, v)
        {
            const char *at = check_path(errs, "%s.%s[%s]", path, lists[i], name);

            amount_check_container_name(errs, name, at);
            amount_check(errs, name, v, at);
            huge |= strncmp(name, "hugepages-", 10) == 0;
            plain |= strcmp(name, "cpu") == 0 || strcmp(name, "memory") == 0;
            if (i == 1)
                check_request(errs, resources, name, v, path);
        }
    if (huge && !plain)
        field_error(errs, FIELD_FORBIDDEN, NULL, "HugePages require cpu or memory", "%s", path);
}

/* --- containers --- */

static bool name_used(const json_t *list, size_t end, const char *name)
{
    for (size_t i = 0; i < end; i++)
        if (is_text(json_array_get(list, i), "name", name))
            return true;
    return false;
}

static void check_host_ports(struct field_errors *errs, const json_t *containers, const char *path)
{
    AUTO(json) json_t *seen = json_object();
    size_t i, j;
    json_t *container, *port;

    json_array_foreach(containers, i, container)
        json_array_foreach(json_object_get(container, "ports"), j, port)
        {
            long long number = json_int_or(port, "hostPort", 0);

            if (!number)
                continue;
            char *key = arena_printf(errs->arena, "%s/%s/%lld", json_str_or(port, "protocol", ""), json_str_or(port, "hostIP", ""), number);
            AUTO(json) json_t *shown = json_string(key);
            if (json_object_get(seen, key))
                field_error(errs, FIELD_DUPLICATE, shown, "", "%s[%zu].ports[%zu].hostPort", path, i, j);
            json_object_set(seen, key, shown);
        }
}

static void check_containers(struct field_errors *errs, const json_t *spec, const char *path)
{
    const json_t *list = json_object_get(spec, "containers");
    const char *all = check_path(errs, "%s.containers", path);
    size_t i;
    json_t *container;

    if (json_array_size(list) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s", all);
    json_array_foreach(list, i, container)
    {
        const char *at = check_path(errs, "%s[%zu]", all, i), *name = json_str_or(container, "name", "");

        container_check(container, spec, at, errs);
        container_check_life(container, spec, at, errs);
        if (*name && name_used(list, i, name))
            field_error(errs, FIELD_DUPLICATE, json_object_get(container, "name"), "", "%s.name", at);
    }
    check_host_ports(errs, list, all);
}

static void check_init_containers(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const lives[] = { "lifecycle", "livenessProbe", "readinessProbe", "startupProbe" };
    const json_t *list = json_object_get(spec, "initContainers"), *main = json_object_get(spec, "containers");
    size_t i;
    json_t *container;

    json_array_foreach(list, i, container)
    {
        const char *at = check_path(errs, "%s.initContainers[%zu]", path, i), *name = json_str_or(container, "name", "");

        container_check(container, spec, at, errs);
        if (*name && (name_used(list, i, name) || name_used(main, json_array_size(main), name)))
            field_error(errs, FIELD_DUPLICATE, json_object_get(container, "name"), "", "%s.name", at);
        CHECK_ONE_OF(errs, json_object_get(container, "restartPolicy"), false, check_path(errs, "%s.restartPolicy", at), "Always", "Never",
                     "OnFailure");
        if (is_text(container, "restartPolicy", "Always")) {
            container_check_life(container, spec, at, errs);
            continue;
        }
        for (size_t l = 0; l < ARRAY_LEN(lives); l++)
            if (json_object_get(container, lives[l]))
                field_error(errs, FIELD_FORBIDDEN, NULL, "may not be set for init containers without restartPolicy=Always", "%s.%s", at,
                            lives[l]);
    }
}

static void check_ephemeral_containers(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const refused[] = { "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources" };
    const json_t *list = json_object_get(spec, "ephemeralContainers"), *main = json_object_get(spec, "containers"),
                 *init = json_object_get(spec, "initContainers");
    size_t i;
    json_t *container;

    json_array_foreach(list, i, container)
    {
        const char *at = check_path(errs, "%s.ephemeralContainers[%zu]", path, i), *name = json_str_or(container, "name", "");
        const char *target = json_str_or(container, "targetContainerName", "");

        container_check(container, spec, at, errs);
        if (*name && (name_used(list, i, name) || name_used(main, json_array_size(main), name) || name_used(init, json_array_size(init), name)))
            field_error(errs, FIELD_DUPLICATE, json_object_get(container, "name"), "", "%s.name", at);
        if (*target && !name_used(main, json_array_size(main), target) && !name_used(init, json_array_size(init), target))
            field_error(errs, FIELD_NOT_FOUND, json_object_get(container, "targetContainerName"), "", "%s.targetContainerName", at);
        for (size_t r = 0; r < ARRAY_LEN(refused); r++) {
            const json_t *v = json_object_get(container, refused[r]);

            if (v && !(json_is_object(v) && json_object_size(v) == 0))
                field_error(errs, FIELD_FORBIDDEN, NULL, "cannot be set for an Ephemeral Container", "%s.%s", at, refused[r]);
        }
    }
}

/* --- the rest of the spec --- */

static void check_host_network(struct field_errors *errs, const json_t *spec, const char *path)
{
    size_t i, j;
    json_t *container, *port;

    if (!json_bool_or(spec, "hostNetwork", false))
        return;
    json_array_foreach(json_object_get(spec, "containers"), i, container)
        json_array_foreach(json_object_get(container, "ports"), j, port)
        {
            int64_t number = json_int_or(port, "hostPort", 0);

            if (number && number != json_int_or(port, "containerPort", 0))
                field_error(errs, FIELD_INVALID, json_object_get(port, "hostPort"),
                            "must match `containerPort` when `hostNetwork` is true", "%s.containers[%zu].ports[%zu].hostPort", path, i, j);
        }
}

static void check_dns(struct field_errors *errs, const json_t *spec, const char *path)
{
    const json_t *config = json_object_get(spec, "dnsConfig"), *servers = json_object_get(config, "nameservers"),
                 *searches = json_object_get(config, "searches");
    bool none = is_text(spec, "dnsPolicy", "None");
    size_t i, chars = 0;
    json_t *v;

    if (none && !config)
        field_error(errs, FIELD_REQUIRED, NULL, "must provide `dnsConfig` when `dnsPolicy` is None", "%s.dnsConfig", path);
    else if (none && json_array_size(servers) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must provide at least one DNS nameserver when `dnsPolicy` is None",
                    "%s.dnsConfig.nameservers", path);
    if (!config)
        return;
    if (json_array_size(servers) > NAMESERVERS_MAX)
        field_error(errs, FIELD_INVALID, servers, "must not have more than 3 nameservers", "%s.dnsConfig.nameservers", path);
    json_array_foreach(servers, i, v) check_name(errs, v, ip_invalid, check_path(errs, "%s.dnsConfig.nameservers[%zu]", path, i));
    if (json_array_size(searches) > SEARCHES_MAX)
        field_error(errs, FIELD_INVALID, searches, "must not have more than 32 search paths", "%s.dnsConfig.searches", path);
    json_array_foreach(searches, i, v) chars += json_string_length(v) + (i > 0);
    if (chars > SEARCH_CHARS_MAX)
        field_error(errs, FIELD_INVALID, searches, "must not have more than 2048 characters (including spaces) in the search list",
                    "%s.dnsConfig.searches", path);
    json_array_foreach(json_object_get(config, "options"), i, v)
        if (!*json_str_or(v, "name", ""))
            field_error(errs, FIELD_REQUIRED, NULL, "must not be empty", "%s.dnsConfig.options[%zu]", path, i);
}

static void check_toleration(struct field_errors *errs, const json_t *t, const char *path)
{
    const char *key = json_str_or(t, "key", ""), *op = json_str_or(t, "operator", ""), *value = json_str_or(t, "value", "");
    const char *why = *key ? label_key_invalid(key) : NULL;
    AUTO(json) json_t *shown_op = json_string(op);
    AUTO(json) json_t *shown_effect = json_string(json_str_or(t, "effect", ""));

    if (why)
        field_error(errs, FIELD_INVALID, json_object_get(t, "key"), why, "%s.key", path);
    if (!*key && strcmp(op, "Exists") != 0)
        field_error(errs, FIELD_INVALID, shown_op,
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"", "%s.operator", path);
    if (json_object_get(t, "tolerationSeconds") && !is_text(t, "effect", "NoExecute"))
        field_error(errs, FIELD_INVALID, shown_effect, "effect must be 'NoExecute' when `tolerationSeconds` is set", "%s.effect", path);
    if (strcmp(op, "Exists") == 0 && *value)
        field_error(errs, FIELD_INVALID, json_object_get(t, "value"), "value must be empty when `operator` is 'Exists'", "%s.operator", path);
    why = (!*op || strcmp(op, "Equal") == 0) && *value ? label_value_invalid(value) : NULL;
    if (why)
        field_error(errs, FIELD_INVALID, json_object_get(t, "value"), why, "%s.operator", path);
    if (strcmp(op, "Gt") == 0 || strcmp(op, "Lt") == 0) /* behind a gate that is off */
        field_not_supported(errs, op, (const char *const[]){ "Equal", "Exists", "Lt", "Gt" }, 4, "%s.operator", path);
    else if (*op)
        CHECK_ONE_OF(errs, json_object_get(t, "operator"), false, check_path(errs, "%s.operator", path), "Equal", "Exists");
    if (json_object_get(t, "effect"))
        CHECK_ONE_OF(errs, json_object_get(t, "effect"), false, check_path(errs, "%s.effect", path), "NoSchedule", "PreferNoSchedule",
                     "NoExecute");
}

/* One constraint for a key and what to do about it; the earlier one is blamed. */
static void check_repeated(struct field_errors *errs, const json_t *c, const json_t *earlier, const char *path, size_t j)
{
    const char *key = json_str_or(c, "topologyKey", ""), *what = json_str_or(c, "whenUnsatisfiable", "");
    AUTO(json) json_t *shown = json_strf("{%s, %s}", key, what);

    if (is_text(earlier, "topologyKey", key) && is_text(earlier, "whenUnsatisfiable", what))
        field_error(errs, FIELD_DUPLICATE, shown, "", "%s.topologySpreadConstraints[%zu].{topologyKey, whenUnsatisfiable}", path, j);
}

static void check_spreading(struct field_errors *errs, const json_t *spec, const char *path)
{
    const json_t *list = json_object_get(spec, "topologySpreadConstraints");
    size_t i;
    json_t *c;

    json_array_foreach(list, i, c)
    {
        const char *at = check_path(errs, "%s.topologySpreadConstraints[%zu]", path, i);
        const json_t *domains = json_object_get(c, "minDomains");

        if (json_int_or(c, "maxSkew", 0) <= 0)
            field_error(errs, FIELD_INVALID, json_object_get(c, "maxSkew"), "must be greater than zero", "%s.maxSkew", at);
        for (size_t j = 0; j < i; j++)
            check_repeated(errs, c, json_array_get(list, j), path, j);
        if (!*json_str_or(c, "topologyKey", ""))
            field_error(errs, FIELD_REQUIRED, NULL, "can not be empty", "%s.topologyKey", at);
        check_positive(errs, domains, check_path(errs, "%s.minDomains", at));
        if (domains && !is_text(c, "whenUnsatisfiable", "DoNotSchedule"))
            field_error(errs, FIELD_INVALID, domains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                        "%s.minDomains", at);
        check_selector(errs, json_object_get(c, "labelSelector"), check_path(errs, "%s.labelSelector", at));
    }
}

static void check_host_alias(struct field_errors *errs, const json_t *alias, const char *path)
{
    size_t i;
    json_t *host;

    check_name(errs, json_object_get(alias, "ip"), ip_invalid, check_path(errs, "%s.ip", path));
    json_array_foreach(json_object_get(alias, "hostnames"), i, host)
        check_name(errs, host, name_is_dns_subdomain, check_path(errs, "%s.hostnames[%zu]", path, i));
}

static void check_lists(struct field_errors *errs, const json_t *spec, const char *path)
{
    size_t i;
    json_t *v;

    json_array_foreach(json_object_get(spec, "tolerations"), i, v)
        check_toleration(errs, v, check_path(errs, "%s.tolerations[%zu]", path, i));
    json_array_foreach(json_object_get(spec, "hostAliases"), i, v)
        check_host_alias(errs, v, check_path(errs, "%s.hostAliases[%zu]", path, i));
    json_array_foreach(json_object_get(spec, "readinessGates"), i, v)
        check_name(errs, json_object_get(v, "conditionType"), label_key_invalid,
                   check_path(errs, "%s.readinessGates[%zu].conditionType", path, i));
    json_array_foreach(json_object_get(spec, "schedulingGates"), i, v)
    {
        check_name(errs, json_object_get(v, "name"), label_key_invalid, check_path(errs, "%s.schedulingGates[%zu]", path, i));
        if (name_used(json_object_get(spec, "schedulingGates"), i, json_str_or(v, "name", "")))
            field_error(errs, FIELD_DUPLICATE, json_object_get(v, "name"), "", "%s.schedulingGates[%zu]", path, i);
    }
}

/* Parts of lower case letters and digits between dots or slashes. */
static const char *sysctl_name_invalid(const char *s)
{
    static const char why[] = "must have at most 253 characters and match regex "
                              "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    bool begins = true;

    if (strlen(s) > 253)
        return why;
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9'), ends = !s[1] || s[1] == '.' || s[1] == '/';

        if (*s == '.' || *s == '/') {
            if (begins)
                return why;
            begins = true;
            continue;
        }
        if (!plain && (begins || ends || (*s != '-' && *s != '_')))
            return why;
        begins = false;
    }
    return begins ? why : NULL;
}

static void check_security(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const ids[] = { "fsGroup", "runAsUser", "runAsGroup" };
    const json_t *sc = json_object_get(spec, "securityContext");
    size_t i;
    json_t *v;

    for (size_t k = 0; k < ARRAY_LEN(ids); k++)
        if (json_object_get(sc, ids[k]))
            check_between(errs, json_object_get(sc, ids[k]), 0, INT32_MAX, check_path(errs, "%s.securityContext.%s", path, ids[k]));
    check_seccomp(errs, json_object_get(sc, "seccompProfile"), check_path(errs, "%s.securityContext.seccompProfile", path));
    json_array_foreach(json_object_get(sc, "sysctls"), i, v)
        check_name(errs, json_object_get(v, "name"), sysctl_name_invalid, check_path(errs, "%s.securityContext.sysctls[%zu].name", path, i));
    json_array_foreach(json_object_get(sc, "supplementalGroups"), i, v)
        check_between(errs, v, 0, INT32_MAX, check_path(errs, "%s.securityContext.supplementalGroups[%zu]", path, i));
    if (json_bool_or(spec, "hostPID", false) && json_bool_or(spec, "shareProcessNamespace", false))
        field_error(errs, FIELD_INVALID, json_object_get(spec, "shareProcessNamespace"),
                    "ShareProcessNamespace and HostPID cannot both be enabled", "%s.shareProcessNamespace", path);
    if (!json_bool_or(spec, "hostUsers", true)) {
        static const char *const host[] = { "hostPID", "hostIPC", "hostNetwork" };

        for (size_t k = 0; k < ARRAY_LEN(host); k++)
            if (json_bool_or(spec, host[k], false))
                field_error(errs, FIELD_FORBIDDEN, NULL, "when `hostUsers` is false", "%s.%s", path, host[k]);
    }
}

static void check_names(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const struct {
        const char *key;
        const char *(*what)(const char *s);
    } names[] = {
        { "serviceAccountName", name_is_dns_subdomain }, { "nodeName", name_is_dns_subdomain },
        { "hostname", name_is_dns_label },               { "subdomain", name_is_dns_label },
        { "priorityClassName", name_is_dns_subdomain },  { "runtimeClassName", name_is_dns_subdomain },
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *s = json_str_or(spec, names[i].key, ""), *why = *s ? names[i].what(s) : NULL;

        if (why)
            field_error(errs, FIELD_INVALID, json_object_get(spec, names[i].key), why, "%s.%s", path, names[i].key);
    }
}

static void check_node_term(struct field_errors *errs, const json_t *term, const char *path)
{
    size_t i;
    json_t *e;

    json_array_foreach(json_object_get(term, "matchExpressions"), i, e)
    {
        const char *op = json_str_or(e, "operator", ""), *at = check_path(errs, "%s.matchExpressions[%zu]", path, i);
        size_t n = json_array_size(json_object_get(e, "values"));

        if ((strcmp(op, "In") == 0 || strcmp(op, "NotIn") == 0) && n == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "must be specified when `operator` is 'In' or 'NotIn'", "%s.values", at);
        if ((strcmp(op, "Exists") == 0 || strcmp(op, "DoesNotExist") == 0) && n > 0)
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'", "%s.values", at);
        if ((strcmp(op, "Gt") == 0 || strcmp(op, "Lt") == 0) && n != 1)
            field_error(errs, FIELD_REQUIRED, NULL, "must be specified single value when `operator` is 'Lt' or 'Gt'", "%s.values", at);
        if (*json_str_or(e, "key", ""))
            check_name(errs, json_object_get(e, "key"), label_key_invalid, check_path(errs, "%s.key", at));
    }
}

static void check_affinity(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const kinds[] = { "podAffinity", "podAntiAffinity" };
    const json_t *affinity = json_object_get(spec, "affinity");
    const json_t *node = json_at(affinity, "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    size_t i;
    json_t *term;

    if (node && json_array_size(json_object_get(node, "nodeSelectorTerms")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must have at least one node selector term",
                    "%s.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms", path);
    json_array_foreach(json_object_get(node, "nodeSelectorTerms"), i, term)
        check_node_term(errs, term, check_path(errs, "%s.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
                                                     "nodeSelectorTerms[%zu]", path, i));
    json_array_foreach(json_at(affinity, "nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"), i, term)
        if (json_int_or(term, "weight", 0) < 1 || json_int_or(term, "weight", 0) > 100)
            field_error(errs, FIELD_INVALID, json_object_get(term, "weight"), "must be in the range 1-100",
                        "%s.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[%zu].weight", path, i);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        const json_t *kind = json_object_get(affinity, kinds[k]);
        json_array_foreach(json_object_get(kind, "requiredDuringSchedulingIgnoredDuringExecution"), i, term)
        {
            const char *at = check_path(errs, "%s.affinity.%s.requiredDuringSchedulingIgnoredDuringExecution[%zu]", path, kinds[k], i);

            check_selector(errs, json_object_get(term, "labelSelector"), check_path(errs, "%s.labelSelector", at));
            if (!*json_str_or(term, "topologyKey", ""))
                field_error(errs, FIELD_REQUIRED, NULL, "can not be empty", "%s.topologyKey", at);
            else
                check_name(errs, json_object_get(term, "topologyKey"), label_key_invalid, check_path(errs, "%s.topologyKey", at));
        }
        json_array_foreach(json_object_get(kind, "preferredDuringSchedulingIgnoredDuringExecution"), i, term)
            if (json_int_or(term, "weight", 0) < 1 || json_int_or(term, "weight", 0) > 100)
                field_error(errs, FIELD_INVALID, json_object_get(term, "weight"), "must be in the range 1-100",
                            "%s.affinity.%s.preferredDuringSchedulingIgnoredDuringExecution[%zu].weight", path, kinds[k], i);
    }
}

void pod_spec_validate(const json_t *spec, const char *path, struct field_errors *errs)
{
    const json_t *deadline = json_object_get(spec, "activeDeadlineSeconds");

    if (!json_is_object(spec))
        return; /* the schema says that it is missing */
    volumes_check(spec, path, errs);
    check_containers(errs, spec, path);
    check_init_containers(errs, spec, path);
    check_host_network(errs, spec, path);
    check_ephemeral_containers(errs, spec, path);
    if (json_object_get(spec, "resources"))
        resources_validate(json_object_get(spec, "resources"), check_path(errs, "%s.resources", path), errs);
    check_labels(errs, json_object_get(spec, "nodeSelector"), check_path(errs, "%s.nodeSelector", path));
    check_security(errs, spec, path);
    if (json_object_get(spec, "affinity"))
        check_affinity(errs, spec, path);
    check_dns(errs, spec, path);
    check_lists(errs, spec, path);
    check_spreading(errs, spec, path);
    check_names(errs, spec, path);
    if (json_object_get(spec, "os"))
        CHECK_ONE_OF(errs, json_at(spec, "os.name"), false, check_path(errs, "%s.os", path), "linux", "windows");
    if (deadline)
        check_between(errs, deadline, 1, INT32_MAX, check_path(errs, "%s.activeDeadlineSeconds", path));
    if (json_object_get(spec, "preemptionPolicy"))
        CHECK_ONE_OF(errs, json_object_get(spec, "preemptionPolicy"), false, check_path(errs, "%s.preemptionPolicy", path), "Never",
                     "PreemptLowerPriority");
}

void pod_template_validate(const json_t *template, const char *path, struct field_errors *errs)
{
    const char *spec = check_path(errs, "%s.spec", path);

    check_labels(errs, json_at(template, "metadata.labels"), check_path(errs, "%s.labels", path));
    check_annotations(errs, json_at(template, "metadata.annotations"), check_path(errs, "%s.annotations", path));
    pod_spec_validate(json_object_get(template, "spec"), spec, errs);
    if (!json_is_object(json_object_get(template, "spec"))) /* upstream sees an empty one */
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s.containers", spec);
    if (json_array_size(json_at(template, "spec.ephemeralContainers")) > 0)
        field_error(errs, FIELD_FORBIDDEN, NULL, "ephemeral containers not allowed in pod template", "%s.ephemeralContainers", spec);
}

void pod_template_validate_always(const json_t *template, const char *path, const char *kind, struct field_errors *errs)
{
    const json_t *policy = json_at(template, "spec.restartPolicy");

    pod_template_validate(template, path, errs);
    if (policy && !is_text(template, "spec.restartPolicy", "Always"))
        field_not_supported(errs, json_string_value(policy), (const char *const[]){ "Always" }, 1, "%s.spec.restartPolicy", path);
    if (json_at(template, "spec.activeDeadlineSeconds"))
        field_error(errs, FIELD_FORBIDDEN, NULL, arena_printf(errs->arena, "activeDeadlineSeconds in %s is not Supported", kind),
                    "%s.spec.activeDeadlineSeconds", path);
}
