#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H
/*
 * server - the whole control plane as one unit: store, API, supervisor, controllers, scheduler.
 *
 * Layer:  server/; knows no agent. Thread: start-up and shutdown from one thread, not a pool worker.
 */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/pool.h"

#include <stdbool.h>

struct server;

struct server_options {
    const char *data_dir;               /* <data-dir> */
    const struct clock *clock;
    struct loop *const *loops;
    size_t n_loops;
    struct pool *pool;
    const char *version;
    const char *bind_address;
    int port;
    const char *advertise_address;      /* an address the cluster reaches us at */
    int advertise_port;                 /* 0: port */
    const char *const *tls_sans;        /* end with NULL */
    const char *node_name;              /* of this machine: goes into the serving certificate */
    const char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain;
    int node_port_first, node_port_last;
    const char *token, *agent_token;    /* NULL: what is on disk, else a random one */
    const char *kubeconfig_path;
    unsigned kubeconfig_mode;
    bool disable_scheduler, disable_controllers;
    int64_t compact_every_ms;           /* how long a revision can be asked for, at least; 0: for ever */
};

/* Starts everything; returns when the API answers and the bootstrap objects are there.
 * Errors: say which part and why; nothing is left running. */
CHECK_RC int server_start(const struct server_options *options, struct server **ret, struct err *err);
/* SIGTERM: readyz fails, GOAWAY, watches end, requests finish within grace_ms, last commit, checkpoint. NULL allowed. */
void server_stop(struct server *s, int64_t grace_ms);

const char *server_token(const struct server *s); /* K10…::server:… */
const char *server_url(const struct server *s);   /* https://127.0.0.1:6443 */

#endif
