/* ConfigMaps, Secrets, ServiceAccounts. Source: upstream pkg/registry/core, pkg/apis/core/validation. */
#include "server/schema/kinds/kinds.h"

#include "lib/crypto.h"
#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

enum { DATA_MAX_BYTES = 1024 * 1024 };

/* Bytes of base64 text once decoded. */
static size_t decoded(const json_t *v)
{
    size_t n = json_is_string(v) ? json_string_length(v) : 0;
    const char *s = json_string_value(v);

    return n < 4 ? 0 : n / 4 * 3 - (s[n - 1] == '=') - (s[n - 2] == '=');
}

static void check_keys(struct field_errors *errs, const json_t *data, const char *path)
{
    const char *key, *why;
    json_t *v;

    json_object_foreach((json_t *)data, key, v)
    {
        why = config_key_invalid(key);
        if (why) {
            AUTO(json) json_t *shown = json_string(key);

            field_error(errs, FIELD_INVALID, shown, why, "%s[%s]", path, key);
        }
    }
}

/* Nothing but metadata may change any more. */
static void check_frozen(struct field_errors *errs, const json_t *object, const json_t *old, const char *const *members)
{
    static const char why[] = "field is immutable when `immutable` is set";

    if (!json_bool_or(old, "immutable", false))
        return;
    if (!json_bool_or(object, "immutable", false))
        field_error(errs, FIELD_FORBIDDEN, NULL, why, "immutable");
    for (; *members; members++)
        if (!same_member(object, old, *members) &&
            (json_object_size(json_object_get(object, *members)) || json_object_size(json_object_get(old, *members))))
            field_error(errs, FIELD_FORBIDDEN, NULL, why, "%s", *members);
}

/* --- ConfigMap --- */

static void config_map_validate(struct ctx *ctx, const json_t *object, struct field_errors *errs)
{
    const json_t *data = json_object_get(object, "data"), *binary = json_object_get(object, "binaryData");
    size_t total = 0;
    const char *key;
    json_t *v;

    (void)ctx;
    check_keys(errs, data, "data");
    check_keys(errs, binary, "binaryData");
    json_object_foreach((json_t *)data, key, v)
    {
        if (json_object_get(binary, key)) {
            AUTO(json) json_t *shown = json_string(key);

            field_error(errs, FIELD_INVALID, shown, "duplicate of key present in binaryData", "data[%s]", key);
        }
        total += json_is_string(v) ? json_string_length(v) : 0;
    }
    json_object_foreach((json_t *)binary, key, v) total += decoded(v);
    if (total > DATA_MAX_BYTES)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 1048576 bytes", "%s", "");
}

static void config_map_update(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_frozen(errs, object, old, (const char *const[]){ "data", "binaryData", NULL });
}

static void config_map_cells(struct ctx *ctx, const json_t *object, json_t *cells)
{
    cell_int(cells, (int64_t)(json_object_size(json_object_get(object, "data")) + json_object_size(json_object_get(object, "binaryData"))));
    cell_age(ctx, cells, object);
}

/* --- Secret --- */

static void secret_default(json_t *secret)
{
    json_t *texts = json_object_get(secret, "stringData"), *v;
    const char *key;

    set_text(secret, "type", "Opaque");
    if (!json_is_object(texts))
        return;
    json_t *data = set_object(secret, "data");
    json_object_foreach(texts, key, v)
    {
        AUTO(buf) struct buf text = { 0 };

        if (!data || !json_is_string(v))
            continue;
        base64_write(json_string_value(v), json_string_length(v), &text);
        json_object_set_new(data, key, json_string(buf_at(&text)));
    }
    json_object_del(secret, "stringData");
}

static void check_docker(struct field_errors *errs, const json_t *data, const char *key)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *parsed = NULL;
    const json_t *v = json_object_get(data, key);
    struct err err;

    if (!v) {
        field_error(errs, FIELD_REQUIRED, NULL, "", "data[%s]", key);
        return;
    }
    if (base64_read(json_string_value(v), json_string_length(v), &text) == 0 &&
        json_read(buf_at(&text), buf_len(&text), NULL, NULL, &parsed, &err) == 0 && json_is_object(parsed))
        return;
    AUTO(json) json_t *shown = json_string("<secret contents redacted>");
    const char *why = buf_len(&text) == 0 ? "unexpected end of JSON input" : parsed ? "must be a JSON object" : err.msg;
    field_error(errs, FIELD_INVALID, shown, why, "data[%s]", key);
}

static void secret_check_type(const json_t *secret, const json_t *data, struct field_errors *errs)
{
    const char *type = json_str_or(secret, "type", "");
    static const char account[] = "kubernetes.io/service-account.name";
    const char *name = meta_annotation(secret, account);

    if (strcmp(type, "kubernetes.io/service-account-token") == 0 && (!name || !*name))
        field_error(errs, FIELD_REQUIRED, NULL, "", "metadata.annotations[%s]", account);
    if (strcmp(type, "kubernetes.io/dockercfg") == 0)
        check_docker(errs, data, ".dockercfg");
    if (strcmp(type, "kubernetes.io/dockerconfigjson") == 0)
        check_docker(errs, data, ".dockerconfigjson");
    if (strcmp(type, "kubernetes.io/basic-auth") == 0 && !json_object_get(data, "username") && !json_object_get(data, "password")) {
        check_member(errs, data, "username", "data[username]");
        check_member(errs, data, "password", "data[password]");
    }
    if (strcmp(type, "kubernetes.io/ssh-auth") == 0 && decoded(json_object_get(data, "ssh-privatekey")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "data[ssh-privatekey]");
    if (strcmp(type, "kubernetes.io/tls") == 0) {
        check_member(errs, data, "tls.crt", "data[tls.crt]");
        check_member(errs, data, "tls.key", "data[tls.key]");
    }
}

static void secret_validate(struct ctx *ctx, const json_t *secret, struct field_errors *errs)
{
    const json_t *data = json_object_get(secret, "data");
    size_t total = 0;
    const char *key;
    json_t *v;

    (void)ctx;
    check_keys(errs, data, "data");
    json_object_foreach((json_t *)data, key, v) total += decoded(v);
    if (total > DATA_MAX_BYTES)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 1048576 bytes", "data");
    secret_check_type(secret, data, errs);
}

static void secret_update(struct ctx *ctx, const json_t *secret, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, secret, old, "type");
    check_frozen(errs, secret, old, (const char *const[]){ "data", NULL });
}

static void secret_cells(struct ctx *ctx, const json_t *secret, json_t *cells)
{
    cell_path(cells, secret, "type", "");
    cell_int(cells, (int64_t)json_object_size(json_object_get(secret, "data")));
    cell_age(ctx, cells, secret);
}

static const char *const secret_fields[] = { "type", NULL };

const struct kind_ops kinds_core_config[] = {
    {
        .group = "", .kind = "ConfigMap",
        .validate = config_map_validate,
        .validate_update = config_map_update,
        .cells = config_map_cells,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "", .kind = "Secret",
        .default_ = secret_default,
        .validate = secret_validate,
        .validate_update = secret_update,
        .cells = secret_cells,
        .fields = secret_fields,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "", .kind = "ServiceAccount",
        .cells = cell_age_only,
        .return_deleted = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
