/* Storage classes, CSI objects, volume attachments. Source: upstream pkg/apis/storage. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char storage_group[] = "storage.k8s.io";

/* --- StorageClass --- */

static void class_default(json_t *class)
{
    set_text(class, "reclaimPolicy", "Delete");
    set_text(class, "volumeBindingMode", "Immediate");
}

static void class_validate(struct ctx *ctx, const json_t *class, struct field_errors *errs)
{
    const json_t *provisioner = json_object_get(class, "provisioner");

    (void)ctx;
    if (json_string_length(provisioner))
        check_name(errs, provisioner, label_key_invalid, "provisioner");
    CHECK_ONE_OF(errs, json_object_get(class, "reclaimPolicy"), false, "reclaimPolicy", "Delete", "Retain");
    CHECK_ONE_OF(errs, json_object_get(class, "volumeBindingMode"), true, "volumeBindingMode", "Immediate", "WaitForFirstConsumer");
}

static void class_validate_update(struct ctx *ctx, const json_t *class, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "parameters", "provisioner", "reclaimPolicy", "volumeBindingMode" };

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_fixed(errs, class, old, fixed[i]);
}

static bool is_default(const json_t *class)
{
    static const char *const keys[] = { "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class" };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *v = meta_annotation(class, keys[i]);

        if (v && strcmp(v, "true") == 0)
            return true;
    }
    return false;
}

static void class_cells(struct ctx *ctx, const json_t *class, json_t *cells)
{
    if (is_default(class))
        json_array_set_new(cells, 0, json_strf("%s (default)", meta_name(class)));
    cell_path(cells, class, "provisioner", "");
    cell_path(cells, class, "reclaimPolicy", "Delete");
    cell_path(cells, class, "volumeBindingMode", "Immediate");
    cell_bool(cells, json_bool_or(class, "allowVolumeExpansion", false));
    cell_age(ctx, cells, class);
}

/* --- CSIDriver --- */

static void driver_default(json_t *driver)
{
    static const char *const off[] = { "podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount",
                                       "preventPodSchedulingIfMissing" };
    json_t *spec = json_object_get(driver, "spec");

    if (!json_is_object(spec))
        return;
    set_bool(spec, "attachRequired", true);
    for (size_t i = 0; i < ARRAY_LEN(off); i++)
        set_bool(spec, off[i], false);
    set_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if (json_array_size(json_object_get(spec, "volumeLifecycleModes")) == 0)
        json_object_set_new(spec, "volumeLifecycleModes", json_pack("[s]", "Persistent"));
}

static void driver_validate(struct ctx *ctx, const json_t *driver, struct field_errors *errs)
{
    size_t i;
    json_t *mode;

    (void)ctx;
    CHECK_ONE_OF(errs, json_at(driver, "spec.fsGroupPolicy"), false, "spec.fsGroupPolicy", "File", "None", "ReadWriteOnceWithFSType");
    if (strlen(meta_name(driver)) > 63)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 63 bytes", "metadata.name");
    json_array_foreach(json_at(driver, "spec.volumeLifecycleModes"), i, mode)
        CHECK_ONE_OF(errs, mode, false, "spec.volumeLifecycleModes", "Ephemeral", "Persistent");
}

static void driver_validate_update(struct ctx *ctx, const json_t *driver, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    if (!same_member(driver, old, "spec.attachRequired"))
        field_error(errs, FIELD_INVALID, json_at(driver, "spec.attachRequired"), "field is immutable", "spec.attachedRequired");
    check_immutable(errs, driver, old, "spec.volumeLifecycleModes");
}

static void audiences_cell(const json_t *driver, json_t *cells)
{
    const json_t *requests = json_at(driver, "spec.tokenRequests");
    AUTO(buf) struct buf text = { 0 };
    size_t i;
    json_t *r;

    json_array_foreach(requests, i, r) buf_printf(&text, "%s%s", i ? "," : "", json_str_or(r, "audience", ""));
    cell_text(cells, requests ? buf_at(&text) : "<unset>");
}

static void driver_cells(struct ctx *ctx, const json_t *driver, json_t *cells)
{
    const json_t *spec = json_object_get(driver, "spec");

    cell_bool(cells, json_bool_or(spec, "attachRequired", true));
    cell_bool(cells, json_bool_or(spec, "podInfoOnMount", false));
    cell_bool(cells, json_bool_or(spec, "storageCapacity", false));
    audiences_cell(driver, cells);
    cell_bool(cells, json_bool_or(spec, "requiresRepublish", false));
    cell_joined(cells, json_object_get(spec, "volumeLifecycleModes"), "<none>");
    cell_age(ctx, cells, driver);
}

/* --- CSINode --- */

static void node_validate(struct ctx *ctx, const json_t *node, struct field_errors *errs)
{
    const json_t *drivers = json_at(node, "spec.drivers");
    size_t i;
    json_t *d;

    (void)ctx;
    json_array_foreach(drivers, i, d)
    {
        check_text(errs, d, "nodeID", check_path(errs, "spec.drivers[%zu].nodeID", i));
        for (size_t j = 0; j < i; j++)
            if (is_text(json_array_get(drivers, j), "name", json_str_or(d, "name", ""))) {
                field_error(errs, FIELD_DUPLICATE, json_object_get(d, "name"), "", "spec.drivers[%zu].name", i);
                break;
            }
    }
}

static void node_cells(struct ctx *ctx, const json_t *node, json_t *cells)
{
    cell_int(cells, (int64_t)json_array_size(json_at(node, "spec.drivers")));
    cell_age(ctx, cells, node);
}

/* --- VolumeAttachment --- */

static void attachment_validate(struct ctx *ctx, const json_t *attachment, struct field_errors *errs)
{
    const json_t *spec = json_object_get(attachment, "spec"), *source = json_object_get(spec, "source");
    const json_t *name = json_object_get(source, "persistentVolumeName"), *inlined = json_object_get(source, "inlineVolumeSpec");

    (void)ctx;
    if (json_string_length(json_object_get(spec, "attacher")))
        check_name(errs, json_object_get(spec, "attacher"), label_key_invalid, "spec.attacher");
    if (!name && !inlined)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify exactly one of inlineVolumeSpec and persistentVolumeName", "spec.source");
    else if (name && inlined)
        field_error(errs, FIELD_FORBIDDEN, NULL, "must specify exactly one of inlineVolumeSpec and persistentVolumeName", "spec.source");
    if (json_is_string(name) && json_string_length(name) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify non empty persistentVolumeName", "spec.source.persistentVolumeName");
}

static void attachment_validate_update(struct ctx *ctx, const json_t *attachment, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_fixed(errs, attachment, old, "spec");
}

static void attachment_cells(struct ctx *ctx, const json_t *attachment, json_t *cells)
{
    cell_path(cells, attachment, "spec.attacher", "");
    cell_path(cells, attachment, "spec.source.persistentVolumeName", "");
    cell_path(cells, attachment, "spec.nodeName", "");
    cell_bool(cells, json_bool_or(attachment, "status.attached", false));
    cell_age(ctx, cells, attachment);
}

/* --- the rest --- */

static void capacity_validate_update(struct ctx *ctx, const json_t *capacity, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, capacity, old, "nodeTopology");
    check_immutable(errs, capacity, old, "storageClassName");
}

static void attributes_validate_update(struct ctx *ctx, const json_t *class, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    if (!same_member(class, old, "driverName"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "updates to driverName are forbidden.", "driverName");
    if (!same_member(class, old, "parameters"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "updates to parameters are forbidden.", "parameters");
}

static void attributes_validate(struct ctx *ctx, const json_t *class, struct field_errors *errs)
{
    (void)ctx;
    if (json_object_size(json_object_get(class, "parameters")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must contain at least one key/value pair", "parameters");
}

static void attributes_cells(struct ctx *ctx, const json_t *class, json_t *cells)
{
    cell_path(cells, class, "driverName", "");
    cell_age(ctx, cells, class);
}

const struct kind_ops kinds_storage[] = {
    { .group = storage_group, .kind = "CSIDriver", .default_ = driver_default, .validate = driver_validate,
      .validate_update = driver_validate_update, .cells = driver_cells, .return_deleted = true, .no_generation = true },
    { .group = storage_group, .kind = "CSINode", .validate = node_validate, .cells = node_cells, .return_deleted = true,
      .no_generation = true },
    { .group = storage_group, .kind = "CSIStorageCapacity", .validate_update = capacity_validate_update, .cells = cell_created_at,
      .no_generation = true },
    { .group = storage_group, .kind = "StorageClass", .default_ = class_default, .validate = class_validate,
      .validate_update = class_validate_update, .cells = class_cells, .return_deleted = true, .unconditional_update = true,
      .no_generation = true },
    { .group = storage_group, .kind = "VolumeAttachment", .validate = attachment_validate,
      .validate_update = attachment_validate_update, .cells = attachment_cells, .return_deleted = true, .no_generation = true },
    { .group = storage_group, .kind = "VolumeAttributesClass", .validate = attributes_validate, .validate_update = attributes_validate_update,
      .cells = attributes_cells, .return_deleted = true, .unconditional_update = true, .no_generation = true },
    { 0 },
};
