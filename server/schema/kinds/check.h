#ifndef SERVER_SCHEMA_KINDS_CHECK_H
#define SERVER_SCHEMA_KINDS_CHECK_H
/*
 * check - the checks that many kinds share, in upstream's words. Each adds to errs what it finds; paths are printf-made.
 * Thread: the tree's. Source: upstream pkg/apis validation, k8s.io/apimachinery pkg/util/validation.
 */
#include "lib/json.h"
#include "lib/k8s/status.h"

/* A path below another: arena. */
char *check_path(struct field_errors *errs, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The text member `key` of o is there and not empty. */
bool check_text(struct field_errors *errs, const json_t *o, const char *key, const char *path);
/* The member (any type) is there. */
bool check_member(struct field_errors *errs, const json_t *o, const char *key, const char *path);
/* One of n texts; absent and "" are fine unless `required`. */
void check_one_of(struct field_errors *errs, const json_t *v, bool required, const char *const *allowed, size_t n, const char *path);
#define CHECK_ONE_OF(errs, v, required, path, ...)                                                   \
    check_one_of(errs, v, required, (const char *const[]){ __VA_ARGS__ },                            \
                 sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *), path)
/* A whole number >= 0; NULL is fine. */
void check_not_negative(struct field_errors *errs, const json_t *v, const char *path);
void check_positive(struct field_errors *errs, const json_t *v, const char *path); /* > 0; NULL is fine */
void check_between(struct field_errors *errs, const json_t *v, int64_t least, int64_t most, const char *path);
void check_port(struct field_errors *errs, const json_t *v, const char *path);
/* A number >= 0 or "25%"; NULL is fine. */
void check_amount_or_percent(struct field_errors *errs, const json_t *v, const char *path);
int64_t amount_or_percent(const json_t *v); /* the number before a '%' */
void check_at_most_all(struct field_errors *errs, const json_t *v, const char *path); /* 100% */
/* NULL is fine for these; `what` is a name check of lib/k8s/meta.h. */
void check_name(struct field_errors *errs, const json_t *v, const char *(*what)(const char *s), const char *path);
void check_labels(struct field_errors *errs, const json_t *map, const char *path);
void check_annotations(struct field_errors *errs, const json_t *map, const char *path);
void check_selector(struct field_errors *errs, const json_t *selector, const char *path);
/* `field is immutable` when the member differs; path is also where it is, e.g. "spec.selector". */
void check_immutable(struct field_errors *errs, const json_t *object, const json_t *old, const char *path);
/* The same where upstream's declarative check does not show the value. */
void check_fixed(struct field_errors *errs, const json_t *object, const json_t *old, const char *path);
/* NULL when s may be a key of a ConfigMap or Secret; else upstream's message. */
const char *config_key_invalid(const char *s);
const char *c_identifier_invalid(const char *s);      /* env names before they were relaxed; port and volume device names */
const char *env_name_invalid(const char *s);
const char *port_name_invalid(const char *s);         /* IANA_SVC_NAME */
const char *ip_invalid(const char *s);
const char *endpoint_ip_invalid(const char *s);       /* an address no packet can be sent to from elsewhere */
const char *cidr_invalid(const char *s);
/* A LabelSelector matches labels (empty and absent selectors match as upstream's do). */
bool selector_matches(struct field_errors *errs, const json_t *selector, const json_t *labels);
bool same_member(const json_t *a, const json_t *b, const char *path);

#endif
