#ifndef LIB_K8S_CLIENT_H
#define LIB_K8S_CLIENT_H
/*
 * client - the Kubernetes API as its users see it; one interface, two transports (DESIGN decision 5).
 *
 * Inside the server the transport is the API pipeline itself (server/api), in the agent HTTPS (lib/k8s/client_http.h). Either way
 * the caller's identity passes authorization, admission and audit. A remote Status comes back as the same err.
 * Thread: any worker; calls block (within pool_wait_*). Watch callbacks: see client_watch.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/status.h"

/* Which object or collection. Borrowed text. */
struct object_ref {
    const char *group, *version, *resource; /* group "" for core */
    const char *ns;   /* NULL or "": cluster-scoped, or all namespaces for a list */
    const char *name; /* NULL: the collection */
    const char *sub;  /* subresource; NULL: none */
};

/* What a transport carries. */
struct client_call {
    const char *method, *path; /* path with query */
    const char *content_type;  /* of body; NULL: application/json */
    const char *accept;        /* NULL: application/json */
    struct bytes *body;        /* NULL: none */
};
struct client_answer {
    int status;
    struct bytes *body;
};

struct client_watch;
struct client_watch_cb {
    /* One event of the stream: the JSON line {"type":…,"object":…}. On a transport thread; must not block long: hand over. */
    void (*on_event)(void *arg, struct bytes *line);
    /* The watch ended (closed, connection lost, refused with a status). The last call; the handle is gone after it. */
    void (*on_end)(void *arg, const struct err *why);
};

struct client_transport {
    void *self;
    int (*call)(void *self, struct ctx *ctx, const struct client_call *call, struct client_answer *ret, struct err *err);
    struct client_watch *(*watch)(void *self, const struct client_call *call, const struct client_watch_cb *cb, void *arg);
    void (*watch_close)(void *self, struct client_watch *w); /* on_end still comes */
    void (*free)(void *self);
};

struct client;
struct client *client_new(const struct client_transport *transport); /* takes over transport->self */
void client_free(struct client *c);                                  /* NULL allowed */

/* Trees: the caller owns *ret (json_decref); ret may be NULL where the answer is of no interest. */
CHECK_RC int client_get(struct ctx *ctx, struct client *c, const struct object_ref *ref, json_t **ret, struct err *err);

struct client_list_opts {
    const char *label_selector, *field_selector; /* NULL: none */
    const char *resource_version, *resource_version_match;
    const char *continue_token;
    int limit; /* 0: all */
};
/* The List object with items. */
CHECK_RC int client_list(struct ctx *ctx, struct client *c, const struct object_ref *ref, const struct client_list_opts *opts,
                         json_t **ret, struct err *err);
CHECK_RC int client_create(struct ctx *ctx, struct client *c, const struct object_ref *ref, const json_t *object, json_t **ret,
                           struct err *err);
CHECK_RC int client_update(struct ctx *ctx, struct client *c, const struct object_ref *ref, const json_t *object, json_t **ret,
                           struct err *err);

enum client_patch_type { CLIENT_PATCH_JSON, CLIENT_PATCH_MERGE, CLIENT_PATCH_STRATEGIC, CLIENT_PATCH_APPLY };
/* field_manager is needed for APPLY (which forces); NULL allowed else. */
CHECK_RC int client_patch(struct ctx *ctx, struct client *c, const struct object_ref *ref, enum client_patch_type type,
                          const json_t *patch, const char *field_manager, json_t **ret, struct err *err);

struct client_delete_opts {
    const char *uid, *resource_version; /* preconditions; NULL: none */
    const char *propagation;            /* "Background" …; NULL: the resource's default */
    int64_t grace_s;                    /* -1: the object's */
};
#define CLIENT_DELETE_INIT { .grace_s = -1 }
CHECK_RC int client_delete(struct ctx *ctx, struct client *c, const struct object_ref *ref,
                           const struct client_delete_opts *opts, struct err *err); /* opts NULL: defaults */

/* Anything else: path and answer as they are. An answer >= 400 becomes an err. */
CHECK_RC int client_raw(struct ctx *ctx, struct client *c, const struct client_call *call, struct bytes **ret, struct err *err);

/* Starts a watch from resource_version (with bookmarks). Callbacks come from other threads, never from inside this call; they may come
 * before it returns, so the caller guards the handle with a lock of its own that it holds around this call. */
struct client_watch *client_watch(struct client *c, const struct object_ref *ref, const struct client_list_opts *opts,
                                  const struct client_watch_cb *cb, void *arg);
void client_watch_close(struct client *c, struct client_watch *w);

/* The URL path of a reference, into `to`: /api/v1/namespaces/x/pods/y/log */
void object_ref_path(const struct object_ref *ref, struct buf *to);

#endif
