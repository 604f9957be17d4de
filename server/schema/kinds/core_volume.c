/* PersistentVolumes and their claims. Source: upstream pkg/registry/core/persistentvolume(claim), pkg/apis/core/validation. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "server/schema/kinds/amounts.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"
#include "server/schema/kinds/volume_claim.h"

#include <string.h>

/* --- PersistentVolume --- */

static void volume_default(json_t *volume)
{
    json_t *spec = json_object_get(volume, "spec"), *status = set_object(volume, "status");

    if (status)
        set_text(status, "phase", "Pending");
    if (!json_is_object(spec))
        return;
    set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_text(spec, "volumeMode", "Filesystem");
    json_t *path = json_object_get(spec, "hostPath");
    if (json_is_object(path) && !json_object_get(path, "type"))
        json_object_set_new(path, "type", json_string(""));
}

static void volume_prepare_create(struct ctx *ctx, json_t *volume)
{
    char now[CLOCK_TEXT_BYTES];

    clock_time_text(clock_wall_s(ctx->clock), now);
    json_object_set_new(volume, "status", json_pack("{s:s,s:s}", "phase", "Pending", "lastPhaseTransitionTime", now));
}

/* The phase's time moves with the phase. */
static void volume_prepare_status(struct ctx *ctx, json_t *volume, const json_t *old)
{
    char now[CLOCK_TEXT_BYTES];
    json_t *status = set_object(volume, "status");

    if (!status)
        return;
    if (same_member(volume, old, "status.phase"))
        set_from(status, json_object_get(old, "status"), "lastPhaseTransitionTime");
    else if (same_member(volume, old, "status.lastPhaseTransitionTime") || !json_object_get(status, "lastPhaseTransitionTime"))
        json_object_set_new(status, "lastPhaseTransitionTime", json_string(clock_time_text(clock_wall_s(ctx->clock), now)));
}

static const char *const volume_sources[] = {
    "hostPath", "local", "nfs", "csi", "iscsi", "fc", "rbd", "cephfs", "glusterfs", "gcePersistentDisk", "awsElasticBlockStore",
    "azureDisk", "azureFile", "cinder", "flexVolume", "flocker", "photonPersistentDisk", "portworxVolume", "quobyte", "scaleIO",
    "storageos", "vsphereVolume",
};

static void check_access_modes(struct field_errors *errs, const json_t *spec)
{
    const json_t *modes = json_object_get(spec, "accessModes");
    bool single = false;
    size_t i;
    json_t *mode;

    if (json_array_size(modes) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.accessModes");
    json_array_foreach(modes, i, mode)
    {
        CHECK_ONE_OF(errs, mode, false, "spec.accessModes", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod");
        single |= json_is_string(mode) && strcmp(json_string_value(mode), "ReadWriteOncePod") == 0;
    }
    if (single && json_array_size(modes) > 1)
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not use ReadWriteOncePod with other access modes", "spec.accessModes");
}

static void check_capacity(struct field_errors *errs, const json_t *spec)
{
    json_t *capacity = json_object_get(spec, "capacity"), *v;
    const char *key;

    if (json_object_size(capacity) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.capacity");
    else if (!json_object_get(capacity, "storage") || json_object_size(capacity) > 1)
        field_not_supported(errs, "", (const char *const[]){ "storage" }, 1, "spec.capacity");
    json_object_foreach(capacity, key, v)
        if (quantity_json_milli(v) <= 0)
            field_error(errs, FIELD_INVALID, v, "must be greater than zero", "spec.capacity[%s]", key);
}

static void check_path_source(struct field_errors *errs, const json_t *spec, const char *source)
{
    const json_t *s = json_object_get(spec, source);
    const char *path = json_str_or(s, "path", "");

    if (!s || !check_text(errs, s, "path", check_path(errs, "spec.%s.path", source)))
        return;
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || !at[2])) {
            field_error(errs, FIELD_INVALID, json_object_get(s, "path"), "must not contain '..'", "spec.%s.path", source);
            return;
        }
}

static void check_source(struct field_errors *errs, const json_t *spec)
{
    const char *first = NULL;

    for (size_t i = 0; i < ARRAY_LEN(volume_sources); i++) {
        if (!json_object_get(spec, volume_sources[i]))
            continue;
        if (first)
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not specify more than 1 volume type", "spec.%s", volume_sources[i]);
        else
            first = volume_sources[i];
    }
    if (!first)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify a volume type", "spec");
    check_path_source(errs, spec, "hostPath");
    check_path_source(errs, spec, "local");
    check_path_source(errs, spec, "nfs");
    if (json_object_get(spec, "local") && !json_at(spec, "nodeAffinity.required"))
        field_error(errs, FIELD_REQUIRED, NULL, "Local volume requires node affinity", "spec.nodeAffinity");
    if (json_object_get(spec, "csi")) {
        check_text(errs, json_object_get(spec, "csi"), "driver", "spec.csi.driver");
        check_text(errs, json_object_get(spec, "csi"), "volumeHandle", "spec.csi.volumeHandle");
    }
}

static void volume_validate(struct ctx *ctx, const json_t *volume, struct field_errors *errs)
{
    const json_t *spec = json_object_get(volume, "spec");
    const char *root = json_str_or(spec, "hostPath.path", "");

    (void)ctx;
    check_access_modes(errs, spec);
    check_capacity(errs, spec);
    check_source(errs, spec);
    CHECK_ONE_OF(errs, json_object_get(spec, "persistentVolumeReclaimPolicy"), false, "spec.persistentVolumeReclaimPolicy", "Delete",
                 "Recycle", "Retain");
    if (strcmp(root, "/") == 0 && is_text(spec, "persistentVolumeReclaimPolicy", "Recycle"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not be 'recycle' for a hostPath mount of '/'", "spec.persistentVolumeReclaimPolicy");
    check_name(errs, json_object_get(spec, "storageClassName"), name_is_dns_subdomain, "spec.storageClassName");
    CHECK_ONE_OF(errs, json_object_get(spec, "volumeMode"), false, "spec.volumeMode", "Block", "Filesystem");
}

static void volume_validate_update(struct ctx *ctx, const json_t *volume, const json_t *old, struct field_errors *errs)
{
    static const char why[] = "spec.persistentvolumesource is immutable after creation";

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(volume_sources); i++) {
        const char *path = check_path(errs, "spec.%s", volume_sources[i]);

        if (!same_member(volume, old, path)) {
            field_error(errs, FIELD_FORBIDDEN, NULL, why, "spec.persistentvolumesource");
            break;
        }
    }
    if (!same_member(volume, old, "spec.volumeMode"))
        field_error(errs, FIELD_INVALID, json_at(volume, "spec.volumeMode"), "field is immutable", "volumeMode"); /* upstream's path */
    if (json_at(old, "spec.nodeAffinity"))
        check_immutable(errs, volume, old, "spec.nodeAffinity");
}

static void volume_cells(struct ctx *ctx, const json_t *volume, json_t *cells)
{
    const json_t *spec = json_object_get(volume, "spec"), *claim = json_object_get(spec, "claimRef");
    const char *beta = meta_annotation(volume, "volume.beta.kubernetes.io/storage-class");

    cell_path(cells, json_object_get(spec, "capacity"), "storage", "0");
    cell_access_modes(cells, json_object_get(spec, "accessModes"));
    cell_path(cells, spec, "persistentVolumeReclaimPolicy", "");
    if (meta_deleting(volume))
        cell_text(cells, "Terminating");
    else
        cell_path(cells, volume, "status.phase", "");
    cell_text(cells, claim ? arena_printf(ctx->arena, "%s/%s", json_str_or(claim, "namespace", ""), json_str_or(claim, "name", "")) : "");
    if (beta)
        cell_text(cells, beta);
    else
        cell_path(cells, spec, "storageClassName", "");
    cell_path(cells, spec, "volumeAttributesClassName", "<unset>");
    cell_path(cells, volume, "status.reason", "");
    cell_age(ctx, cells, volume);
    cell_path(cells, spec, "volumeMode", "<unset>");
}

/* --- PersistentVolumeClaim --- */

void volume_claim_default(json_t *claim)
{
    json_t *spec = json_object_get(claim, "spec"), *status = set_object(claim, "status");

    if (status)
        set_text(status, "phase", "Pending");
    if (json_is_object(spec))
        set_text(spec, "volumeMode", "Filesystem");
}

/* dataSource and dataSourceRef say the same, unless the latter names a namespace. */
static void sync_sources(json_t *claim)
{
    json_t *spec = json_object_get(claim, "spec"), *source = json_object_get(spec, "dataSource"),
           *ref = json_object_get(spec, "dataSourceRef");

    if (source && !ref)
        json_object_set_new(spec, "dataSourceRef", json_deep_copy(source));
    else if (ref && !source && !*json_str_or(ref, "namespace", ""))
        json_object_set_new(spec, "dataSource", json_deep_copy(ref));
}

static void claim_prepare_create(struct ctx *ctx, json_t *claim)
{
    (void)ctx;
    json_object_set_new(claim, "status", json_pack("{s:s}", "phase", "Pending"));
    sync_sources(claim);
}

static void claim_prepare_update(struct ctx *ctx, json_t *claim, const json_t *old)
{
    (void)ctx;
    (void)old;
    sync_sources(claim);
}

void volume_claim_spec_validate(const json_t *spec, const char *path, struct field_errors *errs)
{
    const json_t *modes = json_object_get(spec, "accessModes"), *storage = json_at(spec, "resources.requests.storage");
    size_t i;
    json_t *mode;

    if (json_array_size(modes) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "at least 1 access mode is required", "%s.accessModes", path);
    json_array_foreach(modes, i, mode)
        CHECK_ONE_OF(errs, mode, false, check_path(errs, "%s.accessModes", path), "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce",
                     "ReadWriteOncePod");
    check_selector(errs, json_object_get(spec, "selector"), check_path(errs, "%s.selector", path));
    if (!storage)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s.resources[storage]", path);
    else if (quantity_json_milli(storage) <= 0)
        field_error(errs, FIELD_INVALID, storage, "must be greater than zero", "%s.resources[storage]", path);
    const char *class = json_str_or(spec, "storageClassName", "");
    if (*class)
        check_name(errs, json_object_get(spec, "storageClassName"), name_is_dns_subdomain, check_path(errs, "%s.storageClassName", path));
    CHECK_ONE_OF(errs, json_object_get(spec, "volumeMode"), false, check_path(errs, "%s.volumeMode", path), "Block", "Filesystem");
}

static void claim_validate(struct ctx *ctx, const json_t *claim, struct field_errors *errs)
{
    (void)ctx;
    volume_claim_spec_validate(json_object_get(claim, "spec"), "spec", errs);
}

/* Only what binding and growing need may change. */
static void claim_validate_update(struct ctx *ctx, const json_t *claim, const json_t *old, struct field_errors *errs)
{
    AUTO(json) json_t *spec = json_deep_copy(json_object_get(claim, "spec"));
    const json_t *was = json_object_get(old, "spec"), *size = json_at(spec, "resources.requests.storage"),
                 *had = json_at(was, "resources.requests.storage");
    bool bound = is_text(old, "status.phase", "Bound");

    (void)ctx;
    if (size && had && amount_cmp(size, had) < 0 && amount_cmp(size, json_at(old, "status.capacity.storage")) <= 0)
        field_error(errs, FIELD_FORBIDDEN, NULL, "field can not be less than status.capacity", "spec.resources.requests.storage");
    if (!*json_str_or(was, "volumeName", ""))
        set_from(spec, was, "volumeName");
    if (bound)
        set_from(spec, was, "volumeAttributesClassName");
    if (!json_object_get(was, "storageClassName"))
        set_from(spec, was, "storageClassName");
    if (bound && had)
        json_put(spec, "resources.requests.storage", json_deep_copy(had));
    if (!same_member(claim, old, "spec.volumeMode"))
        field_error(errs, FIELD_INVALID, json_at(claim, "spec.volumeMode"), "field is immutable", "volumeMode");
    if (!json_equal(spec, was))
        field_error(errs, FIELD_FORBIDDEN, NULL,
                    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims", "spec");
}

static void claim_cells(struct ctx *ctx, const json_t *claim, json_t *cells)
{
    const json_t *spec = json_object_get(claim, "spec");
    const char *beta = meta_annotation(claim, "volume.beta.kubernetes.io/storage-class");
    bool bound = *json_str_or(spec, "volumeName", "");

    if (meta_deleting(claim))
        cell_text(cells, "Terminating");
    else
        cell_path(cells, claim, "status.phase", "");
    cell_path(cells, spec, "volumeName", "");
    if (bound) {
        cell_path(cells, claim, "status.capacity.storage", "0");
        cell_access_modes(cells, json_at(claim, "status.accessModes"));
    } else {
        cell_text(cells, "");
        cell_text(cells, "");
    }
    if (beta)
        cell_text(cells, beta);
    else
        cell_path(cells, spec, "storageClassName", "");
    cell_path(cells, spec, "volumeAttributesClassName", "<unset>");
    cell_age(ctx, cells, claim);
    cell_path(cells, spec, "volumeMode", "<unset>");
}

const struct kind_ops kinds_core_volume[] = {
    {
        .group = "", .kind = "PersistentVolume",
        .default_ = volume_default,
        .prepare_create = volume_prepare_create,
        .prepare_status = volume_prepare_status,
        .validate = volume_validate,
        .validate_update = volume_validate_update,
        .cells = volume_cells,
        .return_deleted = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "", .kind = "PersistentVolumeClaim",
        .default_ = volume_claim_default,
        .prepare_create = claim_prepare_create,
        .prepare_update = claim_prepare_update,
        .validate = claim_validate,
        .validate_update = claim_validate_update,
        .cells = claim_cells,
        .return_deleted = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
