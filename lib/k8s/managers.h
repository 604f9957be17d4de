#ifndef LIB_K8S_MANAGERS_H
#define LIB_K8S_MANAGERS_H
/*
 * managers - metadata.managedFields in memory. Source: k8s.io/apimachinery pkg/util/managedfields. Thread: the arena's.
 */
#include "lib/k8s/fieldset.h"

struct manager {
    const char *name, *subresource, *api_version;
    bool applied; /* operation Apply, else Update */
    const char *time; /* NULL: none */
    const struct fieldset *set;
    json_t *written; /* the entry's fieldsV1 while `set` is as read and in order; borrowed */
};

enum { MANAGERS_MAX = 1000 };

struct managers {
    struct arena *arena;
    struct manager *at;
    size_t n, cap;
};

/* Errors: BAD_REQUEST in upstream's words. `list` must outlive the result. NULL: none. */
CHECK_RC int managers_read(struct managers *m, const json_t *list, struct err *err);
/* Sorted as upstream; NULL when there are none. */
json_t *managers_write(struct managers *m);
/* Appliers are told apart by name and subresource, updaters by version too. NULL when absent. */
struct manager *managers_find(const struct managers *m, const struct manager *id);
struct manager *managers_add(struct managers *m, const struct manager *id);
void managers_drop(struct managers *m, struct manager *at); /* order is not kept */
void manager_set(struct manager *m, const struct fieldset *set);
/* At most 10 updaters stay; the oldest are joined into "ancient-changes". */
void managers_cap(struct managers *m);
/* Upstream's identifier text, which decides orders. */
const char *manager_id(struct arena *a, const struct manager *m);

#endif
