#ifndef SERVER_AUTH_RBAC_INDEX_H
#define SERVER_AUTH_RBAC_INDEX_H
/*
 * rbac_index - roles and bindings compiled for lookups by subject. Thread: the caller's lock (authz.c) guards it.
 * Source: rbac.authorization.k8s.io/v1.
 */
#include "lib/ctx.h"
#include "lib/json.h"

struct rbac_rule {
    char **verbs, **groups, **resources, **names, **urls; /* end with NULL; NULL: none */
};

struct rbac_role {
    char *key;  /* "ns/name", "/name" for cluster roles */
    struct rbac_rule *rules;
    size_t n_rules;
    json_t *labels, *aggregate; /* cluster roles: labels; clusterRoleSelectors or NULL */
    struct rbac_role **members; /* cluster roles an aggregated one takes its rules from; remade when dirty */
    size_t n_members;
};

struct rbac_binding {
    char *key, *ns;   /* ns "": cluster-wide */
    char *role;       /* key of the role */
    char **subjects;  /* "u:name", "g:name", "s:ns:name"; ends with NULL */
};

struct rbac_index;
struct rbac_index *rbac_index_new(void);
void rbac_index_free(struct rbac_index *x);

/* object NULL: deleted. resource: "roles", "clusterroles", "rolebindings", "clusterrolebindings". */
void rbac_index_set(struct rbac_index *x, const char *resource, const char *ns, const char *name, const json_t *object);
/* Remakes what depends on labels; needed before lookups when it says so. */
bool rbac_index_dirty(const struct rbac_index *x);
void rbac_index_settle(struct rbac_index *x);

/* Each rule that applies to the user in ns ("" : cluster-wide only). Return true from fn to stop. */
typedef bool rbac_rule_fn(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by);
bool rbac_index_each(const struct rbac_index *x, const struct user *user, const char *ns, rbac_rule_fn *fn, void *arg);
/* The rules of a role, aggregated ones included. */
bool rbac_role_each(const struct rbac_index *x, const char *key, rbac_rule_fn *fn, void *arg);
bool rbac_role_exists(const struct rbac_index *x, const char *key);

bool rbac_list_has(char *const *list, const char *want); /* exactly */
json_t *rbac_rule_tree(const struct rbac_rule *rule);
/* A rule of a JSON tree; clear with rbac_rule_clear. */
struct rbac_rule rbac_rule_of(const json_t *tree);
void rbac_rule_clear(struct rbac_rule *rule);

#endif
