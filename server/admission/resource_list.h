#ifndef SERVER_ADMISSION_RESOURCE_LIST_H
#define SERVER_ADMISSION_RESOURCE_LIST_H
/* resource_list - named quantities, in order of name, in an arena; and what a pod asks for as such a list. Thread: one at a time. */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/quantity.h"

struct resource_amount {
    const char *name; /* borrowed */
    struct quantity q;
};

struct resource_list {
    struct resource_amount *at;
    size_t n, cap;
};

const struct quantity *resource_get(const struct resource_list *l, const char *name); /* NULL: absent */
void resource_add(struct arena *a, struct resource_list *l, const char *name, const struct quantity *q);
void resource_set(struct arena *a, struct resource_list *l, const char *name, const struct quantity *q);
/* Each member of a ResourceList tree; NULL: nothing. */
void resource_add_map(struct arena *a, struct resource_list *l, const json_t *map);
/* The greater of both for each of b's. */
void resource_max(struct arena *a, struct resource_list *l, const struct resource_list *b);
struct quantity resource_quantity(const json_t *v); /* 0 for nonsense, which validation refuses */

/* which: "requests" or "limits". Sidecars count with the containers, other init containers as a floor; pod-level cpu and memory
 * win; overhead is added where with_overhead (to limits only of resources that have one). */
void pod_resource_list(struct arena *a, const json_t *pod, const char *which, bool with_overhead, struct resource_list *ret);

#endif
