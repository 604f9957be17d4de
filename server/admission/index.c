#include "server/admission/index.h"

#include "lib/k8s/meta.h"
#include "lib/map.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *group, *resource, *default_field, *default_annotation;
} kinds[INDEX_KINDS] = {
    [INDEX_LIMIT_RANGES] = { "", "limitranges", NULL, NULL },
    [INDEX_QUOTAS] = { "", "resourcequotas", NULL, NULL },
    [INDEX_PRIORITY_CLASSES] = { "scheduling.k8s.io", "priorityclasses", "globalDefault", NULL },
    [INDEX_RUNTIME_CLASSES] = { "node.k8s.io", "runtimeclasses", NULL, NULL },
    [INDEX_STORAGE_CLASSES] = { "storage.k8s.io", "storageclasses", NULL, "storageclass.kubernetes.io/is-default-class" },
    [INDEX_INGRESS_CLASSES] = { "networking.k8s.io", "ingressclasses", NULL, "ingressclass.kubernetes.io/is-default-class" },
};

struct entry {
    char *name;
    struct bytes *value;
    bool is_default;
};

/* The objects of one kind in one namespace, by name. */
struct list {
    struct entry *at;
    size_t n;
};

struct space {
    struct index_namespace facts;
    struct index_pod_security *security; /* NULL without labels */
};

struct admission_index {
    pthread_rwlock_t lock; /* guards all maps */
    struct map *lists[INDEX_KINDS]; /* namespace -> struct list */
    struct map *spaces;             /* name -> struct space */
    struct map *accounts;           /* "ns/name" of plain accounts -> itself */
};

static void entry_clear(struct entry *e)
{
    free(e->name);
    bytes_unref(e->value);
}

static void list_free(void *p)
{
    struct list *l = p;

    for (size_t i = 0; i < l->n; i++)
        entry_clear(&l->at[i]);
    free(l->at);
    free(l);
}

static void space_free(void *p)
{
    free(((struct space *)p)->security);
    free(p);
}

struct admission_index *admission_index_new(void)
{
    struct admission_index *x = MEM_NEW(struct admission_index);

    pthread_rwlock_init(&x->lock, NULL);
    for (size_t i = 0; i < INDEX_KINDS; i++)
        x->lists[i] = map_new(list_free);
    x->spaces = map_new(space_free);
    x->accounts = map_new(NULL);
    return x;
}

void admission_index_free(struct admission_index *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < INDEX_KINDS; i++)
        map_free(x->lists[i]);
    map_free(x->spaces);
    map_free(x->accounts);
    pthread_rwlock_destroy(&x->lock);
    free(x);
}

/* INDEX_KINDS: none of them. */
static enum index_kind kind_of(const char *group, const char *resource)
{
    size_t i = 0;

    while (i < INDEX_KINDS && (strcmp(kinds[i].resource, resource) != 0 || strcmp(kinds[i].group, group) != 0))
        i++;
    return (enum index_kind)i;
}

bool admission_index_wants(const char *group, const char *resource)
{
    if (!*group && (strcmp(resource, "namespaces") == 0 || strcmp(resource, "serviceaccounts") == 0))
        return true;
    return kind_of(group, resource) < INDEX_KINDS;
}

/* --- what the stream says; lock held for writing --- */

static void copy_label(const json_t *object, const char *mode, const char *suffix, char to[64], bool *any)
{
    char key[96];

    snprintf(key, sizeof(key), "pod-security.kubernetes.io/%s%s", mode, suffix);
    const char *v = meta_label(object, key);
    *any |= v != NULL;
    snprintf(to, 64, "%s", v ? v : "");
}

static struct space *space_of(const json_t *object)
{
    static const char *const modes[] = { "enforce", "audit", "warn" };
    struct space *s = MEM_NEW(struct space);
    struct index_pod_security security = { 0 };

    s->facts.terminating = meta_deleting(object) || strcmp(json_str_or(object, "status.phase", ""), "Terminating") == 0;
    for (size_t i = 0; i < POD_SECURITY_MODES; i++) {
        copy_label(object, modes[i], "", security.level[i], &s->facts.pod_security);
        copy_label(object, modes[i], "-version", security.version[i], &s->facts.pod_security);
    }
    if (s->facts.pod_security) {
        s->security = mem_alloc(sizeof(security));
        *s->security = security;
    }
    return s;
}

static bool is_plain(const json_t *account)
{
    return account && json_array_size(json_object_get(account, "imagePullSecrets")) == 0 &&
           json_bool_or(account, "automountServiceAccountToken", true);
}

static void set_account(struct admission_index *x, const char *ns, const char *name, const json_t *object)
{
    AUTO_FREE char *key = mem_printf("%s/%s", ns, name);

    if (is_plain(object))
        map_set(x->accounts, key, x);
    else
        map_del(x->accounts, key);
}

static size_t find(const struct list *l, const char *name)
{
    size_t i = 0;

    while (i < l->n && strcmp(l->at[i].name, name) < 0)
        i++;
    return i;
}

static void remove_entry(struct admission_index *x, enum index_kind kind, const char *ns, const char *name)
{
    struct list *l = map_get(x->lists[kind], ns);
    size_t i = l ? find(l, name) : 0;

    if (!l || i == l->n || strcmp(l->at[i].name, name) != 0)
        return;
    entry_clear(&l->at[i]);
    memmove(&l->at[i], &l->at[i + 1], (--l->n - i) * sizeof(*l->at));
    if (l->n == 0)
        map_del(x->lists[kind], ns);
}

static bool says_default(enum index_kind kind, const json_t *object)
{
    const char *annotation = kinds[kind].default_annotation, *v = annotation ? meta_annotation(object, annotation) : NULL;

    if (kinds[kind].default_field)
        return json_bool_or(object, kinds[kind].default_field, false);
    return v && strcmp(v, "true") == 0;
}

static void put_entry(struct admission_index *x, enum index_kind kind, const char *ns, const char *name, const json_t *object,
                      struct slice value)
{
    remove_entry(x, kind, ns, name);
    struct list *l = map_get(x->lists[kind], ns);
    if (!l) {
        l = MEM_NEW(struct list);
        map_set(x->lists[kind], ns, l);
    }
    size_t i = find(l, name);
    l->at = mem_realloc(l->at, (l->n + 1) * sizeof(*l->at));
    memmove(&l->at[i + 1], &l->at[i], (l->n++ - i) * sizeof(*l->at));
    l->at[i] = (struct entry){ mem_strdup(name), bytes_new(value.at, value.n), says_default(kind, object) };
}

void admission_index_set(struct admission_index *x, const char *group, const char *resource, const char *ns, const char *name,
                         struct slice value)
{
    AUTO(json) json_t *object = NULL;
    enum index_kind kind = kind_of(group, resource);
    struct err err;

    if (value.at && json_read(value.at, value.n, NULL, NULL, &object, &err) < 0)
        return; /* we wrote it: cannot be */
    pthread_rwlock_wrlock(&x->lock);
    if (kind < INDEX_KINDS && object)
        put_entry(x, kind, ns, name, object, value);
    else if (kind < INDEX_KINDS)
        remove_entry(x, kind, ns, name);
    else if (strcmp(resource, "serviceaccounts") == 0)
        set_account(x, ns, name, object);
    else if (object)
        map_set(x->spaces, name, space_of(object));
    else
        map_del(x->spaces, name);
    pthread_rwlock_unlock(&x->lock);
}

/* --- lookups --- */

static void unlock(pthread_rwlock_t **lock)
{
    pthread_rwlock_unlock(*lock);
}
#define READ_SCOPE(x)                                                         \
    __attribute__((cleanup(unlock))) pthread_rwlock_t *read_scope = &(x)->lock; \
    pthread_rwlock_rdlock(read_scope)

bool index_namespace(struct admission_index *x, const char *name, struct index_namespace *ret)
{
    READ_SCOPE(x);
    const struct space *s = map_get(x->spaces, name);

    if (!s)
        return false;
    *ret = s->facts;
    return true;
}

void index_pod_security(struct admission_index *x, const char *name, struct index_pod_security *ret)
{
    READ_SCOPE(x);
    const struct space *s = map_get(x->spaces, name);

    *ret = s && s->security ? *s->security : (struct index_pod_security){ 0 };
}

bool index_plain_account(struct admission_index *x, const char *ns, const char *name)
{
    char key[520];

    if ((size_t)snprintf(key, sizeof(key), "%s/%s", ns, name) >= sizeof(key))
        return false;
    READ_SCOPE(x);
    return map_get(x->accounts, key) != NULL;
}

size_t index_count(struct admission_index *x, enum index_kind kind, const char *ns)
{
    READ_SCOPE(x);
    const struct list *l = map_get(x->lists[kind], ns);

    return l ? l->n : 0;
}

struct bytes *index_value(struct admission_index *x, enum index_kind kind, const char *ns, const char *name)
{
    READ_SCOPE(x);
    const struct list *l = map_get(x->lists[kind], ns);
    size_t i = l ? find(l, name) : 0;

    return l && i < l->n && strcmp(l->at[i].name, name) == 0 ? bytes_ref(l->at[i].value) : NULL;
}

int index_trees(struct admission_index *x, enum index_kind kind, const char *ns, bool defaults, json_t **ret, struct err *err)
{
    READ_SCOPE(x);
    const struct list *l = map_get(x->lists[kind], ns);
    AUTO(json) json_t *all = NULL;

    for (size_t i = 0; l && i < l->n; i++) {
        json_t *one = NULL;

        if (defaults && !l->at[i].is_default)
            continue;
        if (json_read(l->at[i].value->at, l->at[i].value->n, NULL, NULL, &one, err) < 0)
            return err_wrap(err, "stored %s %s", kinds[kind].resource, l->at[i].name);
        if (!all)
            all = json_array();
        json_array_append_new(all, one);
    }
    *ret = TAKE(all);
    return 0;
}
