#ifndef LIB_K8S_SELECTOR_INT_H
#define LIB_K8S_SELECTOR_INT_H
/* selector_int - what the parser and the matcher of label selectors share. */
#include "lib/k8s/selector.h"

enum selector_op { SEL_IN, SEL_NOT_IN, SEL_EQUALS, SEL_DOUBLE_EQUALS, SEL_NOT_EQUALS, SEL_EXISTS, SEL_ABSENT, SEL_GREATER, SEL_LESS };

struct requirement {
    const char *key;
    const char **values; /* sorted, each once */
    size_t n_values;
    int64_t bound; /* of SEL_GREATER and SEL_LESS */
    enum selector_op op;
};

struct selector {
    bool nothing;
    size_t n;
    struct requirement *at; /* by key */
};

/* Checks a requirement as upstream's NewRequirement; fills r->bound. */
CHECK_RC int selector_check(struct arena *a, struct requirement *r, struct err *err);
void selector_sort_values(struct requirement *r);
void selector_sort(struct selector *s);
/* A decimal int64 as Go's ParseInt reads it. */
bool selector_int(const char *s, int64_t *ret);

#endif
