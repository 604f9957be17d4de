#ifndef LIB_K8S_OPENAPI_H
#define LIB_K8S_OPENAPI_H
/*
 * openapi - the API's documents, generated from the schema for each request; nothing is kept.
 *
 * They carry types with defaults, required, enums and the x-kubernetes extensions, and every path with its operations, kinds and
 * parameters: what kubectl explains, validates and patches by, and what clients are generated from. No descriptions.
 * Source: OpenAPI 3.0.0 and 2.0; k8s.io/kube-openapi; gnostic openapiv2/OpenAPIv2.proto for the protobuf form. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/k8s/schema.h"

/* GET /openapi/v3: a URL with a hash for each group version. */
void openapi_v3_index(const struct schema *s, struct buf *to);
/* GET /openapi/v3/apis/GROUP/VERSION (group "": /openapi/v3/api/v1). Errors: -NOT_FOUND. */
int openapi_v3(const struct schema *s, const char *group, const char *version, struct buf *to);

/* GET /openapi/v2 as JSON. version: the program's, shown in info. */
void openapi_v2(const struct schema *s, const char *version, struct buf *to);
/* The same for clients that accept application/com.github.proto-openapi.spec.v2@v1.0+protobuf, as client-go does. */
#define OPENAPI_V2_PROTO "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" /* as upstream answers */
void openapi_v2_proto(const struct schema *s, const char *version, struct buf *to);
/* What an ETag may say; changes with the schema and the program. */
void openapi_hash(const struct schema *s, struct buf *to);

#endif
