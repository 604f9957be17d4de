#include "network_world.h"

#include "agent/network/addresses.h"
#include "agent/network/network_int.h"
#include "test.h"

#include <net/if.h>
#include <sys/stat.h>

static int n_links(void)
{
    struct if_nameindex *all = if_nameindex();
    int n = 0;

    CHECK(all);
    while (all[n].if_index)
        n++;
    if_freenameindex(all);
    return n;
}

TEST(network_cidr_reads_ranges)
{
    struct { const char *text; uint32_t ip; int prefix; } good[] = {
        { "10.42.0.0/24", 0x0a2a0000, 24 }, { "10.42.0.77/24", 0x0a2a0000, 24 }, { "0.0.0.0/0", 0, 0 }, { "1.2.3.4/32", 0x01020304, 32 },
    };
    const char *bad[] = { "", "10.42.0.0", "10.42.0.0/", "10.42.0.0/33", "10.42.0.0/-1", "10.42.0/24", "fd00::/64", "10.42.0.0/24x",
                          "10.42.0.0000000000000/24" };
    struct err err = { 0 };
    struct cidr c;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CHECK_INT(cidr_read(good[i].text, &c, &err), 0);
        CHECK_INT(c.ip, good[i].ip);
        CHECK_INT(c.prefix, good[i].prefix);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_INT(cidr_read(bad[i], &c, &err), -ERR_BAD_REQUEST);
    CHECK_INT(cidr_read(NULL, &c, &err), -ERR_BAD_REQUEST);
}

/* --- addresses --- */

struct book {
    char dir[64];
    struct addresses *a;
};

static void book_open(struct book *b, int prefix)
{
    struct err err = { 0 };

    addresses_free(b->a);
    b->a = NULL;
    CHECK_INT(addresses_open(b->dir, (struct cidr){ 0x0a2a0000, prefix }, &b->a, &err), 0);
}

static void book_close(struct book *b)
{
    char command[128];

    addresses_free(b->a);
    snprintf(command, sizeof(command), "rm -rf %s", b->dir);
    CHECK_INT(system(command), 0);
}

static uint32_t give(struct book *b, const char *uid)
{
    const struct address *a = NULL;
    struct err err = { 0 };

    if (addresses_give(b->a, uid, NULL, 0, &a, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 0;
    }
    return a->ip & 0xff;
}

TEST(network_addresses_are_used_again_late_and_survive)
{
    struct book b = { .dir = "/tmp/test_addresses.XXXXXX" };
    const struct address *a = NULL;
    struct err err = { 0 };

    CHECK(mkdtemp(b.dir));
    book_open(&b, 29); /* 8 addresses: 2 to 6 are pods' */
    CHECK_INT(give(&b, "a"), 2);
    CHECK_INT(give(&b, "b"), 3);
    CHECK_INT(addresses_drop(b.a, "a", &err), 0);
    CHECK_INT(give(&b, "c"), 4);
    book_open(&b, 29);
    CHECK_INT(give(&b, "d"), 5);
    CHECK_INT(give(&b, "e"), 6);
    CHECK_INT(give(&b, "f"), 2);
    CHECK_INT(addresses_give(b.a, "g", NULL, 0, &a, &err), -ERR_UNAVAILABLE);
    CHECK_INT(addresses_drop(b.a, "d", &err), 0);
    CHECK_INT(addresses_drop(b.a, "nobody", &err), 0);
    CHECK_INT(give(&b, "g"), 5);
    CHECK_INT(addresses_find(b.a, "c")->ip & 0xff, 4);
    CHECK_INT(addresses_count(b.a), 5);
    book_close(&b);
}

TEST(network_addresses_ignore_broken_files_and_refuse_newer_ones)
{
    struct book b = { .dir = "/tmp/test_addresses.XXXXXX" };
    struct err err = { 0 };
    char command[400];

    CHECK(mkdtemp(b.dir));
    snprintf(command, sizeof(command),
             "cd %s && : >10.42.0.2 && echo '{\"format\":1,\"uid\":5}' >10.42.0.3 && echo '[' >10.42.0.4 && echo x >..tmp && "
             "echo '{\"format\":1,\"uid\":\"k\",\"hostPorts\":[]}' >10.42.0.5 && cp 10.42.0.5 10.42.1.5 && cp 10.42.0.5 10.42.0.6 && "
             "echo '{\"format\":1,\"uid\":\"p\",\"hostPorts\":[{\"protocol\":\"TCP\",\"hostPort\":0}]}' >10.42.0.8", b.dir);
    CHECK_INT(system(command), 0);
    book_open(&b, 24);
    CHECK_INT(addresses_count(b.a), 1);
    CHECK(addresses_find(b.a, "k"));
    addresses_free(b.a);
    b.a = NULL;
    snprintf(command, sizeof(command), "echo '{\"format\":2,\"uid\":\"n\"}' >%s/10.42.0.9", b.dir);
    CHECK_INT(system(command), 0);
    CHECK_INT(addresses_open(b.dir, (struct cidr){ 0x0a2a0000, 24 }, &b.a, &err), -ERR_UNAVAILABLE);
    book_close(&b);
}

/* --- in the kernel --- */

TEST(network_pods_reach_gateway_each_other_and_the_world)
{
    struct world w;
    char said[WORLD_TEXT_BYTES];

    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t p1 = world_namespace(&w), p2 = world_namespace(&w);
    AUTO_FREE char *ip1 = world_attach(&w, "uid-1", p1, NULL, 0);
    AUTO_FREE char *ip2 = world_attach(&w, "uid-2", p2, NULL, 0);
    AUTO_FREE char *again = world_attach(&w, "uid-1", p1, NULL, 0);

    CHECK_STR(ip1, "10.42.0.2");
    CHECK_STR(ip2, "10.42.0.3");
    CHECK_STR(again, ip1);
    world_serve(&w, p2, false, 80, "two");
    world_serve(&w, p1, false, 80, "one");
    world_serve(&w, 0, false, 81, "node");
    world_serve(&w, w.outside, false, 82, "world");
    CHECK_STR(world_call(p1, false, ip2, 80, said), "two 10.42.0.2");
    CHECK_STR(world_call(p1, false, "127.0.0.1", 80, said), "one 127.0.0.1");
    CHECK_STR(world_call(0, false, ip2, 80, said), "two 10.42.0.1");
    CHECK_STR(world_call(p1, false, "10.42.0.1", 81, said), "node 10.42.0.2");
    CHECK_STR(world_call(p1, false, "192.0.2.1", 81, said), "node 10.42.0.2");
    CHECK_STR(world_call(p1, false, "192.0.2.2", 82, said), "world 192.0.2.1");
    world_clear(&w);
}

TEST(network_attach_follows_a_new_sandbox_and_detach_leaves_nothing)
{
    struct world w;
    struct ctx ctx = ctx_background(NULL);
    struct err err = { 0 };
    char said[WORLD_TEXT_BYTES], *none = NULL;

    if (!world_init(&w))
        return;
    world_open(&w);
    int before = n_links();
    pid_t first = world_namespace(&w);
    AUTO_FREE char *ip1 = world_attach(&w, "uid-1", first, NULL, 0);
    pid_t second = world_namespace(&w); /* the first still lives: its end must go, too */
    AUTO_FREE char *ip2 = world_attach(&w, "uid-1", second, NULL, 0);

    CHECK_STR(ip1, ip2);
    CHECK_INT(n_links(), before + 1);
    world_serve(&w, second, false, 80, "second");
    CHECK_STR(world_call(0, false, ip2, 80, said), "second 10.42.0.1");
    network_close(w.net); /* a restart of the agent */
    world_open(&w);
    CHECK_STR(world_call(0, false, ip2, 80, said), "second 10.42.0.1");
    AUTO_FREE char *ip3 = world_attach(&w, "uid-1", second, NULL, 0);
    CHECK_STR(ip3, ip1);
    CHECK_INT(network_attach(&ctx, w.net, "uid-9", getpid(), NULL, 0, &none, &err), -ERR_BAD_REQUEST);
    CHECK_INT(network_detach(&ctx, w.net, "uid-1", &err), 0);
    CHECK_INT(network_detach(&ctx, w.net, "uid-1", &err), 0);
    CHECK_INT(network_retain(&ctx, w.net, NULL, 0, &err), 0);
    CHECK_INT(n_links(), before);
    CHECK_INT(addresses_count(w.net->addresses), 0);
    CHECK_INT(network_purge("0a1b2c3d", &err), 0);
    CHECK_INT(network_purge("0a1b2c3d", &err), 0);
    CHECK_INT(n_links(), before - 1 - (w.net->vxlan_index != 0));
    world_clear(&w);
}

TEST(network_host_ports)
{
    struct world w;
    struct ctx ctx = ctx_background(NULL);
    struct err err = { 0 };
    char said[WORLD_TEXT_BYTES], *none = NULL;
    const struct network_host_port ports[] = {
        { "TCP", NULL, 8080, 80 }, { "UDP", "", 8080, 81 }, { "TCP", "192.0.2.1", 8081, 80 },
    };
    const struct network_host_port same = { "TCP", "10.1.1.1", 8080, 80 };

    if (!world_init(&w))
        return;
    world_open(&w);
    pid_t p1 = world_namespace(&w), p2 = world_namespace(&w);
    AUTO_FREE char *ip1 = world_attach(&w, "uid-1", p1, ports, ARRAY_LEN(ports));
    AUTO_FREE char *ip2 = world_attach(&w, "uid-2", p2, NULL, 0);

    world_serve(&w, p1, false, 80, "pod");
    world_serve(&w, p1, true, 81, "udp");
    for (int restarted = 0; restarted < 2; restarted++) {
        CHECK_STR(world_call(w.outside, false, "192.0.2.1", 8080, said), "pod 192.0.2.2");
        CHECK_STR(world_call(w.outside, true, "192.0.2.1", 8080, said), "udp 192.0.2.2");
        CHECK_STR(world_call(w.outside, false, "192.0.2.1", 8081, said), "pod 192.0.2.2");
        CHECK_STR(world_call(0, false, "127.0.0.1", 8080, said), "pod 10.42.0.1");
        CHECK_STR(world_call(0, false, "127.0.0.1", 8081, said), "refused");
        CHECK_STR(world_call(p2, false, "192.0.2.1", 8080, said), "pod 10.42.0.3");
        CHECK_STR(world_call(p1, false, "192.0.2.1", 8080, said), "pod 10.42.0.1");
        CHECK_INT(network_attach(&ctx, w.net, "uid-3", p2, &same, 1, &none, &err), -ERR_CONFLICT);
        network_close(w.net);
        world_open(&w);
        /* The second round without bridge netfilter, where the kernel has it. */
        CHECK(system("[ ! -e /proc/sys/net/bridge ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables") == 0);
    }
    CHECK_INT(network_detach(&ctx, w.net, "uid-1", &err), 0);
    CHECK_STR(world_call(w.outside, false, "192.0.2.1", 8080, said), "refused");
    world_clear(&w);
}
