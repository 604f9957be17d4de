#ifndef SERVER_ADMISSION_STEP_H
#define SERVER_ADMISSION_STEP_H
/*
 * step - one built-in admission plugin: two functions and a name, run in the order of the table in admission.c.
 * Thread: any worker.
 */
#include "server/admission/admission.h"
#include "server/admission/index.h"

struct admission {
    struct admission_options o;
    struct admission_index *index;
};

struct admission_step {
    const char *name; /* upstream's plugin name */
    /* May change r->object in place and set *changed. NULL: nothing. */
    int (*mutate)(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err);
    int (*validate)(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err);
};

extern const struct admission_step admission_namespace_lifecycle, admission_service_account, admission_node_restriction,
    admission_taint_nodes, admission_priority, admission_default_toleration_seconds, admission_limit_ranger,
    admission_default_storage_class, admission_storage_protection, admission_claim_resize, admission_default_ingress_class,
    admission_runtime_class, admission_certificate_approval, admission_certificate_signing, admission_certificate_subject,
    admission_escalation;

/* A stored object as a tree. NOT_FOUND with upstream's words. */
CHECK_RC int admission_read(struct ctx *ctx, struct admission *a, const char *group, const char *resource, const char *ns, const char *name,
                            json_t **ret, struct err *err);
/* "pods" in group "" and no subresource. */
bool admission_is(const struct admission_request *r, const char *group, const char *resource, const char *sub);
/* The object's name, else what it will be made from, else "Unknown": how a refusal names it. */
const char *admission_name(const struct admission_request *r);
/* FORBIDDEN: `pods "x" is forbidden: <why>`. */
CHECK_RC int admission_forbid(struct ctx *ctx, const struct admission_request *r, struct err *err, const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
