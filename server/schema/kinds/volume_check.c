/* Checks of a pod's volumes. Source: upstream ValidateVolumes. */
#include "server/schema/kinds/container_check.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/amounts.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"
#include "server/schema/kinds/volume_claim.h"

#include <string.h>

const json_t *volume_named(const json_t *spec, const char *name)
{
    size_t i;
    json_t *volume;

    json_array_foreach(json_object_get(spec, "volumes"), i, volume)
        if (is_text(volume, "name", name))
            return volume;
    return NULL;
}

static void check_mode(struct field_errors *errs, const json_t *mode, const char *path)
{
    if (json_is_integer(mode) && (json_integer_value(mode) < 0 || json_integer_value(mode) > 0777))
        field_error(errs, FIELD_INVALID, mode, "must be a number between 0 and 0777 (octal), both inclusive", "%s", path);
}

static void check_items(struct field_errors *errs, const json_t *source, const char *path)
{
    size_t i;
    json_t *item;

    check_mode(errs, json_object_get(source, "defaultMode"), check_path(errs, "%s.defaultMode", path));
    json_array_foreach(json_object_get(source, "items"), i, item)
    {
        const char *at = check_path(errs, "%s.items[%zu]", path, i);
        const json_t *where = json_object_get(item, "path");

        check_descending(errs, where, check_path(errs, "%s.path", at));
        if (json_string_length(where) > 2 && strncmp(json_string_value(where), "..", 2) == 0 && json_string_value(where)[2] != '/')
            field_error(errs, FIELD_INVALID, where, "must not start with '..'", "%s.path", at);
        check_mode(errs, json_object_get(item, "mode"), check_path(errs, "%s.mode", at));
        if (!json_object_get(item, "key") && !json_object_get(item, "fieldRef") && !json_object_get(item, "resourceFieldRef"))
            field_error(errs, FIELD_REQUIRED, NULL, "one of fieldRef and resourceFieldRef is required", "%s", path);
    }
}

static void check_projected(struct field_errors *errs, const json_t *projected, const char *path)
{
    static const char *const kinds[] = { "secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle",
                                         "podCertificate" };
    size_t i;
    json_t *source;

    check_mode(errs, json_object_get(projected, "defaultMode"), check_path(errs, "%s.defaultMode", path));
    json_array_foreach(json_object_get(projected, "sources"), i, source)
    {
        const char *at = check_path(errs, "%s.sources[%zu]", path, i);
        const json_t *token = json_object_get(source, "serviceAccountToken");
        size_t n = 0;

        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            const json_t *one = json_object_get(source, kinds[k]);

            if (!one)
                continue;
            if (n++)
                field_error(errs, FIELD_FORBIDDEN, NULL, "may not specify more than 1 volume type per source", "%s", at);
            if (k < 2)
                check_text(errs, one, "name", check_path(errs, "%s.%s.name", at, kinds[k]));
            if (k < 3)
                check_items(errs, one, check_path(errs, "%s.%s", at, kinds[k]));
        }
        if (token && json_int_or(token, "expirationSeconds", 3600) < 600)
            field_error(errs, FIELD_INVALID, json_object_get(token, "expirationSeconds"), "may not specify a duration less than 10 minutes",
                        "%s.serviceAccountToken.expirationSeconds", at);
    }
}

static void check_host_path(struct field_errors *errs, const json_t *source, const char *path)
{
    const json_t *where = json_object_get(source, "path");
    const char *s = json_string_length(where) ? json_string_value(where) : "";

    for (const char *at = s; (at = strstr(at, "..")); at += 2)
        if ((at == s || at[-1] == '/') && (at[2] == '/' || !at[2])) {
            field_error(errs, FIELD_INVALID, where, "must not contain '..'", "%s.path", path);
            break;
        }
    CHECK_ONE_OF(errs, json_object_get(source, "type"), false, check_path(errs, "%s.type", path), "", "BlockDevice", "CharDevice",
                 "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket");
}

static void check_source(struct field_errors *errs, const json_t *source, const char *kind, const char *path)
{
    if (strcmp(kind, "hostPath") == 0)
        check_host_path(errs, source, path);
    else if (strcmp(kind, "projected") == 0)
        check_projected(errs, source, path);
    else if (strcmp(kind, "downwardAPI") == 0)
        check_items(errs, source, path);
    else if (strcmp(kind, "secret") == 0) {
        check_text(errs, source, "secretName", check_path(errs, "%s.secretName", path));
        check_items(errs, source, path);
    } else if (strcmp(kind, "configMap") == 0) {
        check_text(errs, source, "name", check_path(errs, "%s.name", path));
        check_items(errs, source, path);
    } else if (strcmp(kind, "emptyDir") == 0) {
        AUTO(json) json_t *zero = json_string("0");

        if (json_object_get(source, "sizeLimit") && amount_cmp(json_object_get(source, "sizeLimit"), zero) < 0)
            field_error(errs, FIELD_FORBIDDEN, NULL, "SizeLimit field must be a valid resource quantity", "%s.sizeLimit", path);
    } else if (strcmp(kind, "ephemeral") == 0) {
        const json_t *template = json_object_get(source, "volumeClaimTemplate");

        if (check_member(errs, source, "volumeClaimTemplate", check_path(errs, "%s.volumeClaimTemplate", path)))
            volume_claim_spec_validate(json_object_get(template, "spec"), check_path(errs, "%s.volumeClaimTemplate.spec", path), errs);
    } else if (strcmp(kind, "nfs") == 0) {
        const json_t *where = json_object_get(source, "path");

        if (!json_string_length(where) || json_string_value(where)[0] != '/')
            field_error(errs, FIELD_INVALID, where, "must be an absolute path", "%s.path", path);
    } else if (strcmp(kind, "image") == 0) {
        check_text(errs, source, "reference", check_path(errs, "%s.reference", path));
    }
}

static void check_volume(struct field_errors *errs, const json_t *volume, const char *path)
{
    const char *key;
    size_t n = 0;
    json_t *source;

    json_object_foreach((json_t *)volume, key, source)
    {
        if (strcmp(key, "name") == 0)
            continue;
        const char *at = check_path(errs, "%s.%s", path, key);

        if (n++)
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not specify more than 1 volume type", "%s", at);
        else
            check_source(errs, source, key, at);
    }
    if (n == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify a volume type", "%s", path);
}

void volumes_check(const json_t *spec, const char *path, struct field_errors *errs)
{
    const json_t *volumes = json_object_get(spec, "volumes");
    size_t i;
    json_t *volume;

    json_array_foreach(volumes, i, volume)
    {
        const json_t *name = json_object_get(volume, "name");
        const char *at = check_path(errs, "%s.volumes[%zu]", path, i);

        check_volume(errs, volume, at);
        if (json_string_length(name))
            check_name(errs, name, name_is_dns_label, check_path(errs, "%s.name", at));
        for (size_t j = 0; j < i && json_is_string(name); j++)
            if (is_text(json_array_get(volumes, j), "name", json_string_value(name))) {
                field_error(errs, FIELD_DUPLICATE, name, "", "%s.name", at);
                break;
            }
    }
}
