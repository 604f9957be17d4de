#ifndef LIB_K8S_DISCOVERY_H
#define LIB_K8S_DISCOVERY_H
/*
 * discovery - what /api and /apis say a server has, generated from the schema on demand; nothing is kept.
 * Groups and their versions come in the order of the schema's resources, the preferred version first. Thread: any.
 * Source: k8s.io/apimachinery meta/v1 APIGroupList, APIResourceList; k8s.io/api/apidiscovery/v2.
 */
#include "lib/bytes.h"
#include "lib/k8s/schema.h"

/* GET /api. server_address: "host:port" as the client reached it. */
void discovery_core_versions(const char *server_address, struct buf *to);
/* GET /apis */
void discovery_groups(const struct schema *s, struct buf *to);
/* GET /apis/GROUP. Errors: -NOT_FOUND. */
int discovery_group(const struct schema *s, const char *group, struct buf *to);
/* GET /api/v1, /apis/GROUP/VERSION. Errors: -NOT_FOUND. */
int discovery_resources(const struct schema *s, const char *group, const char *version, struct buf *to);
/* /api (core) or /apis as application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList */
void discovery_aggregated(const struct schema *s, bool core, struct buf *to);

#endif
