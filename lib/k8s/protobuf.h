#ifndef LIB_K8S_PROTOBUF_H
#define LIB_K8S_PROTOBUF_H
/*
 * protobuf - application/vnd.kubernetes.protobuf into trees, by the schema's field numbers.
 *
 * Reading only: every client that sends it also takes JSON answers. Limits: JSON_DEPTH_MAX levels, what `n` bytes can hold.
 * Thread: any. Source: protobuf encoding; k8s.io/apimachinery runtime.Unknown envelope ("k8s\0").
 */
#include "lib/json.h"
#include "lib/k8s/schema.h"

/* The envelope: kind and apiVersion ("" when absent; cut at room) and where the message stands inside data.
 * Errors: BAD_REQUEST. */
struct protobuf_envelope {
    char api_version[128], kind[128];
    struct slice raw;
};
CHECK_RC int protobuf_open(struct slice data, struct protobuf_envelope *ret, struct err *err);

/* A message of a type as a tree. Unknown field numbers are passed over, as protobuf wants. Errors: BAD_REQUEST. */
CHECK_RC int protobuf_read(const struct schema_type *type, struct slice message, json_t **ret, struct err *err);

#endif
