#ifndef SERVER_SCHEMA_KINDS_CORE_SERVICE_H
#define SERVER_SCHEMA_KINDS_CORE_SERVICE_H
/* core_service - the parts of the Service kind that fill files of their own. Thread: the tree's. */
#include "server/schema/kind.h"

/* Addresses and ports around the store. */
int service_begin(struct ctx *ctx, struct kind_env *env, json_t *service, const json_t *old, bool dry_run, struct err *err);
void service_end(struct kind_env *env, const json_t *service, const json_t *old, bool stored);

void service_validate(struct ctx *ctx, const json_t *service, struct field_errors *errs);
void service_validate_update(struct ctx *ctx, const json_t *service, const json_t *old, struct field_errors *errs);
/* A DNS label that begins with a letter. */
const char *service_name_invalid(const char *name);

/* What the type asks for. */
bool service_needs_ip(const json_t *service);
bool service_needs_ports(const json_t *service);
bool service_needs_health_port(const json_t *service);
bool service_is_external(const json_t *service); /* reachable from outside: NodePort, LoadBalancer, external IPs */

#endif
