/*
 * openapi_proto - the v2 document as gnostic's protobuf. Each definition and each path is made as JSON, read into a small tree and
 * encoded, so that no more than one of them is ever held. Source: gnostic openapiv2/OpenAPIv2.proto (field numbers).
 */
#include "lib/k8s/openapi_int.h"

#include "lib/json.h"
#include "lib/mem.h"

#include <assert.h>
#include <string.h>

/* --- wire format --- */

static void varint(struct buf *to, uint64_t v)
{
    while (v >= 0x80) {
        buf_char(to, (char)(v | 0x80));
        v >>= 7;
    }
    buf_char(to, (char)v);
}

static void bytes_field(struct buf *to, int number, const char *at, size_t n)
{
    varint(to, (uint64_t)number << 3 | 2);
    varint(to, n);
    buf_add(to, at, n);
}

static void text_field(struct buf *to, int number, const char *s)
{
    bytes_field(to, number, s, strlen(s));
}

/* A message inside: begin, write its fields, end with what begin gave; the length is put in front then. */
static size_t begin(struct buf *to, int number)
{
    varint(to, (uint64_t)number << 3 | 2);
    return buf_len(to);
}

static void end(struct buf *to, size_t start)
{
    char length[10];
    size_t n = buf_len(to) - start, m = 0;
    for (uint64_t v = n; m == 0 || v; v >>= 7)
        length[m++] = (char)((v & 0x7f) | (v >= 0x80 ? 0x80 : 0));
    char *at = buf_space(to, m) - n; /* what was written lies right before the free room */
    memmove(at + m, at, n);
    memcpy(at, length, m);
    buf_used(to, m);
}

/* --- tables: which member of which JSON object is which field --- */

enum form {
    TEXT,
    BOOL,
    TEXTS,       /* repeated string */
    TEXT_ITEM,   /* TypeItem: a message with repeated string 1 */
    SCHEMA_FORM, /* Schema */
    ITEMS,       /* ItemsItem: Schema in 1 */
    ADDITIONAL,  /* AdditionalPropertiesItem: Schema in 1 */
    PROPERTIES,  /* Properties: NamedSchema in 1 */
    ENUM,        /* repeated Any */
    OPERATION,
    PARAMETERS,  /* repeated ParametersItem */
    RESPONSES,
    SCHEMA_ITEM, /* SchemaItem: Schema in 1 */
};

struct member {
    const char *name;
    int number;
    enum form form;
};
struct message {
    const struct member *members;
    size_t n;
    int extension; /* NamedAny for x-…; 0: none */
};

static const struct member schema_members[] = {
    { "$ref", 1, TEXT },     { "format", 2, TEXT },   { "additionalProperties", 21, ADDITIONAL }, { "type", 22, TEXT_ITEM },
    { "required", 19, TEXTS }, { "enum", 20, ENUM },  { "items", 23, ITEMS },                     { "properties", 25, PROPERTIES },
};
static const struct member operation_members[] = {
    { "tags", 1, TEXTS },     { "operationId", 5, TEXT },      { "produces", 6, TEXTS }, { "consumes", 7, TEXTS },
    { "parameters", 8, PARAMETERS }, { "responses", 9, RESPONSES }, { "schemes", 10, TEXTS },
};
static const struct member path_members[] = {
    { "get", 2, OPERATION },    { "put", 3, OPERATION },   { "post", 4, OPERATION },
    { "delete", 5, OPERATION }, { "patch", 8, OPERATION }, { "parameters", 9, PARAMETERS },
};
static const struct member body_members[] = {
    { "name", 2, TEXT }, { "in", 3, TEXT }, { "required", 4, BOOL }, { "schema", 5, SCHEMA_FORM },
};
static const struct member query_members[] = {
    { "required", 1, BOOL }, { "in", 2, TEXT }, { "name", 4, TEXT }, { "type", 6, TEXT }, { "uniqueItems", 20, BOOL },
};
static const struct member in_path_members[] = {
    { "required", 1, BOOL }, { "in", 2, TEXT }, { "name", 4, TEXT }, { "type", 5, TEXT }, { "uniqueItems", 19, BOOL },
};
static const struct member response_members[] = { { "description", 1, TEXT }, { "schema", 2, SCHEMA_ITEM } };

#define MESSAGE(table, ext) { table, ARRAY_LEN(table), ext }
static const struct message schema_message = MESSAGE(schema_members, 31), operation_message = MESSAGE(operation_members, 13),
                            path_message = MESSAGE(path_members, 10), body_message = MESSAGE(body_members, 6),
                            query_message = MESSAGE(query_members, 23), in_path_message = MESSAGE(in_path_members, 22),
                            response_message = MESSAGE(response_members, 5);

static void write_message(const struct message *m, json_t *v, struct buf *to);

/* Any with its YAML text; JSON is YAML. */
static void any(struct buf *to, int number, const json_t *v)
{
    AUTO(buf) struct buf yaml = { 0 };
    json_write(v, &yaml);
    buf_char(&yaml, '\n');
    size_t a = begin(to, number);
    bytes_field(to, 2, buf_at(&yaml), buf_len(&yaml));
    end(to, a);
}

static void named_any(struct buf *to, int number, const char *name, const json_t *v)
{
    size_t a = begin(to, number);
    text_field(to, 1, name);
    any(to, 2, v);
    end(to, a);
}

static void nested(struct buf *to, int number, const struct message *m, json_t *v)
{
    size_t a = begin(to, number);
    write_message(m, v, to);
    end(to, a);
}

/* A message that wraps one in its field 1. */
static void wrapped(struct buf *to, int number, const struct message *m, json_t *v)
{
    size_t a = begin(to, number);
    nested(to, 1, m, v);
    end(to, a);
}

static void named_schema(struct buf *to, int number, const char *name, json_t *v)
{
    size_t a = begin(to, number);
    text_field(to, 1, name);
    nested(to, 2, &schema_message, v);
    end(to, a);
}

/* ParametersItem{Parameter{BodyParameter | NonBodyParameter{Query… | Path…}}} */
static void parameter(struct buf *to, int number, json_t *v)
{
    const char *in = json_str_or(v, "in", "");
    size_t item = begin(to, number), p = begin(to, 1);
    if (strcmp(in, "body") == 0) {
        nested(to, 1, &body_message, v);
    } else {
        size_t other = begin(to, 2);
        if (strcmp(in, "path") == 0)
            nested(to, 4, &in_path_message, v);
        else
            nested(to, 3, &query_message, v);
        end(to, other);
    }
    end(to, p);
    end(to, item);
}

/* Responses{NamedResponseValue{name, ResponseValue{Response}}} */
static void responses(struct buf *to, int number, json_t *v)
{
    const char *code;
    json_t *e;
    size_t all = begin(to, number);
    json_object_foreach(v, code, e) {
        size_t named = begin(to, 1);
        text_field(to, 1, code);
        wrapped(to, 2, &response_message, e);
        end(to, named);
    }
    end(to, all);
}

static void texts(struct buf *to, int number, json_t *v)
{
    json_t *e;
    size_t i;
    json_array_foreach(v, i, e)
        text_field(to, number, json_string_value(e));
}

static void properties(struct buf *to, int number, json_t *v)
{
    const char *name;
    json_t *e;
    size_t a = begin(to, number);
    json_object_foreach(v, name, e)
        named_schema(to, 1, name, e);
    end(to, a);
}

static void each(struct buf *to, int number, json_t *v, void (*one)(struct buf *to, int number, json_t *e))
{
    json_t *e;
    size_t i;
    json_array_foreach(v, i, e)
        one(to, number, e);
}

static void one_any(struct buf *to, int number, json_t *e)
{
    any(to, number, e);
}

static void write_member(const struct member *m, json_t *v, struct buf *to)
{
    size_t a;
    switch (m->form) {
    case TEXT:
        text_field(to, m->number, json_string_value(v));
        break;
    case BOOL:
        varint(to, (uint64_t)m->number << 3);
        varint(to, json_is_true(v));
        break;
    case TEXTS:
        texts(to, m->number, v);
        break;
    case TEXT_ITEM:
        a = begin(to, m->number);
        text_field(to, 1, json_string_value(v));
        end(to, a);
        break;
    case SCHEMA_FORM:
        nested(to, m->number, &schema_message, v);
        break;
    case ITEMS:
    case ADDITIONAL:
    case SCHEMA_ITEM:
        wrapped(to, m->number, &schema_message, v);
        break;
    case PROPERTIES:
        properties(to, m->number, v);
        break;
    case ENUM:
        each(to, m->number, v, one_any);
        break;
    case OPERATION:
        nested(to, m->number, &operation_message, v);
        break;
    case PARAMETERS:
        each(to, m->number, v, parameter);
        break;
    case RESPONSES:
        responses(to, m->number, v);
        break;
    }
}

static void write_message(const struct message *m, json_t *v, struct buf *to)
{
    const char *key;
    json_t *e;
    json_object_foreach(v, key, e) {
        if (key[0] == 'x' && key[1] == '-') {
            named_any(to, m->extension, key, e);
            continue;
        }
        const struct member *found = NULL;
        for (size_t i = 0; !found && i < m->n; i++)
            found = strcmp(key, m->members[i].name) == 0 ? &m->members[i] : NULL;
        assert(found); /* the JSON is ours: a member without a field is a fault of the tables above */
        write_member(found, e, to);
    }
}

/* --- the document --- */

struct proto_writer {
    struct openapi o; /* writes JSON into scratch */
    struct buf scratch;
    struct buf *to;
};

static json_t *scratch_tree(struct proto_writer *w)
{
    struct err err;
    json_t *v = NULL;
    int rc = json_read(buf_at(&w->scratch), buf_len(&w->scratch), NULL, NULL, &v, &err);
    assert(rc == 0);
    return v;
}

/* NamedPathItem in Paths.path */
static void proto_path(void *arg, const struct openapi_path *p)
{
    struct proto_writer *w = arg;
    AUTO(buf) struct buf url = { 0 };
    openapi_url(p, &url);
    buf_cut(&w->scratch, 0);
    openapi_path_item(&w->o, p);
    AUTO(json) json_t *v = scratch_tree(w);
    size_t a = begin(w->to, 2);
    text_field(w->to, 1, buf_at(&url));
    nested(w->to, 2, &path_message, v);
    end(w->to, a);
}

static void proto_security(struct buf *to)
{
    size_t all = begin(to, 13), named = begin(to, 1);
    text_field(to, 1, "BearerToken");
    size_t item = begin(to, 2), key = begin(to, 2);
    text_field(to, 1, "apiKey");
    text_field(to, 2, "authorization");
    text_field(to, 3, "header");
    end(to, key);
    end(to, item);
    end(to, named);
    end(to, all);
}

void openapi_v2_proto(const struct schema *s, const char *version, struct buf *to)
{
    struct proto_writer w = { .o = { .schema = s }, .to = to };
    AUTO_FREE bool *seen = openapi_v2_types(s);
    w.o.to = &w.scratch;

    text_field(to, 1, "2.0");
    size_t info = begin(to, 2);
    text_field(to, 1, "Kubernetes");
    text_field(to, 2, version);
    end(to, info);
    size_t paths = begin(to, 8);
    for (size_t i = 0; i < schema_resources(s); i++)
        openapi_each_path(schema_resource_at(s, i), proto_path, &w);
    end(to, paths);
    size_t definitions = begin(to, 9);
    for (size_t i = 0; i < schema_types(s); i++) {
        if (!seen[i])
            continue;
        buf_cut(&w.scratch, 0);
        openapi_definition(&w.o, schema_type_at(s, i));
        AUTO(json) json_t *v = scratch_tree(&w);
        named_schema(to, 1, schema_type_name(schema_type_at(s, i)), v);
    }
    end(to, definitions);
    proto_security(to);
    buf_clear(&w.scratch);
}
