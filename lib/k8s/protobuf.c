#include "lib/k8s/protobuf.h"

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/mem.h"

#include <string.h>

enum { DEPTH_MAX = 100, INLINE_MAX = 4 };

enum wire { WIRE_VARINT = 0, WIRE_I64 = 1, WIRE_LEN = 2, WIRE_I32 = 5 };

struct field {
    int number;
    enum wire wire;
    uint64_t value;     /* VARINT, I64, I32 */
    struct slice bytes; /* LEN */
};

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_BAD_REQUEST, "proto: %s", what);
}

static int read_varint(struct slice *in, uint64_t *ret, struct err *err)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70 && in->n > 0; shift += 7) {
        unsigned char b = (unsigned char)*in->at;

        in->at++;
        in->n--;
        if (shift < 64)
            v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return 0;
        }
    }
    return bad(err, in->n ? "integer overflow" : "unexpected EOF");
}

static int read_fixed(struct slice *in, size_t n, uint64_t *ret, struct err *err)
{
    if (in->n < n)
        return bad(err, "unexpected EOF");
    *ret = 0;
    memcpy(ret, in->at, n); /* little-endian machines only, as all we build for */
    in->at += n;
    in->n -= n;
    return 0;
}

static int next_field(struct slice *in, struct field *f, struct err *err)
{
    uint64_t tag = 0, n = 0;

    if (read_varint(in, &tag, err) < 0)
        return -(int)err->code;
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return bad(err, "illegal tag");
    *f = (struct field){ .number = (int)(tag >> 3), .wire = (enum wire)(tag & 7) };
    switch (f->wire) {
    case WIRE_VARINT: return read_varint(in, &f->value, err);
    case WIRE_I64: return read_fixed(in, 8, &f->value, err);
    case WIRE_I32: return read_fixed(in, 4, &f->value, err);
    case WIRE_LEN:
        if (read_varint(in, &n, err) < 0)
            return -(int)err->code;
        if (n > in->n)
            return bad(err, "unexpected EOF");
        f->bytes = (struct slice){ in->at, (size_t)n };
        in->at += n;
        in->n -= n;
        return 0;
    }
    return bad(err, "illegal wireType");
}

/* The value of one numbered field of a small message; the last one wins. */
static int find_field(struct slice message, int number, struct field *ret, bool *ret_found, struct err *err)
{
    struct field f;

    *ret_found = false;
    while (message.n > 0) {
        if (next_field(&message, &f, err) < 0)
            return -(int)err->code;
        if (f.number == number) {
            *ret = f;
            *ret_found = true;
        }
    }
    return 0;
}

int protobuf_open(struct slice data, struct protobuf_envelope *ret, struct err *err)
{
    static const char magic[4] = { 'k', '8', 's', 0 };
    struct field meta = { 0 }, f = { 0 };
    bool found = false;

    *ret = (struct protobuf_envelope){ 0 };
    if (data.n < sizeof(magic) || memcmp(data.at, magic, sizeof(magic)) != 0)
        return err_set(err, ERR_BAD_REQUEST, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
    data.at += sizeof(magic);
    data.n -= sizeof(magic);
    if (find_field(data, 1, &meta, &found, err) < 0)
        return -(int)err->code;
    for (int i = 1; found && i <= 2; i++) {
        char *to = i == 1 ? ret->api_version : ret->kind;
        bool has = false;

        if (find_field(meta.bytes, i, &f, &has, err) < 0)
            return -(int)err->code;
        if (has && f.wire == WIRE_LEN && f.bytes.n > 0 && f.bytes.n < sizeof(ret->kind))
            memcpy(to, f.bytes.at, f.bytes.n);
    }
    if (find_field(data, 2, &f, &found, err) < 0)
        return -(int)err->code;
    if (found)
        ret->raw = f.bytes;
    return 0;
}

/* --- values --- */

static int read_value(const struct schema_type *type, const struct field *f, int depth, json_t **ret, struct err *err);

struct place { /* numbers of the messages a field is inlined through */
    int at[INLINE_MAX];
    int n;
};

/* What stands at `number` inside `in`: a field (whole) or another message of inlined ones (*ret_deeper). */
static const struct schema_field *field_at(const struct schema_type *type, const struct place *in, int number, bool *ret_deeper)
{
    size_t n = schema_fields(type);

    *ret_deeper = false;
    for (size_t i = 0; i < n; i++) {
        const struct schema_field *f = schema_field_at(type, i);
        const int *numbers = NULL;
        int count = schema_field_proto(f, &numbers);
        bool same = count > in->n;

        for (int k = 0; same && k < in->n; k++)
            same = numbers[k] == in->at[k];
        if (!same || numbers[in->n] != number)
            continue;
        if (count == in->n + 1)
            return f;
        *ret_deeper = true;
    }
    return NULL;
}

static int read_message(const struct schema_type *type, struct slice in, const struct place *place, int depth, json_t *to, struct err *err);

static int read_time(struct slice in, bool micro, json_t **ret, struct err *err)
{
    struct field s = { 0 }, ns = { 0 };
    bool has = false, has_ns = false;
    char text[CLOCK_TEXT_BYTES];

    if (find_field(in, 1, &s, &has, err) < 0 || find_field(in, 2, &ns, &has_ns, err) < 0)
        return -(int)err->code;
    if (!has && !has_ns) {
        *ret = json_null();
        return 0;
    }
    int64_t seconds = (int64_t)s.value;
    if (seconds < -62135596800 || seconds > 253402300799)
        return bad(err, "time out of range");
    *ret = json_string(micro ? clock_micro_text(seconds * 1000000 + (int64_t)(int32_t)ns.value / 1000, text) : clock_time_text(seconds, text));
    return 0;
}

static int read_int_or_string(struct slice in, json_t **ret, struct err *err)
{
    struct field type = { 0 }, i = { 0 }, s = { 0 };
    bool has = false;

    if (find_field(in, 1, &type, &has, err) < 0 || find_field(in, 2, &i, &has, err) < 0 || find_field(in, 3, &s, &has, err) < 0)
        return -(int)err->code;
    *ret = type.value == 1 ? json_text(s.bytes) : json_integer((int32_t)i.value);
    return 0;
}

static int read_quantity(struct slice in, json_t **ret, struct err *err)
{
    struct field s = { 0 };
    bool has = false;

    if (find_field(in, 1, &s, &has, err) < 0)
        return -(int)err->code;
    *ret = has ? json_text(s.bytes) : json_string("0");
    return 0;
}

/* RawExtension, FieldsV1, JSON: one field of bytes that hold JSON. */
static int read_any(struct slice in, json_t **ret, struct err *err)
{
    struct field raw = { 0 };
    bool has = false;

    if (find_field(in, 1, &raw, &has, err) < 0)
        return -(int)err->code;
    if (!has || raw.bytes.n == 0) {
        *ret = json_null();
        return 0;
    }
    return json_read(raw.bytes.at, raw.bytes.n, NULL, NULL, ret, err);
}

/* A list that stands where one value is expected (map<string, ExtraValue>): a message whose field 1 repeats. */
static int read_wrapped_list(const struct schema_type *type, struct slice in, int depth, json_t **ret, struct err *err)
{
    AUTO(json) json_t *list = json_array();
    struct field f;

    while (in.n > 0) {
        json_t *v = NULL;

        if (next_field(&in, &f, err) < 0)
            return -(int)err->code;
        if (f.number != 1)
            continue;
        if (read_value(schema_elem(type), &f, depth + 1, &v, err) < 0)
            return -(int)err->code;
        json_array_append_new(list, v);
    }
    *ret = TAKE(list);
    return 0;
}

static int read_bytes(struct slice in, json_t **ret)
{
    AUTO(buf) struct buf text = { 0 };

    if (in.n > 0)
        base64_write(in.at, in.n, &text);
    *ret = json_string(buf_at(&text));
    return 0;
}

static int read_struct(const struct schema_type *type, struct slice in, int depth, json_t **ret, struct err *err)
{
    AUTO(json) json_t *o = json_object();

    if (read_message(type, in, &(struct place){ 0 }, depth + 1, o, err) < 0)
        return -(int)err->code;
    *ret = TAKE(o);
    return 0;
}

static int read_value(const struct schema_type *type, const struct field *f, int depth, json_t **ret, struct err *err)
{
    enum schema_shape shape = schema_shape(type);
    bool number = shape == SCHEMA_BOOL || shape == SCHEMA_INT32 || shape == SCHEMA_INT64 || shape == SCHEMA_DOUBLE;

    if (depth > DEPTH_MAX)
        return bad(err, "exceeded max depth");
    if (number != (f->wire != WIRE_LEN))
        return bad(err, "wrong wireType");
    switch (shape) {
    case SCHEMA_BOOL: *ret = json_boolean(f->value != 0); return 0;
    case SCHEMA_INT32: *ret = json_integer((int32_t)f->value); return 0;
    case SCHEMA_INT64: *ret = json_integer((int64_t)f->value); return 0;
    case SCHEMA_DOUBLE: {
        double d = 0;

        memcpy(&d, &f->value, sizeof(d));
        *ret = json_real(d);
        return *ret ? 0 : bad(err, "number is not finite");
    }
    case SCHEMA_STRING: *ret = json_text(f->bytes); return 0;
    case SCHEMA_BYTES: return read_bytes(f->bytes, ret);
    case SCHEMA_QUANTITY: return read_quantity(f->bytes, ret, err);
    case SCHEMA_INT_OR_STRING: return read_int_or_string(f->bytes, ret, err);
    case SCHEMA_TIME: return read_time(f->bytes, false, ret, err);
    case SCHEMA_MICRO_TIME: return read_time(f->bytes, true, ret, err);
    case SCHEMA_ANY: return read_any(f->bytes, ret, err);
    case SCHEMA_LIST: return read_wrapped_list(type, f->bytes, depth, ret, err);
    case SCHEMA_OBJECT: return read_struct(type, f->bytes, depth, ret, err);
    case SCHEMA_MAP: break;
    }
    return bad(err, "a map where one value is expected");
}

/* One entry of a map: key 1, value 2. */
static int read_entry(const struct schema_type *type, const struct field *f, int depth, json_t *to, struct err *err)
{
    struct field key = { 0 }, value = { .wire = WIRE_LEN };
    bool has = false;
    json_t *v = NULL;

    if (f->wire != WIRE_LEN)
        return bad(err, "wrong wireType");
    if (find_field(f->bytes, 1, &key, &has, err) < 0 || find_field(f->bytes, 2, &value, &has, err) < 0 ||
        read_value(schema_elem(type), &value, depth + 1, &v, err) < 0)
        return -(int)err->code;
    json_t *k = json_text(key.bytes); /* repairs bad UTF-8 */
    json_object_setn_new(to, json_string_value(k), json_string_length(k), v);
    json_decref(k);
    return 0;
}

static json_t *member(json_t *to, const char *name, json_t *(*make)(void))
{
    json_t *v = json_object_get(to, name);

    if (!v) {
        v = make();
        json_object_set_new(to, name, v);
    }
    return v;
}

/* Numbers may come packed: many in one LEN field. */
static int read_packed(const struct schema_type *elem, struct slice in, json_t *list, struct err *err)
{
    while (in.n > 0) {
        struct field f = { .wire = WIRE_VARINT };
        json_t *v = NULL;
        int rc = schema_shape(elem) == SCHEMA_DOUBLE ? read_fixed(&in, 8, &f.value, err) : read_varint(&in, &f.value, err);

        if (rc < 0 || read_value(elem, &f, 0, &v, err) < 0)
            return -(int)err->code;
        json_array_append_new(list, v);
    }
    return 0;
}

static int read_member(const struct schema_field *sf, const struct field *f, int depth, json_t *to, struct err *err)
{
    const struct schema_type *type = schema_field_type(sf);
    const char *name = schema_field_name(sf);
    json_t *v = NULL;

    if (schema_shape(type) == SCHEMA_MAP)
        return read_entry(type, f, depth, member(to, name, json_object), err);
    if (schema_shape(type) == SCHEMA_LIST) {
        json_t *list = member(to, name, json_array);
        enum schema_shape elem = schema_shape(schema_elem(type));

        if (f->wire == WIRE_LEN && (elem == SCHEMA_INT32 || elem == SCHEMA_INT64 || elem == SCHEMA_BOOL || elem == SCHEMA_DOUBLE))
            return read_packed(schema_elem(type), f->bytes, list, err);
        if (read_value(schema_elem(type), f, depth + 1, &v, err) < 0)
            return -(int)err->code;
        json_array_append_new(list, v);
        return 0;
    }
    if (read_value(type, f, depth + 1, &v, err) < 0)
        return -(int)err->code;
    json_object_set_new(to, name, v);
    return 0;
}

static int read_message(const struct schema_type *type, struct slice in, const struct place *place, int depth, json_t *to, struct err *err)
{
    struct field f;

    if (depth > DEPTH_MAX)
        return bad(err, "exceeded max depth");
    while (in.n > 0) {
        bool deeper = false;

        if (next_field(&in, &f, err) < 0)
            return -(int)err->code;
        const struct schema_field *sf = field_at(type, place, f.number, &deeper);
        if (sf) {
            if (read_member(sf, &f, depth, to, err) < 0)
                return -(int)err->code;
        } else if (deeper && f.wire == WIRE_LEN && place->n < INLINE_MAX - 1) {
            struct place below = *place;

            below.at[below.n++] = f.number;
            if (read_message(type, f.bytes, &below, depth + 1, to, err) < 0)
                return -(int)err->code;
        }
    }
    return 0;
}

int protobuf_read(const struct schema_type *type, struct slice message, json_t **ret, struct err *err)
{
    return read_struct(type, message, 0, ret, err);
}
