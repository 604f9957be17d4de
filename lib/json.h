#ifndef LIB_JSON_H
#define LIB_JSON_H
/*
 * json - our tokenizer and writer; trees are jansson's.
 *
 * jansson holds trees only; its own load and dump are never used (they lose number text and bad UTF-8 handling).
 * A tree lives as long as one request or reconcile and belongs to one thread.
 * Numbers: integers that fit int64 become json_integer, everything else json_real; written shortest round-trip as
 * Go's encoding/json does (1e21 style included). Bad UTF-8 and lone surrogates are replaced by U+FFFD as Go does.
 * Source: RFC 8259; Go encoding/json for replacement and number text; sigs.k8s.io/json for strictness.
 */
#include "lib/bytes.h"
#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 200 };

/* --- trees --- */

static inline void auto_json(json_t **p)
{
    json_decref(*p);
}

/* Called for each duplicate key, e.g. path `spec.containers[0].image`; the last value wins. */
typedef void json_duplicate_fn(void *arg, const char *path);

/* Reads one value; only white space may follow.
 * Owner:  the caller; json_decref.
 * Errors: BAD_REQUEST with offset and what was wrong; TOO_LARGE past JSON_DEPTH_MAX, or when the tree would take more
 *         than 16 MiB + 32 times the text's size; IO when memory is out.
 * dup may be NULL. */
CHECK_RC int json_read(const char *text, size_t n, json_duplicate_fn *dup, void *dup_arg, json_t **ret, struct err *err);

/* Writes compactly; members in insertion order. HTML characters are not escaped. */
void json_write(const json_t *v, struct buf *to);
/* The same with `indent` spaces a level, as kubectl's `pretty`. */
void json_write_pretty(const json_t *v, int indent, struct buf *to);
void json_write_string(struct slice s, struct buf *to); /* with quotes; fixes UTF-8 */
void json_write_real(double v, struct buf *to);         /* null when JSON cannot say it (NaN, infinite) */

/* Path helpers on trees; "a.b.c" walks objects only. NULL when absent or of another type; borrowed. */
json_t *json_at(const json_t *v, const char *path);
const char *json_str(const json_t *v, const char *path);              /* NULL when absent */
const char *json_str_or(const json_t *v, const char *path, const char *otherwise);
int64_t json_int_or(const json_t *v, const char *path, int64_t otherwise);
bool json_bool_or(const json_t *v, const char *path, bool otherwise);
/* Sets a member deep inside, making objects on the way (what is no object is replaced); steals v, NULL sets null. */
void json_put(json_t *root, const char *path, json_t *v);
void json_del(json_t *root, const char *path);
json_t *json_text(struct slice s); /* a new json string; fixes UTF-8, where jansson's json_string gives NULL */
json_t *json_strf(const char *fmt, ...) PRINTF_LIKE(1, 2); /* a new json string */

/* --- tokenizer: for splicing, transcoding and picking facts without a tree --- */

enum json_token {
    JSON_TOK_END,
    JSON_TOK_OBJECT,     /* { */
    JSON_TOK_OBJECT_END, /* } */
    JSON_TOK_ARRAY,
    JSON_TOK_ARRAY_END,
    JSON_TOK_KEY,   /* raw text without quotes in ->raw, still escaped when ->escaped */
    JSON_TOK_STRING,
    JSON_TOK_NUMBER,
    JSON_TOK_TRUE,
    JSON_TOK_FALSE,
    JSON_TOK_NULL,
};

struct json_scan {
    const char *start, *at, *end;
    struct slice raw; /* of the current token; for strings and keys what is between the quotes */
    bool escaped;     /* raw holds backslashes */
    bool high;        /* raw holds bytes above 0x7f, not yet checked to be UTF-8 */
    int depth;
    /* private */
    uint8_t kind[JSON_DEPTH_MAX + 1];
    uint8_t state;
};

void json_scan_init(struct json_scan *s, const char *text, size_t n);
/* The next token or a negative error code. At a value of no interest call json_scan_skip instead: it jumps over the
 * whole value and sets raw to its text. */
int json_scan_next(struct json_scan *s, struct err *err);
CHECK_RC int json_scan_skip(struct json_scan *s, struct err *err);
/* Inside a container: jumps behind its end; raw is the text jumped over. */
CHECK_RC int json_scan_leave(struct json_scan *s, struct err *err);
/* Unescapes raw into `to` and fixes UTF-8. */
void json_unescape(struct slice raw, struct buf *to);

/* --- YAML (libyaml), as sigs.k8s.io/yaml: YAML 1.1 scalars to JSON types, anchors and merges, limits on expansion --- */

/* Errors: BAD_REQUEST with "yaml: line N: …". One document; `json_read` rules for duplicates. */
CHECK_RC int yaml_read(const char *text, size_t n, json_duplicate_fn *dup, void *dup_arg, json_t **ret, struct err *err);

/* Splits a stream at document separators; calls fn for each non-empty document with the line it begins at (from 1).
 * Stops at the first failure of fn. */
typedef int yaml_doc_fn(void *arg, json_t *doc, int line, struct err *err);
CHECK_RC int yaml_each(const char *text, size_t n, yaml_doc_fn *fn, void *arg, struct err *err);
void yaml_write(const json_t *v, struct buf *to);

#endif
