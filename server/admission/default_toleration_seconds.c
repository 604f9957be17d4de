/* DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or cannot be reached. */
#include "server/admission/step.h"

#include <string.h>

static const char not_ready[] = "node.kubernetes.io/not-ready", unreachable[] = "node.kubernetes.io/unreachable";
enum { STAY_S = 300 };

static bool tolerates(const json_t *tolerations, const char *key)
{
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach(tolerations, i, t)
    {
        const char *k = json_str_or(t, "key", ""), *effect = json_str_or(t, "effect", "");

        if ((!*k || strcmp(k, key) == 0) && (!*effect || strcmp(effect, "NoExecute") == 0))
            return true;
    }
    return false;
}

static json_t *toleration(const char *key)
{
    return json_pack("{s:s,s:s,s:s,s:i}", "key", key, "operator", "Exists", "effect", "NoExecute", "tolerationSeconds", STAY_S);
}

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    (void)ctx;
    (void)a;
    (void)err;
    if ((r->verb != ADMIT_CREATE && r->verb != ADMIT_UPDATE) || !admission_is(r, "", "pods", ""))
        return 0;
    json_t *list = json_at(r->object, "spec.tolerations");
    bool ready = tolerates(list, not_ready), reached = tolerates(list, unreachable);

    if (ready && reached)
        return 0;
    if (!json_is_array(list)) {
        list = json_array();
        json_put(r->object, "spec.tolerations", list);
    }
    if (!ready)
        json_array_append_new(list, toleration(not_ready));
    if (!reached)
        json_array_append_new(list, toleration(unreachable));
    *changed = true;
    return 0;
}

const struct admission_step admission_default_toleration_seconds = { "DefaultTolerationSeconds", mutate, NULL };
