#ifndef SERVER_SCHEMA_KIND_ENV_H
#define SERVER_SCHEMA_KIND_ENV_H
/*
 * kind_env - what kinds may use of the server: allocators of cluster IPs and node ports. Thread: any.
 *
 * Allocations are rebuilt from the stored Services at start; one lock, bitmaps.
 */
#include "datastore/store.h"
#include "lib/ctx.h"

struct kind_env;

struct kind_env_options {
    struct store *store;
    const char *service_cidr;
    int node_port_first, node_port_last;
};
CHECK_RC int kind_env_new(const struct kind_env_options *options, struct kind_env **ret, struct err *err);
CHECK_RC int kind_env_load(struct ctx *ctx, struct kind_env *env, struct err *err);
void kind_env_free(struct kind_env *env); /* NULL allowed */
bool kind_env_is_ipv6(const struct kind_env *env); /* the family of the service range */

/* Errors of both: IO "range is full" when any will do and none is left.
 * Cluster IPs: want NULL: any free one (upper part of the range first). Errors: INVALID `provided IP is already allocated`, `the provided IP (x) is not in the valid range. …`.
 * to has 46 bytes. */
CHECK_RC int kind_env_take_ip(struct kind_env *env, const char *want, char *to, struct err *err);
void kind_env_give_ip(struct kind_env *env, const char *ip);
/* Node ports per protocol-less number; want 0: any. Errors: INVALID `provided port is already allocated`, `provided port is not in the valid range. The range of valid ports is 30000-32767`. */
CHECK_RC int kind_env_take_port(struct kind_env *env, int want, int *ret, struct err *err);
void kind_env_give_port(struct kind_env *env, int port);

#endif
