#ifndef SERVER_API_KEYS_H
#define SERVER_API_KEYS_H
/*
 * keys - where an object lives in the store: upstream's own /registry/… paths.
 * Source: k8s.io/kubernetes pkg/kubeapiserver and pkg/registry (resource prefixes). Thread: any.
 */
#include "lib/bytes.h"
#include "lib/k8s/schema.h"

/* "/registry/pods/" — the stored resource's folder; ns "" or NULL: all namespaces. name NULL: a prefix. */
void key_write(const struct schema_resource *stored, const char *ns, const char *name, struct buf *to);
/* Where the range with this prefix ends. */
void key_range_end(struct slice prefix, struct buf *to);
/* The stored resource, namespace and name of a key. false: none of ours. ns and name borrow from key. */
bool key_parse(const struct schema *s, struct slice key, const struct schema_resource **ret, struct slice *ret_ns,
               struct slice *ret_name);
/* The resource a served one is stored as (itself, mostly). */
const struct schema_resource *key_stored(const struct schema *s, const struct schema_resource *served);

#endif
