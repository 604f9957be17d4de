/*
 * The nf_tables table: its fixed part (hooks, maps) and what each pod adds.
 *
 *   prerouting, output -> services: daddr.protocol.port -> the service's chain; the node's own addresses: node ports, then host ports
 *   postrouting: whose source must be replaced so that the answer finds back
 *   forward, output: what nobody serves in the service range is rejected
 *   input: pods cannot reach the host's 127.0.0.0/8, which route_localnet on bridge and VXLAN would allow
 */
#include "agent/network/network_int.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

enum { IP_SOURCE = 12, IP_DESTINATION = 16, PORT_DESTINATION = 2 };

static const struct nft_set sets[] = {
    { .name = "service-ips", .key_type = NFT_T_IP_PROTO_PORT, .key_bytes = 12, .data_type = (int)NFT_T_VERDICT },
    { .name = "service-nodeports", .key_type = NFT_T_PROTO_PORT, .key_bytes = 8, .data_type = (int)NFT_T_VERDICT },
    { .name = "hostports", .key_type = NFT_T_PROTO_PORT, .key_bytes = 8, .data_type = NFT_T_IP_PORT, .data_bytes = 8 },
    { .name = "hostports-ip", .key_type = NFT_T_IP_PROTO_PORT, .key_bytes = 12, .data_type = NFT_T_IP_PORT, .data_bytes = 8 },
    { .name = "hairpin", .key_type = NFT_T_IP_IP, .key_bytes = 8 },
};

static void rule_protocol(struct nft *b, uint8_t protocol)
{
    nft_meta(b, NFT_META_L4PROTO, 0);
    nft_cmp(b, 0, true, &protocol, 1);
}

static void rule_local(struct nft *b)
{
    uint32_t local = RTN_LOCAL;

    nft_local(b, 0);
    nft_cmp(b, 0, true, &local, sizeof(local));
}

static void rule_range(struct nft *b, int offset, bool equal, struct cidr range)
{
    nft_network(b, offset, 4, 0);
    nft_prefix(b, 0, equal, range.ip, range.prefix);
}

/* protocol and port into reg and reg + 1. */
static void rule_port(struct nft *b, int reg)
{
    nft_meta(b, NFT_META_L4PROTO, reg);
    nft_transport(b, PORT_DESTINATION, 2, reg + 1);
}

static void write_services(struct network *n, struct nft *b)
{
    nft_rule_begin(b, "services");
    nft_network(b, IP_DESTINATION, 4, 0);
    rule_port(b, 1);
    nft_lookup_verdict(b, "service-ips", 0);
    nft_rule_end(b);

    nft_rule_begin(b, "services"); /* the cluster DNS address is a local one, too */
    rule_range(b, IP_DESTINATION, true, n->services_range);
    nft_verdict(b, NFT_DO_RETURN, NULL);
    nft_rule_end(b);

    nft_rule_begin(b, "services");
    rule_local(b);
    rule_port(b, 0);
    nft_lookup_verdict(b, "service-nodeports", 0);
    nft_rule_end(b);

    nft_rule_begin(b, "services");
    nft_network(b, IP_DESTINATION, 4, 0);
    rule_port(b, 1);
    nft_lookup(b, "hostports-ip", 0, 0);
    nft_dnat(b, 0, 1);
    nft_rule_end(b);

    nft_rule_begin(b, "services");
    rule_local(b);
    rule_port(b, 0);
    nft_lookup(b, "hostports", 0, 0);
    nft_dnat(b, 0, 1);
    nft_rule_end(b);
}

static void write_hook(struct nft *b, const char *name, int hook)
{
    nft_base_chain_add(b, name, NFT_NAT, hook, -100);
    nft_rule_begin(b, name);
    nft_verdict(b, NFT_DO_JUMP, "services");
    nft_rule_end(b);
}

static void masquerade_out(struct nft *b, const char *name, bool equal)
{
    nft_ifname(b, NFT_META_OIFNAME, equal, name);
    nft_masquerade(b);
    nft_rule_end(b);
}

static void write_postrouting(struct network *n, struct nft *b)
{
    const char *in = "postrouting";
    struct cidr localhost = { .ip = INADDR_LOOPBACK & 0xff000000u, .prefix = 8 }, multicast = { .ip = 0xe0000000u, .prefix = 4 };
    uint32_t none = 0;

    nft_base_chain_add(b, in, NFT_NAT, NF_INET_POST_ROUTING, 100);
    nft_rule_begin(b, in);
    nft_ifname(b, NFT_META_OIFNAME, true, "lo");
    nft_verdict(b, NFT_DO_ACCEPT, NULL);
    nft_rule_end(b);

    nft_rule_begin(b, in); /* a pod that a service sends back to itself */
    nft_network(b, IP_SOURCE, 8, 0);
    nft_lookup(b, "hairpin", 0, -1);
    nft_masquerade(b);
    nft_rule_end(b);

    nft_rule_begin(b, in); /* from outside to a service whose endpoint is anywhere; once: VXLAN's own packet inherits the mark */
    nft_meta(b, NFT_META_MARK, 0);
    nft_mask(b, 0, NETWORK_MARK, 0);
    nft_cmp(b, 0, false, &none, sizeof(none));
    nft_meta(b, NFT_META_MARK, 0);
    nft_mask(b, 0, ~(uint32_t)NETWORK_MARK, 0);
    nft_meta_set(b, NFT_META_MARK, 0);
    masquerade_out(b, n->names.bridge, false);

    nft_rule_begin(b, in);
    rule_range(b, IP_SOURCE, true, n->cluster);
    rule_range(b, IP_DESTINATION, true, n->cluster);
    nft_verdict(b, NFT_DO_ACCEPT, NULL);
    nft_rule_end(b);

    nft_rule_begin(b, in); /* from the host's localhost to a port of a pod */
    rule_range(b, IP_SOURCE, true, localhost);
    masquerade_out(b, n->names.bridge, true);

    nft_rule_begin(b, in); /* other nodes know no way back to anything but pods */
    masquerade_out(b, n->names.vxlan, true);

    nft_rule_begin(b, in);
    rule_range(b, IP_SOURCE, true, n->pods);
    rule_range(b, IP_DESTINATION, false, multicast);
    masquerade_out(b, n->names.bridge, false);
}

static void reject_range(struct nft *b, const char *chain, struct cidr range)
{
    for (int tcp = 1; tcp >= 0; tcp--) {
        nft_rule_begin(b, chain);
        rule_range(b, IP_DESTINATION, true, range);
        if (tcp)
            rule_protocol(b, IPPROTO_TCP);
        nft_reject(b, tcp);
        nft_rule_end(b);
    }
}

static void write_filters(struct network *n, struct nft *b)
{
    const char *from[] = { n->names.bridge, n->names.vxlan };
    uint8_t redirect = ICMP_REDIRECT;
    uint32_t none = 0;

    nft_base_chain_add(b, "forward", NFT_FILTER, NF_INET_FORWARD, 0);
    reject_range(b, "forward", n->services_range);

    nft_base_chain_add(b, "filter-output", NFT_FILTER, NF_INET_LOCAL_OUT, 0);
    nft_rule_begin(b, "filter-output"); /* pods go through the gateway even to each other: the kernel must not tell them better */
    nft_ifname(b, NFT_META_OIFNAME, true, n->names.bridge);
    rule_protocol(b, IPPROTO_ICMP);
    nft_transport(b, 0, 1, 0);
    nft_cmp(b, 0, true, &redirect, 1);
    nft_verdict(b, NFT_DO_DROP, NULL);
    nft_rule_end(b);
    nft_rule_begin(b, "filter-output"); /* the cluster DNS address */
    nft_ifname(b, NFT_META_OIFNAME, true, "lo");
    nft_verdict(b, NFT_DO_ACCEPT, NULL);
    nft_rule_end(b);
    reject_range(b, "filter-output", n->services_range);

    nft_base_chain_add(b, "input", NFT_FILTER, NF_INET_LOCAL_IN, 0);
    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        nft_rule_begin(b, "input");
        nft_ifname(b, NFT_META_IIFNAME, true, from[i]);
        rule_range(b, IP_DESTINATION, true, (struct cidr){ .ip = 0x7f000000u, .prefix = 8 });
        nft_ct(b, NFT_CT_STATUS, 0);
        nft_mask(b, 0, IPS_DST_NAT, 0);
        nft_cmp(b, 0, true, &none, sizeof(none));
        nft_verdict(b, NFT_DO_DROP, NULL);
        nft_rule_end(b);
    }
}

void network_table_pod(struct nft *b, const struct address *a, bool del)
{
    uint32_t pair[2] = { htonl(a->ip), htonl(a->ip) };

    nft_elems_begin(b, "hairpin", del);
    nft_elem(b, pair, sizeof(pair), NULL, 0);
    nft_elems_end(b);
    for (size_t i = 0; i < a->n_ports; i++) {
        const struct address_port *p = &a->ports[i];
        uint32_t key[3] = { htonl(p->host_ip), 0, 0 }, to[2] = { htonl(a->ip), 0 };
        uint16_t from_port = htons(p->host_port), to_port = htons(p->container_port);

        memcpy(&key[1], &p->protocol, 1);
        memcpy(&key[2], &from_port, 2);
        memcpy(&to[1], &to_port, 2);
        nft_elems_begin(b, p->host_ip ? "hostports-ip" : "hostports", del);
        if (p->host_ip)
            nft_elem(b, key, sizeof(key), to, sizeof(to));
        else
            nft_elem(b, key + 1, sizeof(key) - 4, to, sizeof(to));
        nft_elems_end(b);
    }
}

static void write_pods(struct network *n, struct nft *b)
{
    for (size_t i = 0; i < addresses_count(n->addresses); i++)
        network_table_pod(b, addresses_at(n->addresses, i), false);
}

void network_table_write(struct network *n, struct nft *b)
{
    nft_table_add(b); /* so that there is one to delete */
    nft_table_del(b);
    nft_table_add(b);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        nft_set_add(b, &sets[i]);
    nft_chain_add(b, n->format);
    nft_chain_add(b, "services");
    write_services(n, b);
    write_hook(b, "prerouting", NF_INET_PRE_ROUTING);
    write_hook(b, "output", NF_INET_LOCAL_OUT);
    write_postrouting(n, b);
    write_filters(n, b);
    write_pods(n, b);
}

int network_table_open(struct network *n, struct err *err)
{
    AUTO(nft) struct nft b = { 0 };
    bool there = false;

    if (nft_chain_exists(n->nft_fd, n->names.table, n->format, &there, err) < 0)
        return -(int)err->code;
    nft_begin(&b, n->names.table);
    if (there) {
        nft_set_flush(&b, "hostports");
        nft_set_flush(&b, "hostports-ip");
        nft_set_flush(&b, "hairpin");
        write_pods(n, &b);
    } else {
        network_table_write(n, &b);
    }
    n->services_known = !there;
    return nft_commit(&b, n->nft_fd, 0, err);
}
