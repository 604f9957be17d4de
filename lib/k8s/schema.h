#ifndef LIB_K8S_SCHEMA_H
#define LIB_K8S_SCHEMA_H
/*
 * schema - the types of the API as data: one position-independent blob, offsets not pointers.
 *
 * The built-in blob is compiled into the program (embed/, made by embed/tool/schema.py from embed/facts/); a
 * CustomResourceDefinition will build the same form on the heap. Everything generic (defaults, pruning, validation, patches, apply,
 * OpenAPI, discovery, tables, selectors, protobuf) is an engine over this accessor and never names a kind.
 * Thread: any; a blob is immutable. All results are borrowed from the blob.
 */
#include "lib/bytes.h"
#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>

enum schema_shape {
    SCHEMA_STRING,
    SCHEMA_BYTES, /* base64 text */
    SCHEMA_BOOL,
    SCHEMA_INT32,
    SCHEMA_INT64,
    SCHEMA_DOUBLE,
    SCHEMA_QUANTITY,      /* string or number in, canonical string out */
    SCHEMA_INT_OR_STRING,
    SCHEMA_TIME,          /* RFC 3339, seconds */
    SCHEMA_MICRO_TIME,    /* RFC 3339, microseconds */
    SCHEMA_OBJECT,        /* fields */
    SCHEMA_LIST,          /* of elem */
    SCHEMA_MAP,           /* string keys to elem */
    SCHEMA_ANY,           /* arbitrary JSON (RawExtension, FieldsV1, JSON, JSONSchemaPropsOr…) */
};

enum schema_list_type { SCHEMA_LIST_ATOMIC, SCHEMA_LIST_SET, SCHEMA_LIST_MAP };

/* What a value may be. A named type (OBJECT) is shared by the places that use it. */
struct schema_type;
/* A member of an OBJECT. */
struct schema_field;
/* A blob. */
struct schema;

/* Checks magic, version and every bound. The blob is the caller's, aligned to 4, and outlives the schema.
 * Errors: INVALID. */
CHECK_RC int schema_open(const void *blob, size_t n, const struct schema **ret, struct err *err);
void schema_close(const struct schema *s); /* NULL allowed; never the built-in */
const struct schema *schema_builtin(void); /* defined in embed/schema.c, which holds the bytes */

/* --- types --- */
enum schema_shape schema_shape(const struct schema_type *t);
const char *schema_type_name(const struct schema_type *t); /* "io.k8s.api.core.v1.Container"; "" for anonymous */
const struct schema_type *schema_type_find(const struct schema *s, const char *name);
const struct schema_type *schema_elem(const struct schema_type *t); /* of LIST, MAP; else NULL */
bool schema_atomic(const struct schema_type *t); /* map-type atomic on OBJECT or MAP: one owner for the whole */
enum schema_list_type schema_list_type(const struct schema_type *t);
size_t schema_list_keys(const struct schema_type *t);
const char *schema_list_key(const struct schema_type *t, size_t i);
/* strategic merge: bits and key of a LIST or MAP or OBJECT in its place */
enum { SCHEMA_PATCH_MERGE = 1, SCHEMA_PATCH_REPLACE = 2, SCHEMA_PATCH_RETAIN_KEYS = 4 };
unsigned schema_patch_strategy(const struct schema_type *t);
const char *schema_patch_key(const struct schema_type *t); /* NULL when none */
size_t schema_enum(const struct schema_type *t); /* allowed values of a string (or of the list's strings on the elem); 0: free */
const char *schema_enum_at(const struct schema_type *t, size_t i);
const char *schema_proto_name(const struct schema_type *t);

/* --- fields --- */
size_t schema_fields(const struct schema_type *t); /* in alphabetical order */
const struct schema_field *schema_field_at(const struct schema_type *t, size_t i);
const struct schema_field *schema_field(const struct schema_type *t, const char *name, size_t n); /* binary search; NULL */
const char *schema_field_name(const struct schema_field *f);
const struct schema_type *schema_field_type(const struct schema_field *f);
bool schema_field_required(const struct schema_field *f);
bool schema_field_pointer(const struct schema_field *f); /* a zero is kept, absence is absence */
bool schema_field_always(const struct schema_field *f);  /* written even when empty (no omitempty) */
bool schema_field_omit_zero(const struct schema_field *f); /* a plain time or object that is left out when empty, unlike its like */
const char *schema_field_default(const struct schema_field *f); /* JSON text; NULL when none */
const char *schema_field_go_type(const struct schema_field *f); /* "v1.PullPolicy" where decode errors name another type than the obvious; else NULL */
const char *schema_field_embed(const struct schema_field *f);   /* embedded structs decode errors put in the path; NULL when none */
size_t schema_field_rules(const struct schema_field *f);
const char *schema_field_rule(const struct schema_field *f, size_t i);
int schema_field_proto(const struct schema_field *f, const int **ret_numbers); /* count of numbers; > 1: inlined through nested messages */
const char *schema_field_prototype(const struct schema_field *f);

/* --- resources --- */
enum schema_verb {
    SCHEMA_GET = 1, SCHEMA_LIST_VERB = 2, SCHEMA_WATCH = 4, SCHEMA_CREATE = 8, SCHEMA_UPDATE = 16, SCHEMA_PATCH = 32,
    SCHEMA_DELETE = 64, SCHEMA_DELETECOLLECTION = 128,
};

struct schema_subresource {
    const char *name, *kind, *group, *version; /* group and version of its kind */
    unsigned verbs;
};

/* A served resource. Filled once from the blob, lives as long as the program. */
struct schema_resource {
    const char *group, *version; /* group "" for core */
    const char *resource, *kind, *singular;
    const char *storage_hash; /* discovery's storageVersionHash; "" when nothing is stored */
    bool namespaced;
    unsigned verbs;
    const char *const *short_names, *const *categories; /* end with NULL */
    const struct schema_subresource *subresources;
    size_t n_subresources;
    const struct schema_type *type;
    int index; /* 0 … schema_resources() - 1: for tables by resource */
};

size_t schema_resources(const struct schema *s);
const struct schema_resource *schema_resource_at(const struct schema *s, size_t i);
const struct schema_resource *schema_resource_find(const struct schema *s, struct slice group, struct slice version,
                                                   struct slice resource);
const struct schema_resource *schema_resource_of_kind(const struct schema *s, const char *group, const char *version,
                                                      const char *kind);
const struct schema_subresource *schema_subresource(const struct schema_resource *r, struct slice name);

/* The type of any kind the schema knows (also DeleteOptions, Scale, Eviction, TokenRequest, Status …); NULL. */
const struct schema_type *schema_kind(const struct schema *s, const char *group, const char *version, const char *kind);

/* --- for engines that walk the whole: OpenAPI --- */
size_t schema_types(const struct schema *s); /* named types, by name */
const struct schema_type *schema_type_at(const struct schema *s, size_t i);
size_t schema_type_index(const struct schema *s, const struct schema_type *t); /* of a named type, as schema_type_find gave it */
size_t schema_kinds(const struct schema *s);
const struct schema_type *schema_kind_at(const struct schema *s, size_t i, const char **ret_group, const char **ret_version,
                                         const char **ret_kind);
uint64_t schema_hash(const struct schema *s); /* another schema, another hash */

/* --- table columns --- */
struct schema_column {
    const char *name, *type, *format, *description;
    int priority;
};
size_t schema_columns(const struct schema_resource *r, const struct schema_column **ret); /* 0: the default two */
/* The same for a kind that is no resource ("autoscaling" Scale, "" Status); 0 when unknown. */
size_t schema_kind_columns(const struct schema *s, const char *group, const char *kind, const struct schema_column **ret);

#endif
