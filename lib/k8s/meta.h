#ifndef LIB_K8S_META_H
#define LIB_K8S_META_H
/*
 * meta - metadata of an object tree: names, owners, labels, conditions, finalizers. Borrowed strings. Thread: the tree's.
 */
#include "lib/ctx.h"
#include "lib/json.h"

const char *meta_name(const json_t *o);      /* "" when absent, as all of these */
const char *meta_namespace(const json_t *o);
const char *meta_uid(const json_t *o);
const char *meta_resource_version(const json_t *o);
bool meta_deleting(const json_t *o);         /* deletionTimestamp is set */
int64_t meta_generation(const json_t *o);
const char *meta_label(const json_t *o, const char *key);      /* NULL when absent */
const char *meta_annotation(const json_t *o, const char *key); /* NULL when absent */
void meta_set_label(json_t *o, const char *key, const char *value);
void meta_set_annotation(json_t *o, const char *key, const char *value);
bool meta_has_finalizer(const json_t *o, const char *name);
void meta_add_finalizer(json_t *o, const char *name);
bool meta_remove_finalizer(json_t *o, const char *name); /* whether it was there */
const json_t *meta_controller(const json_t *o); /* the owner reference with controller: true, or NULL */
/* A new owner reference to `owner` (which has kind and apiVersion). */
json_t *meta_owner_ref(const json_t *owner, bool controller, bool block_owner_deletion);
/* "ns/name", or "name" without a namespace; malloc. */
char *meta_key(const json_t *o);
/* Splits a key in place of the arena's copy; *ret_ns "" without one. */
void meta_split_key(struct arena *a, const char *key, const char **ret_ns, const char **ret_name);

/* Conditions in o.status.conditions (type, status, reason, message, lastTransitionTime, lastUpdateTime where with_update). */
const json_t *condition_get(const json_t *o, const char *type);
bool condition_is(const json_t *o, const char *type, const char *status);
struct condition {
    const char *type, *status, *reason, *message;
    bool with_update;          /* also keeps lastUpdateTime (Deployment) */
    bool with_heartbeat;       /* also lastHeartbeatTime (Node) */
    int64_t observed_generation; /* 0: not written */
};
/* Whether anything but a time changed. lastTransitionTime moves only with status. */
bool condition_set(json_t *o, const struct condition *c, const struct clock *clock);
bool condition_remove(json_t *o, const char *type);

/* A random suffix in upstream's alphabet (bcdfghjklmnpqrstvwxz2456789). */
void name_suffix(char *to, size_t n); /* n characters and NUL */
/* base cut so that base + suffix(5) fits 63 (max 253 for names; upstream's generateName uses 63). arena. */
char *name_generate(struct arena *a, const char *base);
void uid_new(char to[37]); /* random UUID v4 */

/* Validation texts; NULL when fine, else upstream's message (static or arena). */
const char *name_is_dns_subdomain(const char *s);
const char *name_is_dns_label(const char *s);       /* RFC 1123 */
const char *name_is_dns_label_1035(const char *s);  /* services */
const char *name_is_path_segment(const char *s);    /* RBAC and such: no '/', '%', not "." or ".." */
const char *label_key_invalid(const char *s);       /* qualified name */
const char *label_value_invalid(const char *s);
/* All that is wrong (upstream reports each); the functions above give the first. Returns how many. */
enum { LABEL_PROBLEMS_MAX = 4 };
size_t label_key_problems(const char *s, const char *ret[LABEL_PROBLEMS_MAX]);
size_t label_value_problems(const char *s, const char *ret[LABEL_PROBLEMS_MAX]);
size_t name_problems_dns_subdomain(const char *s, const char *ret[LABEL_PROBLEMS_MAX]);
size_t name_problems_dns_label(const char *s, const char *ret[LABEL_PROBLEMS_MAX]);

#endif
