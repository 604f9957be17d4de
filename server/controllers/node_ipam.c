/* Node IPAM: each node gets a /24 of the cluster's range, written once into its spec. */
#include "server/controllers/ctl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { NODE_BITS = 24, SUBNETS_MAX = 65536 };

struct ipam {
    pthread_mutex_t lock;
    uint32_t base;   /* host order */
    int bits;        /* of the cluster range */
    int n;           /* subnets in it */
    unsigned char *taken; /* bitmap */
    struct map *given; /* node -> its number + 1, as a pointer */
};

static bool parse_cidr(const char *text, uint32_t *ret_base, int *ret_bits)
{
    char base[64];
    struct in_addr at;

    if (sscanf(text, "%63[0-9.]/%d", base, ret_bits) != 2 || inet_pton(AF_INET, base, &at) != 1 || *ret_bits < 8 || *ret_bits > 32)
        return false;
    *ret_base = ntohl(at.s_addr) & (*ret_bits ? ~0u << (32 - *ret_bits) : 0);
    return true;
}

static int number_of(const struct ipam *p, const char *cidr)
{
    uint32_t base = 0;
    int bits = 0;

    if (!parse_cidr(cidr, &base, &bits) || bits != NODE_BITS || base < p->base)
        return -1;
    uint32_t n = (base - p->base) >> (32 - NODE_BITS);
    return n < (uint32_t)p->n ? (int)n : -1;
}

static void mark(struct ipam *p, int n, bool to)
{
    if (to)
        p->taken[n / 8] |= (unsigned char)(1 << n % 8);
    else
        p->taken[n / 8] &= (unsigned char)~(1 << n % 8);
}

static void on_node(void *arg, const json_t *node, bool first)
{
    struct ctl *c = arg;
    struct ipam *p = c->state;
    const char *cidr = json_str_or(node, "spec.podCIDR", "");

    (void)first;
    if (!*cidr) {
        ctl_add(c, node);
        return;
    }
    LOCK_SCOPE(&p->lock);
    int n = number_of(p, cidr);
    if (n >= 0) {
        mark(p, n, true);
        map_set(p->given, meta_name(node), (void *)(intptr_t)(n + 1));
    }
}

static void on_node_gone(void *arg, const json_t *node)
{
    struct ipam *p = ((struct ctl *)arg)->state;
    LOCK_SCOPE(&p->lock);
    intptr_t n = (intptr_t)map_take(p->given, meta_name(node));

    if (n > 0)
        mark(p, (int)n - 1, false);
}

static void start(struct ctl *c)
{
    static const struct informer_handler nodes = { on_node, on_node_gone, NULL };
    struct ipam *p = MEM_NEW(struct ipam);

    pthread_mutex_init(&p->lock, NULL);
    p->given = map_new(NULL);
    c->state = p;
    if (!parse_cidr(c->all->o.cluster_cidr, &p->base, &p->bits)) {
        log_error("no pod ranges", "cluster_cidr=%s err=%s", c->all->o.cluster_cidr, log_q("not an IPv4 range"));
        p->bits = 32;
    }
    p->n = p->bits <= NODE_BITS ? 1 << (NODE_BITS - p->bits) : 0;
    if (p->n > SUBNETS_MAX)
        p->n = SUBNETS_MAX;
    p->taken = mem_zalloc((size_t)p->n / 8 + 1);
    ctl_watch(c, "", "v1", "nodes", &nodes);
}

static int take(struct ipam *p, const char *node)
{
    LOCK_SCOPE(&p->lock);
    intptr_t had = (intptr_t)map_get(p->given, node);

    if (had > 0)
        return (int)had - 1;
    for (int n = 0; n < p->n; n++)
        if (!(p->taken[n / 8] & 1 << n % 8)) {
            mark(p, n, true);
            map_set(p->given, node, (void *)(intptr_t)(n + 1));
            return n;
        }
    return -1;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct ipam *p = c->state;
    AUTO(json) json_t *node = NULL;
    char text[INET_ADDRSTRLEN];

    if (!controllers_ready(c->all)) {
        *again = 5; /* ranges of nodes not seen yet may be taken */
        return 0;
    }
    if (ctl_get(ctx, c, "", "v1", "nodes", key, &node, err) < 0)
        return -(int)err->code;
    if (!node || *json_str_or(node, "spec.podCIDR", ""))
        return 0;
    int n = take(p, key);
    if (n < 0) {
        event_record(c->events, node, NULL, "Normal", "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", key);
        return err_set(err, ERR_UNAVAILABLE, "no pod range left in %s", c->all->o.cluster_cidr);
    }
    struct in_addr at = { htonl(p->base + ((uint32_t)n << (32 - NODE_BITS))) };
    inet_ntop(AF_INET, &at, text, sizeof(text));
    AUTO_FREE char *cidr = mem_printf("%s/%d", text, NODE_BITS);
    AUTO(json) json_t *patch = json_pack("{s:{s:s,s:[s]}}", "spec", "podCIDR", cidr, "podCIDRs", cidr);
    struct object_ref ref = { "", "v1", "nodes", NULL, key, NULL };
    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "pod range %s", cidr);
    return 0;
}

static void stop(struct ctl *c)
{
    struct ipam *p = c->state;

    map_free(p->given);
    free(p->taken);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

const struct ctl_def ctl_node_ipam = { "node-ipam-controller", "node-controller", 1, start, reconcile, stop };
