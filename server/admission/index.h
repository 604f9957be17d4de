#ifndef SERVER_ADMISSION_INDEX_H
#define SERVER_ADMISSION_INDEX_H
/*
 * index - what admission must know of other objects for every request, so that a plain pod costs no store read: facts of namespaces
 * and service accounts, and the few objects of the kinds that act on others. Fed by the store's stream, so a write that was
 * acknowledged is in it. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/ctx.h"
#include "lib/json.h"

enum index_kind {
    INDEX_LIMIT_RANGES,
    INDEX_QUOTAS,
    INDEX_PRIORITY_CLASSES,
    INDEX_RUNTIME_CLASSES,
    INDEX_STORAGE_CLASSES,
    INDEX_INGRESS_CLASSES,
    INDEX_KINDS,
};

enum pod_security_mode { POD_SECURITY_ENFORCE, POD_SECURITY_AUDIT, POD_SECURITY_WARN, POD_SECURITY_MODES };

/* The labels pod-security.kubernetes.io/<mode> and <mode>-version as written. */
struct index_pod_security {
    char level[POD_SECURITY_MODES][64], version[POD_SECURITY_MODES][64]; /* "" without one */
};

struct index_namespace {
    bool terminating, pod_security; /* pod_security: one of the labels is there */
};

struct admission_index;
struct admission_index *admission_index_new(void);
void admission_index_free(struct admission_index *x); /* NULL allowed */
/* Whether objects of this resource are of interest. */
bool admission_index_wants(const char *group, const char *resource);
/* value.at NULL: deleted. */
void admission_index_set(struct admission_index *x, const char *group, const char *resource, const char *ns, const char *name,
                         struct slice value);

bool index_namespace(struct admission_index *x, const char *name, struct index_namespace *ret);
void index_pod_security(struct admission_index *x, const char *name, struct index_pod_security *ret);
/* The account exists, mounts its token and has no pull secrets: nothing of it needs to be read. */
bool index_plain_account(struct admission_index *x, const char *ns, const char *name);

/* How many objects there are; ns "" for kinds without namespace. */
size_t index_count(struct admission_index *x, enum index_kind kind, const char *ns);
/* One, or NULL; a new reference. */
struct bytes *index_value(struct admission_index *x, enum index_kind kind, const char *ns, const char *name);
/* All, or only those that say they are the default of their kind, as an array of trees by name; NULL when there are none. */
CHECK_RC int index_trees(struct admission_index *x, enum index_kind kind, const char *ns, bool defaults, json_t **ret, struct err *err);

#endif
