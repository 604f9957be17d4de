#include "server/schema/kind_env.h"

#include "lib/json.h"
#include "lib/mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    IP_BITS_MAX = 20, /* larger ranges are used up to here, as upstream does for IPv6 */
    IP_BAND_MIN = 16, IP_BAND_MAX = 256, IP_BAND_PART = 16,
    PORT_BAND_MIN = 16, PORT_BAND_MAX = 128, PORT_BAND_PART = 32,
};

/* Numbers 0 … n - 1; what is not asked for by number comes from behind the band while there is any. */
struct pool_of_numbers {
    unsigned char *taken;
    uint32_t n, band, next;
};

struct kind_env {
    struct kind_env_options o;
    char cidr[64];
    int family;
    unsigned char base[16];
    size_t base_n;
    pthread_mutex_t lock; /* of ips and ports */
    struct pool_of_numbers ips; /* number 0 is the first address behind the network's own */
    struct pool_of_numbers ports;
};

/* --- numbers --- */

static bool is_taken(const struct pool_of_numbers *p, uint32_t i)
{
    return p->taken[i / 8] >> (i % 8) & 1;
}

static void mark(struct pool_of_numbers *p, uint32_t i, bool taken)
{
    unsigned char bit = (unsigned char)(1u << (i % 8));

    p->taken[i / 8] = taken ? p->taken[i / 8] | bit : p->taken[i / 8] & (unsigned char)~bit;
}

static void pool_init(struct pool_of_numbers *p, uint32_t n, uint32_t band)
{
    uint32_t start = 0;

    if (getentropy(&start, sizeof(start)) < 0)
        start = 0; /* only spreads the numbers */
    p->n = n;
    p->band = band < n ? band : 0;
    p->next = p->band + start % (n - p->band);
    p->taken = mem_zalloc(n / 8 + 1);
}

/* A free number, marked; n when there is none. Goes round behind the band, so that numbers come again late. */
static uint32_t take_any(struct pool_of_numbers *p)
{
    uint32_t upper = p->n - p->band;

    for (uint32_t i = 0; i < upper; i++) {
        uint32_t at = p->band + (p->next - p->band + i) % upper;

        if (!is_taken(p, at)) {
            mark(p, at, true);
            p->next = at + 1 < p->n ? at + 1 : p->band;
            return at;
        }
    }
    for (uint32_t at = 0; at < p->band; at++)
        if (!is_taken(p, at)) {
            mark(p, at, true);
            return at;
        }
    return p->n;
}

static uint32_t band_of(uint32_t n, uint32_t part, uint32_t least, uint32_t most)
{
    uint32_t band = n / part;

    if (n <= least)
        return 0;
    return band < least ? least : band > most ? most : band;
}

/* --- addresses --- */

static void text_of_ip(const struct kind_env *env, uint32_t i, char *to)
{
    unsigned char ip[16];
    uint32_t carry = i + 1;

    memcpy(ip, env->base, env->base_n);
    for (size_t b = env->base_n; b-- > 0 && carry;) {
        carry += ip[b];
        ip[b] = (unsigned char)carry;
        carry >>= 8;
    }
    inet_ntop(env->family, ip, to, INET6_ADDRSTRLEN);
}

/* Whether text is an address of the range; *ret its number. */
static bool number_of_ip(const struct kind_env *env, const char *text, uint32_t *ret)
{
    unsigned char ip[16];
    uint64_t n = 0;

    if (inet_pton(env->family, text, ip) != 1)
        return false;
    for (size_t b = 0; b < env->base_n; b++) {
        if (b + 4 < env->base_n && ip[b] != env->base[b])
            return false;
        n = n << 8 | ip[b];
    }
    uint64_t base = 0;
    for (size_t b = 0; b < env->base_n; b++)
        base = base << 8 | env->base[b];
    uint32_t diff = (uint32_t)(n - base);
    if (n < base || n - base > UINT32_MAX || diff == 0 || diff > env->ips.n)
        return false;
    *ret = diff - 1;
    return true;
}

static int parse_cidr(struct kind_env *env, const char *cidr, struct err *err)
{
    char ip[64];
    const char *slash = strchr(cidr, '/');
    char *end = NULL;

    if (!slash || (size_t)(slash - cidr) >= sizeof(ip) || strlen(cidr) >= sizeof(env->cidr))
        return err_set(err, ERR_BAD_REQUEST, "service range \"%s\" is no CIDR", cidr);
    snprintf(ip, sizeof(ip), "%.*s", (int)(slash - cidr), cidr);
    env->family = strchr(ip, ':') ? AF_INET6 : AF_INET;
    env->base_n = env->family == AF_INET ? 4 : 16;
    long bits = strtol(slash + 1, &end, 10), all = (long)env->base_n * 8;
    if (inet_pton(env->family, ip, env->base) != 1 || *end || end == slash + 1 || bits < 0 || bits > all - 2)
        return err_set(err, ERR_BAD_REQUEST, "service range \"%s\" is no CIDR with room for addresses", cidr);
    for (long b = bits; b < all; b++)
        env->base[b / 8] &= (unsigned char)~(0x80u >> (b % 8));
    snprintf(env->cidr, sizeof(env->cidr), "%s", cidr);
    uint32_t size = all - bits > IP_BITS_MAX ? 1u << IP_BITS_MAX : 1u << (all - bits);
    uint32_t usable = env->family == AF_INET ? size - 2 : size - 1; /* no network, no broadcast */
    pool_init(&env->ips, usable, band_of(size, IP_BAND_PART, IP_BAND_MIN, IP_BAND_MAX));
    return 0;
}

/* --- life --- */

int kind_env_new(const struct kind_env_options *options, struct kind_env **ret, struct err *err)
{
    struct kind_env *env = MEM_NEW(struct kind_env);
    int ports = options->node_port_last - options->node_port_first + 1;

    pthread_mutex_init(&env->lock, NULL);
    env->o = *options;
    env->o.service_cidr = env->cidr;
    if (ports <= 0 || options->node_port_first < 1 || options->node_port_last > 65535) {
        kind_env_free(env);
        return err_set(err, ERR_BAD_REQUEST, "node port range %d-%d is empty or out of 1-65535", options->node_port_first,
                       options->node_port_last);
    }
    if (parse_cidr(env, options->service_cidr, err) < 0) {
        kind_env_free(env);
        return -(int)err->code;
    }
    pool_init(&env->ports, (uint32_t)ports, band_of((uint32_t)ports, PORT_BAND_PART, PORT_BAND_MIN, PORT_BAND_MAX));
    *ret = env;
    return 0;
}

void kind_env_free(struct kind_env *env)
{
    if (!env)
        return;
    free(env->ips.taken);
    free(env->ports.taken);
    pthread_mutex_destroy(&env->lock);
    free(env);
}

static void load_port(struct kind_env *env, int64_t port)
{
    if (port >= env->o.node_port_first && port <= env->o.node_port_last)
        mark(&env->ports, (uint32_t)(port - env->o.node_port_first), true);
}

static int load_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct kind_env *env = arg;
    AUTO(json) json_t *service = NULL;
    uint32_t n = 0;
    size_t i;
    json_t *v;

    (void)stop;
    if (json_read(row->value->at, row->value->n, NULL, NULL, &service, err) < 0)
        return err_wrap(err, "read service %.*s", (int)row->key->n, row->key->at);
    LOCK_SCOPE(&env->lock);
    json_array_foreach(json_at(service, "spec.clusterIPs"), i, v)
        if (json_is_string(v) && number_of_ip(env, json_string_value(v), &n))
            mark(&env->ips, n, true);
    json_array_foreach(json_at(service, "spec.ports"), i, v)
        load_port(env, json_int_or(v, "nodePort", 0));
    load_port(env, json_int_or(service, "spec.healthCheckNodePort", 0));
    return 0;
}

int kind_env_load(struct ctx *ctx, struct kind_env *env, struct err *err)
{
    struct store_range range = { .from = SLICE_LIT("/registry/services/specs/"), .to = SLICE_LIT("/registry/services/specs0") };
    int rc = 0;

    do
        rc = store_range(ctx, env->o.store, &range, load_row, env, err);
    while (rc == 0 && range.more);
    store_range_end(&range);
    return rc < 0 ? err_wrap(err, "load what services have allocated") : 0;
}

bool kind_env_is_ipv6(const struct kind_env *env)
{
    return env->family == AF_INET6;
}

/* --- taking and giving --- */

int kind_env_take_ip(struct kind_env *env, const char *want, char *to, struct err *err)
{
    uint32_t i = 0;

    LOCK_SCOPE(&env->lock);
    if (!want) {
        i = take_any(&env->ips);
        if (i == env->ips.n)
            return err_set(err, ERR_IO, "range is full");
        text_of_ip(env, i, to);
        return 0;
    }
    if (!number_of_ip(env, want, &i))
        return err_set(err, ERR_INVALID, "the provided IP (%s) is not in the valid range. The range of valid IPs is %s", want,
                       env->cidr);
    if (is_taken(&env->ips, i))
        return err_set(err, ERR_INVALID, "provided IP is already allocated");
    mark(&env->ips, i, true);
    snprintf(to, INET6_ADDRSTRLEN, "%s", want);
    return 0;
}

void kind_env_give_ip(struct kind_env *env, const char *ip)
{
    uint32_t i = 0;

    LOCK_SCOPE(&env->lock);
    if (number_of_ip(env, ip, &i))
        mark(&env->ips, i, false);
}

int kind_env_take_port(struct kind_env *env, int want, int *ret, struct err *err)
{
    int first = env->o.node_port_first, last = env->o.node_port_last;

    LOCK_SCOPE(&env->lock);
    if (want == 0) {
        uint32_t i = take_any(&env->ports);

        if (i == env->ports.n)
            return err_set(err, ERR_IO, "range is full");
        *ret = first + (int)i;
        return 0;
    }
    if (want < first || want > last)
        return err_set(err, ERR_INVALID, "provided port is not in the valid range. The range of valid ports is %d-%d", first, last);
    if (is_taken(&env->ports, (uint32_t)(want - first)))
        return err_set(err, ERR_INVALID, "provided port is already allocated");
    mark(&env->ports, (uint32_t)(want - first), true);
    *ret = want;
    return 0;
}

void kind_env_give_port(struct kind_env *env, int port)
{
    LOCK_SCOPE(&env->lock);
    if (port >= env->o.node_port_first && port <= env->o.node_port_last)
        mark(&env->ports, (uint32_t)(port - env->o.node_port_first), false);
}
