#include "lib/k8s/fieldset.h"

#include <string.h>

/* --- reading --- */

static int bad_element(const char *key, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "parsing key as path element: %s", key);
}

static int by_name(const void *a, const void *b)
{
    const struct fs_key *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.at, y->name.at, n);

    return c ? c : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

/* Strings of the parsed text live as long as the set. */
static void release_json(void *p)
{
    json_decref(p);
}

static int read_keys(struct arena *a, json_t *object, struct fs_element *ret)
{
    struct fs_key *keys = arena_alloc(a, (json_object_size(object) + 1) * sizeof(*keys));
    const char *name;
    size_t name_n;
    json_t *v;
    uint32_t n = 0;

    json_object_keylen_foreach(object, name, name_n, v)
        keys[n++] = (struct fs_key){ { name, name_n }, fs_scalar_of(a, v) };
    qsort(keys, n, sizeof(*keys), by_name);
    *ret = (struct fs_element){ .kind = FS_KEY, .n_keys = n, .keys = keys };
    return 0;
}

/* 1 when the element is of a type we don't know. */
static int read_element(struct arena *a, const char *key, size_t n, struct fs_element *ret, struct err *err)
{
    json_t *v = NULL;

    if (n < 2 || key[1] != ':')
        return bad_element(key, err);
    switch (key[0]) {
    case 'f':
        *ret = (struct fs_element){ .kind = FS_FIELD, .name = { key + 2, n - 2 } };
        return 0;
    case 'i': {
        char *end;

        *ret = (struct fs_element){ .kind = FS_INDEX, .index = strtoll(key + 2, &end, 10) };
        return end == key + n && n > 2 ? 0 : bad_element(key, err);
    }
    case 'k':
    case 'v':
        break;
    default:
        return 1;
    }
    int rc = json_read(key + 2, n - 2, NULL, NULL, &v, err);
    if (rc < 0)
        return err_wrap(err, "parsing key as path element");
    arena_on_free(a, release_json, v);
    if (key[0] == 'k')
        return json_is_object(v) ? read_keys(a, v, ret) : bad_element(key, err);
    *ret = (struct fs_element){ .kind = FS_VALUE, .value = fs_scalar_of(a, v) };
    return 0;
}

/* *ret_member: this subtree's element is a member itself (a "." or nothing below). */
static int read_level(struct arena *a, const json_t *fields, const struct fieldset **ret, bool *ret_member, struct err *err)
{
    struct fs_builder b = { .arena = a };
    const char *key;
    size_t n;
    json_t *v;

    *ret_member = false;
    if (!json_is_object(fields) && !json_is_null(fields))
        return err_set(err, ERR_BAD_REQUEST, "managedFields parsing: expected an object");
    json_object_keylen_foreach((json_t *)(uintptr_t)fields, key, n, v) {
        struct fs_element e;
        const struct fieldset *below = NULL;
        bool member;

        if (n == 1 && key[0] == '.') {
            *ret_member = true;
            continue;
        }
        int rc = read_element(a, key, n, &e, err);
        if (rc == 1)
            continue;
        if (rc == 0)
            rc = read_level(a, v, &below, &member, err);
        if (rc < 0)
            return rc;
        fs_add(&b, e, member, below);
    }
    *ret = fieldset_build(&b);
    *ret_member |= *ret == NULL;
    return 0;
}

int fieldset_read(struct arena *a, const json_t *fields, const struct fieldset **ret, struct err *err)
{
    bool member;

    *ret = NULL;
    return fields ? read_level(a, fields, ret, &member, err) : 0; /* trees are no deeper than JSON_DEPTH_MAX */
}

/* --- writing --- */

static void write_scalar(const struct fs_scalar *s, struct buf *to)
{
    switch (s->type) {
    case FS_REAL:   json_write_real(s->real, to); break;
    case FS_INT:    buf_printf(to, "%lld", (long long)s->integer); break;
    case FS_BOOL:   buf_str(to, s->integer ? "true" : "false"); break;
    case FS_STRING: json_write_string(s->text, to); break;
    case FS_OTHER:  buf_slice(to, s->text); break;
    }
}

static void write_element(const struct fs_element *e, struct buf *to)
{
    switch (e->kind) {
    case FS_FIELD:
        buf_add(to, "f:", 2);
        buf_slice(to, e->name);
        break;
    case FS_KEY:
        buf_add(to, "k:{", 3);
        for (uint32_t i = 0; i < e->n_keys; i++) {
            if (i)
                buf_char(to, ',');
            json_write_string(e->keys[i].name, to);
            buf_char(to, ':');
            write_scalar(&e->keys[i].value, to);
        }
        buf_char(to, '}');
        break;
    case FS_VALUE:
        buf_add(to, "v:", 2);
        write_scalar(&e->value, to);
        break;
    case FS_INDEX:
        buf_printf(to, "i:%lld", (long long)e->index);
        break;
    }
}

/* Leaves are all the same empty object. */
static json_t *write_level(const struct fieldset *s, bool self, struct buf *text, json_t *leaf)
{
    json_t *o = json_object();

    if (self)
        json_object_setn_nocheck(o, ".", 1, leaf);
    for (size_t i = 0; i < s->n; i++) {
        const struct fs_item *p = &s->items[i];
        json_t *below = p->below ? write_level(p->below, p->member, text, leaf) : json_incref(leaf);

        buf_cut(text, 0);
        write_element(&p->at, text);
        json_object_setn_new_nocheck(o, buf_at(text), buf_len(text), below);
    }
    return o;
}

json_t *fieldset_write(const struct fieldset *s)
{
    AUTO(buf) struct buf text = { 0 };
    json_t *leaf = json_object();
    json_t *o = fieldset_empty(s) ? json_incref(leaf) : write_level(s, false, &text, leaf);

    json_decref(leaf);
    return o;
}

/* --- as text --- */

void fs_element_text(const struct fs_element *e, struct buf *to)
{
    switch (e->kind) {
    case FS_FIELD:
        buf_char(to, '.');
        buf_slice(to, e->name);
        break;
    case FS_KEY:
        for (uint32_t i = 0; i < e->n_keys; i++) {
            buf_char(to, i ? ',' : '[');
            buf_slice(to, e->keys[i].name);
            buf_char(to, '=');
            write_scalar(&e->keys[i].value, to);
        }
        buf_char(to, ']');
        break;
    case FS_VALUE:
        buf_str(to, "[=");
        write_scalar(&e->value, to);
        buf_char(to, ']');
        break;
    case FS_INDEX:
        buf_printf(to, "[%lld]", (long long)e->index);
        break;
    }
}

static void each(const struct fieldset *s, struct buf *path, fieldset_path_fn *fn, void *arg)
{
    size_t from = buf_len(path);

    for (int members = 1; members >= 0; members--) { /* upstream tells a level's members first */
        for (size_t i = 0; s && i < s->n; i++) {
            const struct fs_item *p = &s->items[i];

            buf_cut(path, from);
            fs_element_text(&p->at, path);
            if (members && p->member)
                fn(arg, buf_at(path));
            else if (!members && p->below)
                each(p->below, path, fn, arg);
        }
    }
}

void fieldset_each(const struct fieldset *s, fieldset_path_fn *fn, void *arg)
{
    AUTO(buf) struct buf path = { 0 };

    each(s, &path, fn, arg);
}
