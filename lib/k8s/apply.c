#include "lib/k8s/apply_int.h"
#include "lib/k8s/managers.h"
#include "lib/k8s/meta.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <stdio.h>
#include <string.h>

/* --- what both ways share --- */

struct apply {
    struct ctx *ctx;
    struct arena *arena;
    const struct schema_type *type;
    const struct apply_manager *by;
    const struct fieldset *reset; /* what this request may not own */
    struct managers managers;
};

#define FIELD(text, is_member, children)                                     \
    {                                                                         \
        .at = { .kind = FS_FIELD, .name = { text, sizeof(text) - 1 } }, .member = (is_member), .below = (children)       \
    }

/* What no one ever owns, in fs_compare's order. */
static const struct fs_item metadata_items[] = {
    FIELD("clusterName", true, NULL),     FIELD("creationTimestamp", true, NULL), FIELD("generation", true, NULL),
    FIELD("managedFields", true, NULL),   FIELD("name", true, NULL),              FIELD("namespace", true, NULL),
    FIELD("resourceVersion", true, NULL), FIELD("selfLink", true, NULL),          FIELD("uid", true, NULL),
};
static const struct fieldset metadata_fields = { ARRAY_LEN(metadata_items), metadata_items };
static const struct fs_item unowned_items[] = {
    FIELD("apiVersion", true, NULL),
    FIELD("kind", true, NULL),
    FIELD("metadata", true, &metadata_fields),
};
static const struct fieldset unowned = { ARRAY_LEN(unowned_items), unowned_items };

/* Without a word from the caller: the main resource may not own status, nor status own spec. */
static const struct fieldset *reset_fields(struct arena *a, const struct apply_manager *by)
{
    const struct fieldset *s = NULL;

    for (const char *const *p = by->reset; p && *p; p++)
        s = fieldset_union(a, s, fieldset_of_path(a, *p));
    if (by->reset)
        return s;
    if (!*by->subresource)
        return fieldset_of_path(a, "status");
    return strcmp(by->subresource, "status") == 0 ? fieldset_of_path(a, "spec") : NULL;
}

static struct apply start(struct ctx *ctx, const struct schema_type *type, const struct apply_manager *by)
{
    return (struct apply){ .ctx = ctx, .arena = ctx->arena, .type = type, .by = by, .reset = reset_fields(ctx->arena, by),
                           .managers = { .arena = ctx->arena } };
}

static struct manager identity(const struct apply_manager *by, bool applied)
{
    return (struct manager){ .name = by->name && *by->name ? by->name : "unknown", .subresource = by->subresource,
                             .api_version = by->api_version, .applied = applied };
}

static const char *now(struct apply *s)
{
    return clock_time_text(s->by->now_s, arena_alloc(s->arena, CLOCK_TEXT_BYTES));
}

static void release_json(void *p)
{
    json_decref(p);
}

static json_t *managed_fields(const json_t *object)
{
    return json_object_get(json_object_get(object, "metadata"), "managedFields");
}

static void put_managers(json_t *object, struct managers *m)
{
    json_t *meta = json_object_get(object, "metadata"), *list = managers_write(m);

    if (!list) {
        json_object_del(meta, "managedFields");
        return;
    }
    if (!meta) {
        meta = json_object();
        json_object_set_new_nocheck(object, "metadata", meta);
    }
    json_object_set_new_nocheck(meta, "managedFields", list);
}

static void drop_empty(struct managers *m)
{
    for (size_t i = m->n; i-- > 0;)
        if (fieldset_empty(m->at[i].set))
            managers_drop(m, &m->at[i]);
}

static struct apply_difference compare(struct apply *s, json_t *live, json_t *object)
{
    struct apply_difference d = apply_compare(s->arena, s->type, live, object);

    d.changed = fieldset_without(s->arena, d.changed, s->reset);
    d.removed = fieldset_without(s->arena, d.removed, s->reset);
    return d;
}

/* Takes from everyone but `except` what changed and what is gone. */
static void take_from_others(struct apply *s, const struct apply_difference *d, const struct manager *except)
{
    for (size_t i = 0; i < s->managers.n; i++) {
        struct manager *m = &s->managers.at[i];

        if (m == except)
            continue;
        const struct fieldset *set = fieldset_difference(s->arena, m->set, d->changed);
        manager_set(m, fieldset_difference(s->arena, set, d->removed));
    }
    drop_empty(&s->managers);
}

/* --- updates --- */

/* The owners before this change: the request's own list, else live's. Broken lists count as none, as upstream has it. */
static void read_base(struct apply *s, const json_t *live, const json_t *own)
{
    struct err ignored;
    bool reset = json_is_array(own) &&
                 (json_array_size(own) == 0 || (json_array_size(own) == 1 && json_object_size(json_array_get(own, 0)) == 0));

    if (!*s->by->subresource && reset)
        return;
    if (!*s->by->subresource && json_array_size(own) > 0 && managers_read(&s->managers, own, &ignored) == 0 &&
        s->managers.n > 0) {
        /* A client may order and space as it likes; we write our own way. */
        bool ours = live && apply_equal(own, managed_fields(live));
        for (size_t i = 0; i < s->managers.n && !ours; i++)
            s->managers.at[i].written = NULL;
        return;
    }
    if (managers_read(&s->managers, managed_fields(live), &ignored) < 0)
        s->managers.n = 0;
}

/* The owners after live became object by an update of `by`. */
static void update(struct apply *s, json_t *live, json_t *object, const struct apply_manager *by)
{
    struct apply_difference d = compare(s, live, object);
    struct manager id = identity(by, false), *m;

    take_from_others(s, &d, NULL);
    const struct fieldset *own = d.changed;
    if (own)
        own = fieldset_difference(s->arena, own, &unowned);
    if (own) {
        m = managers_find(&s->managers, &id);
        if (!m)
            m = managers_add(&s->managers, &id);
        manager_set(m, fieldset_union(s->arena, own, m->set));
        m->time = now(s);
    }
    managers_cap(&s->managers);
}

int apply_update_managed(struct ctx *ctx, const struct schema_type *type, const json_t *live, json_t *object,
                         const struct apply_manager *manager, struct err *err)
{
    struct apply s = start(ctx, type, manager);
    AUTO(json) json_t *own = json_incref(managed_fields(object)); /* sets point into it */

    (void)err; /* upstream's UpdateNoErrors: what cannot be read counts as absent */
    read_base(&s, live, own);
    json_object_del(json_object_get(object, "metadata"), "managedFields");
    /* An object nobody's changes are known of stays so, until it is applied. */
    if (s.managers.n > 0 || !live || !*meta_uid(live))
        update(&s, (json_t *)(uintptr_t)live, object, manager);
    put_managers(object, &s.managers);
    if (live)
        apply_keep_times(live, object);
    return 0;
}

/* --- apply --- */

static const struct fieldset *named_set_of(struct apply *s, const json_t *v)
{
    return fieldset_named(s->arena, apply_set_of(s->arena, s->type, v), s->type);
}

/* Removes what this manager applied last time and no longer does, unless someone else owns it. A new reference. */
static json_t *prune(struct apply *s, json_t *merged, const struct fieldset *last)
{
    struct arena *a = s->arena;
    const struct fieldset *owned = NULL, *of_merged, *of_pruned, *gone;

    if (fieldset_empty(last))
        return json_incref(merged);
    last = fieldset_named(a, last, s->type);
    AUTO(json) json_t *first = apply_remove(a, s->type, merged, last);
    for (size_t i = 0; i < s->managers.n; i++)
        owned = fieldset_union(a, owned, s->managers.at[i].set);
    of_merged = named_set_of(s, merged);
    of_pruned = named_set_of(s, first);
    gone = fieldset_difference(a, of_merged, fieldset_union(a, of_pruned, fieldset_named(a, owned, s->type)));
    AUTO(json) json_t *second = apply_remove(a, s->type, merged, gone);
    of_pruned = named_set_of(s, second);
    gone = fieldset_intersection(a, fieldset_difference(a, of_merged, of_pruned), last);
    json_t *out = apply_remove(a, s->type, merged, gone);
    /* Sets point into these trees; they live as long as the caller's `merged`, whose parts they share. */
    return out;
}

struct conflicts {
    struct apply *s;
    const char *with;
    struct k8s_cause *causes;
    size_t n, cap, first; /* first: of the manager at hand */
    struct buf text;
};

static const char *shown_manager(struct arena *a, const struct manager *m)
{
    const char *name = go_quote(a, m->name);

    if (*m->subresource)
        name = arena_printf(a, "%s with subresource %s", name, go_quote(a, m->subresource));
    return m->applied ? name : arena_printf(a, "%s using %s", name, m->api_version);
}

static void add_conflict(void *arg, const char *path)
{
    struct conflicts *c = arg;
    struct arena *a = c->s->arena;

    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 8;
        struct k8s_cause *more = arena_alloc(a, cap * sizeof(*more));

        if (c->n)
            memcpy(more, c->causes, c->n * sizeof(*more));
        c->causes = more;
        c->cap = cap;
    }
    c->causes[c->n++] = (struct k8s_cause){ "FieldManagerConflict", arena_printf(a, "conflict with %s", c->with),
                                            arena_strdup(a, path) };
    buf_printf(&c->text, "\n- %s", path);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct owned_conflict {
    const char *id;
    const struct manager *manager;
    const struct fieldset *set;
};

/* Tells who owns what this request would change. Allowed conflicts (kubectl's own past) are left out. */
static int check_conflicts(struct apply *s, const struct apply_difference *d, const struct manager *self,
                           const struct fieldset *allowed, struct err *err)
{
    struct owned_conflict *all = arena_alloc(s->arena, (s->managers.n + 1) * sizeof(*all));
    struct conflicts c = { .s = s };
    size_t n = 0;

    for (size_t i = 0; i < s->managers.n; i++) {
        struct manager *m = &s->managers.at[i];
        const struct fieldset *set = m == self ? NULL : fieldset_intersection(s->arena, m->set, d->changed);

        set = fieldset_difference(s->arena, set, allowed);
        if (!fieldset_empty(set))
            all[n++] = (struct owned_conflict){ manager_id(s->arena, m), m, set };
    }
    if (n == 0)
        return 0;
    qsort(all, n, sizeof(*all), by_id); /* the id is the first member */
    for (size_t i = 0; i < n; i++) {
        c.with = shown_manager(s->arena, all[i].manager);
        buf_printf(&c.text, "%sconflicts with %s:", i ? "\n" : "", c.with);
        fieldset_each(all[i].set, add_conflict, &c);
    }
    struct k8s_status *st = arena_alloc(s->arena, sizeof(*st));
    st->causes = c.causes;
    st->n_causes = c.n;
    st->message = c.n == 1 ? arena_printf(s->arena, "Apply failed with 1 conflict: %s: %s", c.causes[0].message, c.causes[0].field)
                           : arena_printf(s->arena, "Apply failed with %zu conflicts: %s", c.n, buf_at(&c.text));
    buf_clear(&c.text);
    int rc = err_set(err, ERR_CONFLICT, "%s", st->message);
    err->status = st;
    return rc;
}

static const char *last_applied_text(const json_t *o)
{
    const char *text = meta_annotation(o, "kubectl.kubernetes.io/last-applied-configuration");

    return text && *text ? text : NULL;
}

/* kubectl that moves from client-side to server-side apply may take over what its annotation says it applied. */
static const struct fieldset *allowed_for_kubectl(struct apply *s, json_t *live)
{
    const char *text = live && strcmp(s->by->name, "kubectl") == 0 ? last_applied_text(live) : NULL;
    json_t *applied = NULL;
    struct err ignored;

    if (!text || json_read(text, strlen(text), NULL, NULL, &applied, &ignored) < 0)
        return NULL;
    const char *version = json_string_value(json_object_get(applied, "apiVersion"));
    const struct fieldset *set = NULL;
    if (version && strcmp(version, s->by->api_version) == 0 && !apply_problems(s->arena, s->type, applied)) {
        struct apply_difference d = apply_compare(s->arena, s->type, applied, live);

        set = fieldset_difference(s->arena, apply_set_of(s->arena, s->type, applied), d.changed);
        set = fieldset_difference(s->arena, set, d.removed);
    }
    arena_on_free(s->arena, release_json, applied); /* the set points into it */
    return set;
}

static int refuse(struct apply *s, const json_t *config, const char *why, struct err *err)
{
    const char *kind = json_string_value(json_object_get(config, "kind")), *version = s->by->api_version;

    return status_plain(s->ctx, err, "failed to create typed patch object (%s/%s; %s%s, Kind=%s): %s", meta_namespace(config),
                        meta_name(config), strchr(version, '/') ? "" : "/", version, kind ? kind : "", why);
}

static int check_config(struct apply *s, const json_t *live, const json_t *config, struct err *err)
{
    int rc = managers_read(&s->managers, managed_fields(live), err);

    if (rc < 0)
        return err_wrap(err, "failed to decode managed fields");
    if (managed_fields(config) && !json_is_null(managed_fields(config)))
        return status_bad_request(s->ctx, err, "metadata.managedFields must be nil");
    const char *why = apply_problems(s->arena, s->type, config);
    return why ? refuse(s, config, why, err) : 0;
}

/* The owners after the apply; object is the merged tree. */
static int settle(struct apply *s, json_t *live, json_t *object, struct manager *self, bool force, struct err *err)
{
    struct apply_difference d = compare(s, live, object);

    if (!force) {
        int rc = check_conflicts(s, &d, self, allowed_for_kubectl(s, live), err);

        if (rc < 0)
            return rc;
    }
    struct manager mine = *self;
    take_from_others(s, &d, self);
    self = managers_find(&s->managers, &mine);
    if (self) {
        manager_set(self, fieldset_difference(s->arena, self->set, &unowned));
        if (fieldset_empty(self->set))
            managers_drop(&s->managers, self);
    }
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* As Go writes a map: keys sorted, what HTML minds escaped. */
static void write_sorted(const json_t *v, struct buf *to)
{
    size_t n = json_object_size(v), i = 0;

    if (!v) { /* under a key that holds a NUL */
        buf_str(to, "null");
        return;
    }
    if (json_is_array(v)) {
        for (; i < json_array_size(v); i++) {
            buf_char(to, i ? ',' : '[');
            write_sorted(json_array_get(v, i), to);
        }
        buf_str(to, i ? "]" : "[]");
    } else if (json_is_object(v)) {
        AUTO_FREE const char **keys = mem_alloc((n + 1) * sizeof(*keys));
        const char *key;
        json_t *member;

        json_object_foreach((json_t *)(uintptr_t)v, key, member)
            keys[i++] = key;
        qsort(keys, n, sizeof(*keys), by_text);
        for (i = 0; i < n; i++) {
            buf_char(to, i ? ',' : '{');
            json_write_string(slice_of(keys[i]), to);
            buf_char(to, ':');
            write_sorted(json_object_get(v, keys[i]), to);
        }
        buf_str(to, n ? "}" : "{}");
    } else {
        AUTO(buf) struct buf scalar = { 0 };

        json_write(v, &scalar);
        for (const char *s = buf_at(&scalar); *s; s++) {
            if (strchr("<>&", *s))
                buf_printf(to, "\\u%04x", (unsigned)*s);
            else
                buf_char(to, *s);
        }
    }
}

static void sync_last_applied(json_t *object, const json_t *config)
{
    AUTO(json) json_t *copy = NULL;
    AUTO(buf) struct buf text = { 0 };

    if (!last_applied_text(object))
        return;
    copy = json_deep_copy(config);
    json_object_del(json_object_get(json_object_get(copy, "metadata"), "annotations"),
                    "kubectl.kubernetes.io/last-applied-configuration");
    write_sorted(copy, &text);
    buf_char(&text, '\n');
    meta_set_annotation(object, "kubectl.kubernetes.io/last-applied-configuration", buf_at(&text));
}

int apply_patch(struct ctx *ctx, const struct schema_type *type, const json_t *live, const json_t *config,
                const struct apply_manager *manager, bool force, json_t **ret, struct err *err)
{
    struct apply s = start(ctx, type, manager);
    struct manager id = identity(manager, true), *self;
    json_t *before = (json_t *)(uintptr_t)live, *wanted = (json_t *)(uintptr_t)config;
    const struct fieldset *last;

    int rc = check_config(&s, live, config, err);
    if (rc < 0)
        return rc;
    if (live && s.managers.n == 0) {
        struct apply_manager first = { .name = "before-first-apply", .subresource = manager->subresource,
                                       .api_version = manager->api_version, .now_s = manager->now_s };
        update(&s, NULL, before, &first);
        before = (json_t *)(uintptr_t)live;
    }
    json_t *merged = apply_merge(s.arena, type, before, wanted);
    arena_on_free(s.arena, release_json, merged);
    self = managers_find(&s.managers, &id);
    last = self ? self->set : NULL;
    if (!self)
        self = managers_add(&s.managers, &id);
    self->api_version = id.api_version;
    manager_set(self, fieldset_without(s.arena, apply_set_of(s.arena, type, wanted), s.reset));
    self->written = NULL;
    json_t *object = prune(&s, merged, last);
    arena_on_free(s.arena, release_json, object);

    rc = settle(&s, before, object, self, force, err);
    if (rc < 0)
        return rc;
    bool same = live && apply_equal(live, object);
    self = managers_find(&s.managers, &id);
    if (!same && self)
        self->time = now(&s);
    json_t *out = json_deep_copy(same ? live : object);
    put_managers(out, &s.managers);
    if (strcmp(id.name, "kubectl") == 0)
        sync_last_applied(out, config);
    if (live)
        apply_keep_times(live, out);
    *ret = out;
    return 0;
}

/* --- afterwards --- */

static bool same_but_times(const json_t *x, const json_t *y)
{
    const char *key;
    json_t *v;
    bool same = json_object_size(x) - (json_object_get(x, "time") != NULL) ==
                json_object_size(y) - (json_object_get(y, "time") != NULL);

    json_object_foreach((json_t *)(uintptr_t)x, key, v) {
        const json_t *other = json_object_get(y, key);

        same = same && (strcmp(key, "time") == 0 || (other && apply_equal(v, other)));
    }
    return same;
}

static bool same_text(const json_t *x, const json_t *y)
{
    return x == y || (x && y && apply_equal(x, y));
}

/* Whether all members of x but the named two are the same in y. */
static bool members_same(const json_t *x, const json_t *y, const char *but, const char *nor)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)x, key, v) {
        if (strcmp(key, but) != 0 && strcmp(key, nor) != 0 && !same_text(v, json_object_get(y, key)))
            return false;
    }
    return true;
}

static bool same_without_managers(const json_t *live, const json_t *object)
{
    const json_t *mine = json_object_get(object, "metadata"), *theirs = json_object_get(live, "metadata");

    return members_same(theirs, mine, "managedFields", "resourceVersion") &&
           members_same(mine, theirs, "managedFields", "resourceVersion") && members_same(live, object, "metadata", "") &&
           members_same(object, live, "metadata", "");
}

void apply_keep_times(const json_t *live, json_t *object)
{
    json_t *before = managed_fields(live), *after = managed_fields(object);
    size_t n = json_array_size(after);
    bool moved = false;

    if (n == 0 || json_array_size(before) != n)
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(before, i), *y = json_array_get(after, i);

        moved |= !same_text(json_object_get(x, "time"), json_object_get(y, "time"));
        if (!same_but_times(x, y))
            return;
    }
    if (moved && same_without_managers(live, object))
        json_object_set_new_nocheck(json_object_get(object, "metadata"), "managedFields", json_deep_copy(before));
}

void apply_strip(json_t *object, const char *path)
{
    json_t *list = managed_fields(object);
    struct arena *a = arena_new();
    struct managers m = { .arena = a };
    struct err ignored;

    /* A list that cannot be read owns nothing we could take. */
    if (list && managers_read(&m, list, &ignored) == 0) {
        const struct fieldset *gone = fieldset_of_path(a, path);

        for (size_t i = 0; i < m.n; i++)
            manager_set(&m.at[i], fieldset_without(a, m.at[i].set, gone));
        drop_empty(&m);
        json_incref(list); /* sets point into it */
        put_managers(object, &m);
        json_decref(list);
    }
    arena_free(a);
}
