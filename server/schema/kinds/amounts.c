#include "server/schema/kinds/amounts.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"

#include <string.h>

static struct quantity amount_of(const json_t *v)
{
    struct quantity q = { 0 };
    struct err err;

    if (json_is_string(v))
        ERR_IGNORE(quantity_parse(json_string_value(v), json_string_length(v), &q, &err)); /* decoding refused what is none */
    return q;
}

int amount_cmp(const json_t *a, const json_t *b)
{
    struct quantity x = amount_of(a), y = amount_of(b);

    return quantity_cmp(&x, &y);
}

static bool is_huge(const char *name)
{
    return strncmp(name, "hugepages-", 10) == 0;
}

static bool has_domain(const char *name)
{
    return strchr(name, '/') != NULL;
}

bool amount_overcommits(const char *name)
{
    bool native = !has_domain(name) || strstr(name, "kubernetes.io/") != NULL;

    return native && !is_huge(name);
}

/* Counted in pieces: objects, and resources of devices. */
static bool is_counted(const char *name)
{
    static const char *const counted[] = { "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
                                           "persistentvolumeclaims", "services.nodeports", "services.loadbalancers" };

    for (size_t i = 0; i < ARRAY_LEN(counted); i++)
        if (strcmp(name, counted[i]) == 0)
            return true;
    return has_domain(name) && !strstr(name, "kubernetes.io/") && strncmp(name, "requests.", 9) != 0;
}

void amount_check(struct field_errors *errs, const char *name, const json_t *value, const char *path)
{
    struct quantity q = amount_of(value);

    if (q.nano < 0)
        field_error(errs, FIELD_INVALID, value, "must be greater than or equal to 0", "%s", path);
    if (is_counted(name) && q.nano % 1000000000 != 0)
        field_error(errs, FIELD_INVALID, value, "must be an integer", "%s", path);
}

static bool check_qualified(struct field_errors *errs, const char *name, const char *path)
{
    const char *why[LABEL_PROBLEMS_MAX];
    size_t n = label_key_problems(name, why);
    AUTO(json) json_t *shown = json_string(name);

    for (size_t i = 0; i < n; i++)
        field_error(errs, FIELD_INVALID, shown, why[i], "%s", path);
    return n == 0;
}

void amount_check_container_name(struct field_errors *errs, const char *name, const char *path)
{
    AUTO(json) json_t *shown = json_string(name);
    bool known = strcmp(name, "cpu") == 0 || strcmp(name, "memory") == 0 || strcmp(name, "ephemeral-storage") == 0 || is_huge(name);

    if (!check_qualified(errs, name, path) || known)
        return;
    if (!has_domain(name)) {
        field_error(errs, FIELD_INVALID, shown, "must be a standard resource type or fully qualified", "%s", path);
        field_error(errs, FIELD_INVALID, shown, "must be a standard resource for containers", "%s", path);
    }
    else if (!amount_overcommits(name) && strncmp(name, "requests.", 9) == 0)
        field_error(errs, FIELD_INVALID, shown, "doesn't follow extended resource name standard", "%s", path);
}

void amount_check_quota_name(struct field_errors *errs, const char *name, const char *path)
{
    static const char *const known[] = {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage", "requests.ephemeral-storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
        "secrets", "persistentvolumeclaims", "configmaps", "services.nodeports", "services.loadbalancers",
    };
    AUTO(json) json_t *shown = json_string(name);

    if (!check_qualified(errs, name, path) || has_domain(name) || is_huge(name) || strncmp(name, "requests.hugepages-", 19) == 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i]) == 0)
            return;
    field_error(errs, FIELD_INVALID, shown, "must be a standard resource type or fully qualified", "%s", path);
    field_error(errs, FIELD_INVALID, shown, "must be a standard resource for quota", "%s", path);
}
