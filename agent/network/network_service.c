/*
 * Services: an element of a verdict map leads to the service's chain; there one random number picks the endpoint from a constant map.
 *
 *   svc-<hash>  [mark what comes from outside the cluster] [the endpoint this client had before] a random endpoint
 *   ext-<hash>  the same for node ports under externalTrafficPolicy Local: endpoints of this node only, the source stays
 *   aff-<hash>  client address -> endpoint, forgotten after the affinity's timeout
 *
 * A port without endpoints has neither element nor chain: what stays addressed to the service range is rejected.
 */
#include "agent/network/network_int.h"

#include "lib/crypto.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { SERVICES_MAX = 50000, CHAIN_BYTES = 120 };

struct service {
    uint8_t protocol;
    uint32_t ip; /* 0: none */
    uint16_t port, node_port;
    bool local_only;
    int affinity_s; /* 0: none */
    struct network_target *all, *local;
    size_t n_all, n_local;
    char chain[CHAIN_BYTES], ext_chain[CHAIN_BYTES], affinity[CHAIN_BYTES], ext_affinity[CHAIN_BYTES];
};

static void service_free(void *p)
{
    struct service *s = p;

    if (!s)
        return;
    free(s->all);
    free(s->local);
    free(s);
}

void network_services_clear(struct network *n)
{
    map_free(n->services);
    n->services = NULL;
}

/* --- reading what the caller said --- */

static int compare_targets(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct network_target));
}

/* Sorted and each once (an endpoint may be in two slices while it moves), so that the same set in another order is no change. */
static int read_targets(const struct network_endpoint *from, size_t n, struct network_target **ret, size_t *ret_n, struct err *err)
{
    struct network_target *t;

    if (n > NETWORK_ENDPOINTS_MAX)
        return err_set(err, ERR_TOO_LARGE, "a service port has at most %d endpoints, not %zu", NETWORK_ENDPOINTS_MAX, n);
    t = n ? mem_zalloc(n * sizeof(*t)) : NULL;
    *ret = t; /* freed with the service, also on failure */
    for (size_t i = 0; i < n; i++) {
        uint32_t ip;

        if (ipv4_read(from[i].ip, &ip, err) < 0)
            return err_wrap(err, "endpoint %zu", i);
        if (from[i].port < 1 || from[i].port > 65535)
            return err_set(err, ERR_BAD_REQUEST, "endpoint %s: a port is 1 to 65535, not %d", from[i].ip, from[i].port);
        t[i].be_ip = htonl(ip);
        t[i].be_port = htons((uint16_t)from[i].port);
    }
    size_t kept = n > 0;

    if (n)
        qsort(t, n, sizeof(*t), compare_targets);
    for (size_t i = 1; i < n; i++)
        if (compare_targets(&t[kept - 1], &t[i]) != 0)
            t[kept++] = t[i];
    *ret_n = kept;
    return 0;
}

static void name_chains(struct service *s, const char *key)
{
    char hash[SHA256_HEX_BYTES];

    sha256_hex(key, strlen(key), hash);
    snprintf(s->chain, CHAIN_BYTES, "svc-%.16s-%.80s", hash, key);
    snprintf(s->ext_chain, CHAIN_BYTES, "ext-%.16s-%.80s", hash, key);
    snprintf(s->affinity, CHAIN_BYTES, "aff-%.16s", hash);
    snprintf(s->ext_affinity, CHAIN_BYTES, "eaf-%.16s", hash);
}

static int service_read(const struct network_service_port *p, struct service **ret, struct err *err)
{
    struct service *s = MEM_NEW(struct service);
    int rc = 0;

    s->protocol = protocol_number(p->protocol && *p->protocol ? p->protocol : "TCP");
    s->port = (uint16_t)p->port;
    s->node_port = (uint16_t)p->node_port;
    s->local_only = p->local_only && p->node_port;
    s->affinity_s = p->affinity ? (p->affinity_s > 0 ? p->affinity_s : 10800) : 0;
    if (!s->protocol)
        rc = err_set(err, ERR_BAD_REQUEST, "protocol \"%s\" is none of TCP, UDP, SCTP", p->protocol);
    else if (p->port < 1 || p->port > 65535 || p->node_port < 0 || p->node_port > 65535)
        rc = err_set(err, ERR_BAD_REQUEST, "port %d, node port %d: a port is 1 to 65535", p->port, p->node_port);
    else if (p->cluster_ip && *p->cluster_ip)
        rc = ipv4_read(p->cluster_ip, &s->ip, err);
    if (rc == 0)
        rc = read_targets(p->endpoints, p->n_endpoints, &s->all, &s->n_all, err);
    if (rc == 0 && s->local_only)
        rc = read_targets(p->local_endpoints, p->n_local_endpoints, &s->local, &s->n_local, err);
    if (rc < 0) {
        service_free(s);
        return err_wrap(err, "service port %s", p->key);
    }
    name_chains(s, p->key);
    *ret = s;
    return 0;
}

static bool same_targets(const struct network_target *a, size_t n_a, const struct network_target *b, size_t n_b)
{
    return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

/* Everything but the endpoints, of which only "any at all" decides what there is in the table. */
static bool same_frame(const struct service *a, const struct service *b)
{
    return a->protocol == b->protocol && a->ip == b->ip && a->port == b->port && a->node_port == b->node_port &&
           a->local_only == b->local_only && a->affinity_s == b->affinity_s && !a->n_all == !b->n_all && !a->n_local == !b->n_local;
}

static bool same(const struct service *a, const struct service *b)
{
    return same_frame(a, b) && same_targets(a->all, a->n_all, b->all, b->n_all) && same_targets(a->local, a->n_local, b->local, b->n_local);
}

/* Is an endpoint of `before` missing in `after`? Both are sorted. */
static bool lost_any(const struct network_target *before, size_t n_before, const struct network_target *after, size_t n_after)
{
    size_t k = 0;

    for (size_t i = 0; i < n_before; i++) {
        while (k < n_after && compare_targets(&after[k], &before[i]) < 0)
            k++;
        if (k == n_after || compare_targets(&after[k], &before[i]) != 0)
            return true;
    }
    return false;
}

/* --- into a batch --- */

/* One side of a service: the cluster's endpoints or this node's. */
struct side {
    const char *chain, *affinity;
    const struct network_target *targets;
    size_t n;
    bool mark;
};

static struct side cluster_side(const struct service *s)
{
    return (struct side){ s->chain, s->affinity, s->all, s->n_all, true };
}

static struct side local_side(const struct service *s)
{
    return (struct side){ s->ext_chain, s->ext_affinity, s->local, s->n_local, false };
}

static void write_mark(const struct network *n, struct nft *b, const char *chain)
{
    nft_rule_begin(b, chain);
    nft_network(b, 12, 4, 0);
    nft_prefix(b, 0, false, n->cluster.ip, n->cluster.prefix);
    nft_meta(b, NFT_META_MARK, 0);
    nft_mask(b, 0, ~(uint32_t)NETWORK_MARK, NETWORK_MARK);
    nft_meta_set(b, NFT_META_MARK, 0);
    nft_rule_end(b);
}

static void write_remembered(struct nft *b, const struct side *side)
{
    nft_rule_begin(b, side->chain);
    nft_network(b, 12, 4, 0);
    nft_lookup(b, side->affinity, 0, 1);
    nft_update(b, side->affinity, 0, 1);
    nft_dnat(b, 1, 2);
    nft_rule_end(b);
}

static void write_rules(const struct network *n, struct nft *b, const struct side *side, int affinity_s)
{
    uint32_t choice = side->n > 1 ? nft_choice_map(b, side->targets, sizeof(*side->targets), side->n, NFT_T_IP_PORT) : 0;

    if (side->mark)
        write_mark(n, b, side->chain);
    if (affinity_s)
        write_remembered(b, side);
    nft_rule_begin(b, side->chain);
    if (side->n > 1) {
        nft_random(b, (uint32_t)side->n, 0);
        nft_lookup_id(b, choice, 0, 1);
    } else {
        nft_immediate(b, 1, &side->targets[0].be_ip, 4);
        nft_immediate(b, 2, &side->targets[0].be_port, 2);
    }
    if (affinity_s) {
        nft_network(b, 12, 4, 0);
        nft_update(b, side->affinity, 0, 1);
    }
    nft_dnat(b, 1, 2);
    nft_rule_end(b);
}

static void write_side(const struct network *n, struct nft *b, const struct side *side, int affinity_s)
{
    struct nft_set remembered = {
        .name = side->affinity, .key_type = NFT_T_IP, .key_bytes = 4, .data_type = NFT_T_IP_PORT, .data_bytes = 8,
        .dynamic = true, .timeout_ms = affinity_s * INT64_C(1000),
    };

    if (!side->n)
        return;
    if (affinity_s)
        nft_set_add(b, &remembered);
    nft_chain_add(b, side->chain);
    write_rules(n, b, side, affinity_s);
}

static void drop_side(struct nft *b, const struct side *side, int affinity_s)
{
    if (!side->n)
        return;
    nft_chain_flush(b, side->chain);
    nft_chain_del(b, side->chain);
    if (affinity_s)
        nft_set_del(b, side->affinity);
}

/* The elements that lead to the chains. */
static void write_ways(struct nft *b, const struct service *s, bool del)
{
    uint32_t key[3] = { htonl(s->ip), 0, 0 };
    uint16_t port = htons(s->port), node_port = htons(s->node_port);
    const char *node_chain = s->local_only ? s->ext_chain : s->chain;

    memcpy(&key[1], &s->protocol, 1);
    memcpy(&key[2], &port, 2);
    if (s->ip && s->n_all) {
        nft_elems_begin(b, "service-ips", del);
        nft_elem_jump(b, key, sizeof(key), s->chain);
        nft_elems_end(b);
    }
    memcpy(&key[2], &node_port, 2);
    if (s->node_port && (s->local_only ? s->n_local : s->n_all)) {
        nft_elems_begin(b, "service-nodeports", del);
        nft_elem_jump(b, key + 1, sizeof(key) - 4, node_chain);
        nft_elems_end(b);
    }
}

static void write_service(const struct network *n, struct nft *b, const struct service *s)
{
    struct side all = cluster_side(s), local = local_side(s);

    write_side(n, b, &all, s->affinity_s);
    write_side(n, b, &local, s->affinity_s);
    write_ways(b, s, false);
}

static void drop_service(struct nft *b, const struct service *s)
{
    struct side all = cluster_side(s), local = local_side(s);

    write_ways(b, s, true);
    drop_side(b, &all, s->affinity_s);
    drop_side(b, &local, s->affinity_s);
}

/* Only the endpoints changed: new rules in the old chain. Clients of an endpoint that is gone must not be sent to it again. */
static void change_side(const struct network *n, struct nft *b, const struct side *old, const struct side *new, int affinity_s)
{
    if (!new->n || same_targets(old->targets, old->n, new->targets, new->n))
        return;
    nft_chain_flush(b, new->chain);
    if (affinity_s && lost_any(old->targets, old->n, new->targets, new->n))
        nft_set_flush(b, new->affinity);
    write_rules(n, b, new, affinity_s);
}

static void change_service(const struct network *n, struct nft *b, const struct service *old, const struct service *new)
{
    struct side old_all = cluster_side(old), old_local = local_side(old), all = cluster_side(new), local = local_side(new);

    if (same_frame(old, new)) {
        change_side(n, b, &old_all, &all, new->affinity_s);
        change_side(n, b, &old_local, &local, new->affinity_s);
        return;
    }
    drop_service(b, old);
    write_service(n, b, new);
}

/* --- the calls --- */

static const struct service *known(const struct network *n, const char *key)
{
    return n->services ? map_get(n->services, key) : NULL;
}

static int read_all(const struct network_service_port *ports, size_t n_ports, struct service **next, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n_ports; i++)
        rc = service_read(&ports[i], &next[i], err);
    return rc;
}

/* UDP has no end: what a connection-less flow once got as endpoint stays in conntrack as long as it is used. */
static struct network_flow flow_of(const struct service *s, const struct service *old)
{
    struct network_flow f = { .be_ip = htonl(s->ip), .be_port = htons(s->port), .be_node_port = htons(s->node_port) };

    if (s->protocol == IPPROTO_UDP && s->n_all && (!old || !old->n_all || lost_any(old->all, old->n_all, s->all, s->n_all))) {
        f.targets = s->all;
        f.n_targets = s->n_all;
    }
    return f;
}

/* flows: room for one a port; *ret_flows of them are to be forgotten. */
static int commit_services(struct network *n, const struct network_service_port *ports, size_t n_ports, struct service **next,
                           struct network_flow *flows, size_t *ret_flows, struct err *err)
{
    AUTO(nft) struct nft b = { 0 };
    size_t n_flows = 0;

    nft_begin(&b, n->names.table);
    if (!n->services_known)
        network_table_write(n, &b);
    for (size_t i = 0; i < n_ports; i++) {
        const struct service *old = n->services_known ? known(n, ports[i].key) : NULL;

        if (old && same(old, next[i]))
            continue;
        if (old)
            change_service(n, &b, old, next[i]);
        else
            write_service(n, &b, next[i]);
        flows[n_flows] = flow_of(next[i], old);
        n_flows += flows[n_flows].n_targets > 0;
    }
    if (nft_commit(&b, n->nft_fd, 0, err) < 0)
        return -(int)err->code;
    n->services_known = true;
    *ret_flows = n_flows;
    return 0;
}

static void keep(struct network *n, const struct network_service_port *ports, size_t n_ports, struct service **next)
{
    if (!n->services)
        n->services = map_new(service_free);
    for (size_t i = 0; i < n_ports; i++)
        map_set(n->services, ports[i].key, TAKE(next[i]));
}

int network_services_set(struct network *n, const struct network_service_port *ports, size_t n_ports, struct err *err)
{
    AUTO_FREE struct service **next = mem_zalloc((n_ports + 1) * sizeof(*next));
    AUTO_FREE struct network_flow *flows = mem_zalloc((n_ports + 1) * sizeof(*flows));
    size_t n_flows = 0;
    LOCK_SCOPE(&n->lock);
    int rc = 0;

    if (n_ports > SERVICES_MAX || (n->services && map_len(n->services) > SERVICES_MAX))
        return err_set(err, ERR_TOO_MANY, "this node serves at most %d service ports", SERVICES_MAX);
    rc = read_all(ports, n_ports, next, err);
    if (rc == 0)
        rc = commit_services(n, ports, n_ports, next, flows, &n_flows, err);
    if (rc == 0)
        keep(n, ports, n_ports, next);
    if (rc == 0 && n_flows > 0)
        rc = network_flows_forget(n->nft_fd, flows, n_flows, err);
    for (size_t i = 0; i < n_ports; i++)
        service_free(next[i]);
    return rc < 0 ? err_wrap(err, "set services") : 0;
}

int network_services_del(struct network *n, const char *const *keys, size_t n_keys, struct err *err)
{
    AUTO(nft) struct nft b = { 0 };
    LOCK_SCOPE(&n->lock);

    nft_begin(&b, n->names.table);
    for (size_t i = 0; i < n_keys; i++)
        if (known(n, keys[i]))
            drop_service(&b, known(n, keys[i]));
    if (nft_commit(&b, n->nft_fd, 0, err) < 0)
        return err_wrap(err, "remove services");
    for (size_t i = 0; i < n_keys && n->services; i++)
        map_del(n->services, keys[i]);
    return 0;
}
