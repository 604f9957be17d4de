#ifndef LIB_K8S_OPENAPI_H
#define LIB_K8S_OPENAPI_H
/*
 * openapi - the schema as OpenAPI documents, made on demand and not kept. Thread: any.
 * Source: OpenAPI 2.0 and 3.0, Kubernetes' x-kubernetes-* extensions.
 */
#include "lib/k8s/schema.h"

void openapi_v3_index(const struct schema *s, struct buf *to); /* /openapi/v3 */
/* /openapi/v3/api/v1, /openapi/v3/apis/<group>/<version>. -1: unknown. */
int openapi_v3(const struct schema *s, const char *group, const char *version, struct buf *to);
void openapi_v2(const struct schema *s, const char *version, struct buf *to); /* /openapi/v2 as JSON; version: info.version */

#endif
