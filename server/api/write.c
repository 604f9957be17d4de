/*
 * Create and update (DESIGN §2, "A write"): decode, default, managed fields, mutating admission, uid and name, validation, validating
 * admission, one serialisation, store. Updates start again from the live object on a conflict.
 */
#include "server/api/api_int.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <string.h>

enum { RETRIES = 5, GENERATE_RETRIES = 8 };

static bool is_status(const struct api_change *c)
{
    return c->sub && strcmp(c->sub, "status") == 0;
}

static void on_admission_warning(void *arg, const char *text)
{
    api_warn(arg, "%s", text);
}

static struct admission_request admission_request(struct api_request *r, enum admission_verb verb, const char *sub, json_t *object,
                                                  const json_t *old)
{
    return (struct admission_request){
        .verb = verb,
        .resource = r->route.resource,
        .subresource = sub ? sub : "",
        .ns = r->route.ns,
        .name = *r->route.name ? r->route.name : meta_name(object),
        .object = object,
        .old = old,
        .dry_run = r->dry_run,
        .warn = on_admission_warning,
        .warn_arg = r,
    };
}

static int mutate(struct api_request *r, struct admission_request *a, struct err *err)
{
    bool changed = false;

    if (admission_mutate(&r->ctx, r->api->o.admission, a, &changed, err) < 0)
        return -(int)err->code;
    return changed ? api_normalize(r, a->object, err) : 0;
}

/* --- metadata --- */

static int check_namespace(struct api_request *r, json_t *object, struct err *err)
{
    const char *ns = meta_namespace(object);

    if (!r->route.resource->namespaced) {
        json_del(object, "metadata.namespace");
        return 0;
    }
    if (*ns && strcmp(ns, r->route.ns) != 0)
        return status_bad_request(&r->ctx, err, "the namespace of the provided object does not match the namespace sent on the request");
    json_put(object, "metadata.namespace", json_string(r->route.ns));
    return 0;
}

static const char *name_problem(const struct kind_ops *ops, const char *name)
{
    return ops->name_invalid ? ops->name_invalid(name) : name_is_dns_subdomain(name);
}

static void validate_string_map(struct field_errors *errs, const json_t *map, const char *path, bool values_too)
{
    const char *key = NULL, *bad = NULL;
    json_t *v = NULL;
    size_t bytes = 0;

    json_object_foreach((json_t *)map, key, v)
    {
        AUTO(json) json_t *shown = json_string(key);

        bytes += strlen(key) + json_string_length(v);
        if ((bad = label_key_invalid(key)))
            field_error(errs, FIELD_INVALID, shown, bad, "%s", path);
        if (values_too && json_is_string(v) && (bad = label_value_invalid(json_string_value(v))))
            field_error(errs, FIELD_INVALID, v, bad, "%s", path);
    }
    if (!values_too && bytes > 256 * 1024)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 262144 bytes", "%s", path);
}

static void validate_owners(struct field_errors *errs, const json_t *object)
{
    size_t i = 0;
    json_t *o = NULL;
    int controllers = 0;

    json_array_foreach(json_at(object, "metadata.ownerReferences"), i, o)
    {
        static const char *const needed[] = { "apiVersion", "kind", "name", "uid" };

        for (size_t k = 0; k < ARRAY_LEN(needed); k++)
            if (!*json_str_or(o, needed[k], "")) {
                AUTO(json) json_t *empty = json_string("");
                AUTO_FREE char *why = mem_printf("must not be empty");
                field_error(errs, FIELD_INVALID, empty, why, "metadata.ownerReferences[%zu].%s", i, needed[k]);
            }
        controllers += json_bool_or(o, "controller", false);
    }
    if (controllers > 1)
        field_error(errs, FIELD_INVALID, json_at(object, "metadata.ownerReferences"),
                    "Only one reference can have Controller set to true. Found \"true\" in references", "metadata.ownerReferences");
}

static void validate_meta(struct api_request *r, const json_t *object, struct field_errors *errs)
{
    const char *name = meta_name(object), *bad = NULL, *prefix = json_str_or(object, "metadata.generateName", "");
    size_t n = strlen(prefix);

    if (n > 0) { /* what it begins must be a name once something follows a last '-' */
        char *whole = arena_strdup(r->arena, prefix);

        if (whole[n - 1] == '-')
            whole[n - 1] = 'a';
        if ((bad = name_problem(r->route.ops, whole)))
            field_error(errs, FIELD_INVALID, json_at(object, "metadata.generateName"), bad, "metadata.generateName");
    }
    if (!*name)
        field_error(errs, FIELD_REQUIRED, NULL, "name or generateName is required", "metadata.name");
    else if ((bad = name_problem(r->route.ops, name)))
        field_error(errs, FIELD_INVALID, json_at(object, "metadata.name"), bad, "metadata.name");
    validate_string_map(errs, json_at(object, "metadata.labels"), "metadata.labels", true);
    validate_string_map(errs, json_at(object, "metadata.annotations"), "metadata.annotations", false);
    validate_owners(errs, object);

    size_t i = 0;
    json_t *f = NULL;
    json_array_foreach(json_at(object, "metadata.finalizers"), i, f)
    {
        bad = json_is_string(f) ? label_key_invalid(json_string_value(f)) : "must be a string";
        if (bad)
            field_error(errs, FIELD_INVALID, f, bad, "metadata.finalizers[%zu]", i);
    }
}

static void validate_immutable(struct field_errors *errs, const json_t *object, const json_t *old, const char *field)
{
    const char *path = field;
    const json_t *a = json_at(object, path), *b = json_at(old, path);

    if ((a || b) && !json_equal(a, b))
        field_error(errs, FIELD_INVALID, a, "field is immutable", "%s", path);
}

static bool has_text(const json_t *list, const char *text)
{
    size_t i = 0;
    json_t *v = NULL;

    json_array_foreach((json_t *)list, i, v)
    {
        if (strcmp(json_string_value(v), text) == 0)
            return true;
    }
    return false;
}

/* Whoever deletes must be able to trust that the list only shrinks. */
static void validate_no_new_finalizers(struct field_errors *errs, const json_t *object, const json_t *old)
{
    size_t i = 0, n = 0;
    json_t *f = NULL;
    AUTO(buf) struct buf extra = { 0 };

    if (!*json_str_or(old, "metadata.deletionTimestamp", ""))
        return;
    json_array_foreach(json_at(object, "metadata.finalizers"), i, f)
    {
        if (json_is_string(f) && !has_text(json_at(old, "metadata.finalizers"), json_string_value(f)))
            buf_printf(&extra, "%s%s", n++ ? ", " : "", go_quote(errs->arena, json_string_value(f)));
    }
    if (n)
        field_error(errs, FIELD_FORBIDDEN, NULL,
                    arena_printf(errs->arena, "no new finalizers can be added if the object is being deleted, found new finalizers []string{%.*s}",
                                 (int)buf_len(&extra), (const char *)buf_at(&extra)),
                    "metadata.finalizers");
}

static int validate(struct api_request *r, const json_t *object, const json_t *old, const struct api_change *c, struct err *err)
{
    const struct kind_ops *ops = r->route.ops;
    const struct schema_resource *res = r->route.resource;
    struct field_errors errs = { .arena = r->arena };

    validate_meta(r, object, &errs);
    if (old) {
        validate_immutable(&errs, object, old, "metadata.name");
        validate_immutable(&errs, object, old, "metadata.namespace");
        validate_immutable(&errs, object, old, "metadata.uid");
        validate_no_new_finalizers(&errs, object, old);
    }
    if (!c || !c->no_validate) {
        if (c && is_status(c)) {
            if (ops->validate_status)
                ops->validate_status(&r->ctx, object, old, &errs);
        } else {
            object_validate(res->type, object, &errs);
            if (ops->validate)
                ops->validate(&r->ctx, object, &errs);
            if (old && ops->validate_update)
                ops->validate_update(&r->ctx, object, old, &errs);
        }
    }
    return field_errors_end(&errs, res->group, res->kind, meta_name(object), err);
}

/* --- storing --- */

static void to_storage(struct api_request *r, json_t *object)
{
    const struct schema_resource *res = r->route.resource;
    const struct kind_conversion *conv = kind_conversion(res->group, res->version, res->kind);

    if (conv)
        conv->to_storage(object);
}

/* The stored form of a tree in the served version: bytes and facts. The tree's own resourceVersion is left alone. */
static struct bytes *stored_bytes(struct api_request *r, const json_t *object, struct bytes **ret_facts)
{
    const struct schema_resource *stored = r->route.stored;

    if (stored == r->route.resource) {
        *ret_facts = facts_of(&r->ctx, r->route.ops, object);
        return object_bytes(object);
    }
    AUTO(json) json_t *copy = json_deep_copy(object);
    to_storage(r, copy);
    *ret_facts = facts_of(&r->ctx, kind_ops(stored->group, stored->kind), copy);
    return object_bytes(copy);
}

static int put(struct api_request *r, const char *name, const json_t *object, int64_t expect, struct bytes **ret_value,
               int64_t *ret_revision, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    AUTO(bytes) struct bytes *facts = NULL;
    AUTO(bytes) struct bytes *value = stored_bytes(r, object, &facts);
    int failed = -1;

    if (r->dry_run) {
        *ret_value = TAKE(value);
        *ret_revision = expect;
        return 0;
    }
    api_key(r, name, &key);
    struct store_op op = {
        .kind = STORE_PUT,
        .key = { buf_at(&key), buf_len(&key) },
        .expect = expect,
        .value = value,
        .facts = facts,
    };
    if (r->route.ops->ttl_s > 0)
        op.expiry_ms = clock_wall_us(r->api->o.clock) / 1000 + r->route.ops->ttl_s * 1000;
    pool_wait_begin();
    int rc = store_txn(&r->ctx, r->api->o.store, &op, 1, ret_revision, &failed, NULL, err);
    pool_wait_end();
    if (rc == 0)
        *ret_value = TAKE(value);
    return rc;
}

/* The answer to a write: the bytes that were stored, where nothing needs another form. */
static int answer_written(struct api_request *r, int status, const json_t *object, const struct bytes *value, int64_t revision,
                          struct err *err)
{
    if (r->route.stored == r->route.resource && (!r->dry_run || revision > 0))
        return api_answer_stored(r, status, value, revision, err);
    AUTO(json) json_t *copy = json_copy((json_t *)object);
    json_t *meta = json_deep_copy(json_object_get(object, "metadata"));
    json_object_set_new(copy, "metadata", meta);
    if (revision > 0)
        json_object_set_new(meta, "resourceVersion", json_strf("%lld", (long long)revision));
    else
        json_object_del(meta, "resourceVersion");
    return api_answer_tree(r, status, copy, err);
}

/* --- create --- */

static void fill_new(struct api_request *r, json_t *object)
{
    const struct kind_ops *ops = r->route.ops;
    char uid[37], when[CLOCK_TEXT_BYTES];
    json_t *meta = json_object_get(object, "metadata");
    static const char *const drop[] = { "resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds" };

    for (size_t i = 0; i < ARRAY_LEN(drop); i++)
        json_object_del(meta, drop[i]);
    uid_new(uid);
    json_object_set_new(meta, "uid", json_string(uid));
    json_object_set_new(meta, "creationTimestamp", json_string(clock_time_text(clock_wall_s(r->api->o.clock), when)));
    if (!ops->no_generation)
        json_object_set_new(meta, "generation", json_integer(1));
    else
        json_object_del(meta, "generation");
    if (!*meta_name(object) && *json_str_or(object, "metadata.generateName", ""))
        json_object_set_new(meta, "name", json_string(name_generate(r->arena, json_str_or(object, "metadata.generateName", ""))));
}

static bool has_status_subresource(const struct schema_resource *res)
{
    return schema_subresource(res, SLICE_LIT("status")) != NULL;
}

/* Kinds without a status subresource own their whole object. */
static const char *const no_reset[] = { NULL };

static int manage(struct api_request *r, const json_t *live, json_t *object, const char *sub, struct err *err)
{
    struct apply_manager m = {
        .name = r->field_manager,
        .subresource = sub ? sub : "",
        .api_version = api_version_text(r->arena, r->route.resource),
        .now_s = clock_wall_s(r->api->o.clock),
        .reset = has_status_subresource(r->route.resource) ? NULL : no_reset,
    };

    int rc = apply_update_managed(&r->ctx, r->route.resource->type, live, object, &m, err);
    return rc == 0 && r->kept_empty ? object_prune(r->route.resource->type, object, NULL, NULL, err) : rc;
}

/* *ret_going: it is being deleted. Errors: NOT_FOUND. */
static int look(struct api_request *r, const char *name, bool *ret_going, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    AUTO(json) json_t *live = NULL;
    struct store_row row = { 0 };

    api_key(r, name, &key);
    if (store_get(&r->ctx, r->api->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, &row, NULL, err) < 0)
        return -(int)err->code;
    int rc = api_tree(r, row.value, row.mod_revision, &live, err);
    store_row_clear(&row);
    if (rc == 0)
        *ret_going = *json_str_or(live, "metadata.deletionTimestamp", "");
    return rc;
}

static int exists(struct api_request *r, const char *name, struct err *err)
{
    bool going = false;
    struct err ignored; /* gone in between: it existed when we tried */
    int rc = status_already_exists(&r->ctx, r->route.resource->group, r->route.resource->resource, name, err);

    if (look(r, name, &going, &ignored) == 0 && going) {
        struct k8s_status *s = arena_alloc(r->arena, sizeof(*s));

        *s = *err->status;
        s->message = arena_printf(r->arena, "object is being deleted: %s", s->message);
        rc = err_set(err, ERR_EXISTS, "%s", s->message);
        err->status = s;
    }
    return rc;
}

/* Validation, side work and the store, with new names when a generated one is taken. */
static int store_named(struct api_request *r, json_t *object, struct bytes **ret_value, int64_t *ret_revision, struct err *err)
{
    const struct kind_ops *ops = r->route.ops;
    bool generated = *json_str_or(object, "metadata.generateName", "") && !*r->route.name;
    struct admission_request a = admission_request(r, ADMIT_CREATE, NULL, object, NULL);

    if (validate(r, object, NULL, NULL, err) < 0)
        return -(int)err->code;
    if (admission_validate(&r->ctx, r->api->o.admission, &a, err) < 0)
        return -(int)err->code;
    if (ops->begin && ops->begin(&r->ctx, r->api->env, object, NULL, r->dry_run, err) < 0)
        return -(int)err->code;
    int rc = -1;
    for (int i = 0; i < GENERATE_RETRIES; i++) {
        rc = put(r, meta_name(object), object, STORE_ABSENT, ret_value, ret_revision, err);
        if (rc == 0 || err->code != ERR_EXISTS || !generated)
            break;
        json_put(object, "metadata.name", json_string(name_generate(r->arena, json_str_or(object, "metadata.generateName", ""))));
    }
    if (ops->end)
        ops->end(r->api->env, object, NULL, rc == 0 && !r->dry_run);
    if (rc < 0 && err->code == ERR_EXISTS)
        return exists(r, meta_name(object), err);
    return rc;
}

/* A dry run sees what is there already. */
static int check_absent(struct api_request *r, const json_t *object, struct err *err)
{
    bool going = false;
    struct err absent;

    if (!r->dry_run || !*meta_name(object))
        return 0;
    if (look(r, meta_name(object), &going, &absent) < 0)
        return absent.code == ERR_NOT_FOUND ? 0 : (*err = absent, -(int)absent.code);
    return exists(r, meta_name(object), err);
}

static int create_tree(struct api_request *r, json_t *object, bool managed, int64_t *ret_revision, struct bytes **ret_value,
                       struct err *err)
{
    const struct kind_ops *ops = r->route.ops;
    struct admission_request a;

    if (check_namespace(r, object, err) < 0)
        return -(int)err->code;
    if (ops->default_)
        ops->default_(object);
    if (*json_str_or(object, "metadata.resourceVersion", "") && strcmp(json_str_or(object, "metadata.resourceVersion", ""), "0") != 0)
        return status_bad_request(&r->ctx, err, "resourceVersion should not be set on objects to be created");
    if (!managed && manage(r, NULL, object, NULL, err) < 0)
        return -(int)err->code;
    a = admission_request(r, ADMIT_CREATE, NULL, object, NULL);
    if (mutate(r, &a, err) < 0)
        return -(int)err->code;
    fill_new(r, object);
    if (has_status_subresource(r->route.resource) && !ops->no_status_reset) {
        json_object_del(object, "status");
        apply_strip(object, "status");
    }
    if (ops->prepare_create)
        ops->prepare_create(&r->ctx, object);
    /* what was dropped and set may leave written-even-when-empty members missing */
    if (api_normalize(r, object, err) < 0 || check_absent(r, object, err) < 0)
        return -(int)err->code;
    return store_named(r, object, ret_value, ret_revision, err);
}

int api_store_new(struct api_request *r, json_t *object, struct err *err)
{
    AUTO(bytes) struct bytes *value = NULL;
    int64_t revision = 0;

    if (create_tree(r, object, false, &revision, &value, err) < 0)
        return -(int)err->code;
    return answer_written(r, 201, object, value, revision, err);
}

int api_create(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *object = NULL;
    const struct schema_resource *res = r->route.resource;

    if (api_decode_object(r, res->type, api_version_text(r->arena, res), res->kind, &object, err) < 0)
        return -(int)err->code;
    if (!json_object_get(object, "metadata"))
        json_object_set_new(object, "metadata", json_object());
    return api_store_new(r, object, err);
}

/* --- update --- */

static bool same_spec(const json_t *a, const json_t *b)
{
    static const char *const skip[] = { "metadata", "status", "kind", "apiVersion" };
    const char *key = NULL;
    json_t *v = NULL;

    for (int side = 0; side < 2; side++) {
        const json_t *one = side ? b : a, *other = side ? a : b;

        json_object_foreach((json_t *)one, key, v)
        {
            bool skipped = false;

            for (size_t i = 0; i < ARRAY_LEN(skip); i++)
                skipped |= strcmp(key, skip[i]) == 0;
            if (!skipped && !json_equal(v, json_object_get(other, key)))
                return false;
        }
    }
    return true;
}

/* What no client may change, taken over from the live object. */
static void keep_system_fields(struct api_request *r, json_t *object, const json_t *live, const struct api_change *c)
{
    static const char *const keep[] = { "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
                                        "selfLink", "generateName" };
    json_t *meta = json_object_get(object, "metadata"), *old = json_object_get(live, "metadata");

    for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
        json_t *v = json_object_get(old, keep[i]);

        if (i == 0 && json_object_get(meta, "uid"))
            continue; /* a wrong uid is refused by validation */
        if (v)
            json_object_set(meta, keep[i], v);
        else
            json_object_del(meta, keep[i]);
    }
    if (is_status(c)) {
        /* only status (and what prepare_status allows) may change */
        const char *key = NULL;
        json_t *v = NULL;
        json_t *status = json_incref(json_object_get(object, "status"));

        json_t *managed = json_incref(json_object_get(meta, "managedFields"));
        json_object_clear(object);
        json_object_foreach((json_t *)live, key, v) json_object_set_new(object, key, json_deep_copy(v));
        if (status)
            json_object_set_new(object, "status", status);
        else
            json_object_del(object, "status");
        if (managed)
            json_object_set_new(json_object_get(object, "metadata"), "managedFields", managed);
        if (r->route.ops->prepare_status)
            r->route.ops->prepare_status(&r->ctx, object, live);
        return;
    }
    if (!c->sub && has_status_subresource(r->route.resource) && !r->route.ops->no_status_reset) {
        json_t *status = json_object_get(live, "status");

        if (status)
            json_object_set(object, "status", status);
        else
            json_object_del(object, "status");
        }
    if (!c->sub && r->route.ops->prepare_update)
        r->route.ops->prepare_update(&r->ctx, object, live);
}

static void bump_generation(struct api_request *r, json_t *object, const json_t *live)
{
    if (r->route.ops->no_generation)
        return;
    if (!same_spec(object, live))
        json_put(object, "metadata.generation", json_integer(meta_generation(live) + 1));
}

/* Writes nothing when nothing changed: same answer, same resourceVersion. */
static bool unchanged(struct api_request *r, const json_t *object, const struct store_row *row)
{
    AUTO(bytes) struct bytes *facts = NULL;
    AUTO(bytes) struct bytes *value = stored_bytes(r, object, &facts);

    return value->n == row->value->n && memcmp(value->at, row->value->at, value->n) == 0;
}

/* The last finalizer of a terminating object is gone: so is the object. */
static bool ready_to_go(struct api_request *r, const json_t *object)
{
    return meta_deleting(object) && json_array_size(json_at(object, "metadata.finalizers")) == 0 &&
           json_int_or(object, "metadata.deletionGracePeriodSeconds", 0) == 0 &&
           !(r->route.ops->held && r->route.ops->held(object));
}

static int remove_now(struct api_request *r, int64_t expect, int64_t *ret_revision, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };
    int failed = -1;

    if (r->dry_run)
        return 0;
    api_key(r, r->route.name, &key);
    struct store_op op = { .kind = STORE_DELETE, .key = { buf_at(&key), buf_len(&key) }, .expect = expect };
    pool_wait_begin();
    int rc = store_txn(&r->ctx, r->api->o.store, &op, 1, ret_revision, &failed, NULL, err);
    pool_wait_end();
    return rc;
}

/* Validation, side work, store of an updated tree. */
static int store_changed(struct api_request *r, json_t *object, const json_t *live, const struct store_row *row,
                         const struct api_change *c, int64_t *ret_revision, struct err *err)
{
    const struct kind_ops *ops = r->route.ops;
    struct admission_request a = admission_request(r, ADMIT_UPDATE, c->sub, object, live);
    AUTO(bytes) struct bytes *value = NULL;
    bool side = !is_status(c) && ops->begin;

    if (validate(r, object, live, c, err) < 0)
        return -(int)err->code;
    if (admission_validate(&r->ctx, r->api->o.admission, &a, err) < 0)
        return -(int)err->code;
    if (side && ops->begin(&r->ctx, r->api->env, object, live, r->dry_run, err) < 0)
        return -(int)err->code;
    int rc = 0;
    if (ready_to_go(r, object)) {
        rc = remove_now(r, row->mod_revision, ret_revision, err);
        if (rc == 0 && !r->dry_run && ops->end)
            ops->end(r->api->env, NULL, object, true);
        return rc;
    }
    if (unchanged(r, object, row)) {
        *ret_revision = row->mod_revision;
    } else {
        rc = put(r, r->route.name, object, row->mod_revision, &value, ret_revision, err);
    }
    if (side && ops->end)
        ops->end(r->api->env, object, live, rc == 0 && !r->dry_run);
    return rc;
}

static int conflict(struct api_request *r, struct err *err)
{
    return status_conflict(&r->ctx, r->route.resource->group, r->route.resource->resource, r->route.name,
                           "the object has been modified; please apply your changes to the latest version and try again", err);
}

/* The resourceVersion the new tree insists on, against the live one. *ret_insists: a conflict is the client's to solve. */
static int check_version(struct api_request *r, const json_t *object, const struct store_row *row, const struct api_change *c,
                         bool *ret_insists, struct err *err)
{
    const char *rv = json_str_or(object, "metadata.resourceVersion", "");
    char *end = NULL;

    *ret_insists = false;
    if (!*rv || strcmp(rv, "0") == 0) {
        if (!c->patch && !r->route.ops->unconditional_update)
            return err_set(err, ERR_INVALID, "%s%s%s \"%s\" is invalid: metadata.resourceVersion: Invalid value: %s: must be specified for an update",
                           r->route.resource->resource, *r->route.resource->group ? "." : "", r->route.resource->group, r->route.name,
                           *rv ? "\"0\"" : "0");
        return 0;
    }
    int64_t want = strtoll(rv, &end, 10);
    if (*end)
        return status_bad_request(&r->ctx, err, "Invalid value: \"%s\": strconv.ParseUint: parsing \"%s\": invalid syntax", rv, rv);
    if (want != row->mod_revision)
        return conflict(r, err);
    *ret_insists = !c->patch;
    return 0;
}

static int check_uid(struct api_request *r, const json_t *object, const json_t *live, struct err *err)
{
    const char *uid = meta_uid(object);

    if (*uid && strcmp(uid, meta_uid(live)) != 0)
        return status_conflict(&r->ctx, r->route.resource->group, r->route.resource->resource, r->route.name,
                               arena_printf(r->arena, "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid,
                                            meta_uid(live)),
                               err);
    return 0;
}

/* One try. CONFLICT with *ret_retry: read again. */
static int try_change(struct api_request *r, const struct api_change *c, json_t **ret, bool *ret_retry, struct err *err)
{
    struct store_row row = { 0 };
    AUTO(json) json_t *live = NULL;
    AUTO(json) json_t *object = NULL;
    bool insists = false;
    int64_t revision = 0;
    int rc = api_live(r, &row, err);

    *ret_retry = false;
    if (rc == 0)
        rc = api_tree(r, row.value, row.mod_revision, &live, err);
    if (rc == 0)
        rc = c->make(c->arg, r, live, &object, err);
    if (rc == 0)
        rc = check_namespace(r, object, err);
    if (rc == 0)
        rc = check_uid(r, object, live, err);
    if (rc == 0)
        rc = check_version(r, object, &row, c, &insists, err);
    if (rc == 0) {
        keep_system_fields(r, object, live, c);
        rc = c->managed ? api_normalize(r, object, err) : api_normalize_keeping(r, object, err);
    }
    if (rc == 0 && !c->managed)
        rc = manage(r, live, object, c->sub, err);
    if (rc == 0) {
        struct admission_request a = admission_request(r, ADMIT_UPDATE, c->sub, object, live);

        rc = mutate(r, &a, err);
    }
    if (rc == 0 && !is_status(c))
        bump_generation(r, object, live);
    if (rc == 0)
        apply_keep_times(live, object);
    if (rc == 0) {
        rc = store_changed(r, object, live, &row, c, &revision, err);
        *ret_retry = rc < 0 && err->code == ERR_CONFLICT && !err->status && !insists;
        if (rc < 0 && err->code == ERR_CONFLICT && !err->status && insists)
            rc = conflict(r, err);
    }
    if (rc == 0) {
        json_put(object, "metadata.resourceVersion", json_strf("%lld", (long long)(revision ? revision : row.mod_revision)));
        *ret = TAKE(object);
    }
    store_row_clear(&row);
    return rc;
}

static int create_by_update(struct api_request *r, const struct api_change *c, json_t **ret, struct err *err)
{
    AUTO(json) json_t *object = NULL;
    AUTO(bytes) struct bytes *value = NULL;
    int64_t revision = 0;

    if (c->make(c->arg, r, NULL, &object, err) < 0)
        return -(int)err->code;
    json_put(object, "metadata.name", json_string(r->route.name));
    if (create_tree(r, object, c->managed, &revision, &value, err) < 0)
        return -(int)err->code;
    if (revision > 0)
        json_put(object, "metadata.resourceVersion", json_strf("%lld", (long long)revision));
    *ret = TAKE(object);
    return 0;
}

int api_change(struct api_request *r, const struct api_change *change, json_t **ret, bool *ret_created, struct err *err)
{
    bool retry = false;
    int rc = 0;

    if (ret_created)
        *ret_created = false;
    for (int i = 0; i < RETRIES; i++) {
        rc = try_change(r, change, ret, &retry, err);
        if (rc < 0 && err->code == ERR_NOT_FOUND && change->may_create && err->status) {
            rc = create_by_update(r, change, ret, err);
            if (rc == 0 && ret_created)
                *ret_created = true;
            if (rc == 0 || err->code != ERR_EXISTS)
                return rc;
            continue; /* somebody else made it meanwhile: now it is an update */
        }
        if (!retry)
            return rc;
    }
    return conflict(r, err);
}

static int make_update(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    (void)live;
    (void)r;
    (void)err;
    *ret = json_deep_copy(arg);
    return 0;
}

int api_update(struct api_request *r, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    AUTO(json) json_t *object = NULL;
    AUTO(json) json_t *result = NULL;
    bool created = false;

    if (api_decode_object(r, res->type, api_version_text(r->arena, res), res->kind, &object, err) < 0)
        return -(int)err->code;
    if (!json_object_get(object, "metadata"))
        json_object_set_new(object, "metadata", json_object());
    if (!*meta_name(object))
        return status_bad_request(&r->ctx, err, "the name of the object (%s based on URL) was undeterminable: name must be provided", r->route.name);
    if (strcmp(meta_name(object), r->route.name) != 0)
        return status_bad_request(&r->ctx, err, "the name of the object (%s) does not match the name on the URL (%s)", meta_name(object),
                                  r->route.name);
    struct api_change c = {
        .make = make_update,
        .arg = object,
        .sub = r->route.sub ? r->route.sub->name : NULL,
        .may_create = !r->route.sub && r->route.ops->create_on_update && !*meta_uid(object),
    };
    if (api_change(r, &c, &result, &created, err) < 0)
        return -(int)err->code;
    return api_answer_tree(r, created ? 201 : 200, result, err);
}
