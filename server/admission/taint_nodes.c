/* TaintNodesByCondition: a new node takes no pods until the node life cycle controller has seen it Ready. */
#include "server/admission/step.h"

#include <string.h>

static const char not_ready[] = "node.kubernetes.io/not-ready", no_schedule[] = "NoSchedule";

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    size_t i = 0;
    json_t *t = NULL;

    (void)ctx;
    (void)a;
    (void)err;
    if (r->verb != ADMIT_CREATE || !admission_is(r, "", "nodes", ""))
        return 0;
    json_t *taints = json_at(r->object, "spec.taints");
    json_array_foreach(taints, i, t) if (strcmp(json_str_or(t, "key", ""), not_ready) == 0 &&
                                         strcmp(json_str_or(t, "effect", ""), no_schedule) == 0) return 0;
    if (!json_is_array(taints)) {
        taints = json_array();
        json_put(r->object, "spec.taints", taints);
    }
    json_array_append_new(taints, json_pack("{s:s,s:s}", "key", not_ready, "effect", no_schedule));
    *changed = true;
    return 0;
}

const struct admission_step admission_taint_nodes = { "TaintNodesByCondition", mutate, NULL };
