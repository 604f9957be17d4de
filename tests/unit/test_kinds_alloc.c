/* Cluster IPs and node ports: taking, giving back, and services around the store. */
#include "tests/unit/test.h"

#include "lib/k8s/meta.h"
#include "server/schema/kind.h"
#include "server/schema/kind_env.h"
#include "tests/unit/kinds_fixture.h"

static struct kind_env *env_of(const char *cidr)
{
    struct kind_env_options o = { NULL, cidr, 30000, 30009 };
    struct kind_env *env = NULL;
    struct err err;

    CHECK(kind_env_new(&o, &env, &err) == 0);
    return env;
}

TEST(kinds_addresses_are_taken_once)
{
    struct kind_env *env = env_of("10.43.0.0/28");
    char ip[46], seen[14][46];
    struct err err;

    for (int i = 0; i < 14; i++) {
        CHECK(kind_env_take_ip(env, NULL, seen[i], &err) == 0);
        CHECK(strncmp(seen[i], "10.43.0.", 8) == 0);
        CHECK(strcmp(seen[i], "10.43.0.0") != 0 && strcmp(seen[i], "10.43.0.15") != 0);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(seen[i], seen[j]) != 0);
    }
    CHECK(kind_env_take_ip(env, NULL, ip, &err) == -ERR_IO);
    CHECK_STR(err.msg, "range is full");
    kind_env_give_ip(env, "10.43.0.7");
    CHECK(kind_env_take_ip(env, NULL, ip, &err) == 0);
    CHECK_STR(ip, "10.43.0.7");
    CHECK(kind_env_take_ip(env, "10.43.0.7", ip, &err) == -ERR_INVALID);
    CHECK_STR(err.msg, "provided IP is already allocated");
    CHECK(kind_env_take_ip(env, "10.44.0.7", ip, &err) == -ERR_INVALID);
    CHECK_STR(err.msg, "the provided IP (10.44.0.7) is not in the valid range. The range of valid IPs is 10.43.0.0/28");
    kind_env_give_ip(env, "None");
    kind_env_free(env);
}

TEST(kinds_addresses_of_version_6)
{
    struct kind_env *env = env_of("fd00:43::/112");
    char ip[46];
    struct err err;

    CHECK(kind_env_is_ipv6(env));
    CHECK(kind_env_take_ip(env, "fd00:43::1", ip, &err) == 0);
    CHECK(kind_env_take_ip(env, "fd00:43::", ip, &err) < 0);
    CHECK(kind_env_take_ip(env, "fd00:44::1", ip, &err) < 0);
    CHECK(kind_env_take_ip(env, NULL, ip, &err) == 0);
    CHECK(strncmp(ip, "fd00:43::", 9) == 0);
    kind_env_free(env);
}

TEST(kinds_bad_ranges_are_refused)
{
    static const char *const bad[] = { "", "10.43.0.0", "10.43.0.0/33", "10.43.0.0/x", "x/16", "10.43.0.0/31", "fd00::/129" };
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kind_env_options o = { NULL, bad[i], 30000, 32767 };
        struct kind_env *env = NULL;

        CHECK(kind_env_new(&o, &env, &err) < 0);
        CHECK(env == NULL);
    }
}

TEST(kinds_ports_are_taken_once)
{
    struct kind_env *env = env_of("10.43.0.0/16");
    int port = 0;
    struct err err;

    CHECK(kind_env_take_port(env, 30003, &port, &err) == 0);
    CHECK_INT(port, 30003);
    CHECK(kind_env_take_port(env, 30003, &port, &err) < 0);
    CHECK_STR(err.msg, "provided port is already allocated");
    CHECK(kind_env_take_port(env, 80, &port, &err) < 0);
    CHECK_STR(err.msg, "provided port is not in the valid range. The range of valid ports is 30000-30009");
    for (int i = 0; i < 9; i++)
        CHECK(kind_env_take_port(env, 0, &port, &err) == 0 && port != 30003);
    CHECK(kind_env_take_port(env, 0, &port, &err) < 0);
    kind_env_give_port(env, 30003);
    CHECK(kind_env_take_port(env, 0, &port, &err) == 0);
    CHECK_INT(port, 30003);
    kind_env_free(env);
}

static json_t *service_of(struct kinds *f, const char *spec)
{
    return kinds_new(f, "", "Service", arena_printf(f->arena, "{kind: Service, apiVersion: v1, metadata: {name: s}, spec: %s}", spec));
}

static const char *ip_of(const json_t *s)
{
    return json_str_or(s, "spec.clusterIP", "");
}

static int64_t port_of(const json_t *s, size_t i)
{
    return json_int_or(json_array_get(json_at(s, "spec.ports"), i), "nodePort", 0);
}

/* Whether the number is free: takes it and gives it back. */
static bool port_free(struct kind_env *env, int64_t port)
{
    int got = 0;
    struct err err;

    if (kind_env_take_port(env, (int)port, &got, &err) < 0)
        return false;
    kind_env_give_port(env, got);
    return true;
}

static bool ip_free(struct kind_env *env, const char *ip)
{
    char got[46];
    struct err err;

    if (kind_env_take_ip(env, ip, got, &err) < 0)
        return false;
    kind_env_give_ip(env, got);
    return true;
}

TEST(kinds_service_life)
{
    struct kinds f = kinds_open();
    struct kind_env *env = env_of("10.43.0.0/16");
    const struct kind_ops *ops = kind_ops("", "Service");
    json_t *s = service_of(&f, "{type: NodePort, selector: {a: b}, ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}");
    struct err err;

    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == 0);
    ops->end(env, s, NULL, true);
    CHECK(*ip_of(s) && !ip_free(env, ip_of(s)));
    CHECK_STR(json_string_value(json_array_get(json_at(s, "spec.clusterIPs"), 0)), ip_of(s));
    CHECK_STR(json_str_or(s, "spec.ipFamilyPolicy", ""), "SingleStack");
    CHECK_STR(json_string_value(json_array_get(json_at(s, "spec.ipFamilies"), 0)), "IPv4");
    CHECK(port_of(s, 0) >= 30000 && port_of(s, 0) == port_of(s, 1));
    CHECK_STR(kinds_errors(&f, s, NULL), "");

    /* sent again without what was allocated: the same */
    json_t *again = service_of(&f, "{type: NodePort, selector: {a: b}, ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}");
    ops->prepare_update(&f.ctx, again, s);
    CHECK_STR(kinds_errors(&f, again, s), "");
    CHECK(ops->begin(&f.ctx, env, again, s, false, &err) == 0);
    ops->end(env, again, s, true);
    CHECK_STR(ip_of(again), ip_of(s));
    CHECK_INT(port_of(again, 0), port_of(s, 0));

    /* a plain one: the ports go */
    json_t *plain = service_of(&f, "{type: ClusterIP, selector: {a: b}, ports: [{name: a, port: 53}]}");
    ops->prepare_update(&f.ctx, plain, s);
    CHECK_STR(kinds_errors(&f, plain, s), "");
    CHECK(ops->begin(&f.ctx, env, plain, s, false, &err) == 0);
    CHECK(!port_free(env, port_of(s, 0)));
    ops->end(env, plain, s, true);
    CHECK(port_free(env, port_of(s, 0)));
    CHECK(!ip_free(env, ip_of(plain)));

    /* gone */
    ops->end(env, NULL, plain, true);
    CHECK(ip_free(env, ip_of(plain)));
    kind_env_free(env);
    kinds_close(&f);
}

TEST(kinds_service_that_fails_gives_back)
{
    struct kinds f = kinds_open();
    struct kind_env *env = env_of("10.43.0.0/16");
    const struct kind_ops *ops = kind_ops("", "Service");
    json_t *s = service_of(&f, "{type: NodePort, clusterIP: 10.43.7.7, ports: [{port: 80, nodePort: 30001}]}"), *other = NULL;
    struct err err;

    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == 0);
    ops->end(env, s, NULL, true);
    other = service_of(&f, "{type: NodePort, clusterIP: 10.43.7.8, ports: [{port: 80, nodePort: 30001}]}");
    CHECK(ops->begin(&f.ctx, env, other, NULL, false, &err) == -ERR_INVALID);
    CHECK_STR(err.msg, "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated");
    CHECK(ip_free(env, "10.43.7.8"));
    CHECK(!port_free(env, 30001));
    other = service_of(&f, "{clusterIP: 10.43.7.7, ports: [{port: 80}]}");
    CHECK(ops->begin(&f.ctx, env, other, NULL, false, &err) == -ERR_INVALID);
    CHECK_STR(err.msg, "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.43.7.7\"]: failed to allocate IP 10.43.7.7: provided IP is already allocated");
    CHECK(!ip_free(env, "10.43.7.7"));
    /* not stored, as a dry run: all is given back */
    other = service_of(&f, "{type: NodePort, ports: [{port: 80}]}");
    CHECK(ops->begin(&f.ctx, env, other, NULL, true, &err) == 0);
    ops->end(env, other, NULL, false);
    CHECK(ip_free(env, ip_of(other)) && port_free(env, port_of(other, 0)));
    kind_env_free(env);
    kinds_close(&f);
}

TEST(kinds_headless_and_external_services_take_nothing)
{
    struct kinds f = kinds_open();
    struct kind_env *env = env_of("10.43.0.0/16");
    const struct kind_ops *ops = kind_ops("", "Service");
    json_t *s = service_of(&f, "{clusterIP: None, selector: {a: b}}");
    struct err err;

    CHECK_STR(kinds_errors(&f, s, NULL), "");
    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == 0);
    CHECK_STR(json_string_value(json_array_get(json_at(s, "spec.clusterIPs"), 0)), "None");
    s = service_of(&f, "{clusterIP: None}");
    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == 0);
    CHECK_STR(json_str_or(s, "spec.ipFamilyPolicy", ""), "RequireDualStack");
    CHECK_INT(json_array_size(json_at(s, "spec.ipFamilies")), 2);
    s = service_of(&f, "{type: ExternalName, externalName: a.example.com}");
    CHECK_STR(kinds_errors(&f, s, NULL), "");
    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == 0);
    CHECK(!json_at(s, "spec.clusterIP") && !json_at(s, "spec.ipFamilies"));
    s = service_of(&f, "{ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}");
    CHECK(ops->begin(&f.ctx, env, s, NULL, false, &err) == -ERR_INVALID);
    CHECK(strstr(err.msg, "this cluster is not configured for dual-stack services"));
    kind_env_free(env);
    kinds_close(&f);
}

TEST(kinds_bad_services_are_refused_in_upstreams_words)
{
    static const struct {
        const char *spec, *want;
    } cases[] = {
        { "{}", "spec.ports: Required value" },
        { "{ports: [{port: 0}]}", "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive" },
        { "{ports: [{port: 80}, {port: 81}]}", "spec.ports[0].name: Required value" },
        { "{ports: [{name: a, port: 80}, {name: a, port: 81}]}", "spec.ports[1].name: Duplicate value: \"a\"" },
        { "{ports: [{port: 80, nodePort: 30000}]}", "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'" },
        { "{type: Odd, ports: [{port: 80}]}", "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"" },
        { "{type: ExternalName}", "spec.externalName: Required value" },
        { "{clusterIP: nonsense, ports: [{port: 80}]}", "spec.clusterIPs[0]: Invalid value: \"nonsense\": must be a valid IP address" },
        { "{type: NodePort, clusterIP: None, ports: [{port: 80}]}", "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services" },
    };
    struct kinds f = kinds_open();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = kinds_errors(&f, service_of(&f, cases[i].spec), NULL);

        if (!strstr(got, cases[i].want))
            fprintf(stderr, "case %zu: got %s\n", i, got);
        CHECK(strstr(got, cases[i].want) != NULL);
    }
    kinds_close(&f);
}
