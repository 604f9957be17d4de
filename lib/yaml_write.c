#include "lib/mem.h"
#include "lib/yaml_int.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* --- the order of keys --- */

struct member {
    const char *key;
    size_t n;
    json_t *v;
};

static bool is_letter(unsigned char c)
{
    return isalpha(c) || c >= 0x80;
}

/* The number beginning at *i, which moves behind it. */
static uint64_t number_at(const struct member *m, size_t *i, uint64_t v)
{
    for (; *i < m->n && isdigit((unsigned char)m->key[*i]); ++*i)
        v = v * 10 + (uint64_t)(m->key[*i] - '0');
    return v;
}

/* Whether digits other than 0 stand just before i. */
static bool in_number(const struct member *m, size_t i)
{
    while (i-- > 0 && isdigit((unsigned char)m->key[i]))
        if (m->key[i] != '0')
            return true;
    return false;
}

static int order(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* go-yaml's: letters behind everything else, numbers by value. */
static int compare_keys(const void *pa, const void *pb)
{
    const struct member *a = pa, *b = pb;

    for (size_t i = 0; i < a->n && i < b->n; i++) {
        unsigned char ca = (unsigned char)a->key[i], cb = (unsigned char)b->key[i];

        if (ca == cb)
            continue;
        bool al = is_letter(ca), bl = is_letter(cb);
        if (al || bl)
            return al && bl ? order(ca, cb) : al ? 1 : -1;
        size_t ai = i, bi = i;
        uint64_t from = (ca == '0' || cb == '0') && in_number(a, i);
        uint64_t an = number_at(a, &ai, from), bn = number_at(b, &bi, from);
        if (an != bn)
            return order(an, bn);
        return ai != bi ? order(ai, bi) : order(ca, cb);
    }
    return order(a->n, b->n);
}

/* --- events --- */

static int on_output(void *to, unsigned char *text, size_t n)
{
    buf_add(to, text, n);
    return 1;
}

/* Only memory can be short: what is written is a tree, in UTF-8. */
static void emit(yaml_emitter_t *e, yaml_event_t *event, int built)
{
    int rc = built && yaml_emitter_emit(e, event);

    assert(rc);
}

static void emit_scalar(yaml_emitter_t *e, struct slice s, yaml_scalar_style_t style)
{
    yaml_event_t event;

    emit(e, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)s.at, (int)s.n, 1, 1, style));
}

/* U+0085, U+2028 and U+2029 are line breaks to YAML 1.1; only as escapes are they sure to come back as they were. */
static bool has_odd_break(struct slice s)
{
    return memmem(s.at, s.n, "\xc2\x85", 2) || memmem(s.at, s.n, "\xe2\x80\xa8", 3)
           || memmem(s.at, s.n, "\xe2\x80\xa9", 3);
}

static void emit_string(yaml_emitter_t *e, struct slice s)
{
    AUTO(buf) struct buf fixed = { 0 };
    yaml_scalar_style_t style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;

    assert(s.n < INT32_MAX);
    if (!json_utf8_valid(s.at, s.n)) {
        json_utf8_fix(s, &fixed);
        s = (struct slice){ buf_at(&fixed), buf_len(&fixed) };
    }
    if (has_odd_break(s))
        style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    else if (memchr(s.at, '\n', s.n))
        style = YAML_LITERAL_SCALAR_STYLE;
    else if (yaml_resolve(s).kind == YAML_IS_STRING && !yaml_is_base60(s))
        style = YAML_PLAIN_SCALAR_STYLE;
    emit_scalar(e, s, style);
}

/* JSON text lies between tree and YAML in kubectl, so 1.0 is 1, and what has no fraction there is an integer here. */
static void emit_real(yaml_emitter_t *e, double v)
{
    AUTO(buf) struct buf text = { 0 };

    json_write_real(v, &text);
    enum yaml_kind kind = yaml_resolve((struct slice){ buf_at(&text), buf_len(&text) }).kind;
    if (kind == YAML_IS_FLOAT) {
        buf_cut(&text, 0);
        json_write_float_g(v, &text);
    }
    emit_scalar(e, (struct slice){ buf_at(&text), buf_len(&text) }, YAML_PLAIN_SCALAR_STYLE);
}

static void emit_value(yaml_emitter_t *e, const json_t *v);

static void emit_object(yaml_emitter_t *e, const json_t *v)
{
    size_t n = json_object_size(v), i = 0;
    AUTO_FREE struct member *members = mem_alloc(n * sizeof(*members));
    json_t *o = (json_t *)v;
    yaml_event_t event;

    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it))
        members[i++] = (struct member){ json_object_iter_key(it), json_object_iter_key_len(it),
                                        json_object_iter_value(it) };
    qsort(members, n, sizeof(*members), compare_keys);
    emit(e, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
    for (i = 0; i < n; i++) {
        emit_string(e, (struct slice){ members[i].key, members[i].n });
        emit_value(e, members[i].v);
    }
    emit(e, &event, yaml_mapping_end_event_initialize(&event));
}

static void emit_array(yaml_emitter_t *e, const json_t *v)
{
    yaml_event_t event;

    emit(e, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE));
    for (size_t i = 0; i < json_array_size(v); i++)
        emit_value(e, json_array_get(v, i));
    emit(e, &event, yaml_sequence_end_event_initialize(&event));
}

static void emit_value(yaml_emitter_t *e, const json_t *v)
{
    AUTO(buf) struct buf text = { 0 };

    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        emit_object(e, v);
        return;
    case JSON_ARRAY:
        emit_array(e, v);
        return;
    case JSON_STRING:
        emit_string(e, (struct slice){ json_string_value(v), json_string_length(v) });
        return;
    case JSON_REAL:
        emit_real(e, json_real_value(v));
        return;
    default:
        json_write(v, &text);
        emit_scalar(e, (struct slice){ buf_at(&text), buf_len(&text) }, YAML_PLAIN_SCALAR_STYLE);
    }
}

void yaml_write(const json_t *v, struct buf *to)
{
    yaml_emitter_t e;
    yaml_event_t event;
    int rc = yaml_emitter_initialize(&e);

    assert(rc);
    yaml_emitter_set_output(&e, on_output, to);
    yaml_emitter_set_unicode(&e, 1);
    emit(&e, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(&e, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    emit_value(&e, v);
    emit(&e, &event, yaml_document_end_event_initialize(&event, 1));
    e.open_ended = 0; /* no "..." at the end, as go-yaml */
    emit(&e, &event, yaml_stream_end_event_initialize(&event));
    yaml_emitter_delete(&e);
}
