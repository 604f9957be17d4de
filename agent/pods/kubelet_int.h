#ifndef AGENT_PODS_KUBELET_INT_H
#define AGENT_PODS_KUBELET_INT_H
/* kubelet_int - what the files of the kubelet endpoint share; the runtime's part as functions, for tests. */
#include "agent/pods/kubelet_api.h"
#include "lib/http/server.h"
#include "lib/mem.h"

#include <pthread.h>

/* What the endpoint asks of the runtime. */
struct kubelet_runtime {
    void *arg;
    int (*session)(struct ctx *ctx, void *arg, const struct runtime_session_spec *spec, struct runtime_session *ret, struct err *err);
    int (*dial)(struct ctx *ctx, void *arg, const char *pod_uid, int port, int *ret_fd, struct err *err);
    int (*exec)(struct ctx *ctx, void *arg, const char *pod_uid, const char *id, const char *const *argv, struct bytes **ret_output,
                int *ret_exit_code, struct err *err);
    int (*usage)(void *arg, const char *cgroup, struct cgroup_usage *ret, struct err *err);
    int (*containers)(void *arg, const char *pod_uid, struct container **ret, size_t *ret_n, struct err *err);
};
CHECK_RC int kubelet_api_start_with(const struct kubelet_api_options *options, const struct kubelet_runtime *runtime, struct kubelet_api **ret,
                                    struct err *err);

/* A stream that lives on: what stop closes, and what hears of a container's end. Guarded by the api's lock. */
struct kubelet_live {
    struct kubelet_live *next, *prev;
    bool linked, closing;
    char container_id[65];                     /* "": of none */
    void (*close)(struct kubelet_live *l);     /* loop thread */
    void (*container_ended)(struct kubelet_live *l); /* any thread, under the api's lock; NULL allowed */
};

struct kubelet_api {
    struct kubelet_world world;
    struct kubelet_runtime runtime;
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    struct http_server *server;
    struct tls_ctx *tls;
    char *node_name, *cgroup_root;
    int port;
    int64_t started_us;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t idle;
    struct kubelet_live *live;
    int calls; /* requests that still hold us */
    bool stopping;
};

enum { KUBELET_SEGMENTS = 6 };

/* One request on its way. */
struct kubelet_call {
    struct kubelet_api *k;
    struct http_request *request; /* a reference */
    const struct kubelet_route *route;
    char *segment[KUBELET_SEGMENTS]; /* decoded; [0] is the route's */
    size_t n_segments;
    struct url_query query;
    struct arena *arena;
    struct ctx ctx; /* 30 s from its begin, for what blocks on the way to a stream */
};

/* Ends a request that became no stream, or whose stream is over. */
void kubelet_call_free(struct kubelet_call *c);
bool kubelet_query_true(const struct kubelet_call *c, const char *name);
const char *kubelet_query(const struct kubelet_call *c, const char *name); /* NULL: not there */

/* Answers and frees the call. */
void kubelet_reply(struct kubelet_call *c, int status, const char *content_type, struct buf *body);
void kubelet_fail(struct kubelet_call *c, const struct err *why);
void kubelet_fail_text(struct kubelet_call *c, int status, const char *text);
/* Which container the path names: /x/<ns>/<pod>[/<uid>]/<container>. */
CHECK_RC int kubelet_find(struct kubelet_call *c, bool previous, struct kubelet_target *ret, struct err *err);

void kubelet_live_add(struct kubelet_api *k, struct kubelet_live *l);
void kubelet_live_remove(struct kubelet_api *k, struct kubelet_live *l);
bool kubelet_stopping(struct kubelet_api *k);

/* Routes; on a pool worker. Each ends by a reply, or hands the call to a stream that frees it. */
void kubelet_logs(struct kubelet_call *c);
void kubelet_exec(struct kubelet_call *c);
void kubelet_attach(struct kubelet_call *c);
void kubelet_forward(struct kubelet_call *c);
void kubelet_run(struct kubelet_call *c);
void kubelet_stats_summary(struct kubelet_call *c);
void kubelet_metrics(struct kubelet_call *c);
void kubelet_metrics_resource(struct kubelet_call *c);
void kubelet_metrics_cadvisor(struct kubelet_call *c);

#endif
