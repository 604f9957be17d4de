#include "server/auth/rbac_index.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/selector.h"
#include "lib/map.h"

#include <stdio.h>
#include <string.h>

/* Bindings of one subject. */
struct subject {
    struct rbac_binding **at;
    size_t n, cap;
};

struct rbac_index {
    struct map *roles;    /* key -> struct rbac_role */
    struct map *bindings; /* "r:ns/name" -> struct rbac_binding */
    struct map *subjects; /* "u:…" -> struct subject */
    bool dirty;
};

static void list_free(char **list)
{
    for (char **s = list; s && *s; s++)
        free(*s);
    free(list);
}

static char **list_of(const json_t *array)
{
    size_t n = json_array_size(array);
    char **list = NULL;

    if (n == 0)
        return NULL;
    list = mem_zalloc((n + 1) * sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(array, i));
        list[i] = mem_strdup(s ? s : "");
    }
    return list;
}

struct rbac_rule rbac_rule_of(const json_t *tree)
{
    return (struct rbac_rule){
        .verbs = list_of(json_object_get(tree, "verbs")),
        .groups = list_of(json_object_get(tree, "apiGroups")),
        .resources = list_of(json_object_get(tree, "resources")),
        .names = list_of(json_object_get(tree, "resourceNames")),
        .urls = list_of(json_object_get(tree, "nonResourceURLs")),
    };
}

void rbac_rule_clear(struct rbac_rule *rule)
{
    list_free(rule->verbs);
    list_free(rule->groups);
    list_free(rule->resources);
    list_free(rule->names);
    list_free(rule->urls);
    *rule = (struct rbac_rule){ 0 };
}

bool rbac_list_has(char *const *list, const char *want)
{
    for (; list && *list; list++)
        if (strcmp(*list, want) == 0)
            return true;
    return false;
}

static void add_list(json_t *to, const char *name, char *const *list)
{
    if (!list)
        return;
    json_t *array = json_array();
    for (; *list; list++)
        json_array_append_new(array, json_string(*list));
    json_object_set_new(to, name, array);
}

json_t *rbac_rule_tree(const struct rbac_rule *rule)
{
    json_t *t = json_object();

    add_list(t, "verbs", rule->verbs);
    add_list(t, "apiGroups", rule->groups);
    add_list(t, "resources", rule->resources);
    add_list(t, "resourceNames", rule->names);
    add_list(t, "nonResourceURLs", rule->urls);
    return t;
}

/* --- roles --- */

static void role_free(void *p)
{
    struct rbac_role *role = p;

    for (size_t i = 0; i < role->n_rules; i++)
        rbac_rule_clear(&role->rules[i]);
    free(role->rules);
    free(role->members);
    free(role->key);
    json_decref(role->labels);
    json_decref(role->aggregate);
    free(role);
}

static void set_role(struct rbac_index *x, const char *key, const json_t *object)
{
    x->dirty = true;
    if (!object) {
        map_del(x->roles, key);
        return;
    }
    struct rbac_role *role = MEM_NEW(struct rbac_role);
    const json_t *rules = json_object_get(object, "rules");

    role->key = mem_strdup(key);
    role->n_rules = json_array_size(rules);
    role->rules = mem_zalloc(role->n_rules * sizeof(*role->rules));
    for (size_t i = 0; i < role->n_rules; i++)
        role->rules[i] = rbac_rule_of(json_array_get(rules, i));
    if (*key == '/') {
        role->labels = json_deep_copy(json_at(object, "metadata.labels"));
        role->aggregate = json_deep_copy(json_at(object, "aggregationRule.clusterRoleSelectors"));
    }
    map_set(x->roles, key, role);
}

static bool aggregates(const struct rbac_role *role, const struct rbac_role *other)
{
    AUTO(arena) struct arena *arena = arena_new();
    size_t i = 0;
    json_t *one = NULL;

    if (role == other || !other->labels)
        return false;
    json_array_foreach(role->aggregate, i, one)
    {
        struct selector *s = NULL;
        struct err err;

        if (selector_of(arena, one, &s, &err) == 0 && selector_match(s, other->labels))
            return true;
    }
    return false;
}

static void settle_role(struct rbac_index *x, struct rbac_role *role)
{
    size_t pos = 0;
    const char *key = NULL;
    void *other = NULL;

    free(role->members);
    role->members = mem_zalloc(map_len(x->roles) * sizeof(struct rbac_role *));
    role->n_members = 0;
    while (map_next(x->roles, &pos, &key, &other))
        if (aggregates(role, other))
            role->members[role->n_members++] = other;
    role->members = mem_realloc(role->members, (role->n_members + 1) * sizeof(struct rbac_role *));
}

bool rbac_index_dirty(const struct rbac_index *x)
{
    return x->dirty;
}

void rbac_index_settle(struct rbac_index *x)
{
    size_t pos = 0;
    const char *key = NULL;
    void *role = NULL;

    while (map_next(x->roles, &pos, &key, &role))
        if (((struct rbac_role *)role)->aggregate)
            settle_role(x, role);
    x->dirty = false;
}

/* --- bindings --- */

static void binding_free(void *p)
{
    struct rbac_binding *b = p;

    free(b->key);
    free(b->ns);
    free(b->role);
    list_free(b->subjects);
    free(b);
}

static void subject_free(void *p)
{
    free(((struct subject *)p)->at);
    free(p);
}

static void unlink_binding(struct rbac_index *x, struct rbac_binding *b)
{
    for (char **s = b->subjects; s && *s; s++) {
        struct subject *subject = map_get(x->subjects, *s);

        for (size_t i = 0; subject && i < subject->n;)
            if (subject->at[i] == b)
                subject->at[i] = subject->at[--subject->n];
            else
                i++;
        if (subject && subject->n == 0)
            map_del(x->subjects, *s);
    }
}

static void link_binding(struct rbac_index *x, struct rbac_binding *b)
{
    for (char **s = b->subjects; s && *s; s++) {
        struct subject *subject = map_get(x->subjects, *s);

        if (!subject) {
            subject = MEM_NEW(struct subject);
            map_set(x->subjects, *s, subject);
        }
        if (subject->n == subject->cap) {
            subject->cap = subject->cap ? subject->cap * 2 : 2;
            subject->at = mem_realloc(subject->at, subject->cap * sizeof(struct rbac_binding *));
        }
        subject->at[subject->n++] = b;
    }
}

static char *subject_key(const json_t *subject, const char *ns)
{
    const char *kind = json_str_or(subject, "kind", ""), *name = json_str_or(subject, "name", "");

    if (strcmp(kind, "ServiceAccount") == 0) {
        const char *sa_ns = json_str_or(subject, "namespace", "");
        return mem_printf("s:%s:%s", *sa_ns ? sa_ns : ns, name);
    }
    return mem_printf("%c:%s", strcmp(kind, "Group") == 0 ? 'g' : 'u', name);
}

static void set_binding(struct rbac_index *x, const char *ns, const char *name, const json_t *object)
{
    AUTO_FREE char *key = mem_printf("%s/%s", ns, name);
    struct rbac_binding *old = map_get(x->bindings, key);

    if (old)
        unlink_binding(x, old);
    if (!object) {
        map_del(x->bindings, key);
        return;
    }
    struct rbac_binding *b = MEM_NEW(struct rbac_binding);
    const json_t *subjects = json_object_get(object, "subjects");
    size_t n = json_array_size(subjects);
    bool cluster = strcmp(json_str_or(object, "roleRef.kind", ""), "ClusterRole") == 0;

    b->key = mem_strdup(key);
    b->ns = mem_strdup(ns);
    b->role = mem_printf("%s/%s", cluster ? "" : ns, json_str_or(object, "roleRef.name", ""));
    b->subjects = mem_zalloc((n + 1) * sizeof(*b->subjects));
    for (size_t i = 0; i < n; i++)
        b->subjects[i] = subject_key(json_array_get(subjects, i), ns);
    map_set(x->bindings, key, b);
    link_binding(x, b);
}

struct rbac_index *rbac_index_new(void)
{
    struct rbac_index *x = MEM_NEW(struct rbac_index);

    x->roles = map_new(role_free);
    x->bindings = map_new(binding_free);
    x->subjects = map_new(subject_free);
    return x;
}

void rbac_index_free(struct rbac_index *x)
{
    if (!x)
        return;
    map_free(x->subjects);
    map_free(x->bindings);
    map_free(x->roles);
    free(x);
}

void rbac_index_set(struct rbac_index *x, const char *resource, const char *ns, const char *name, const json_t *object)
{
    if (strcmp(resource, "roles") == 0 || strcmp(resource, "clusterroles") == 0) {
        AUTO_FREE char *key = mem_printf("%s/%s", ns, name);
        set_role(x, key, object);
    } else {
        set_binding(x, ns, name, object);
    }
}

/* --- lookups --- */

static bool role_rules(const struct rbac_role *role, rbac_rule_fn *fn, void *arg, const struct rbac_binding *by)
{
    for (size_t i = 0; i < role->n_rules; i++)
        if (fn(arg, &role->rules[i], by))
            return true;
    for (size_t m = 0; m < role->n_members; m++)
        for (size_t i = 0; i < role->members[m]->n_rules; i++)
            if (fn(arg, &role->members[m]->rules[i], by))
                return true;
    return false;
}

static bool subject_rules(const struct rbac_index *x, const char *key, const char *ns, rbac_rule_fn *fn, void *arg)
{
    const struct subject *s = map_get(x->subjects, key);

    for (size_t i = 0; s && i < s->n; i++) {
        const struct rbac_binding *b = s->at[i];

        if (*b->ns && strcmp(b->ns, ns) != 0)
            continue;
        const struct rbac_role *role = map_get(x->roles, b->role);
        if (role && role_rules(role, fn, arg, b))
            return true;
    }
    return false;
}

bool rbac_index_each(const struct rbac_index *x, const struct user *user, const char *ns, rbac_rule_fn *fn, void *arg)
{
    static const char sa[] = "system:serviceaccount:";
    char key[600];

    for (size_t i = 0; i < user->n_groups; i++)
        if ((size_t)snprintf(key, sizeof(key), "g:%s", user->groups[i]) < sizeof(key) && subject_rules(x, key, ns, fn, arg))
            return true;
    if (strncmp(user->name, sa, sizeof(sa) - 1) == 0 &&
        (size_t)snprintf(key, sizeof(key), "s:%s", user->name + sizeof(sa) - 1) < sizeof(key) && subject_rules(x, key, ns, fn, arg))
        return true;
    return (size_t)snprintf(key, sizeof(key), "u:%s", user->name) < sizeof(key) && subject_rules(x, key, ns, fn, arg);
}

bool rbac_role_each(const struct rbac_index *x, const char *key, rbac_rule_fn *fn, void *arg)
{
    const struct rbac_role *role = map_get(x->roles, key);

    return role && role_rules(role, fn, arg, NULL);
}

bool rbac_role_exists(const struct rbac_index *x, const char *key)
{
    return map_get(x->roles, key) != NULL;
}
