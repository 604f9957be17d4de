#ifndef LIB_K8S_STATUS_H
#define LIB_K8S_STATUS_H
/*
 * status - metav1.Status both ways, and field errors in upstream's words.
 * Source: k8s.io/apimachinery pkg/api/errors, pkg/util/validation/field. Thread: one at a time.
 */
#include "lib/ctx.h"
#include "lib/err.h"
#include "lib/json.h"

struct k8s_cause {
    const char *type, *message, *field; /* "FieldValueInvalid", … */
};

/* Everything of a Status beyond code and reason; lives in an arena. */
struct k8s_status {
    const char *message; /* whole, may be longer than err.msg */
    const char *group, *kind, *name, *uid;
    const struct k8s_cause *causes;
    size_t n_causes;
    int retry_after_s; /* 0: none */
    int http;          /* 0: from the code */
    const char *reason; /* NULL: from the code; "": none is written */
    const char *go_on;  /* metadata.continue, of an expired list; NULL: none */
    bool empty_details; /* "details":{} is written though there are none */
};

/* Status JSON of a failure: {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",…}. */
void status_write(const struct err *err, struct buf *to);
/* A remote's Status (or plain text) back into the same err; details go to ctx->arena. Returns -code. */
CHECK_RC int status_read(struct ctx *ctx, int http, struct slice body, struct err *err);

/* The usual failures, worded as upstream's NewNotFound … do. group/resource as "deployments.apps". Details in ctx->arena. */
CHECK_RC int status_not_found(struct ctx *ctx, const char *group, const char *resource, const char *name, struct err *err);
CHECK_RC int status_already_exists(struct ctx *ctx, const char *group, const char *resource, const char *name, struct err *err);
CHECK_RC int status_conflict(struct ctx *ctx, const char *group, const char *resource, const char *name, const char *why,
                             struct err *err);
CHECK_RC int status_forbidden(struct ctx *ctx, const char *group, const char *resource, const char *name, const char *why,
                              struct err *err);
/* A failure upstream gives no reason for: code 500 and the message as it is. */
CHECK_RC int status_plain(struct ctx *ctx, struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What upstream says of a patch that does not apply, whatever the cause; `cause` stays in err.msg. */
CHECK_RC int status_rejected(struct ctx *ctx, const char *cause, struct err *err);
CHECK_RC int status_bad_request(struct ctx *ctx, struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* --- field errors --- */
enum field_error_type {
    FIELD_REQUIRED,     /* "spec.x: Required value: why" */
    FIELD_INVALID,      /* "spec.x: Invalid value: \"v\": why" */
    FIELD_NOT_SUPPORTED, /* "spec.x: Unsupported value: \"v\": supported values: \"a\", \"b\"" */
    FIELD_DUPLICATE,    /* "spec.x: Duplicate value: \"v\"" */
    FIELD_FORBIDDEN,    /* "spec.x: Forbidden: why" */
    FIELD_TOO_LONG,     /* "spec.x: Too long: may not be more than N bytes" */
    FIELD_TOO_MANY,     /* value: how many there are; "spec.x: Too many: 5: must have at most 4 items" */
    FIELD_TOO_FEW,
    FIELD_TOO_SHORT,
    FIELD_NOT_FOUND,
    FIELD_TYPE_INVALID,
    FIELD_INTERNAL,
};

struct field_errors {
    struct arena *arena;
    struct k8s_cause *at;
    size_t n, cap;
};
/* value: a JSON value shown as upstream's %#v-like text (strings quoted, numbers plain, objects as JSON); NULL where the type has none. */
void field_error(struct field_errors *e, enum field_error_type type, const json_t *value, const char *why, const char *path_fmt,
                 ...) PRINTF_LIKE(5, 6);
void field_not_supported(struct field_errors *e, const char *value, const char *const *supported, size_t n, const char *path_fmt,
                         ...) PRINTF_LIKE(5, 6);
/* "a" or "[a, b]", each text once; arena. NULL when there are none. */
const char *field_errors_text(const struct field_errors *e);
/* As Go's %q. */
char *go_quote(struct arena *a, const char *s);
/* 0 when there are none; else INVALID worded as NewInvalid: `Pod "x" is invalid: [a, b]` with causes. */
CHECK_RC int field_errors_end(struct field_errors *e, const char *group, const char *kind, const char *name, struct err *err);

#endif
