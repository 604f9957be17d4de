#ifndef AGENT_NETWORK_NFT_H
#define AGENT_NETWORK_NFT_H
/*
 * nft - nf_tables in atomic batches: table, chains, maps, elements, rules made of expressions.
 *
 * A batch is all or nothing. Rules are built from small steps that read like nft's own bytecode listing (nft --debug=netlink): values go through
 * registers of 4 bytes, numbered from 0 here (NFT_REG32_00 + n).
 * Layer:  agent/network only. Thread: one at a time. Source: linux/netfilter/nf_tables.h.
 */
#include "agent/network/netlink.h"

#include <stdbool.h>
#include <stdint.h>

struct nft {
    struct nl_msgs m;
    const char *table; /* borrowed; family ip */
    uint32_t set_id;   /* of anonymous maps */
    size_t exprs; /* nest of the rule being written */
    size_t elems;
    const char *elem_set;
    uint32_t elem_set_id;
    int elem_type;
};

void nft_begin(struct nft *b, const char *table);
/* Errors: by errno; ENOENT and EEXIST as `tolerate` says (0: none). b is empty afterwards. */
CHECK_RC int nft_commit(struct nft *b, int fd, int tolerate, struct err *err);
void nft_clear(struct nft *b);
static inline void auto_nft(struct nft *b)
{
    nft_clear(b);
}

/* Outside a batch. *ret: is there a chain of that name (in our table)? */
CHECK_RC int nft_chain_exists(int fd, const char *table, const char *chain, bool *ret, struct err *err);

void nft_table_add(struct nft *b); /* present is fine */
void nft_table_del(struct nft *b); /* with all it holds */

enum nft_kind { NFT_FILTER, NFT_NAT };
void nft_chain_add(struct nft *b, const char *name);
void nft_base_chain_add(struct nft *b, const char *name, enum nft_kind kind, int hook, int priority);
void nft_chain_flush(struct nft *b, const char *name);
void nft_chain_del(struct nft *b, const char *name);

struct nft_set {
    const char *name;
    int key_type, key_bytes;   /* types: of `nft list`, see NFT_T_* */
    int data_type, data_bytes; /* data_type 0: a set, no map; NFT_T_VERDICT: to a chain */
    bool dynamic;              /* rules add elements */
    int64_t timeout_ms;        /* 0: none */
};
enum {
    NFT_T_VERDICT = 0xffffff00u,
    NFT_T_INTEGER = 4,
    NFT_T_IP = 7,
    NFT_T_PROTO = 12,
    NFT_T_PORT = 13,
    NFT_T_IP_PORT = NFT_T_IP << 6 | NFT_T_PORT,
    NFT_T_IP_IP = NFT_T_IP << 6 | NFT_T_IP,
    NFT_T_PROTO_PORT = NFT_T_PROTO << 6 | NFT_T_PORT,
    NFT_T_IP_PROTO_PORT = (NFT_T_IP << 6 | NFT_T_PROTO) << 6 | NFT_T_PORT,
};
void nft_set_add(struct nft *b, const struct nft_set *set);
void nft_set_del(struct nft *b, const char *name);
void nft_set_flush(struct nft *b, const char *name);

/* Elements: begin, any number of elements, end. Long lists are cut into messages. */
void nft_elems_begin(struct nft *b, const char *set, bool del);
void nft_elem(struct nft *b, const void *key, size_t n_key, const void *data, size_t n_data); /* data NULL: none */
void nft_elem_jump(struct nft *b, const void *key, size_t n_key, const char *chain);          /* goto */
void nft_elems_end(struct nft *b);

/* An anonymous constant map for the rule that follows: 32-bit number in host order -> n_data bytes. Returns its id for nft_lookup_id. */
uint32_t nft_choice_map(struct nft *b, const void *data, size_t n_data, size_t n_elems, int data_type);

void nft_rule_begin(struct nft *b, const char *chain);
void nft_rule_end(struct nft *b);

/* --- expressions, inside a rule --- */
void nft_meta(struct nft *b, int key, int reg);        /* NFT_META_* => reg */
void nft_meta_set(struct nft *b, int key, int reg);
void nft_network(struct nft *b, int offset, int n, int reg);   /* bytes of the IP header */
void nft_transport(struct nft *b, int offset, int n, int reg); /* of the TCP, UDP header */
void nft_ct(struct nft *b, int key, int reg);
void nft_local(struct nft *b, int reg);                /* destination's address type => reg (RTN_*) */
void nft_cmp(struct nft *b, int reg, bool equal, const void *data, size_t n);
void nft_mask(struct nft *b, int reg, uint32_t and_host, uint32_t xor_host);    /* reg in host order, 4 bytes */
void nft_prefix(struct nft *b, int reg, bool equal, uint32_t ip, int prefix);   /* an IPv4 address in reg */
void nft_ifname(struct nft *b, int meta_key, bool equal, const char *name);     /* uses reg 0 to 3 */
void nft_lookup(struct nft *b, const char *set, int reg, int dreg);             /* dreg -1: a set, match only */
void nft_lookup_verdict(struct nft *b, const char *set, int reg);
void nft_lookup_id(struct nft *b, uint32_t set_id, int reg, int dreg);
void nft_random(struct nft *b, uint32_t below, int reg);
void nft_immediate(struct nft *b, int reg, const void *data, size_t n);
void nft_update(struct nft *b, const char *set, int key_reg, int data_reg);     /* adds or refreshes */
void nft_dnat(struct nft *b, int ip_reg, int port_reg);
void nft_masquerade(struct nft *b);
void nft_reject(struct nft *b, bool tcp_reset);
enum nft_verdict { NFT_DO_ACCEPT = 1, NFT_DO_DROP, NFT_DO_RETURN, NFT_DO_JUMP, NFT_DO_GOTO };
void nft_verdict(struct nft *b, enum nft_verdict v, const char *chain); /* chain for JUMP and GOTO */

#endif
