#include "server/schema/kind.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/kinds.h"

#include <string.h>

static const struct kind_ops *const groups[] = {
    kinds_core_pod,       kinds_core_event,     kinds_apps,          kinds_core_config,    kinds_core_node,
    kinds_core_service,   kinds_core_namespace, kinds_core_misc,     kinds_core_volume,    kinds_events,
};

/* Kinds of resource definitions and such: an object with a spec and a status, nothing special. */
static const struct kind_ops generic = { .group = "", .kind = "", .name_invalid = name_is_path_segment };

const struct kind_ops *kind_ops(const char *group, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        for (const struct kind_ops *k = groups[i]; k->kind; k++)
            if (strcmp(k->kind, kind) == 0 && strcmp(k->group, group) == 0)
                return k;
    return &generic;
}

static const struct kind_conversion conversions[] = {
    { "events.k8s.io", "v1", "Event", "", "v1", event_to_core, event_from_core },
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
