#ifndef SERVER_SCHEMA_KINDS_AMOUNTS_H
#define SERVER_SCHEMA_KINDS_AMOUNTS_H
/* amounts - checks of resource lists: names and quantities. Thread: the tree's. Source: upstream pkg/apis/core/validation. */
#include "lib/json.h"
#include "lib/k8s/status.h"

/* Not negative; whole where the resource is counted in pieces. */
void amount_check(struct field_errors *errs, const char *name, const json_t *value, const char *path);
/* What containers may ask for: cpu, memory, ephemeral-storage, hugepages-*, or a name with a domain. */
void amount_check_container_name(struct field_errors *errs, const char *name, const char *path);
/* What quotas may limit. */
void amount_check_quota_name(struct field_errors *errs, const char *name, const char *path);
bool amount_overcommits(const char *name); /* requests below limits are allowed */
int amount_cmp(const json_t *a, const json_t *b);

#endif
