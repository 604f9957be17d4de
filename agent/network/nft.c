#include "agent/network/nft.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

enum {
    MAKE = NLM_F_CREATE,
    ELEMS_BYTES_MAX = 32 * 1024, /* of one message's element list; a nest ends at 64 KB */
};

static void begin(struct nft *b, int msg, int flags)
{
    struct nfgenmsg g = { .nfgen_family = NFPROTO_IPV4, .version = NFNETLINK_V0 };

    nl_begin(&b->m, NFNL_SUBSYS_NFTABLES << 8 | msg, flags, &g, sizeof(g));
}

static void mark_batch(struct nft *b, int msg, int flags)
{
    struct nfgenmsg g = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

    nl_begin(&b->m, msg, flags, &g, sizeof(g));
}

void nft_begin(struct nft *b, const char *table)
{
    *b = (struct nft){ .table = table };
    mark_batch(b, NFNL_MSG_BATCH_BEGIN, 0);
}

/* The last message before the end asks for an answer, so that silence is told from success. */
int nft_commit(struct nft *b, int fd, int tolerate, struct err *err)
{
    struct nlmsghdr h;
    char *last = b->m.buf.b->at + b->m.at;

    memcpy(&h, last, sizeof(h));
    if (h.nlmsg_type == NFNL_MSG_BATCH_BEGIN) {
        nl_clear(&b->m);
        return 0;
    }
    h.nlmsg_flags |= NLM_F_ACK;
    memcpy(last, &h, sizeof(h));
    mark_batch(b, NFNL_MSG_BATCH_END, 0);
    if (nl_talk(fd, &b->m, NULL, NULL, tolerate, err) < 0)
        return err_wrap(err, "change nf_tables %s", b->table);
    return 0;
}

void nft_clear(struct nft *b)
{
    nl_clear(&b->m);
}

static int saw_chain(void *arg, const struct nlmsghdr *h, struct err *err)
{
    (void)err;
    if (h->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN))
        *(bool *)arg = true;
    return 0;
}

int nft_chain_exists(int fd, const char *table, const char *chain, bool *ret, struct err *err)
{
    AUTO(nft) struct nft b = { .table = table };
    bool seen = false;

    begin(&b, NFT_MSG_GETCHAIN, NLM_F_ACK);
    nl_str(&b.m, NFTA_CHAIN_TABLE, table);
    nl_str(&b.m, NFTA_CHAIN_NAME, chain);
    if (nl_talk(fd, &b.m, saw_chain, &seen, ENOENT, err) < 0)
        return err_wrap(err, "look up nf_tables chain %s", chain);
    *ret = seen;
    return 0;
}

void nft_table_add(struct nft *b)
{
    begin(b, NFT_MSG_NEWTABLE, MAKE);
    nl_str(&b->m, NFTA_TABLE_NAME, b->table);
}

void nft_table_del(struct nft *b)
{
    begin(b, NFT_MSG_DELTABLE, 0);
    nl_str(&b->m, NFTA_TABLE_NAME, b->table);
}

static void chain(struct nft *b, int msg, int flags, const char *name)
{
    begin(b, msg, flags);
    nl_str(&b->m, NFTA_CHAIN_TABLE, b->table);
    nl_str(&b->m, NFTA_CHAIN_NAME, name);
}

void nft_chain_add(struct nft *b, const char *name)
{
    chain(b, NFT_MSG_NEWCHAIN, MAKE, name);
}

void nft_base_chain_add(struct nft *b, const char *name, enum nft_kind kind, int hook, int priority)
{
    chain(b, NFT_MSG_NEWCHAIN, MAKE, name);
    size_t nest = nl_nest(&b->m, NFTA_CHAIN_HOOK);
    nl_be32(&b->m, NFTA_HOOK_HOOKNUM, (uint32_t)hook);
    nl_be32(&b->m, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    nl_nest_end(&b->m, nest);
    nl_str(&b->m, NFTA_CHAIN_TYPE, kind == NFT_NAT ? "nat" : "filter");
}

void nft_chain_flush(struct nft *b, const char *name)
{
    begin(b, NFT_MSG_DELRULE, 0);
    nl_str(&b->m, NFTA_RULE_TABLE, b->table);
    nl_str(&b->m, NFTA_RULE_CHAIN, name);
}

void nft_chain_del(struct nft *b, const char *name)
{
    chain(b, NFT_MSG_DELCHAIN, 0, name);
}

/* --- sets and elements --- */

static void set_types(struct nft *b, const struct nft_set *set, int flags)
{
    nl_be32(&b->m, NFTA_SET_FLAGS, (uint32_t)flags);
    nl_be32(&b->m, NFTA_SET_KEY_TYPE, (uint32_t)set->key_type);
    nl_be32(&b->m, NFTA_SET_KEY_LEN, (uint32_t)set->key_bytes);
    if (set->data_type) {
        nl_be32(&b->m, NFTA_SET_DATA_TYPE, (uint32_t)set->data_type);
        nl_be32(&b->m, NFTA_SET_DATA_LEN, (uint32_t)set->data_bytes);
    }
}

void nft_set_add(struct nft *b, const struct nft_set *set)
{
    int flags = (set->data_type ? NFT_SET_MAP : 0) | (set->dynamic ? NFT_SET_EVAL : 0) | (set->timeout_ms ? NFT_SET_TIMEOUT : 0);

    begin(b, NFT_MSG_NEWSET, MAKE);
    nl_str(&b->m, NFTA_SET_TABLE, b->table);
    nl_str(&b->m, NFTA_SET_NAME, set->name);
    set_types(b, set, flags);
    nl_be32(&b->m, NFTA_SET_ID, ++b->set_id);
    if (set->timeout_ms)
        nl_be64(&b->m, NFTA_SET_TIMEOUT, (uint64_t)set->timeout_ms);
    if (set->dynamic) { /* bounded: strangers' addresses fill it */
        size_t desc = nl_nest(&b->m, NFTA_SET_DESC);
        nl_be32(&b->m, NFTA_SET_DESC_SIZE, 65536);
        nl_nest_end(&b->m, desc);
    }
}

void nft_set_del(struct nft *b, const char *name)
{
    begin(b, NFT_MSG_DELSET, 0);
    nl_str(&b->m, NFTA_SET_TABLE, b->table);
    nl_str(&b->m, NFTA_SET_NAME, name);
}

static void elems_message(struct nft *b)
{
    begin(b, b->elem_type, b->elem_type == NFT_MSG_NEWSETELEM ? MAKE : 0);
    nl_str(&b->m, NFTA_SET_ELEM_LIST_TABLE, b->table);
    nl_str(&b->m, NFTA_SET_ELEM_LIST_SET, b->elem_set);
    if (b->elem_set_id)
        nl_be32(&b->m, NFTA_SET_ELEM_LIST_SET_ID, b->elem_set_id);
}

void nft_set_flush(struct nft *b, const char *name)
{
    b->elem_set = name;
    b->elem_set_id = 0;
    b->elem_type = NFT_MSG_DELSETELEM;
    elems_message(b);
}

static void elems_open(struct nft *b)
{
    elems_message(b);
    b->elems = nl_nest(&b->m, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void nft_elems_begin(struct nft *b, const char *set, bool del)
{
    b->elem_set = set;
    b->elem_set_id = 0;
    b->elem_type = del ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM;
    elems_open(b);
}

static void data_value(struct nft *b, int type, const void *data, size_t n)
{
    size_t nest = nl_nest(&b->m, type);

    nl_put(&b->m, NFTA_DATA_VALUE, data, n);
    nl_nest_end(&b->m, nest);
}

static void data_verdict(struct nft *b, int type, int code, const char *to)
{
    size_t nest = nl_nest(&b->m, type);
    size_t verdict = nl_nest(&b->m, NFTA_DATA_VERDICT);

    nl_be32(&b->m, NFTA_VERDICT_CODE, (uint32_t)code);
    if (to)
        nl_str(&b->m, NFTA_VERDICT_CHAIN, to);
    nl_nest_end(&b->m, verdict);
    nl_nest_end(&b->m, nest);
}

static size_t elem_open(struct nft *b, const void *key, size_t n_key)
{
    if (nl_nest_len(&b->m, b->elems) > ELEMS_BYTES_MAX) {
        nl_nest_end(&b->m, b->elems);
        elems_open(b);
    }
    size_t nest = nl_nest(&b->m, NFTA_LIST_ELEM);

    data_value(b, NFTA_SET_ELEM_KEY, key, n_key);
    return nest;
}

void nft_elem(struct nft *b, const void *key, size_t n_key, const void *data, size_t n_data)
{
    size_t nest = elem_open(b, key, n_key);

    if (data)
        data_value(b, NFTA_SET_ELEM_DATA, data, n_data);
    nl_nest_end(&b->m, nest);
}

void nft_elem_jump(struct nft *b, const void *key, size_t n_key, const char *to)
{
    size_t nest = elem_open(b, key, n_key);

    data_verdict(b, NFTA_SET_ELEM_DATA, NFT_GOTO, to);
    nl_nest_end(&b->m, nest);
}

void nft_elems_end(struct nft *b)
{
    nl_nest_end(&b->m, b->elems);
}

uint32_t nft_choice_map(struct nft *b, const void *data, size_t n_data, size_t n_elems, int data_type)
{
    struct nft_set set = { .key_type = NFT_T_INTEGER, .key_bytes = 4, .data_type = data_type, .data_bytes = (int)n_data };
    uint32_t id = ++b->set_id;

    begin(b, NFT_MSG_NEWSET, MAKE);
    nl_str(&b->m, NFTA_SET_TABLE, b->table);
    nl_str(&b->m, NFTA_SET_NAME, "__map%d");
    set_types(b, &set, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_MAP);
    nl_be32(&b->m, NFTA_SET_ID, id);
    size_t desc = nl_nest(&b->m, NFTA_SET_DESC);
    nl_be32(&b->m, NFTA_SET_DESC_SIZE, (uint32_t)n_elems);
    nl_nest_end(&b->m, desc);

    b->elem_set = "__map%d";
    b->elem_set_id = id;
    b->elem_type = NFT_MSG_NEWSETELEM;
    elems_open(b);
    for (uint32_t i = 0; i < n_elems; i++)
        nft_elem(b, &i, sizeof(i), (const char *)data + i * n_data, n_data);
    nft_elems_end(b);
    return id;
}

/* --- rules --- */

void nft_rule_begin(struct nft *b, const char *name)
{
    begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nl_str(&b->m, NFTA_RULE_TABLE, b->table);
    nl_str(&b->m, NFTA_RULE_CHAIN, name);
    b->exprs = nl_nest(&b->m, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft *b)
{
    nl_nest_end(&b->m, b->exprs);
}

/* An expression is a list element with a name and its own attributes. */
struct expr {
    size_t elem, data;
};

static struct expr expr_begin(struct nft *b, const char *name)
{
    struct expr e = { .elem = nl_nest(&b->m, NFTA_LIST_ELEM) };

    nl_str(&b->m, NFTA_EXPR_NAME, name);
    e.data = nl_nest(&b->m, NFTA_EXPR_DATA);
    return e;
}

static void expr_end(struct nft *b, struct expr e)
{
    nl_nest_end(&b->m, e.data);
    nl_nest_end(&b->m, e.elem);
}

static void put_reg(struct nft *b, int type, int reg)
{
    nl_be32(&b->m, type, (uint32_t)(NFT_REG32_00 + reg));
}

void nft_meta(struct nft *b, int key, int reg)
{
    struct expr e = expr_begin(b, "meta");

    nl_be32(&b->m, NFTA_META_KEY, (uint32_t)key);
    put_reg(b, NFTA_META_DREG, reg);
    expr_end(b, e);
}

void nft_meta_set(struct nft *b, int key, int reg)
{
    struct expr e = expr_begin(b, "meta");

    nl_be32(&b->m, NFTA_META_KEY, (uint32_t)key);
    put_reg(b, NFTA_META_SREG, reg);
    expr_end(b, e);
}

static void payload(struct nft *b, int base, int offset, int n, int reg)
{
    struct expr e = expr_begin(b, "payload");

    put_reg(b, NFTA_PAYLOAD_DREG, reg);
    nl_be32(&b->m, NFTA_PAYLOAD_BASE, (uint32_t)base);
    nl_be32(&b->m, NFTA_PAYLOAD_OFFSET, (uint32_t)offset);
    nl_be32(&b->m, NFTA_PAYLOAD_LEN, (uint32_t)n);
    expr_end(b, e);
}

void nft_network(struct nft *b, int offset, int n, int reg)
{
    payload(b, NFT_PAYLOAD_NETWORK_HEADER, offset, n, reg);
}

void nft_transport(struct nft *b, int offset, int n, int reg)
{
    payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, offset, n, reg);
}

void nft_ct(struct nft *b, int key, int reg)
{
    struct expr e = expr_begin(b, "ct");

    nl_be32(&b->m, NFTA_CT_KEY, (uint32_t)key);
    put_reg(b, NFTA_CT_DREG, reg);
    expr_end(b, e);
}

void nft_local(struct nft *b, int reg)
{
    struct expr e = expr_begin(b, "fib");

    put_reg(b, NFTA_FIB_DREG, reg);
    nl_be32(&b->m, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    nl_be32(&b->m, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    expr_end(b, e);
}

void nft_cmp(struct nft *b, int reg, bool equal, const void *data, size_t n)
{
    struct expr e = expr_begin(b, "cmp");

    put_reg(b, NFTA_CMP_SREG, reg);
    nl_be32(&b->m, NFTA_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
    data_value(b, NFTA_CMP_DATA, data, n);
    expr_end(b, e);
}

void nft_mask(struct nft *b, int reg, uint32_t and_host, uint32_t xor_host)
{
    struct expr e = expr_begin(b, "bitwise");

    put_reg(b, NFTA_BITWISE_SREG, reg);
    put_reg(b, NFTA_BITWISE_DREG, reg);
    nl_be32(&b->m, NFTA_BITWISE_LEN, sizeof(and_host));
    data_value(b, NFTA_BITWISE_MASK, &and_host, sizeof(and_host));
    data_value(b, NFTA_BITWISE_XOR, &xor_host, sizeof(xor_host));
    expr_end(b, e);
}

void nft_prefix(struct nft *b, int reg, bool equal, uint32_t ip, int prefix)
{
    uint32_t mask = prefix ? htonl(UINT32_MAX << (32 - prefix)) : 0;
    uint32_t want = htonl(ip) & mask;

    if (prefix < 32)
        nft_mask(b, reg, mask, 0);
    nft_cmp(b, reg, equal, &want, sizeof(want));
}

void nft_ifname(struct nft *b, int meta_key, bool equal, const char *name)
{
    char padded[16] = { 0 };

    assert(strlen(name) < sizeof(padded));
    memcpy(padded, name, strlen(name));
    nft_meta(b, meta_key, 0);
    nft_cmp(b, 0, equal, padded, sizeof(padded));
}

static struct expr lookup_begin(struct nft *b, const char *set, int reg)
{
    struct expr e = expr_begin(b, "lookup");

    nl_str(&b->m, NFTA_LOOKUP_SET, set);
    put_reg(b, NFTA_LOOKUP_SREG, reg);
    return e;
}

void nft_lookup(struct nft *b, const char *set, int reg, int dreg)
{
    struct expr e = lookup_begin(b, set, reg);

    if (dreg >= 0)
        put_reg(b, NFTA_LOOKUP_DREG, dreg);
    expr_end(b, e);
}

void nft_lookup_verdict(struct nft *b, const char *set, int reg)
{
    struct expr e = lookup_begin(b, set, reg);

    nl_be32(&b->m, NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
    expr_end(b, e);
}

void nft_lookup_id(struct nft *b, uint32_t set_id, int reg, int dreg)
{
    struct expr e = lookup_begin(b, "__map%d", reg);

    nl_be32(&b->m, NFTA_LOOKUP_SET_ID, set_id);
    put_reg(b, NFTA_LOOKUP_DREG, dreg);
    expr_end(b, e);
}

void nft_random(struct nft *b, uint32_t below, int reg)
{
    struct expr e = expr_begin(b, "numgen");

    put_reg(b, NFTA_NG_DREG, reg);
    nl_be32(&b->m, NFTA_NG_MODULUS, below);
    nl_be32(&b->m, NFTA_NG_TYPE, NFT_NG_RANDOM);
    nl_be32(&b->m, NFTA_NG_OFFSET, 0);
    expr_end(b, e);
}

void nft_immediate(struct nft *b, int reg, const void *data, size_t n)
{
    struct expr e = expr_begin(b, "immediate");

    put_reg(b, NFTA_IMMEDIATE_DREG, reg);
    data_value(b, NFTA_IMMEDIATE_DATA, data, n);
    expr_end(b, e);
}

void nft_update(struct nft *b, const char *set, int key_reg, int data_reg)
{
    struct expr e = expr_begin(b, "dynset");

    nl_str(&b->m, NFTA_DYNSET_SET_NAME, set);
    nl_be32(&b->m, NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
    put_reg(b, NFTA_DYNSET_SREG_KEY, key_reg);
    put_reg(b, NFTA_DYNSET_SREG_DATA, data_reg);
    expr_end(b, e);
}

void nft_dnat(struct nft *b, int ip_reg, int port_reg)
{
    struct expr e = expr_begin(b, "nat");

    nl_be32(&b->m, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    nl_be32(&b->m, NFTA_NAT_FAMILY, NFPROTO_IPV4);
    put_reg(b, NFTA_NAT_REG_ADDR_MIN, ip_reg);
    put_reg(b, NFTA_NAT_REG_PROTO_MIN, port_reg);
    expr_end(b, e);
}

void nft_masquerade(struct nft *b)
{
    expr_end(b, expr_begin(b, "masq"));
}

void nft_reject(struct nft *b, bool tcp_reset)
{
    struct expr e = expr_begin(b, "reject");

    nl_be32(&b->m, NFTA_REJECT_TYPE, tcp_reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMP_UNREACH);
    nl_u8(&b->m, NFTA_REJECT_ICMP_CODE, tcp_reset ? 0 : 3); /* 3: port unreachable */
    expr_end(b, e);
}

void nft_verdict(struct nft *b, enum nft_verdict v, const char *to)
{
    static const int codes[] = {
        [NFT_DO_ACCEPT] = NF_ACCEPT, [NFT_DO_DROP] = NF_DROP,   [NFT_DO_RETURN] = NFT_RETURN,
        [NFT_DO_JUMP] = NFT_JUMP,    [NFT_DO_GOTO] = NFT_GOTO,
    };
    struct expr e = expr_begin(b, "immediate");

    nl_be32(&b->m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    data_verdict(b, NFTA_IMMEDIATE_DATA, codes[v], to);
    expr_end(b, e);
}
