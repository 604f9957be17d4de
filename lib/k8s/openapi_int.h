#ifndef LIB_K8S_OPENAPI_INT_H
#define LIB_K8S_OPENAPI_INT_H
/* openapi_int - parts of the document that v2 and v3 share. Thread: one at a time. */
#include "lib/k8s/openapi.h"

/* Where the text goes and in which of the two dialects. */
struct openapi {
    const struct schema *schema;
    struct buf *to;
    bool v3;
    const char *group, *version; /* of the v3 document */
};

/* The object that defines a named type: {"type":"object","properties":{…},…}. */
void openapi_definition(struct openapi *o, const struct schema_type *t);
/* "$ref":"…" to a named type, without braces. */
void openapi_ref(struct openapi *o, const char *type_name);
/* ,"x-kubernetes-group-version-kind":{…} */
void openapi_gvk(struct openapi *o, const char *group, const char *version, const char *kind);

/* Which named types a v2 document defines, by index: all that are reachable from any resource. free() it. */
bool *openapi_v2_types(const struct schema *s);

/* One URL of a resource. */
struct openapi_path {
    const struct schema_resource *r;
    const struct schema_subresource *sub; /* NULL: the resource itself */
    bool item;                            /* …/{name} */
    bool all_namespaces;                  /* a namespaced resource's list over all */
};
typedef void openapi_path_fn(void *arg, const struct openapi_path *path);
/* Calls fn for each URL of a resource. */
void openapi_each_path(const struct schema_resource *r, openapi_path_fn *fn, void *arg);
void openapi_url(const struct openapi_path *p, struct buf *to);
/* The path item: {"get":{…},…,"parameters":[…]}. */
void openapi_path_item(struct openapi *o, const struct openapi_path *p);

#endif
