#ifndef SERVER_SCHEMA_KINDS_CONTAINER_CHECK_H
#define SERVER_SCHEMA_KINDS_CONTAINER_CHECK_H
/* container_check - checks of one container; pod_spec.h's are built on it. Thread: the tree's. Source: upstream validateContainers. */
#include "lib/json.h"
#include "lib/k8s/status.h"

/* What containers of any list must hold. spec is the pod's; path the container's. */
void container_check(const json_t *container, const json_t *spec, const char *path, struct field_errors *errs);
/* Probes and lifecycle: of containers that stay. */
void container_check_life(const json_t *container, const json_t *spec, const char *path, struct field_errors *errs);
/* Volumes by name, among the pod's. NULL when there is none. */
const json_t *volume_named(const json_t *spec, const char *name);
void volumes_check(const json_t *spec, const char *path, struct field_errors *errs);
/* A seccomp profile; NULL allowed. */
void check_seccomp(struct field_errors *errs, const json_t *profile, const char *path);
/* A path that stays below where it begins: relative, without "..". */
void check_descending(struct field_errors *errs, const json_t *v, const char *path);
/* An integer of 1-65535 or a port's name. */
void check_port_or_name(struct field_errors *errs, const json_t *v, const char *path);

#endif
