#ifndef LIB_K8S_DISCOVERY_H
#define LIB_K8S_DISCOVERY_H
/*
 * discovery - the documents that tell clients which resources there are. Thread: any.
 * Source: Kubernetes API discovery, apidiscovery.k8s.io/v2.
 */
#include "lib/k8s/schema.h"

/* /api; address "10.0.0.1:6443" goes into serverAddressByClientCIDRs. */
void discovery_core_versions(const char *address, struct buf *to);
void discovery_groups(const struct schema *s, struct buf *to); /* /apis: APIGroupList */
/* /apis/<group>: APIGroup. -1: unknown. */
int discovery_group(const struct schema *s, const char *group, struct buf *to);
/* /api/v1, /apis/<group>/<version>: APIResourceList. -1: unknown. */
int discovery_resources(const struct schema *s, const char *group, const char *version, struct buf *to);
/* APIGroupDiscoveryList v2: of the core group (for /api) or of the others (for /apis). */
void discovery_aggregated(const struct schema *s, bool core, struct buf *to);

#endif
