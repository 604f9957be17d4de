#ifndef LIB_JSON_INT_H
#define LIB_JSON_INT_H
/*
 * json_int - what the files of json and yaml share.
 */
#include "lib/json.h"

/* States of the tokenizer between two tokens; struct json_scan.state. */
enum json_scan_state {
    JSON_SCAN_VALUE,       /* a value must come */
    JSON_SCAN_FIRST_VALUE, /* a value or ] */
    JSON_SCAN_FIRST_KEY,   /* a key or } */
    JSON_SCAN_AFTER,       /* , or the end of the container; at depth 0 only white space */
};

/* The length of the leading part of s that needs no thought: no byte below 0x20, no quote, no backslash, none above
 * 0x7e. Never reads past n. */
size_t json_plain_run(const char *s, size_t n);

/* The bytes of the well-formed UTF-8 sequence at s, 0 when it is not one (RFC 3629: no surrogates, not overlong). */
size_t json_utf8_len(const unsigned char *s, size_t n);
bool json_utf8_valid(const char *s, size_t n);
void json_utf8_fix(struct slice s, struct buf *to); /* each bad byte becomes U+FFFD */

/* What a tree costs, so that a small text cannot become a huge one. Estimates of jansson's blocks, malloc included. */
enum {
    JSON_COST_OBJECT = 288,
    JSON_COST_ARRAY = 144,
    JSON_COST_SCALAR = 32,
    JSON_COST_STRING = 64,
    JSON_COST_MEMBER = 96,
};

struct json_budget {
    size_t left;
};

struct json_budget json_budget_for(size_t text_bytes);
/* Errors: TOO_LARGE when the budget is used up. */
CHECK_RC int json_budget_take(struct json_budget *b, size_t cost, struct err *err);

/* A number's text as a tree node: int64 where it fits and has no fraction or exponent, else real.
 * Errors: BAD_REQUEST when it is beyond a double. */
CHECK_RC int json_number(struct slice raw, json_t **ret, struct err *err);

/* Go's FormatFloat 'g': what go-yaml writes; f must be finite. The _key form has float32's digits, as map keys do. */
void json_write_float_g(double f, struct buf *to);
void json_write_float_key(double f, struct buf *to);

/* One open container while a tree is built. */
struct json_level {
    json_t *v;        /* owned by the level below it, the lowest by the reader */
    const char *key;  /* of the member being read, decoded; NULL in an array */
    size_t key_n;
    size_t key_at;    /* private to the reader */
};
/* The path of the member being read, e.g. `spec.containers[0].image`. */
void json_level_path(const struct json_level *levels, int depth, struct buf *to);

#endif
