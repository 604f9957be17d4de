#ifndef AGENT_JOIN_H
#define AGENT_JOIN_H
/*
 * join - the agent's side of the join protocol: trust the server's CA by the token's hash, get certificates and settings.
 *
 * Keys are made here and never leave the machine (CSRs go out). Files under <data-dir>/agent as K3s lays them; what is there and still good
 * is used when the server cannot be reached. Thread: start-up; blocks on the network within ctx.
 * Source: K3s' supervisor client.
 */
#include "lib/ctx.h"
#include "lib/loop.h"

struct join_options {
    struct loop *loop;
    const struct clock *clock;
    const char *data_dir;   /* <data-dir> */
    const char *server_url; /* https://host:6443 */
    const char *token;      /* K10… or short; NULL: only certificates of an earlier start */
    const char *node_name;
    const char *const *node_ips; /* end with NULL */
};

struct join_result {
    char *server_ca_pem, *client_ca_pem;
    char *client_cert_pem, *client_key_pem;
    char *serving_cert_pem, *serving_key_pem;
    char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain;
};
/* Errors: UNAUTHORIZED (token), FORBIDDEN (node password: duplicate host name), CONFLICT (the CA does not match the token's hash), UNAVAILABLE. */
CHECK_RC int join_run(struct ctx *ctx, const struct join_options *options, struct join_result *ret, struct err *err);
void join_result_clear(struct join_result *r);

#endif
