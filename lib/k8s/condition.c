#include "lib/k8s/meta.h"

#include <string.h>

static bool same_text(const json_t *o, const char *key, const char *text)
{
    const char *s = json_string_value(json_object_get(o, key));

    return strcmp(s ? s : "", text ? text : "") == 0;
}

static size_t condition_at(const json_t *list, const char *type)
{
    size_t i = 0;

    while (i < json_array_size(list) && !same_text(json_array_get(list, i), "type", type))
        i++;
    return i;
}

static json_t *conditions_of(const json_t *o)
{
    return json_object_get(json_object_get(o, "status"), "conditions");
}

const json_t *condition_get(const json_t *o, const char *type)
{
    const json_t *list = conditions_of(o);

    return json_array_get(list, condition_at(list, type));
}

bool condition_is(const json_t *o, const char *type, const char *status)
{
    const json_t *c = condition_get(o, type);

    return c && same_text(c, "status", status);
}

static json_t *made_list(json_t *o)
{
    json_t *status = json_object_get(o, "status"), *list;

    if (!json_is_object(status)) {
        status = json_object();
        json_object_set_new_nocheck(o, "status", status);
    }
    list = json_object_get(status, "conditions");
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new_nocheck(status, "conditions", list);
    }
    return list;
}

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text && *text)
        json_object_set_new_nocheck(o, key, json_string_nocheck(text));
    else
        json_object_del(o, key);
}

bool condition_set(json_t *o, const struct condition *c, const struct clock *clock)
{
    json_t *list = made_list(o), *at = json_array_get(list, condition_at(list, c->type));
    char now[CLOCK_TEXT_BYTES];
    bool fresh = !at, moved, changed;

    clock_time_text(clock_wall_s(clock), now);
    if (fresh) {
        at = json_object();
        json_array_append_new(list, at);
        set_text(at, "type", c->type);
    }
    moved = fresh || !same_text(at, "status", c->status);
    changed = moved || !same_text(at, "reason", c->reason) || !same_text(at, "message", c->message) ||
              (c->observed_generation &&
               json_integer_value(json_object_get(at, "observedGeneration")) != c->observed_generation);
    if (c->observed_generation)
        json_object_set_new_nocheck(at, "observedGeneration", json_integer(c->observed_generation));
    set_text(at, "status", c->status);
    if (c->with_heartbeat)
        set_text(at, "lastHeartbeatTime", now);
    if (c->with_update && changed)
        set_text(at, "lastUpdateTime", now);
    if (moved)
        set_text(at, "lastTransitionTime", now);
    set_text(at, "reason", c->reason);
    set_text(at, "message", c->message);
    return changed;
}

bool condition_remove(json_t *o, const char *type)
{
    json_t *list = conditions_of(o);
    size_t at = condition_at(list, type);

    if (at == json_array_size(list))
        return false;
    json_array_remove(list, at);
    return true;
}
