#ifndef SERVER_SCHEMA_KINDS_VOLUME_CLAIM_H
#define SERVER_SCHEMA_KINDS_VOLUME_CLAIM_H
/* volume_claim - claims on their own and in templates of StatefulSets and ephemeral volumes. Thread: the tree's. */
#include "lib/json.h"
#include "lib/k8s/status.h"

void volume_claim_default(json_t *claim);
void volume_claim_spec_validate(const json_t *spec, const char *path, struct field_errors *errs);

#endif
