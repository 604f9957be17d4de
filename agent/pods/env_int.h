#ifndef AGENT_PODS_ENV_INT_H
#define AGENT_PODS_ENV_INT_H
/* env_int - what the files of env share; the Service handler for tests. */
#include "agent/pods/env.h"
#include "lib/map.h"

#include <pthread.h>

struct pod_env {
    char *data_dir, *host_ip, *cluster_dns, *cluster_domain, *resolv_conf;
    struct client *client;
    int pods_fd;          /* <data_dir>/pods */
    pthread_mutex_t lock; /* of spaces and synced */
    struct map *spaces;   /* namespace to a map: name to struct env_service */
    bool synced;
};

/* A Service with a cluster address, as its variables need it. */
struct env_service {
    char *ip;
    size_t n_ports;
    struct env_port {
        char *name; /* "" allowed */
        char protocol[8];
        int port;
    } ports[];
};

/* The handlers of the informer. */
void env_service_set(void *arg, const json_t *service, bool first);
void env_service_delete(void *arg, const json_t *last);
void env_service_sync(void *arg);

/* name, value pairs: calls add for each variable of the Services a pod of ns shall see. false: Services are not known yet. */
typedef void env_add_fn(void *arg, const char *name, const char *value);
bool env_services_each(struct pod_env *e, const char *ns, bool links, env_add_fn *add, void *arg);

/* Hostname and domain ("" allowed), in the arena. */
CHECK_RC int env_names(struct ctx *ctx, struct pod_env *e, const json_t *pod, const char **ret_host, const char **ret_domain, struct err *err);
/* The content of the pod's resolv.conf; host: the node's file. */
void env_resolv_conf(const struct pod_env *e, const json_t *pod, const char *host, struct buf *to);

#endif
