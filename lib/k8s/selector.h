#ifndef LIB_K8S_SELECTOR_H
#define LIB_K8S_SELECTOR_H
/*
 * selector - label selectors (text and LabelSelector objects) and field selectors, compiled once, matched often.
 * Source: k8s.io/apimachinery pkg/labels, pkg/fields. Thread: immutable once made; any.
 */
#include "lib/ctx.h"
#include "lib/json.h"

struct selector; /* in an arena */
enum { SELECTOR_TEXT_MAX = 128 * 1024 };

/* "a=b,c!=d,e in (x,y),!f,g>1". Errors: BAD_REQUEST with upstream's words. Empty text selects all. */
CHECK_RC int selector_parse(struct arena *a, const char *text, struct selector **ret, struct err *err);
/* A metav1.LabelSelector; NULL tree selects nothing, {} all. */
CHECK_RC int selector_of(struct arena *a, const json_t *label_selector, struct selector **ret, struct err *err);
/* A plain map (Service, ReplicationController); NULL or empty selects nothing as those do. */
struct selector *selector_of_map(struct arena *a, const json_t *map);
bool selector_match(const struct selector *s, const json_t *labels); /* labels NULL: none */
/* The same over a flat list "key\0value\0key\0value\0…" as the store's facts keep them. */
bool selector_match_flat(const struct selector *s, struct slice flat);
bool selector_is_everything(const struct selector *s);
char *selector_text(struct arena *a, const struct selector *s); /* canonical, as upstream's String() */
/* When the selector requires key=value exactly: the value (for indexes); else NULL. */
const char *selector_exact(const struct selector *s, const char *key);

/* Field selectors: "metadata.name=x,spec.nodeName!=y". Terms only; meaning is the caller's. */
struct field_term {
    const char *field, *value;
    bool negate;
};
CHECK_RC int field_selector_parse(struct arena *a, const char *text, struct field_term **ret, size_t *ret_n, struct err *err);

#endif
