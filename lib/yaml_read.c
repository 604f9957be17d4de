#include "lib/mem.h"
#include "lib/yaml_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/*
 * Events become tree nodes at once; an alias is a copy of the finished tree of its anchor. How much aliases may add is
 * bounded twice: by go-yaml's rule (share of nodes that come from aliases) and by the tree budget of json_read.
 */
struct loader {
    yaml_parser_t parser;
    yaml_event_t event;
    struct json_budget budget;
    json_duplicate_fn *dup;
    void *dup_arg;
    json_t *anchors;  /* of the document: name to tree */
    json_t *root;     /* of the document; NULL until there is one */
    size_t nodes, alias_nodes;
    int depth;
    struct json_level levels[JSON_DEPTH_MAX]; /* v is owned */
    json_t *keys[JSON_DEPTH_MAX];             /* the member's key once it is read; owned */
    bool merge[JSON_DEPTH_MAX];               /* that key is << */
};

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_IO, "out of memory");
}

static int bad(const struct loader *l, const char *what, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "yaml: line %zu: %s", l->event.start_mark.line + 1, what);
}

static int parser_failed(const struct loader *l, struct err *err)
{
    const yaml_parser_t *p = &l->parser;
    size_t line = 0;

    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(err);
    /* The same choice as go-yaml's, so that people find the line where they are used to. */
    if (p->problem_mark.line)
        line = p->problem_mark.line + (p->error == YAML_SCANNER_ERROR);
    else if (p->context_mark.line)
        line = p->context_mark.line;
    const char *problem = p->problem ? p->problem : "unknown problem parsing YAML content";
    if (line)
        return err_set(err, ERR_BAD_REQUEST, "yaml: line %zu: %s", line, problem);
    return err_set(err, ERR_BAD_REQUEST, "yaml: %s", problem);
}

static int next_event(struct loader *l, struct err *err)
{
    yaml_event_delete(&l->event);
    return yaml_parser_parse(&l->parser, &l->event) ? 0 : parser_failed(l, err);
}

/* --- limits --- */

/* go-yaml: up to 400,000 nodes 99 % may come from aliases, falling to 10 % at 4,000,000. */
static int count_nodes(struct loader *l, size_t n, bool from_alias, struct err *err)
{
    const double low = 400000, high = 4000000;
    double allowed = 0.99;

    l->nodes += n;
    if (from_alias)
        l->alias_nodes += n;
    if (l->alias_nodes <= 100 || l->nodes <= 1000)
        return 0;
    if ((double)l->nodes >= high)
        allowed = 0.10;
    else if ((double)l->nodes > low)
        allowed -= 0.89 * (((double)l->nodes - low) / (high - low));
    if ((double)l->alias_nodes / (double)l->nodes > allowed)
        return err_set(err, ERR_BAD_REQUEST, "yaml: document contains excessive aliasing");
    return 0;
}

static int too_deep(const struct loader *l, struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, "yaml: line %zu: nested more than %d levels deep", l->event.start_mark.line + 1,
                   JSON_DEPTH_MAX);
}

static int copy(struct loader *l, json_t *v, int depth, json_t **ret, struct err *err);

static int copy_array(struct loader *l, json_t *v, int depth, json_t *into, struct err *err)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        json_t *child;
        int rc = copy(l, json_array_get(v, i), depth + 1, &child, err);

        if (rc < 0)
            return rc;
        if (json_array_append_new(into, child) < 0)
            return out_of_memory(err);
    }
    return 0;
}

/* Not json_deep_copy: jansson 2.14 copies a key up to its first NUL only. */
static int copy_object(struct loader *l, json_t *v, int depth, json_t *into, struct err *err)
{
    for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
        size_t n = json_object_iter_key_len(it);
        json_t *child;
        int rc = json_budget_take(&l->budget, JSON_COST_MEMBER + n, err);

        if (rc == 0)
            rc = count_nodes(l, 1, true, err);
        if (rc == 0)
            rc = copy(l, json_object_iter_value(it), depth + 1, &child, err);
        if (rc < 0)
            return rc;
        if (json_object_setn_new_nocheck(into, json_object_iter_key(it), n, child) < 0)
            return out_of_memory(err);
    }
    return 0;
}

/* A copy of v that will lie `depth` levels deep, paid for as it grows. */
static int copy(struct loader *l, json_t *v, int depth, json_t **ret, struct err *err)
{
    bool array = json_is_array(v), object = json_is_object(v);
    size_t cost = array ? JSON_COST_ARRAY : object ? JSON_COST_OBJECT : JSON_COST_STRING + json_string_length(v);
    int rc = json_budget_take(&l->budget, cost, err);

    if (rc == 0)
        rc = count_nodes(l, 1, true, err);
    if (rc < 0)
        return rc;
    if (depth >= JSON_DEPTH_MAX && (array || object))
        return too_deep(l, err);
    AUTO(json) json_t *into = array ? json_array() : object ? json_object() : json_copy(v);
    if (!into)
        return out_of_memory(err);
    if (array)
        rc = copy_array(l, v, depth, into, err);
    else if (object)
        rc = copy_object(l, v, depth, into, err);
    if (rc == 0)
        *ret = TAKE(into);
    return rc;
}

/* --- putting values where they belong --- */

static struct json_level *top(struct loader *l)
{
    return l->depth ? &l->levels[l->depth - 1] : NULL;
}

static bool wants_key(struct loader *l)
{
    return l->depth && json_is_object(top(l)->v) && !l->keys[l->depth - 1] && !l->merge[l->depth - 1];
}

static void report_duplicate(struct loader *l)
{
    AUTO(buf) struct buf path = { 0 };

    if (!l->dup)
        return;
    json_level_path(l->levels, l->depth, &path);
    l->dup(l->dup_arg, buf_at(&path));
}

static void set_key(struct loader *l, json_t *key)
{
    struct json_level *t = top(l);

    l->keys[l->depth - 1] = key;
    t->key = json_string_value(key);
    t->key_n = json_string_length(key);
}

static void drop_key(struct loader *l)
{
    json_decref(l->keys[l->depth - 1]);
    l->keys[l->depth - 1] = NULL;
    l->merge[l->depth - 1] = false;
    top(l)->key = "<<"; /* for paths that go through a merge */
    top(l)->key_n = 2;
}

/* v is borrowed. What is inside a merge belongs to nobody until the merge is done. */
static int attach(struct loader *l, json_t *v, struct err *err)
{
    struct json_level *t = top(l);

    if (!t) {
        json_decref(l->root);
        l->root = json_incref(v);
        return 0;
    }
    if (json_is_array(t->v))
        return json_array_append(t->v, v) < 0 ? out_of_memory(err) : 0;
    if (l->merge[l->depth - 1])
        return 0;
    size_t before = json_object_size(t->v);
    if (json_object_setn_nocheck(t->v, t->key, t->key_n, v) < 0)
        return out_of_memory(err);
    if (json_object_size(t->v) == before)
        report_duplicate(l);
    return json_budget_take(&l->budget, JSON_COST_MEMBER + t->key_n, err);
}

static int merge_object(struct loader *l, json_t *into, json_t *from, struct err *err)
{
    if (!json_is_object(from))
        return err_set(err, ERR_BAD_REQUEST, "yaml: map merge requires map or sequence of maps as the value");
    int rc = json_budget_take(&l->budget, json_object_size(from) * JSON_COST_MEMBER, err);
    if (rc < 0)
        return rc;
    for (void *it = json_object_iter(from); it; it = json_object_iter_next(from, it))
        if (json_object_setn_nocheck(into, json_object_iter_key(it), json_object_iter_key_len(it),
                                     json_object_iter_value(it)) < 0)
            return out_of_memory(err);
    return 0;
}

/* As go-yaml v2: merged where it stands, so later keys win over it and it wins over earlier ones. */
static int merge(struct loader *l, json_t *from, struct err *err)
{
    json_t *into = top(l)->v;

    if (!json_is_array(from))
        return merge_object(l, into, from, err);
    for (size_t i = json_array_size(from); i-- > 0;) {
        int rc = merge_object(l, into, json_array_get(from, i), err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* v is complete. */
static int value_done(struct loader *l, json_t *v, struct err *err)
{
    int rc = 0;

    if (!l->depth || !json_is_object(top(l)->v))
        return 0;
    if (l->merge[l->depth - 1])
        rc = merge(l, v, err);
    drop_key(l);
    return rc;
}

static int add_value(struct loader *l, json_t *v, struct err *err)
{
    int rc = attach(l, v, err);

    return rc < 0 ? rc : value_done(l, v, err);
}

static int anchor(struct loader *l, const yaml_char_t *name, json_t *v, struct err *err)
{
    if (!name)
        return 0;
    int rc = json_budget_take(&l->budget, JSON_COST_MEMBER + strlen((const char *)name), err);
    if (rc < 0)
        return rc;
    return json_object_set_nocheck(l->anchors, (const char *)name, v) < 0 ? out_of_memory(err) : 0;
}

/* --- scalars --- */

/* JSON text would stand between YAML and the tree in other programs: 1.0 is written 1 and read as an integer. */
static int real_value(double f, json_t **ret, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };

    json_write_real(f, &text);
    return json_number((struct slice){ buf_at(&text), buf_len(&text) }, ret, err);
}

static json_t *string_value(struct slice s)
{
    return json_utf8_valid(s.at, s.n) ? json_stringn_nocheck(s.at, s.n) : json_text(s);
}

static int scalar_value(struct slice text, struct yaml_scalar v, json_t **ret, struct err *err)
{
    *ret = NULL;
    switch (v.kind) {
    case YAML_IS_NULL:
        *ret = json_null();
        break;
    case YAML_IS_BOOL:
        *ret = json_boolean(v.b);
        break;
    case YAML_IS_INT:
        *ret = json_integer(v.i);
        break;
    case YAML_IS_UINT:
        *ret = json_real((double)v.u);
        break;
    case YAML_IS_FLOAT:
        return real_value(v.f, ret, err);
    case YAML_IS_ODD_FLOAT:
        return err_set(err, ERR_BAD_REQUEST, "json: unsupported value: %s",
                       isnan(v.f) ? "NaN" : v.f > 0 ? "+Inf" : "-Inf");
    case YAML_IS_STRING:
    case YAML_IS_TIMESTAMP:
    case YAML_IS_MERGE:
        *ret = string_value(text);
    }
    return *ret ? 0 : out_of_memory(err);
}

static int key_value(const struct loader *l, struct slice text, struct yaml_scalar v, json_t **ret, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };

    switch (v.kind) {
    case YAML_IS_NULL:
        return bad(l, "unsupported map key of type: null", err);
    case YAML_IS_UINT:
        return bad(l, "unsupported map key of type: uint64", err);
    case YAML_IS_BOOL:
        buf_str(&key, v.b ? "true" : "false");
        break;
    case YAML_IS_INT:
        buf_printf(&key, "%lld", (long long)v.i);
        break;
    case YAML_IS_FLOAT:
        json_write_float_key(v.f, &key);
        break;
    case YAML_IS_ODD_FLOAT:
        buf_str(&key, isnan(v.f) ? ".nan" : v.f > 0 ? ".inf" : "-.inf");
        break;
    case YAML_IS_STRING:
    case YAML_IS_TIMESTAMP:
    case YAML_IS_MERGE:
        *ret = string_value(text);
        return *ret ? 0 : out_of_memory(err);
    }
    *ret = json_stringn_nocheck(buf_at(&key), buf_len(&key));
    return *ret ? 0 : out_of_memory(err);
}

static const char *BINARY_TAG = "tag:yaml.org,2002:binary";
static const char *MERGE_TAG = "tag:yaml.org,2002:merge";

static int on_scalar(struct loader *l, struct err *err)
{
    const char *tag = (const char *)l->event.data.scalar.tag;
    const yaml_char_t *name = l->event.data.scalar.anchor;
    struct slice text = { (const char *)l->event.data.scalar.value, l->event.data.scalar.length };
    bool plain = l->event.data.scalar.plain_implicit, key = wants_key(l);
    struct yaml_scalar v = { .kind = YAML_IS_STRING };
    AUTO(json) json_t *node = NULL;
    int rc = count_nodes(l, 1, false, err);

    if (rc == 0)
        rc = json_budget_take(&l->budget, JSON_COST_STRING + text.n, err);
    if (rc < 0)
        return rc;
    if (key && slice_is(text, "<<") && (plain || (tag && strcmp(tag, MERGE_TAG) == 0))) {
        l->merge[l->depth - 1] = true;
        return 0;
    }
    if (tag && strcmp(tag, BINARY_TAG) == 0)
        return bad(l, "!!binary is not supported; write the base64 text without the tag", err);
    if (tag)
        rc = yaml_resolve_tagged(text, tag, &v, err);
    else if (plain)
        v = yaml_resolve(text);
    if (rc == 0)
        rc = key ? key_value(l, text, v, &node, err) : scalar_value(text, v, &node, err);
    if (rc == 0)
        rc = anchor(l, name, node, err);
    if (rc < 0)
        return rc;
    if (!key)
        return add_value(l, node, err);
    set_key(l, TAKE(node));
    return 0;
}

static int alias_key(const struct loader *l, json_t *v, json_t **ret, struct err *err)
{
    struct yaml_scalar s = { .kind = YAML_IS_STRING };
    struct slice text = { json_string_value(v), json_string_length(v) };

    if (json_is_object(v) || json_is_array(v))
        return bad(l, "invalid map key: only scalars can be keys", err);
    if (json_is_null(v))
        s.kind = YAML_IS_NULL;
    else if (json_is_boolean(v))
        s = (struct yaml_scalar){ .kind = YAML_IS_BOOL, .b = json_is_true(v) };
    else if (json_is_integer(v))
        s = (struct yaml_scalar){ .kind = YAML_IS_INT, .i = json_integer_value(v) };
    else if (json_is_real(v))
        s = (struct yaml_scalar){ .kind = YAML_IS_FLOAT, .f = json_real_value(v) };
    return key_value(l, text, s, ret, err);
}

static int on_alias(struct loader *l, struct err *err)
{
    const char *name = (const char *)l->event.data.alias.anchor;
    json_t *v = json_object_get(l->anchors, name), *key = NULL;
    int rc = count_nodes(l, 1, false, err);

    if (rc < 0)
        return rc;
    if (!v)
        return err_set(err, ERR_BAD_REQUEST, "yaml: unknown anchor '%.100s' referenced", name);
    for (int i = 0; i < l->depth; i++)
        if (l->levels[i].v == v)
            return err_set(err, ERR_BAD_REQUEST, "yaml: anchor '%.100s' value contains itself", name);
    if (wants_key(l)) {
        rc = alias_key(l, v, &key, err);
        if (rc == 0)
            set_key(l, key);
        return rc;
    }
    AUTO(json) json_t *own = NULL;
    rc = copy(l, v, l->depth, &own, err);
    return rc < 0 ? rc : add_value(l, own, err);
}

/* --- containers --- */

static int on_open(struct loader *l, bool object, const yaml_char_t *name, struct err *err)
{
    int rc = count_nodes(l, 1, false, err);

    if (rc == 0)
        rc = json_budget_take(&l->budget, object ? JSON_COST_OBJECT : JSON_COST_ARRAY, err);
    if (rc < 0)
        return rc;
    if (l->depth >= JSON_DEPTH_MAX)
        return too_deep(l, err);
    if (wants_key(l))
        return bad(l, "invalid map key: only scalars can be keys", err);
    AUTO(json) json_t *v = object ? json_object() : json_array();
    if (!v)
        return out_of_memory(err);
    rc = anchor(l, name, v, err);
    if (rc == 0)
        rc = attach(l, v, err);
    if (rc < 0)
        return rc;
    l->keys[l->depth] = NULL;
    l->merge[l->depth] = false;
    l->levels[l->depth++] = (struct json_level){ .v = TAKE(v), .key = "<<", .key_n = 2 };
    return 0;
}

static int on_close(struct loader *l, struct err *err)
{
    AUTO(json) json_t *v = l->levels[--l->depth].v;

    return value_done(l, v, err);
}

static int on_event(struct loader *l, struct err *err)
{
    switch (l->event.type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(l, err);
    case YAML_ALIAS_EVENT:
        return on_alias(l, err);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(l, false, l->event.data.sequence_start.anchor, err);
    case YAML_MAPPING_START_EVENT:
        return on_open(l, true, l->event.data.mapping_start.anchor, err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(l, err);
    default: /* stream and document marks */
        return 0;
    }
}

/* --- documents --- */

static int loader_init(struct loader *l, const char *text, size_t n, struct err *err)
{
    memset(l, 0, sizeof(*l));
    l->budget = json_budget_for(n);
    if (!yaml_parser_initialize(&l->parser))
        return out_of_memory(err);
    yaml_parser_set_input_string(&l->parser, (const unsigned char *)text, n);
    return 0;
}

static void document_clear(struct loader *l)
{
    while (l->depth > 0) {
        drop_key(l);
        json_decref(l->levels[--l->depth].v);
    }
    json_decref(l->anchors);
    json_decref(l->root);
    l->anchors = l->root = NULL;
    l->nodes = l->alias_nodes = 0;
}

static void loader_clear(struct loader *l)
{
    document_clear(l);
    yaml_event_delete(&l->event);
    yaml_parser_delete(&l->parser);
}

/* Reads the next document into l->root. 1 when there was one, 0 at the end of the stream. */
static int next_document(struct loader *l, int *ret_line, struct err *err)
{
    document_clear(l);
    l->anchors = json_object();
    if (!l->anchors)
        return out_of_memory(err);
    for (;;) {
        int rc = next_event(l, err);

        if (rc < 0)
            return rc;
        if (l->event.type == YAML_STREAM_END_EVENT || l->event.type == YAML_NO_EVENT)
            return 0;
        if (l->event.type == YAML_DOCUMENT_END_EVENT)
            return 1;
        if (!l->root && !l->depth && l->event.type != YAML_DOCUMENT_START_EVENT)
            *ret_line = (int)l->event.start_mark.line + 1;
        rc = on_event(l, err);
        if (rc < 0)
            return rc;
    }
}

int yaml_read(const char *text, size_t n, json_duplicate_fn *dup, void *dup_arg, json_t **ret, struct err *err)
{
    struct loader l;
    int line, rc = loader_init(&l, text, n, err);

    if (rc < 0)
        return rc;
    l.dup = dup;
    l.dup_arg = dup_arg;
    rc = next_document(&l, &line, err);
    if (rc >= 0)
        *ret = l.root ? TAKE(l.root) : json_null();
    loader_clear(&l);
    return rc < 0 ? rc : 0;
}

/* Text that is one JSON value is read as JSON, which knows escapes YAML does not. False when it isn't one. */
static bool is_json(const char *text, size_t n, json_t **ret, int *ret_line)
{
    struct err ignored;
    size_t i = 0;

    for (*ret_line = 1; i < n && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n'); i++)
        *ret_line += text[i] == '\n';
    return i < n && text[i] == '{' && json_read(text + i, n - i, NULL, NULL, ret, &ignored) == 0;
}

int yaml_each(const char *text, size_t n, yaml_doc_fn *fn, void *arg, struct err *err)
{
    struct loader l;
    AUTO(json) json_t *json = NULL;
    int line = 1;

    if (is_json(text, n, &json, &line))
        return fn(arg, json, line, err);
    int rc = loader_init(&l, text, n, err);
    if (rc < 0)
        return rc;
    for (;;) {
        rc = next_document(&l, &line, err);
        if (rc <= 0)
            break;
        if (json_is_null(l.root))
            continue;
        rc = fn(arg, l.root, line, err);
        if (rc < 0)
            break;
    }
    loader_clear(&l);
    return rc < 0 ? rc : 0;
}
