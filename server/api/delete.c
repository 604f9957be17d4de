/* DELETE and its collection form: preconditions, grace, finalizers, propagation. */
#include "server/api/api_int.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <string.h>

enum { RETRIES = 8 };

static const char *const orphan = "orphan", *const foreground = "foregroundDeletion";

/* DeleteOptions come as body or as query parameters. */
static int read_options(struct api_request *r, json_t **ret, struct err *err)
{
    AUTO(json) json_t *o = NULL;
    const char *grace = api_query(r, "gracePeriodSeconds"), *policy = api_query(r, "propagationPolicy");
    const char *orphans = api_query(r, "orphanDependents");
    static const char *const policies[] = { "Foreground", "Background", "Orphan", "nil" };
    struct field_errors errs = { .arena = r->arena };

    if (r->body->n > 0) {
        if (api_decode_body(r, &o, err) < 0)
            return -(int)err->code;
        if (!json_is_object(o))
            return status_bad_request(&r->ctx, err, "the body must be DeleteOptions");
        const char *kind = json_str_or(o, "kind", "DeleteOptions");
        if (strcmp(kind, "DeleteOptions") != 0)
            return status_bad_request(&r->ctx, err, "converting (%s) to (v1.DeleteOptions): unknown conversion", kind);
    } else {
        o = json_object();
    }
    if (grace)
        json_object_set_new(o, "gracePeriodSeconds", json_integer(strtoll(grace, NULL, 10)));
    if (policy)
        json_object_set_new(o, "propagationPolicy", json_string(policy));
    if (orphans)
        json_object_set_new(o, "orphanDependents", json_boolean(strcmp(orphans, "true") == 0));
    const char *p = json_str_or(o, "propagationPolicy", "");
    if (*p && strcmp(p, "Orphan") != 0 && strcmp(p, "Background") != 0 && strcmp(p, "Foreground") != 0)
        field_not_supported(&errs, p, policies, ARRAY_LEN(policies), "propagationPolicy");
    if (json_array_size(json_object_get(o, "dryRun")) > 0) {
        const char *dry = json_string_value(json_array_get(json_object_get(o, "dryRun"), 0));

        if (!dry || strcmp(dry, "All") != 0)
            field_error(&errs, FIELD_NOT_SUPPORTED, json_object_get(o, "dryRun"), "supported values: \"All\"", "dryRun");
        r->dry_run = true;
    }
    if (api_options_end(r, &errs, err) < 0)
        return -(int)err->code;
    *ret = TAKE(o);
    return 0;
}

static int check_preconditions(struct api_request *r, const json_t *live, const json_t *o, struct err *err)
{
    const char *uid = json_str_or(o, "preconditions.uid", ""), *rv = json_str_or(o, "preconditions.resourceVersion", "");
    const char *why = NULL;

    if (*uid && strcmp(uid, meta_uid(live)) != 0)
        why = arena_printf(r->arena, "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, meta_uid(live));
    else if (*rv && strcmp(rv, meta_resource_version(live)) != 0)
        why = arena_printf(r->arena, "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s", rv,
                           meta_resource_version(live));
    if (!why)
        return 0;
    return status_conflict(&r->ctx, r->route.resource->group, r->route.resource->resource, meta_name(live), why, err);
}

static const char *propagation(struct api_request *r, const json_t *live, const json_t *o)
{
    const char *p = json_str_or(o, "propagationPolicy", "");
    const json_t *orphans = json_object_get(o, "orphanDependents");

    if (*p)
        return p;
    if (orphans)
        return json_is_true(orphans) ? "Orphan" : "Background";
    if (meta_has_finalizer(live, orphan))
        return "Orphan";
    if (meta_has_finalizer(live, foreground))
        return "Foreground";
    return r->route.ops->propagation ? r->route.ops->propagation : "Background";
}

static void set_propagation_finalizers(json_t *object, const char *policy)
{
    meta_remove_finalizer(object, orphan);
    meta_remove_finalizer(object, foreground);
    if (strcmp(policy, "Orphan") == 0)
        meta_add_finalizer(object, orphan);
    else if (strcmp(policy, "Foreground") == 0)
        meta_add_finalizer(object, foreground);
    if (json_array_size(json_at(object, "metadata.finalizers")) == 0)
        json_del(object, "metadata.finalizers");
}

/* Marks as terminating, or shortens the grace of what terminates already. */
static void mark(struct api_request *r, json_t *object, int64_t grace)
{
    char when[CLOCK_TEXT_BYTES];
    int64_t now = clock_wall_s(r->api->o.clock);

    if (!meta_deleting(object)) {
        json_put(object, "metadata.deletionTimestamp", json_string(clock_time_text(now + grace, when)));
        json_put(object, "metadata.deletionGracePeriodSeconds", json_integer(grace));
        if (!r->route.ops->no_generation)
            json_put(object, "metadata.generation", json_integer(meta_generation(object) + 1));
        if (r->route.ops->terminating)
            r->route.ops->terminating(object);
        return;
    }
    int64_t had = json_int_or(object, "metadata.deletionGracePeriodSeconds", 0);
    if (grace < had) {
        json_put(object, "metadata.deletionTimestamp", json_string(clock_time_text(now + grace, when)));
        json_put(object, "metadata.deletionGracePeriodSeconds", json_integer(grace));
    }
}

static int store_marked(struct api_request *r, const json_t *object, const struct bytes *old, int64_t expect, int64_t *ret_revision,
                        struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    const struct schema_resource *stored = r->route.stored, *res = r->route.resource;
    const struct kind_conversion *conv = kind_conversion(res->group, res->version, res->kind);
    AUTO(json) json_t *copy = json_deep_copy(object);
    int failed = -1;

    if (conv)
        conv->to_storage(copy);
    AUTO(bytes) struct bytes *facts = facts_of(&r->ctx, kind_ops(stored->group, stored->kind), copy);
    AUTO(bytes) struct bytes *value = object_bytes(copy);
    *ret_revision = expect;
    if (r->dry_run || (value->n == old->n && memcmp(value->at, old->at, old->n) == 0))
        return 0;
    api_key(r, meta_name(object), &key);
    struct store_op op = { .kind = STORE_PUT, .key = { buf_at(&key), buf_len(&key) }, .expect = expect, .value = value, .facts = facts };
    pool_wait_begin();
    int rc = store_txn(&r->ctx, r->api->o.store, &op, 1, ret_revision, &failed, NULL, err);
    pool_wait_end();
    return rc;
}

static int remove_row(struct api_request *r, const char *name, int64_t expect, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    int64_t revision = 0;
    int failed = -1;

    if (r->dry_run)
        return 0;
    api_key(r, name, &key);
    struct store_op op = { .kind = STORE_DELETE, .key = { buf_at(&key), buf_len(&key) }, .expect = expect };
    pool_wait_begin();
    int rc = store_txn(&r->ctx, r->api->o.store, &op, 1, &revision, &failed, NULL, err);
    pool_wait_end();
    return rc;
}

static int admit_delete(struct api_request *r, const char *name, const json_t *live, const json_t *options, struct err *err)
{
    struct admission_request a = {
        .verb = ADMIT_DELETE, .resource = r->route.resource, .subresource = r->route.sub ? r->route.sub->name : "", .ns = r->route.ns, .name = name,
        .old = live, .options = options, .dry_run = r->dry_run,
    };
    bool changed = false;

    if (admission_mutate(&r->ctx, r->api->o.admission, &a, &changed, err) < 0)
        return -(int)err->code;
    return admission_validate(&r->ctx, r->api->o.admission, &a, err);
}

static int try_delete(struct api_request *r, const char *name, const json_t *options, json_t **ret, bool *ret_gone, struct err *err)
{
    const struct kind_ops *ops = r->route.ops;
    struct store_row row = { 0 };
    AUTO(json) json_t *object = NULL;
    int64_t revision = 0;
    const char *saved = r->route.name;

    r->route.name = name;
    int rc = api_live(r, &row, err);
    r->route.name = saved;
    if (rc < 0)
        return rc;
    AUTO(bytes) struct bytes *old = bytes_ref(row.value);
    int64_t expect = row.mod_revision;
    rc = api_tree(r, row.value, row.mod_revision, &object, err);
    store_row_clear(&row);
    if (rc < 0 || check_preconditions(r, object, options, err) < 0 || admit_delete(r, name, object, options, err) < 0)
        return -(int)err->code;

    set_propagation_finalizers(object, propagation(r, object, options));
    int64_t grace = ops->grace ? ops->grace(object, json_int_or(options, "gracePeriodSeconds", -1)) : 0;
    bool held = ops->held && ops->held(object);
    if (grace == 0 && json_array_size(json_at(object, "metadata.finalizers")) == 0 && !held) {
        *ret_gone = true;
        if (remove_row(r, name, expect, err) < 0)
            return -(int)err->code;
        if (ops->end && !r->dry_run)
            ops->end(r->api->env, NULL, object, true);
        *ret = TAKE(object);
        return 0;
    }
    *ret_gone = false;
    mark(r, object, grace);
    if (store_marked(r, object, old, expect, &revision, err) < 0)
        return -(int)err->code;
    json_put(object, "metadata.resourceVersion", json_strf("%lld", (long long)revision));
    *ret = TAKE(object);
    return 0;
}

int api_delete_one(struct api_request *r, const char *name, const json_t *options, json_t **ret, bool *ret_gone, struct err *err)
{
    int rc = 0;

    for (int i = 0; i < RETRIES; i++) {
        rc = try_delete(r, name, options, ret, ret_gone, err);
        if (rc == 0 || err->status || (err->code != ERR_CONFLICT && err->code != ERR_NOT_FOUND))
            return rc; /* with a status: the client's own conflict or absence */
    }
    if (rc < 0 && err->code == ERR_NOT_FOUND)
        return status_not_found(&r->ctx, r->route.resource->group, r->route.resource->resource, name, err);
    return rc;
}

static int answer_success(struct api_request *r, const json_t *object, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    AUTO(json) json_t *status = json_object();

    json_object_set_new(status, "kind", json_string("Status"));
    json_object_set_new(status, "apiVersion", json_string("v1"));
    json_object_set_new(status, "metadata", json_object());
    json_object_set_new(status, "status", json_string("Success"));
    json_put(status, "details.name", json_string(meta_name(object)));
    if (*res->group)
        json_put(status, "details.group", json_string(res->group));
    json_put(status, "details.kind", json_string(res->resource));
    json_put(status, "details.uid", json_string(meta_uid(object)));
    return api_answer_tree(r, 200, status, err);
}

int api_delete(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *options = NULL;
    AUTO(json) json_t *object = NULL;
    bool gone = false;

    if (read_options(r, &options, err) < 0 || api_delete_one(r, r->route.name, options, &object, &gone, err) < 0)
        return -(int)err->code;
    if (gone && !r->route.ops->return_deleted)
        return answer_success(r, object, err);
    return api_answer_tree(r, 200, object, err);
}

/* --- the collection --- */

struct names {
    struct api_request *r;
    struct api_filter filter;
    char **at;
    size_t n, cap;
};

static int collect(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct names *names = arg;
    struct slice key = { row->key->at, row->key->n }, ns = { "", 0 };
    const char *slash = memrchr(key.at, '/', key.n);
    struct slice name = { slash + 1, (size_t)(key.at + key.n - slash - 1) };

    (void)stop;
    (void)err;
    if (names->r->route.resource->namespaced)
        ns = slice_of(names->r->route.ns);
    if (!api_filter_match(&names->filter, ns, name, row->facts))
        return 0;
    if (names->n == names->cap) {
        names->cap = names->cap ? names->cap * 2 : 64;
        names->at = mem_realloc(names->at, names->cap * sizeof(*names->at));
    }
    names->at[names->n++] = slice_dup(name);
    return 0;
}

static int delete_all(struct api_request *r, struct names *names, const json_t *options, struct err *err)
{
    AUTO(json) json_t *items = json_array();
    AUTO(json) json_t *list = json_object();

    for (size_t i = 0; i < names->n; i++) {
        json_t *object = NULL;
        bool gone = false;

        if (api_delete_one(r, names->at[i], options, &object, &gone, err) < 0) {
            if (err->code == ERR_NOT_FOUND)
                continue; /* gone by itself: what was asked for */
            return -(int)err->code;
        }
        json_object_del(object, "kind");
        json_object_del(object, "apiVersion");
        json_array_append_new(items, object);
    }
    json_object_set_new(list, "kind", json_strf("%sList", r->route.resource->kind));
    json_object_set_new(list, "apiVersion", json_string(api_version_text(r->arena, r->route.resource)));
    json_put(list, "metadata.resourceVersion", json_strf("%lld", (long long)store_revision(r->api->o.store)));
    json_object_set(list, "items", items);
    return api_answer_tree(r, 200, list, err);
}

int api_deletecollection(struct api_request *r, struct err *err)
{
    struct names names = { .r = r };
    AUTO(json) json_t *options = NULL;
    AUTO(buf) struct buf from = { 0 }, to = { 0 };
    int rc = 0;

    if (read_options(r, &options, err) < 0 || api_filter(r, &names.filter, err) < 0)
        return -(int)err->code;
    key_write(r->route.stored, r->route.ns, NULL, &from);
    key_range_end((struct slice){ buf_at(&from), buf_len(&from) }, &to);
    struct store_range range = {
        .from = { buf_at(&from), buf_len(&from) }, .to = { buf_at(&to), buf_len(&to) }, .facts_only = true,
    };
    do
        rc = store_range(&r->ctx, r->api->o.store, &range, collect, &names, err);
    while (rc == 0 && range.more);
    store_range_end(&range);
    if (rc == 0)
        rc = delete_all(r, &names, options, err);
    for (size_t i = 0; i < names.n; i++)
        free(names.at[i]);
    free(names.at);
    return rc;
}
