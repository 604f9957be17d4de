#include "network_world.h"

#include "agent/network/network_int.h"
#include "test.h"

#define ENDPOINTS(...) .endpoints = (const struct network_endpoint[]){ __VA_ARGS__ }, \
    .n_endpoints = sizeof((const struct network_endpoint[]){ __VA_ARGS__ }) / sizeof(struct network_endpoint)
#define LOCAL(...) .local_endpoints = (const struct network_endpoint[]){ __VA_ARGS__ }, \
    .n_local_endpoints = sizeof((const struct network_endpoint[]){ __VA_ARGS__ }) / sizeof(struct network_endpoint)

static void set(struct world *w, const struct network_service_port *ports, size_t n)
{
    struct err err = { 0 };

    if (network_services_set(w->net, ports, n, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static void del(struct world *w, const char *key)
{
    struct err err = { 0 };

    if (network_services_del(w->net, &key, 1, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

/* A pod "tag" that answers on TCP and UDP 80 with its tag. */
static pid_t add_pod(struct world *w, const char *tag)
{
    pid_t pid = world_namespace(w);

    free(world_attach(w, tag, pid, NULL, 0));
    world_serve(w, pid, false, 80, tag);
    world_serve(w, pid, true, 80, tag);
    return pid;
}

/* Which of "a" and "b" answered, over some calls: 1, 2 or both. */
static int who_answers(pid_t from, bool udp, const char *ip, int port)
{
    char said[WORLD_TEXT_BYTES];
    int seen = 0;

    for (int i = 0; i < 24; i++) {
        world_call(from, udp, ip, port, said);
        CHECK(strncmp(said, "a ", 2) == 0 || strncmp(said, "b ", 2) == 0);
        seen |= said[0] == 'a' ? 1 : 2;
    }
    return seen;
}

TEST(network_service_spreads_and_follows_endpoints)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];
    struct network_service_port s = { .key = "default/web:http", .protocol = "TCP", .cluster_ip = "10.43.0.7", .port = 8080, .node_port = 30080,
                                      ENDPOINTS({ "10.42.0.2", 80 }, { "10.42.0.3", 80 }) };
    struct network_service_port none = s, one = s, moved = s;

    none.n_endpoints = 0;
    one.n_endpoints = 1;
    moved.cluster_ip = "10.43.0.8";
    moved.node_port = 0;
    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t a = add_pod(&w, "a"), client;
    add_pod(&w, "b");
    client = world_namespace(&w);
    free(world_attach(&w, "client", client, NULL, 0));

    set(&w, &s, 1);
    CHECK_INT(who_answers(client, false, "10.43.0.7", 8080), 3);
    CHECK_INT(who_answers(0, false, "10.43.0.7", 8080), 3);
    CHECK_INT(who_answers(0, false, "127.0.0.1", 30080), 3);
    CHECK_INT(who_answers(w.outside, false, "192.0.2.1", 30080), 3);
    CHECK_INT(who_answers(a, false, "10.43.0.7", 8080), 3); /* to itself, too */
    set(&w, &one, 1);
    CHECK_STR(world_call(client, false, "10.43.0.7", 8080, said), "a 10.42.0.4"); /* the source stays */
    CHECK_STR(world_call(a, false, "10.43.0.7", 8080, said), "a 10.42.0.1");
    CHECK_STR(world_call(client, false, "10.43.0.7", 8081, said), "refused");
    set(&w, &none, 1);
    CHECK_STR(world_call(client, false, "10.43.0.7", 8080, said), "refused");
    CHECK_STR(world_call(client, true, "10.43.0.7", 8080, said), "refused");
    CHECK_STR(world_call(0, false, "10.43.0.7", 8080, said), "refused");
    CHECK_STR(world_call(w.outside, false, "192.0.2.1", 30080, said), "refused");
    set(&w, &s, 1);
    CHECK_INT(who_answers(client, false, "10.43.0.7", 8080), 3);
    set(&w, &moved, 1);
    CHECK_STR(world_call(client, false, "10.43.0.7", 8080, said), "refused");
    CHECK_STR(world_call(w.outside, false, "192.0.2.1", 30080, said), "refused");
    CHECK_INT(who_answers(client, false, "10.43.0.8", 8080), 3);
    del(&w, s.key);
    del(&w, s.key);
    CHECK_STR(world_call(client, false, "10.43.0.8", 8080, said), "refused");
    world_clear(&w);
}

TEST(network_service_of_the_host_and_restart)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];
    const struct network_service_port both[] = {
        { .key = "default/kubernetes:https", .protocol = "TCP", .cluster_ip = "10.43.0.1", .port = 443, ENDPOINTS({ "192.0.2.1", 6443 }) },
        { .key = "default/out:x", .protocol = "TCP", .cluster_ip = "10.43.0.2", .port = 80, .node_port = 30081, ENDPOINTS({ "192.0.2.2", 82 }) },
    };

    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t a = add_pod(&w, "a");
    world_serve(&w, 0, false, 6443, "api");
    world_serve(&w, w.outside, false, 82, "world");
    set(&w, both, 2);
    for (int round = 0; round < 3; round++) {
        CHECK_STR(world_call(a, false, "10.43.0.1", 443, said), "api 10.42.0.2");
        CHECK_STR(world_call(0, false, "10.43.0.1", 443, said), "api 10.42.0.1");
        if (round < 2) { /* what was set stays without an agent, until it is told anew */
            CHECK_STR(world_call(a, false, "10.43.0.2", 80, said), "world 192.0.2.1");
            CHECK_STR(world_call(w.outside, false, "192.0.2.1", 30081, said), "world 192.0.2.1");
        } else
            CHECK_STR(world_call(a, false, "10.43.0.2", 80, said), "refused");
        if (round == 0) {
            network_close(w.net);
            world_open(&w);
        } else if (round == 1)
            set(&w, both, 1);
    }
    world_clear(&w);
}

TEST(network_service_affinity)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];
    struct network_service_port s = { .key = "default/sticky:", .protocol = "TCP", .cluster_ip = "10.43.0.7", .port = 80, .affinity = true,
                                      .affinity_s = 2, ENDPOINTS({ "10.42.0.2", 80 }, { "10.42.0.3", 80 }) };
    struct network_service_port less = s;
    int first;

    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t client = world_namespace(&w);
    add_pod(&w, "a");
    add_pod(&w, "b");
    free(world_attach(&w, "client", client, NULL, 0));
    set(&w, &s, 1);
    first = who_answers(client, false, "10.43.0.7", 80);
    CHECK(first == 1 || first == 2);
    less.endpoints = first == 1 ? &s.endpoints[1] : &s.endpoints[0];
    less.n_endpoints = 1;
    set(&w, &less, 1); /* its endpoint goes away */
    CHECK_INT(who_answers(client, false, "10.43.0.7", 80), 3 - first);
    set(&w, &s, 1); /* and comes back: the client stays where it is now */
    CHECK_INT(who_answers(client, false, "10.43.0.7", 80), 3 - first);
    s.affinity = false;
    set(&w, &s, 1);
    CHECK_INT(who_answers(client, false, "10.43.0.7", 80), 3);
    del(&w, s.key);
    CHECK_STR(world_call(client, false, "10.43.0.7", 80, said), "refused");
    world_clear(&w);
}

TEST(network_service_local_traffic_policy)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];
    struct network_service_port s = { .key = "default/local:", .protocol = "TCP", .cluster_ip = "10.43.0.7", .port = 80, .node_port = 30080,
                                      .local_only = true, ENDPOINTS({ "192.0.2.2", 82 }), LOCAL({ "10.42.0.2", 80 }) };

    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t a = add_pod(&w, "a");
    world_serve(&w, w.outside, false, 82, "world");
    set(&w, &s, 1);
    CHECK_STR(world_call(w.outside, false, "192.0.2.1", 30080, said), "a 192.0.2.2");
    CHECK_STR(world_call(a, false, "10.43.0.7", 80, said), "world 192.0.2.1");
    s.n_local_endpoints = 0;
    set(&w, &s, 1);
    CHECK_STR(world_call(w.outside, false, "192.0.2.1", 30080, said), "refused");
    world_clear(&w);
}

/* One socket sends on and on, so that conntrack never forgets by itself. */
static void udp_keeps_following(struct world *w)
{
    char said[WORLD_TEXT_BYTES];
    struct network_service_port s = { .key = "default/udp:", .protocol = "UDP", .cluster_ip = "10.43.0.7", .port = 80,
                                      ENDPOINTS({ "10.42.0.2", 80 }, { "10.42.0.3", 80 }) };
    const struct network_endpoint *both = s.endpoints;

    s.n_endpoints = 1;
    set(w, &s, 1);
    CHECK_STR(world_call_from(0, 5555, "10.43.0.7", 80, said), "a 10.42.0.1");
    s.endpoints = both + 1;
    set(w, &s, 1);
    CHECK_STR(world_call_from(0, 5555, "10.43.0.7", 80, said), "b 10.42.0.1");
}

TEST(network_service_udp_follows_endpoints)
{
    struct world w;

    if (!world_init(&w))
        return;
    world_open(&w);
    add_pod(&w, "a");
    add_pod(&w, "b");
    udp_keeps_following(&w);
    world_clear(&w);
}

TEST(network_service_refuses_nonsense_and_carries_many)
{
    enum { N = 2000, ENDS = 700 };
    struct world w;
    char said[WORLD_TEXT_BYTES], (*keys)[32] = mem_alloc(N * sizeof(*keys)), (*ips)[16] = mem_alloc(N * sizeof(*ips)),
                                 (*ends)[16] = mem_alloc(ENDS * sizeof(*ends));
    struct network_service_port *many = mem_zalloc(N * sizeof(*many));
    struct network_endpoint end = { "10.42.0.2", 80 }, *all = mem_zalloc(ENDS * sizeof(*all));
    const struct network_service_port bad[] = {
        { .key = "a", .protocol = "ICMP", .cluster_ip = "10.43.0.9", .port = 1 },
        { .key = "a", .protocol = "TCP", .cluster_ip = "fd00::1", .port = 1 },
        { .key = "a", .protocol = "TCP", .cluster_ip = "10.43.0.9", .port = 65536 },
        { .key = "a", .protocol = "TCP", .cluster_ip = "10.43.0.9", .port = 1, ENDPOINTS({ "x", 80 }) },
        { .key = "a", .protocol = "TCP", .cluster_ip = "10.43.0.9", .port = 1, ENDPOINTS({ "10.42.0.2", 0 }) },
    };
    struct err err = { 0 };

    if (world_init(&w)) {
        world_open(&w);
        add_pod(&w, "a");
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
            CHECK_INT(network_services_set(w.net, &bad[i], 1, &err), -ERR_BAD_REQUEST);
        for (int i = 0; i < N; i++) {
            snprintf(keys[i], sizeof(keys[i]), "ns/s%d:p", i);
            snprintf(ips[i], sizeof(ips[i]), "10.43.%d.%d", 1 + i / 256, i % 256);
            many[i] = (struct network_service_port){ .key = keys[i], .protocol = "TCP", .cluster_ip = ips[i], .port = 80, .endpoints = &end,
                                                     .n_endpoints = 1 };
        }
        for (int i = 0; i < ENDS; i++) {
            snprintf(ends[i], sizeof(ends[i]), "10.42.%d.%d", 1 + i / 256, i % 256);
            all[i] = (struct network_endpoint){ ends[i], 80 };
        }
        many[N - 1].endpoints = all;
        many[N - 1].n_endpoints = ENDS;
        set(&w, many, N);
        set(&w, many, N);
        CHECK_STR(world_call(0, false, ips[N - 2], 80, said), "a 10.42.0.1");
        /* Two ports on one address: the second is refused whole, the first stays. */
        many[0].key = "ns/other:p";
        many[0].endpoints = all;
        CHECK(network_services_set(w.net, many, 1, &err) < 0);
        CHECK_STR(world_call(0, false, ips[0], 80, said), "a 10.42.0.1");
        world_clear(&w);
    }
    free(keys);
    free(ips);
    free(ends);
    free(many);
    free(all);
}

TEST(network_two_nodes)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];
    struct err err = { 0 };

    if (!world_init(&w))
        return;
    world_open(&w);
    if (!*network_vtep_mac(w.net)) {
        printf("# skip: this kernel has no VXLAN\n");
        world_clear(&w);
        return;
    }
    pid_t here = add_pod(&w, "here"), there = world_namespace(&w);
    AUTO_FREE char *ip = world_second_node(&w, there);
    const struct network_endpoint end = { ip, 80 };
    const struct network_service_port s = { .key = "ns/far:", .protocol = "TCP", .cluster_ip = "10.43.0.7", .port = 80, .node_port = 30080,
                                            .endpoints = &end, .n_endpoints = 1 };

    CHECK_STR(ip, "10.42.1.2");
    world_serve(&w, there, false, 80, "there");
    CHECK_STR(world_call(here, false, ip, 80, said), "there 10.42.0.2");
    CHECK_STR(world_call(there, false, "10.42.0.2", 80, said), "here 10.42.1.2");
    CHECK_STR(world_call(0, false, ip, 80, said), "there 10.42.0.0");
    CHECK_STR(world_call(w.outside, false, "10.42.0.2", 80, said), "here 10.42.1.0");
    set(&w, &s, 1);
    CHECK_STR(world_call(here, false, "10.43.0.7", 80, said), "there 10.42.0.2");
    CHECK_STR(world_call(0, false, "10.43.0.7", 80, said), "there 10.42.0.1");
    CHECK_STR(world_call(0, false, "127.0.0.1", 30080, said), "there 10.42.0.0");
    CHECK_INT(network_node_set(w.net, "me", "10.42.0.0/24", "192.0.2.2", "02:00:00:00:00:01", &err), -ERR_CONFLICT);
    CHECK_INT(network_node_set(w.net, "x", "10.42.9.0/24", "192.0.2.2", "02:00:00:00:00", &err), -ERR_BAD_REQUEST);
    CHECK_INT(network_node_set(w.net, "x", "10.42.9.0/24", "192.0.2.2", "02:00:00:00:00:01:02", &err), -ERR_BAD_REQUEST);
    CHECK_INT(network_node_del(w.net, "two", &err), 0);
    CHECK_INT(network_node_del(w.net, "two", &err), 0);
    CHECK(strncmp(world_call(here, false, ip, 80, said), "there", 5) != 0);
    world_clear(&w);
}
