#ifndef SERVER_SCHEMA_KINDS_KINDS_H
#define SERVER_SCHEMA_KINDS_KINDS_H
/* kinds - the lists that kind.c's table is made of: one an API group, ending with an entry without a kind. */
#include "server/schema/kind.h"

extern const struct kind_ops kinds_admissionregistration[], kinds_apiextensions[], kinds_apiregistration[], kinds_apps[],
    kinds_autoscaling[], kinds_batch[], kinds_certificates[], kinds_coordination[], kinds_core_config[], kinds_core_event[],
    kinds_core_misc[], kinds_core_namespace[], kinds_core_node[], kinds_core_pod[], kinds_core_service[], kinds_core_volume[],
    kinds_discovery[], kinds_events[], kinds_flowcontrol[], kinds_networking[], kinds_node[], kinds_policy[], kinds_rbac[],
    kinds_devices[], kinds_scheduling[], kinds_storage[], kinds_storagemigration[];

/* Conversions, where a kind is served in a version it is not stored in. */
void event_to_core(json_t *event);
void event_from_core(json_t *event);
void hpa_v1_to_v2(json_t *hpa);
void hpa_v2_to_v1(json_t *hpa);

#endif
