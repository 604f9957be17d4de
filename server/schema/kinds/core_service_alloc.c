/*
 * Addresses and ports of a service around its store. begin takes what is new, also for a dry run, where end gives it back.
 * Source: upstream pkg/registry/core/service/storage/alloc.go.
 */
#include "server/schema/kinds/core_service.h"

#include "lib/k8s/meta.h"
#include "server/schema/kind_env.h"
#include "server/schema/kinds/set.h"

#include <arpa/inet.h>
#include <string.h>

/* One begin: what it took so far. */
struct taking {
    struct ctx *ctx;
    struct kind_env *env;
    json_t *service, *spec;
    const json_t *old; /* NULL: a new service */
    const char *ip;    /* NULL: none taken */
    int *ports;
    size_t n_ports;
    struct field_errors errs;
};

static void give_back(struct taking *t)
{
    if (t->ip)
        kind_env_give_ip(t->env, t->ip);
    for (size_t i = 0; i < t->n_ports; i++)
        kind_env_give_port(t->env, t->ports[i]);
}

static int refuse(struct taking *t, struct err *err)
{
    return field_errors_end(&t->errs, "", "Service", meta_name(t->service), err);
}

/* --- families --- */

static bool is_headless(const json_t *spec)
{
    return is_text(spec, "clusterIP", "None");
}

static void choose_policy(struct taking *t)
{
    bool free = is_headless(t->spec) && json_object_size(json_object_get(t->spec, "selector")) == 0;

    if (!json_object_get(t->spec, "ipFamilyPolicy"))
        json_object_set_new(t->spec, "ipFamilyPolicy", json_string(free ? "RequireDualStack" : "SingleStack"));
}

static json_t *families_of(struct taking *t)
{
    json_t *families = json_object_get(t->spec, "ipFamilies");

    if (!json_is_array(families)) {
        families = json_array();
        json_object_set_new(t->spec, "ipFamilies", families);
    }
    if (json_array_size(families) == 0)
        json_array_append_new(families, json_string(kind_env_is_ipv6(t->env) ? "IPv6" : "IPv4"));
    return families;
}

/* A service without selector and address may have both families on any cluster. */
static void both_families(struct taking *t, json_t *families)
{
    bool first_is_4 = strcmp(json_string_value(json_array_get(families, 0)), "IPv4") == 0;

    if (json_array_size(families) < 2 && !is_text(t->spec, "ipFamilyPolicy", "SingleStack"))
        json_array_append_new(families, json_string(first_is_4 ? "IPv6" : "IPv4"));
}

static void check_families(struct taking *t, const json_t *families)
{
    const char *ours = kind_env_is_ipv6(t->env) ? "IPv6" : "IPv4";
    size_t i;
    json_t *f;

    if (is_text(t->spec, "ipFamilyPolicy", "RequireDualStack"))
        field_error(&t->errs, FIELD_INVALID, json_object_get(t->spec, "ipFamilyPolicy"),
                    "this cluster is not configured for dual-stack services", "spec.ipFamilyPolicy");
    json_array_foreach(families, i, f)
        if (strcmp(json_string_value(f), ours) != 0)
            field_error(&t->errs, FIELD_INVALID, f, "not configured on this cluster", "spec.ipFamilies[%zu]", i);
}

static int choose_families(struct taking *t, struct err *err)
{
    static const char plural[] = "must be 'RequireDualStack' or 'PreferDualStack' when multiple %s are specified";
    const json_t *policy = NULL;
    bool single = false;

    choose_policy(t);
    policy = json_object_get(t->spec, "ipFamilyPolicy");
    single = is_text(t->spec, "ipFamilyPolicy", "SingleStack");
    if (single && json_array_size(json_object_get(t->spec, "clusterIPs")) == 2)
        field_error(&t->errs, FIELD_INVALID, policy, arena_printf(t->ctx->arena, plural, "cluster IPs"), "spec.ipFamilyPolicy");
    if (single && json_array_size(json_object_get(t->spec, "ipFamilies")) == 2)
        field_error(&t->errs, FIELD_INVALID, policy, arena_printf(t->ctx->arena, plural, "IP families"), "spec.ipFamilyPolicy");
    if (t->errs.n)
        return refuse(t, err);
    json_t *families = families_of(t);
    if (is_headless(t->spec) && json_object_size(json_object_get(t->spec, "selector")) == 0) {
        both_families(t, families);
        return 0;
    }
    check_families(t, families);
    return refuse(t, err);
}

/* --- the address --- */

static const char *first_ip(const json_t *service)
{
    const char *ip = json_string_value(json_array_get(json_at(service, "spec.clusterIPs"), 0));

    return ip ? ip : "";
}

static int take_ip(struct taking *t, struct err *err)
{
    const char *want = first_ip(t->service);
    char got[INET6_ADDRSTRLEN];
    struct err cause;

    if (is_headless(t->spec) || strcmp(want, "None") == 0)
        return 0;
    if (t->old && *want && service_needs_ip(t->old) && strcmp(want, first_ip(t->old)) == 0)
        return 0;
    if (kind_env_take_ip(t->env, *want ? want : NULL, got, &cause) < 0) {
        if (cause.code != ERR_INVALID)
            return err_set(err, ERR_IO, "failed to allocate a serviceIP for Service \"%s\": %s", meta_name(t->service), cause.msg);
        field_error(&t->errs, FIELD_INVALID, json_object_get(t->spec, "clusterIPs"),
                    arena_printf(t->ctx->arena, "failed to allocate IP %s: %s", want, cause.msg), "spec.clusterIPs");
        return refuse(t, err);
    }
    t->ip = arena_strdup(t->ctx->arena, got);
    json_object_set_new(t->spec, "clusterIP", json_string(got));
    json_object_set_new(t->spec, "clusterIPs", json_pack("[s]", got));
    return 0;
}

/* --- ports --- */

static bool old_has_port(const struct taking *t, int port)
{
    size_t i;
    json_t *p;

    if (!t->old)
        return false;
    if (json_int_or(t->old, "spec.healthCheckNodePort", 0) == port)
        return true;
    json_array_foreach(json_at(t->old, "spec.ports"), i, p)
        if (json_int_or(p, "nodePort", 0) == port)
            return true;
    return false;
}

static bool took_port(const struct taking *t, int port)
{
    for (size_t i = 0; i < t->n_ports; i++)
        if (t->ports[i] == port)
            return true;
    return false;
}

/* want 0: any. What the service has already is not taken twice. */
static int take_port(struct taking *t, int want, int *ret, struct err *err)
{
    *ret = want;
    if (want && (old_has_port(t, want) || took_port(t, want)))
        return 0;
    if (kind_env_take_port(t->env, want, ret, err) < 0)
        return -(int)err->code;
    t->ports[t->n_ports++] = *ret;
    return 0;
}

/* The number asked for or given to another port entry with the same number (TCP and UDP of one port share theirs). */
static int twin_port(const json_t *ports, const json_t *port)
{
    size_t i;
    json_t *p;

    json_array_foreach(ports, i, p)
        if (p != port && json_int_or(p, "port", 0) == json_int_or(port, "port", 0) &&
            strcmp(json_str_or(p, "protocol", ""), json_str_or(port, "protocol", "")) != 0 && json_int_or(p, "nodePort", 0))
            return (int)json_int_or(p, "nodePort", 0);
    return 0;
}

static int take_ports(struct taking *t, struct err *err)
{
    const json_t *ports = json_object_get(t->spec, "ports");
    bool any = !is_text(t->spec, "type", "LoadBalancer") || json_bool_or(t->spec, "allocateLoadBalancerNodePorts", true);
    struct err cause;
    size_t i;
    json_t *port;

    json_array_foreach(ports, i, port)
    {
        int want = (int)json_int_or(port, "nodePort", 0), got = 0;

        if (!want && !any)
            continue;
        if (!want && !t->old)
            want = twin_port(ports, port);
        if (take_port(t, want, &got, &cause) < 0) {
            if (cause.code != ERR_INVALID)
                return err_set(err, ERR_IO, "failed to allocate a nodePort: %s", cause.msg);
            field_error(&t->errs, FIELD_INVALID, json_object_get(port, "nodePort"), cause.msg, "spec.ports[%zu].nodePort", i);
            return refuse(t, err);
        }
        json_object_set_new(port, "nodePort", json_integer(got));
    }
    return 0;
}

static int take_health_port(struct taking *t, struct err *err)
{
    int want = (int)json_int_or(t->spec, "healthCheckNodePort", 0), got = 0;

    if (take_port(t, want, &got, err) < 0)
        return want ? err_wrap(err, "failed to allocate requested HealthCheck NodePort %d", want)
                    : err_wrap(err, "failed to allocate a HealthCheck NodePort");
    json_object_set_new(t->spec, "healthCheckNodePort", json_integer(got));
    return 0;
}

int service_begin(struct ctx *ctx, struct kind_env *env, json_t *service, const json_t *old, bool dry_run, struct err *err)
{
    struct taking t = {
        .ctx = ctx, .env = env, .service = service, .spec = json_object_get(service, "spec"), .old = old,
        .errs = { .arena = ctx->arena },
    };

    (void)dry_run;
    t.ports = arena_alloc(ctx->arena, (json_array_size(json_object_get(t.spec, "ports")) + 1) * sizeof(*t.ports));
    if (!service_needs_ip(service))
        return 0;
    if (choose_families(&t, err) < 0 || take_ip(&t, err) < 0 || (service_needs_ports(service) && take_ports(&t, err) < 0) ||
        (service_needs_health_port(service) && take_health_port(&t, err) < 0)) {
        give_back(&t);
        return -(int)err->code;
    }
    return 0;
}

/* --- afterwards --- */

static bool has_ip(const json_t *service, const char *ip)
{
    size_t i;
    json_t *v;

    json_array_foreach(json_at(service, "spec.clusterIPs"), i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), ip) == 0)
            return true;
    return false;
}

static bool has_port(const json_t *service, int64_t port)
{
    size_t i;
    json_t *p;

    json_array_foreach(json_at(service, "spec.ports"), i, p)
        if (json_int_or(p, "nodePort", 0) == port)
            return true;
    return json_int_or(service, "spec.healthCheckNodePort", 0) == port;
}

/* Gives what `from` holds and `kept` does not. */
static void give_difference(struct kind_env *env, const json_t *from, const json_t *kept)
{
    int64_t health = json_int_or(from, "spec.healthCheckNodePort", 0);
    size_t i;
    json_t *v;

    json_array_foreach(json_at(from, "spec.clusterIPs"), i, v)
        if (json_is_string(v) && !has_ip(kept, json_string_value(v)))
            kind_env_give_ip(env, json_string_value(v));
    json_array_foreach(json_at(from, "spec.ports"), i, v)
    {
        int64_t port = json_int_or(v, "nodePort", 0);

        if (port && !has_port(kept, port))
            kind_env_give_port(env, (int)port);
    }
    if (health && !has_port(kept, health))
        kind_env_give_port(env, (int)health);
}

void service_end(struct kind_env *env, const json_t *service, const json_t *old, bool stored)
{
    if (stored)
        give_difference(env, old, service);
    else
        give_difference(env, service, old);
}
