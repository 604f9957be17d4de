#include "lib/k8s/managers.h"

#include <string.h>

enum { UPDATERS_MAX = 10 };

static bool same_id(const struct manager *a, const struct manager *b)
{
    return a->applied == b->applied && strcmp(a->name, b->name) == 0 && strcmp(a->subresource, b->subresource) == 0 &&
           (a->applied || strcmp(a->api_version, b->api_version) == 0);
}

struct manager *managers_find(const struct managers *m, const struct manager *id)
{
    for (size_t i = 0; i < m->n; i++)
        if (same_id(&m->at[i], id))
            return &m->at[i];
    return NULL;
}

struct manager *managers_add(struct managers *m, const struct manager *id)
{
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 8;
        struct manager *more = arena_alloc(m->arena, cap * sizeof(*more));

        if (m->n)
            memcpy(more, m->at, m->n * sizeof(*more));
        m->at = more;
        m->cap = cap;
    }
    m->at[m->n] = *id;
    return &m->at[m->n++];
}

void managers_drop(struct managers *m, struct manager *at)
{
    *at = m->at[--m->n];
}

void manager_set(struct manager *m, const struct fieldset *set)
{
    if (set == m->set)
        return;
    m->set = set;
    m->written = NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static int read_entry(struct managers *m, const json_t *entry, size_t i, struct err *err)
{
    const char *operation = text_of(entry, "operation"), *fields_type = text_of(entry, "fieldsType");
    const char *time = text_of(entry, "time");
    struct manager it = { .name = text_of(entry, "manager"), .subresource = text_of(entry, "subresource"),
                          .api_version = text_of(entry, "apiVersion"), .time = *time ? time : NULL,
                          .applied = strcmp(operation, "Apply") == 0, .written = json_object_get(entry, "fieldsV1") };

    if (!it.applied && strcmp(operation, "Update") != 0)
        return err_set(err, ERR_BAD_REQUEST, "operation must be `Apply` or `Update`");
    if (!*it.api_version)
        return err_set(err, ERR_BAD_REQUEST, "apiVersion must not be empty");
    if (!*fields_type)
        return err_set(err, ERR_BAD_REQUEST, "missing fieldsType in managed fields entry %zu", i);
    if (strcmp(fields_type, "FieldsV1") != 0)
        return err_set(err, ERR_BAD_REQUEST, "invalid fieldsType \"%s\" in managed fields entry %zu", fields_type, i);
    int rc = fieldset_read(m->arena, it.written, &it.set, err);
    if (rc < 0)
        return err_wrap(err, "error decoding managed fields entry %zu: error decoding set", i);
    struct manager *before = managers_find(m, &it);
    if (before)
        *before = it;
    else
        managers_add(m, &it);
    return 0;
}

int managers_read(struct managers *m, const json_t *list, struct err *err)
{
    size_t n = json_array_size(list);

    if (n > MANAGERS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "more than %d managed fields entries", MANAGERS_MAX);
    m->n = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = read_entry(m, json_array_get(list, i), i, err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int64_t seconds(const struct manager *m)
{
    int64_t us = 0;

    if (!m->time || clock_parse(m->time, strlen(m->time), &us) < 0)
        return 0;
    return us / 1000000;
}

static int in_list_order(const void *a, const void *b)
{
    const struct manager *x = a, *y = b;
    int64_t s = seconds(x), t = seconds(y);
    int c;

    if (x->applied != y->applied)
        return x->applied ? -1 : 1;
    if (s != t)
        return s < t ? -1 : 1;
    if ((c = strcmp(x->name, y->name)) != 0)
        return c;
    if ((c = strcmp(x->api_version, y->api_version)) != 0)
        return c;
    return strcmp(x->subresource, y->subresource);
}

static json_t *write_entry(const struct manager *m)
{
    json_t *o = json_object();

    if (*m->name)
        json_object_set_new_nocheck(o, "manager", json_string_nocheck(m->name));
    json_object_set_new_nocheck(o, "operation", json_string_nocheck(m->applied ? "Apply" : "Update"));
    json_object_set_new_nocheck(o, "apiVersion", json_string_nocheck(m->api_version));
    if (m->time)
        json_object_set_new_nocheck(o, "time", json_string_nocheck(m->time));
    json_object_set_new_nocheck(o, "fieldsType", json_string_nocheck("FieldsV1"));
    json_object_set_new_nocheck(o, "fieldsV1", m->written ? json_incref(m->written) : fieldset_write(m->set));
    if (*m->subresource)
        json_object_set_new_nocheck(o, "subresource", json_string_nocheck(m->subresource));
    return o;
}

json_t *managers_write(struct managers *m)
{
    json_t *list;

    if (m->n == 0)
        return NULL;
    if (m->n > 1)
        qsort(m->at, m->n, sizeof(*m->at), in_list_order);
    list = json_array();
    for (size_t i = 0; i < m->n; i++)
        json_array_append_new(list, write_entry(&m->at[i]));
    return list;
}

const char *manager_id(struct arena *a, const struct manager *m)
{
    AUTO(buf) struct buf id = { 0 };
    const struct {
        const char *key, *value;
    } parts[] = {
        { "manager", m->name },
        { "operation", m->applied ? "Apply" : "Update" },
        { "apiVersion", m->applied ? "" : m->api_version },
        { "subresource", m->subresource },
    };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!*parts[i].value)
            continue;
        buf_printf(&id, "%s\"%s\":", buf_len(&id) ? "," : "{", parts[i].key);
        json_write_string(slice_of(parts[i].value), &id);
    }
    buf_char(&id, '}');
    return arena_strndup(a, buf_at(&id), buf_len(&id));
}

struct aged {
    struct manager it;
    const char *id;
    int64_t seconds;
};

static int oldest_first(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;

    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Upstream's bucket of a version: made of the first old updater of it. */
static struct manager *bucket_of(struct managers *m, const struct manager *first)
{
    struct manager id = { .name = "ancient-changes", .subresource = "", .api_version = first->api_version };
    struct manager *bucket = managers_find(m, &id), *at;

    if (bucket)
        return bucket;
    at = managers_find(m, first);
    id.set = at->set;
    id.written = at->written;
    *at = id;
    return at;
}

void managers_cap(struct managers *m)
{
    size_t n = 0, left;
    struct aged *old;

    for (size_t i = 0; i < m->n; i++)
        n += !m->at[i].applied;
    if (n <= UPDATERS_MAX)
        return;
    old = arena_alloc(m->arena, n * sizeof(*old));
    n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (!m->at[i].applied)
            old[n++] = (struct aged){ m->at[i], manager_id(m->arena, &m->at[i]), seconds(&m->at[i]) };
    qsort(old, n, sizeof(*old), oldest_first);
    left = n;
    for (size_t i = 1; i < n && left > UPDATERS_MAX; i++) {
        size_t first = 0;

        while (first < i && strcmp(old[first].it.api_version, old[i].it.api_version) != 0)
            first++;
        if (first == i)
            continue; /* the first of its version */
        struct manager *bucket = bucket_of(m, &old[first].it);
        manager_set(bucket, fieldset_union(m->arena, old[i].it.set, bucket->set));
        bucket->time = old[i].it.time; /* the more recent */
        struct manager *gone = managers_find(m, &old[i].it);
        if (gone && gone != bucket)
            managers_drop(m, gone);
        left--;
    }
}
