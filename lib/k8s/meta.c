#include "lib/k8s/meta.h"

#include <string.h>

static const json_t *metadata(const json_t *o)
{
    return json_object_get(o, "metadata");
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(metadata(o), key));

    return s ? s : "";
}

const char *meta_name(const json_t *o)
{
    return text_of(o, "name");
}

const char *meta_namespace(const json_t *o)
{
    return text_of(o, "namespace");
}

const char *meta_uid(const json_t *o)
{
    return text_of(o, "uid");
}

const char *meta_resource_version(const json_t *o)
{
    return text_of(o, "resourceVersion");
}

bool meta_deleting(const json_t *o)
{
    return *text_of(o, "deletionTimestamp") != '\0';
}

int64_t meta_generation(const json_t *o)
{
    return json_integer_value(json_object_get(metadata(o), "generation"));
}

const char *meta_label(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(json_object_get(metadata(o), "labels"), key));
}

const char *meta_annotation(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(json_object_get(metadata(o), "annotations"), key));
}

/* The member, made when it is absent or null. */
static json_t *member(json_t *o, const char *key, json_t *(*make)(void))
{
    json_t *m = json_object_get(o, key);

    if (m && !json_is_null(m))
        return m;
    m = make();
    json_object_set_new_nocheck(o, key, m);
    return m;
}

static void set_in_map(json_t *o, const char *map, const char *key, const char *value)
{
    json_t *m = member(member(o, "metadata", json_object), map, json_object);

    json_object_set_new_nocheck(m, key, json_string_nocheck(value));
}

void meta_set_label(json_t *o, const char *key, const char *value)
{
    set_in_map(o, "labels", key, value);
}

void meta_set_annotation(json_t *o, const char *key, const char *value)
{
    set_in_map(o, "annotations", key, value);
}

static size_t finalizer_at(const json_t *list, const char *name)
{
    size_t i;

    for (i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s && strcmp(s, name) == 0)
            break;
    }
    return i;
}

bool meta_has_finalizer(const json_t *o, const char *name)
{
    const json_t *list = json_object_get(metadata(o), "finalizers");

    return finalizer_at(list, name) < json_array_size(list);
}

void meta_add_finalizer(json_t *o, const char *name)
{
    if (meta_has_finalizer(o, name))
        return;
    json_t *list = member(member(o, "metadata", json_object), "finalizers", json_array);
    json_array_append_new(list, json_string_nocheck(name));
}

bool meta_remove_finalizer(json_t *o, const char *name)
{
    json_t *meta = json_object_get(o, "metadata"), *list = json_object_get(meta, "finalizers");
    size_t at = finalizer_at(list, name);

    if (at == json_array_size(list))
        return false;
    json_array_remove(list, at);
    if (json_array_size(list) == 0)
        json_object_del(meta, "finalizers");
    return true;
}

const json_t *meta_controller(const json_t *o)
{
    const json_t *refs = json_object_get(metadata(o), "ownerReferences");

    for (size_t i = 0; i < json_array_size(refs); i++) {
        const json_t *ref = json_array_get(refs, i);

        if (json_is_true(json_object_get(ref, "controller")))
            return ref;
    }
    return NULL;
}

json_t *meta_owner_ref(const json_t *owner, bool controller, bool block_owner_deletion)
{
    json_t *ref = json_object();
    const char *api = json_string_value(json_object_get(owner, "apiVersion"));
    const char *kind = json_string_value(json_object_get(owner, "kind"));

    json_object_set_new_nocheck(ref, "apiVersion", json_string_nocheck(api ? api : ""));
    json_object_set_new_nocheck(ref, "kind", json_string_nocheck(kind ? kind : ""));
    json_object_set_new_nocheck(ref, "name", json_string_nocheck(meta_name(owner)));
    json_object_set_new_nocheck(ref, "uid", json_string_nocheck(meta_uid(owner)));
    if (controller)
        json_object_set_new_nocheck(ref, "controller", json_true());
    if (block_owner_deletion)
        json_object_set_new_nocheck(ref, "blockOwnerDeletion", json_true());
    return ref;
}

char *meta_key(const json_t *o)
{
    const char *ns = meta_namespace(o), *name = meta_name(o);

    return *ns ? mem_printf("%s/%s", ns, name) : mem_strdup(name);
}

void meta_split_key(struct arena *a, const char *key, const char **ret_ns, const char **ret_name)
{
    const char *slash = strchr(key, '/');

    *ret_ns = slash ? arena_strndup(a, key, (size_t)(slash - key)) : "";
    *ret_name = arena_strdup(a, slash ? slash + 1 : key);
}
