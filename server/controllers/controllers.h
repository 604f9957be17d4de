#ifndef SERVER_CONTROLLERS_CONTROLLERS_H
#define SERVER_CONTROLLERS_CONTROLLERS_H
/*
 * controllers - all of kube-controller-manager's loops as one unit that starts and stops at run time.
 *
 * Each controller calls the API as its own upstream identity; one shared set of informers feeds them all; level-triggered, one queue each
 * (DESIGN decision 4). Thread: start and stop from any one thread.
 */
#include "lib/k8s/client.h"
#include "lib/k8s/schema.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct controllers;

struct controllers_options {
    /* A client as system:serviceaccount:kube-system:<account>; the controllers free it. */
    struct client *(*client_for)(void *arg, const char *account);
    void *client_arg;
    struct client *reader; /* for informers and GETs, as upstream reads through shared caches; borrowed. Writes go out as the identity */
    struct pool *pool;
    struct loop *loop;
    const struct clock *clock;
    const struct schema *schema;
    const char *cluster_cidr;
    const char *server_node; /* the node on this server's machine: control plane; NULL: none */
    const char *root_ca_pem; /* kube-root-ca.crt */
    const char *client_ca_pem, *client_ca_key_pem, *server_ca_pem, *server_ca_key_pem; /* signers of the CSR API */
};
CHECK_RC int controllers_start(const struct controllers_options *options, struct controllers **ret, struct err *err);
bool controllers_ready(struct controllers *c); /* all first lists are there */
void controllers_stop(struct controllers *c);  /* NULL allowed; nothing runs afterwards */

#endif
