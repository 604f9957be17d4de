#ifndef SERVER_SUPERVISOR_SUPERVISOR_H
#define SERVER_SUPERVISOR_SUPERVISOR_H
/*
 * supervisor - the join protocol on the API's own port: CA, certificates for nodes, configuration. Everything else goes to the API.
 *
 * Paths under /v1-rancherd/ and, the same, under /v1-k3s/. Source: K3s' supervisor endpoints.
 * Thread: supervisor_serve on loops (hands over to the pool).
 */
#include "lib/http/server.h"
#include "lib/k8s/client.h"
#include "lib/pool.h"
#include "server/auth/authn.h"
#include "server/supervisor/pki.h"

struct supervisor;

struct supervisor_options {
    const struct clock *clock;
    struct pool *pool;
    struct authn *authn;
    struct client *client;     /* node password secrets */
    const struct pki *pki;
    http_handler_fn *next;     /* whatever is not ours */
    void *next_arg;
    const char *static_dir;    /* <data-dir>/server/static */
    const char *api_address;   /* "10.0.0.1:6443": /apiservers */
    const char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain;
    int port;
};
struct supervisor *supervisor_new(const struct supervisor_options *options);
void supervisor_free(struct supervisor *s); /* NULL allowed */
void supervisor_set_ready(struct supervisor *s);
void supervisor_serve(void *supervisor, struct http_request *r); /* an http_handler_fn */

#endif
