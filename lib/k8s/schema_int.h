#ifndef LIB_K8S_SCHEMA_INT_H
#define LIB_K8S_SCHEMA_INT_H
/*
 * schema_int - the blob's form, which embed/tool/schema.py writes. Little-endian; records aligned to 4.
 *
 * A ref is an int32 relative to its own address, 0 for none. Strings end in NUL; the blob's last byte is NUL.
 * Thread: any.
 */
#include "lib/k8s/schema.h"

typedef int32_t schema_ref; /* a plain number in the blob, named for its meaning */

enum { SCHEMA_BLOB_VERSION = 1 };

struct schema_blob {
    char magic[8]; /* "RDSCHEMA" */
    uint32_t version, size;
    unsigned char hash[8]; /* of the blob with zeros here; tells documents made from it apart */
    schema_ref types, kinds, resources, tables;
    uint32_t n_named, n_types, n_kinds, n_resources, n_tables; /* named types come first, sorted by name */
};

struct schema_type {
    schema_ref name, proto, elem, fields, extra;
    uint16_t n_fields;
    uint8_t shape, list_type, patch, flags;
    uint16_t zero;
};
enum { SCHEMA_TYPE_ATOMIC = 1 };

struct schema_type_extra {
    schema_ref patch_key;
    uint16_t n_keys, n_enum;
    schema_ref text[]; /* list keys, then enum */
};

struct schema_field {
    schema_ref name, type, extra, numbers, prototype;
    uint8_t flags, n_numbers;
    uint16_t name_n;
};
enum { SCHEMA_FIELD_REQUIRED = 1, SCHEMA_FIELD_POINTER = 2, SCHEMA_FIELD_ALWAYS = 4, SCHEMA_FIELD_OMIT_ZERO = 8 };

struct schema_field_extra {
    schema_ref default_json;
    schema_ref go;    /* the field's Go type in decode errors, where it is not the obvious one */
    schema_ref embed; /* the embedded Go structs it is inlined through ("ProbeHandler") */
    uint32_t n_rules;
    schema_ref rule[];
};

struct schema_blob_kind { /* sorted */
    schema_ref group, version, kind, type;
};

struct schema_blob_subresource {
    schema_ref name, kind, group, version;
    uint32_t verbs;
};

struct schema_blob_resource {
    schema_ref group, version, resource, kind, singular, storage_hash, type;
    schema_ref texts; /* refs: short names, then categories */
    schema_ref subresources, columns;
    uint16_t verbs;
    uint8_t namespaced, n_short, n_categories, n_subresources, n_columns, zero;
};

struct schema_blob_column {
    schema_ref name, type, format;
    int32_t priority;
};

struct schema_blob_table {
    schema_ref group, kind, columns;
    uint32_t n_columns;
};

static inline const void *schema_follow(const schema_ref *r)
{
    return *r ? (const char *)r + *r : NULL;
}

static inline const struct schema_field *schema_fields_of(const struct schema_type *t)
{
    return schema_follow(&t->fields);
}

/* Checks that every ref stays inside and every record is whole. */
CHECK_RC int schema_blob_check(const struct schema_blob *blob, size_t n, struct err *err);

#endif
