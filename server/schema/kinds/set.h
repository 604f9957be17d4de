#ifndef SERVER_SCHEMA_KINDS_SET_H
#define SERVER_SCHEMA_KINDS_SET_H
/* set - defaults of single members: written only where nothing is. Thread: the tree's. */
#include "lib/json.h"

/* Null counts as absent everywhere: it is how members that are always written are kept. */
/* Absent or "". */
void set_text(json_t *o, const char *key, const char *value);
void set_int(json_t *o, const char *key, int64_t value); /* absent */
void set_bool(json_t *o, const char *key, bool value);   /* absent */
/* 0 or absent: for plain numbers. */
void set_int_zero(json_t *o, const char *key, int64_t value);
/* The member as an object, made when absent; NULL when it is something else. Borrowed. */
json_t *set_object(json_t *o, const char *key);
/* The member when it is there and not null; else NULL. */
json_t *member(const json_t *o, const char *key);
/* Copies members of `from` that `to` has not. */
void set_missing(json_t *to, const json_t *from);
/* Whether the member is there and the text is `value`. */
bool is_text(const json_t *o, const char *path, const char *value);
/* Takes a member over from another tree: set or removed. */
void set_from(json_t *to, const json_t *from, const char *key);

#endif
