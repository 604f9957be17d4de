#ifndef SERVER_API_API_INT_H
#define SERVER_API_API_INT_H
/*
 * api_int - what the files of server/api share: the request as it goes through, and who does which step.
 * Not for other rooms.
 */
#include "lib/k8s/status.h"
#include "lib/log.h"
#include "lib/map.h"
#include "server/admission/admission.h"
#include "server/api/api.h"
#include "server/api/facts.h"
#include "server/api/hub.h"
#include "server/api/keys.h"
#include "server/auth/authn.h"
#include "server/auth/authz.h"
#include "server/schema/kind.h"

enum { READY_CHECKS_MAX = 16, COMPONENTS_MAX = 4, WARNINGS_MAX = 32, BODY_MAX_BYTES = 3 * 1024 * 1024 };

struct ready_check {
    const char *name;
    int (*fn)(void *arg, struct err *err);
    void *arg;
};

struct kind_env; /* server/schema/kind_env.h */

struct api {
    struct api_options o;
    const struct schema *schema;
    struct hub *hub;
    struct watch_set *watches;
    struct kind_env *env;
    struct api_kubelet kubelet;
    struct map *kubelet_clients; /* guarded by lock: "host:port" -> struct http_client */
    struct ready_check checks[READY_CHECKS_MAX];
    size_t n_checks;
    struct ready_check components[COMPONENTS_MAX];
    size_t n_components;
    pthread_mutex_t lock; /* guards the waiting list and counts */
    struct api_request *first_waiting, **last_waiting;
    int reads, writes, waiting;
    _Atomic bool stopping;
    _Atomic int64_t requests;
    int64_t started_us;
};

/* What a path asks for. */
enum api_verb {
    VERB_NONE, /* non-resource */
    VERB_GET,
    VERB_LIST,
    VERB_WATCH,
    VERB_CREATE,
    VERB_UPDATE,
    VERB_PATCH,
    VERB_DELETE,
    VERB_DELETECOLLECTION,
};

struct api_route {
    enum api_verb verb;
    const struct schema_resource *resource; /* NULL: non-resource */
    const struct schema_resource *stored;
    const struct schema_subresource *sub; /* NULL: none */
    const char *ns, *name;                /* "" where none; decoded, in the arena */
    const char *rest;                     /* of proxy paths, from the slash on; "" */
    const struct kind_ops *ops;
};

struct api_answer {
    int status;
    const char *content_type; /* NULL: application/json */
    struct bytes *body;
    const char *location; /* header of 201 and redirects; arena; NULL */
};

/* One request; owned by the worker that runs it, or by the stream it became. */
struct api_request {
    struct api *api;
    struct api_request *next; /* in the waiting list */
    struct http_request *http; /* NULL: in-process */
    struct arena *arena;
    struct ctx ctx;
    struct ctx_cancel cancel;
    /* as it came */
    const char *method, *accept, *content_type, *user_agent;
    const char *raw_query;
    struct slice path;
    struct bytes *body;
    struct url_query query;
    /* as it was understood */
    const struct user *user;
    struct api_route route;
    bool dry_run;
    const char *field_manager, *field_validation;
    bool kept_empty; /* the decoded object holds a [] or {} that is stored as null once managed fields have seen it */
    const char *warnings[WARNINGS_MAX];
    size_t n_warnings;
    struct api_answer answer;
    bool *streaming; /* on the runner's stack: the answer goes its own way, and r with it; set before r is handed over */
    bool counted_read, counted_write;
    /* of an in-process call: the watch's receiver */
    const struct client_watch_cb *watch_cb;
    void *watch_arg;
    struct client_watch *watch_handle;
};

/* request.c: the way through. Runs on a worker. */
void api_request_run(struct api_request *r);
void api_request_free(struct api_request *r);
int api_dispatch(struct api_request *r, struct err *err);
void api_warn(struct api_request *r, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *api_query(struct api_request *r, const char *name); /* NULL when absent */
bool api_query_true(struct api_request *r, const char *name);
/* `Warning: 299 - "text"` for each; other answer headers. */
void api_answer_headers(struct api_request *r, struct http_headers *to);
void api_reply(struct api_request *r);
void api_release_slot(struct api_request *r);

/* route.c */
int api_route(struct api_request *r, struct err *err);
const char *api_verb_text(enum api_verb v); /* as RBAC names it */
bool api_is_long_running(const struct api_request *r);

/* options.c: dryRun, fieldValidation, fieldManager of writes. Errors: INVALID, worded as upstream's validation of CreateOptions and its like. */
int api_read_options(struct api_request *r, struct err *err);
int api_options_end(struct api_request *r, struct field_errors *errs, struct err *err);
int api_option_bad(struct api_request *r, enum field_error_type type, const char *field, const char *why, struct err *err);

/* nonresource.c: health, version, discovery, OpenAPI, metrics */
int api_nonresource(struct api_request *r, struct err *err);
int api_check_store(struct api_request *r, struct err *err); /* a read of it, 2 s at most */

/* decode.c: bodies in */
int api_decode_body(struct api_request *r, json_t **ret, struct err *err);
/* Decodes, checks group, version and kind, prunes by fieldValidation, defaults. type may differ from the resource's (subresources). */
int api_decode_object(struct api_request *r, const struct schema_type *type, const char *api_version, const char *kind,
                      json_t **ret, struct err *err);
/* Prunes and defaults a tree that a patch made. */
int api_normalize(struct api_request *r, json_t *object, struct err *err);
/* The same, before managed fields are told; see kept_empty. */
int api_normalize_keeping(struct api_request *r, json_t *object, struct err *err);

/* encode.c: objects out, as JSON, Table, PartialObjectMetadata */
enum api_form { FORM_JSON, FORM_TABLE, FORM_PARTIAL };
struct api_media {
    enum api_form form;
    bool pretty, yaml;
    bool table_no_object, table_full_object; /* includeObject */
};
int api_negotiate(struct api_request *r, bool list_or_object, struct api_media *ret, struct err *err);
/* One object (tree with resourceVersion) as the answer. */
int api_answer_tree(struct api_request *r, int status, const json_t *object, struct err *err);
/* A list of trees that are not stored, without kind and version of their own. */
int api_answer_trees(struct api_request *r, const json_t *items, struct err *err);
/* Stored bytes at a revision as the answer. */
int api_answer_stored(struct api_request *r, int status, const struct bytes *value, int64_t revision, struct err *err);
/* A stored value as a tree in the served version, with resourceVersion. */
int api_tree(struct api_request *r, const struct bytes *value, int64_t revision, json_t **ret, struct err *err);
/* Copies stored bytes with the resourceVersion spliced in; drop_kind leaves kind and apiVersion out (items of lists). */
void api_splice(struct slice stored, int64_t revision, bool drop_kind, struct buf *to);
const char *api_version_text(struct arena *a, const struct schema_resource *r); /* "apps/v1" */
/* JSON text of a stored value in the served version. */
int api_text(struct api *a, const struct schema_resource *served, struct slice value, int64_t revision, struct buf *to,
             struct err *err);

/* table.c */
void table_begin(const struct schema_resource *resource, struct buf *to);
/* Appends one row's JSON. */
void table_row(struct ctx *ctx, const struct schema_resource *resource, const struct kind_ops *ops, const json_t *object,
               const struct api_media *media, struct buf *to);
void table_columns(const struct schema_resource *resource, struct buf *to);
void partial_object(const json_t *object, struct buf *to);

/* read.c, list.c, watch.c */
int api_get(struct api_request *r, struct err *err);
int api_list(struct api_request *r, struct err *err);
int api_watch(struct api_request *r, struct err *err);

/* In-process watches: the handle is made before the request runs and is gone after on_end. */
struct client_watch *watch_local_new(struct api *a);
void watch_local_close(struct client_watch *w);
void watch_local_refused(struct api_request *r); /* tells on_end what r's answer says; frees both */
void watch_local_fail_later(struct api_request *r, const struct err *err);
void watch_stop_all(struct api *a);
struct watch_set; /* all running watches, by loop */
struct watch_set *watch_set_new(struct api *a);
void watch_set_free(struct watch_set *s);

/* Compiled selectors of a request. */
struct api_filter {
    const struct selector *labels; /* NULL: all */
    const struct field_term *terms; /* beside name and namespace */
    size_t n_terms;
    const char *name, *ns; /* exact metadata.name / metadata.namespace asked by fieldSelector or path; NULL */
};
int api_filter(struct api_request *r, struct api_filter *ret, struct err *err);
bool api_filter_match(const struct api_filter *f, struct slice ns, struct slice name, const struct bytes *facts);

/* write.c, patch.c, delete.c */
int api_create(struct api_request *r, struct err *err);
int api_update(struct api_request *r, struct err *err);
int api_patch(struct api_request *r, struct err *err);
int api_delete(struct api_request *r, struct err *err);
int api_deletecollection(struct api_request *r, struct err *err);

/* One read-modify-write with retries: change() makes the new tree out of the live one (may see it again on a conflict). */
struct api_change {
    /* live: tree of the served version, with resourceVersion. *ret a new tree. live NULL: the object is absent and create_on_update holds. */
    int (*make)(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err);
    void *arg;
    bool patch;        /* admission UPDATE; the object's resourceVersion in the result decides conflicts */
    const char *sub;   /* "status" …; NULL main */
    bool may_create;   /* make() is called with live NULL when absent */
    bool managed;      /* make() has set managedFields itself (apply) */
    bool no_validate;  /* binding and such: the kind's validation does not apply */
};
int api_change(struct api_request *r, const struct api_change *change, json_t **ret, bool *ret_created, struct err *err);
/* Stores a new object. */
int api_store_new(struct api_request *r, json_t *object, struct err *err);
int api_live(struct api_request *r, struct store_row *ret, struct err *err);
void api_key(struct api_request *r, const char *name, struct buf *to);
/* Removes for good, or marks as terminating; *ret the object afterwards (new reference), *ret_gone whether it is gone. */
int api_delete_one(struct api_request *r, const char *name, const json_t *options, json_t **ret, bool *ret_gone, struct err *err);

/* subresource.c and reviews.c: kinds without storage, and subresources that are no plain update */
typedef int api_special_fn(struct api_request *r, struct err *err);
api_special_fn *api_special(const struct api_route *route); /* NULL: generic */

/* relay.c: exec, attach, port-forward, log, proxy */
int api_relay(struct api_request *r, struct err *err);

#endif
