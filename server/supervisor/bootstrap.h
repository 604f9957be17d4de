#ifndef SERVER_SUPERVISOR_BOOTSTRAP_H
#define SERVER_SUPERVISOR_BOOTSTRAP_H
/*
 * bootstrap - the objects a cluster has from the start, reconciled at each start: namespaces, RBAC defaults, priority classes, flow control,
 * default/kubernetes, extension-apiserver-authentication.
 *
 * Through the API like anyone, as a system:masters client. Thread: one worker, once. Blocks.
 * Source: upstream's bootstrap policy (embed/facts), kubernetes service controller.
 */
#include "lib/k8s/client.h"
#include "lib/pool.h"

struct bootstrap_options {
    struct client *client;
    struct pool *pool;
    const char *service_ip;     /* 10.43.0.1 */
    const char *advertise_ip;
    int advertise_port;
    const char *client_ca_pem, *request_header_ca_pem;
};
CHECK_RC int bootstrap_run(struct ctx *ctx, const struct bootstrap_options *options, struct err *err);

#endif
