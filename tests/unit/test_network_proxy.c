#include "agent/network/proxy_int.h"
#include "lib/mem.h"
#include "test.h"

static json_t *tree(const char *text)
{
    struct err err = { 0 };
    json_t *t = NULL;

    if (yaml_read(text, strlen(text), NULL, NULL, &t, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return t;
}

#define SERVICE(spec) "metadata: {namespace: ns, name: web}\nspec: {clusterIP: 10.43.0.7, clusterIPs: [10.43.0.7], ports: [{name: http, port: 80, nodePort: 30080}]" spec "}"

static const char slice_text[] =
    "metadata: {namespace: ns, name: web-1, labels: {kubernetes.io/service-name: web}}\n"
    "addressType: IPv4\n"
    "ports: [{name: http, port: 8080, protocol: TCP}, {name: other, port: 9}]\n"
    "endpoints:\n"
    "- {addresses: [10.42.0.2], nodeName: me, conditions: {ready: true}}\n"
    "- {addresses: [10.42.1.2], nodeName: you}\n"
    "- {addresses: [10.42.1.3], nodeName: you, conditions: {ready: false, serving: true, terminating: true}}\n"
    "- {addresses: [10.42.1.4], nodeName: you, conditions: {ready: false}}\n";

static const char ending_text[] =
    "metadata: {namespace: ns, name: web-2, labels: {kubernetes.io/service-name: web}}\n"
    "addressType: IPv4\n"
    "ports: [{name: http, port: 8080}]\n"
    "endpoints:\n"
    "- {addresses: [10.42.0.5], nodeName: me, conditions: {ready: false, serving: true, terminating: true}}\n"
    "- {addresses: [10.42.0.6], nodeName: me, conditions: {ready: false, serving: false, terminating: true}}\n";

/* The plan as text: key ip port node_port [local_only] endpoints | local endpoints; one line a port. */
static char *plan(const char *service, const char *slices)
{
    AUTO(json) json_t *st = tree(service), *lt = slices ? tree(slices) : NULL;
    AUTO(arena) struct arena *arena = arena_new();
    struct proxy_service *s = proxy_service_read(st);
    struct proxy_slice *l = lt ? proxy_slice_read(lt, "me") : NULL;
    struct network_service_port *ports = NULL;
    size_t n = 0;
    struct buf text = { 0 };

    if (!s) {
        proxy_slice_free(l);
        return strdup("none");
    }
    proxy_plan(arena, "ns/web", s, l, &ports, &n);
    for (size_t i = 0; i < n; i++) {
        struct network_service_port *p = &ports[i];

        buf_printf(&text, "%s%s %s %s %d %d%s%s", i ? "\n" : "", p->key, p->protocol, p->cluster_ip ? p->cluster_ip : "-", p->port, p->node_port,
                   p->affinity ? " sticky" : "", p->local_only ? " local" : "");
        for (size_t k = 0; k < p->n_endpoints; k++)
            buf_printf(&text, " %s:%d", p->endpoints[k].ip, p->endpoints[k].port);
        if (p->local_only)
            buf_str(&text, " |");
        for (size_t k = 0; p->local_only && k < p->n_local_endpoints; k++)
            buf_printf(&text, " %s:%d", p->local_endpoints[k].ip, p->local_endpoints[k].port);
    }
    proxy_slice_free(l);
    proxy_service_free(s);
    return buf_take_str(&text);
}

TEST(network_proxy_plans_services)
{
    struct {
        const char *service, *slices, *want;
    } cases[] = {
        { SERVICE(""), slice_text, "ns/web:http TCP 10.43.0.7 80 30080 10.42.0.2:8080 10.42.1.2:8080" },
        { SERVICE(""), NULL, "ns/web:http TCP 10.43.0.7 80 30080" },
        { SERVICE(""), ending_text, "ns/web:http TCP 10.43.0.7 80 30080 10.42.0.5:8080" },
        { SERVICE(", sessionAffinity: ClientIP"), ending_text, "ns/web:http TCP 10.43.0.7 80 30080 sticky 10.42.0.5:8080" },
        { SERVICE(", externalTrafficPolicy: Local"), slice_text,
          "ns/web:http TCP 10.43.0.7 80 30080 local 10.42.0.2:8080 10.42.1.2:8080 | 10.42.0.2:8080" },
        { SERVICE(", internalTrafficPolicy: Local"), slice_text,
          "ns/web:http TCP 10.43.0.7 80 0 10.42.0.2:8080\nns/web:http@node TCP - 80 30080 10.42.0.2:8080 10.42.1.2:8080" },
        { SERVICE(", externalIPs: [192.0.2.9, 192.0.2.9, 'fd00::1']"), slice_text,
          "ns/web:http TCP 10.43.0.7 80 30080 10.42.0.2:8080 10.42.1.2:8080\nns/web:http@192.0.2.9 TCP 192.0.2.9 80 0 10.42.0.2:8080 10.42.1.2:8080" },
        { SERVICE(", externalTrafficPolicy: Local") "\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.8}, {ip: 192.0.2.7, ipMode: Proxy}]}}", slice_text,
          "ns/web:http TCP 10.43.0.7 80 30080 local 10.42.0.2:8080 10.42.1.2:8080 | 10.42.0.2:8080\n"
          "ns/web:http@192.0.2.8 TCP 192.0.2.8 80 0 10.42.0.2:8080" },
        { SERVICE(", type: ExternalName"), slice_text, "none" },
        { "metadata: {name: a}\nspec: {clusterIP: None, ports: [{port: 80}]}", slice_text, "none" },
        { "metadata: {name: a}\nspec: {clusterIP: 'fd00::1', ports: [{port: 80}]}", slice_text, "none" },
        { "metadata: {name: a, labels: {service.kubernetes.io/service-proxy-name: x}}\nspec: {clusterIP: 10.43.0.1, ports: [{port: 80}]}", NULL, "none" },
        { "metadata: {name: a}\nspec: {clusterIP: 10.43.0.1, ports: [{port: 0}, {port: 70000}, {port: 1, protocol: ICMP}, {port: 53, protocol: UDP}]}", NULL,
          "ns/web: UDP 10.43.0.1 53 0" },
        { "metadata: {}\nspec: {clusterIP: 7, ports: 5}", NULL, "none" },
        { "metadata: {}\nspec: {clusterIP: 10.43.0.1, ports: 5, externalIPs: 7}\nstatus: []", NULL, "" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *got = plan(cases[i].service, cases[i].slices);

        CHECK_STR(got, cases[i].want);
    }
}

TEST(network_proxy_reads_slices)
{
    AUTO(json) json_t *six = tree("metadata: {name: a}\naddressType: IPv6\nendpoints: []");
    AUTO(json) json_t *odd = tree("metadata: {name: a}\naddressType: IPv4\nports: [{name: x}]\nendpoints: [{addresses: []}, {addresses: [x]}, 5]");
    struct proxy_slice *s = proxy_slice_read(odd, "me");

    CHECK(!proxy_slice_read(six, "me"));
    CHECK(s);
    CHECK_INT(s->n_ports, 0);
    CHECK_INT(s->n_endpoints, 0);
    proxy_slice_free(s);
}
