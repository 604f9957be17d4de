#include "server/schema/kind.h"

#include "server/schema/kinds/kinds.h"

#include <string.h>

/* What is asked for most comes first. */
static const struct kind_ops *const groups[] = {
    kinds_core_pod,      kinds_core_event,   kinds_coordination,    kinds_core_node,     kinds_apps,        kinds_core_service,
    kinds_discovery,     kinds_core_config,  kinds_core_namespace,  kinds_core_misc,     kinds_core_volume, kinds_events,
    kinds_batch,         kinds_rbac,         kinds_networking,      kinds_policy,        kinds_storage,     kinds_autoscaling,
    kinds_certificates,  kinds_scheduling,   kinds_node,            kinds_flowcontrol,   kinds_devices,    kinds_admissionregistration,
    kinds_apiextensions, kinds_apiregistration, kinds_storagemigration,
};

/* Kinds without an entry: custom resources, reviews and such. Updates of custom resources must name a version. */
static const struct kind_ops generic = { .group = "", .kind = "" };

const struct kind_ops *kind_ops(const char *group, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        if (strcmp(groups[i]->group, group) != 0)
            continue; /* a list holds one API group */
        for (const struct kind_ops *k = groups[i]; k->kind; k++)
            if (strcmp(k->kind, kind) == 0)
                return k;
    }
    return &generic;
}

static const struct kind_conversion conversions[] = {
    { "events.k8s.io", "v1", "Event", "", "v1", event_to_core, event_from_core },
    { "autoscaling", "v1", "HorizontalPodAutoscaler", "autoscaling", "v2", hpa_v1_to_v2, hpa_v2_to_v1 },
};

const struct kind_conversion *kind_conversion(const char *group, const char *version, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(conversions); i++) {
        const struct kind_conversion *c = &conversions[i];

        if (strcmp(c->kind, kind) == 0 && strcmp(c->group, group) == 0 && strcmp(c->version, version) == 0)
            return c;
    }
    return NULL;
}
