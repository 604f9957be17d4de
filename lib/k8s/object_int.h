#ifndef LIB_K8S_OBJECT_INT_H
#define LIB_K8S_OBJECT_INT_H
/*
 * object_int - what the decoding of one object shares: where it is, and texts to their canonical form.
 * Thread: the tree's.
 */
#include "lib/k8s/object.h"

/* One step from the root of the object; a chain on the stack. */
struct object_at {
    const struct object_at *up;          /* NULL: the root */
    const struct schema_type *owner;     /* the OBJECT this is a field of; NULL for an element or a map's value */
    const struct schema_field *field;    /* with owner */
    const char *key;                     /* a map's key, or an unknown field's name; NULL: an element */
    size_t key_n, index;
};

/* `spec.containers[0].image`. A map's key comes with a dot as strict decoding names it, or in brackets as validation does. */
void object_path(const struct object_at *at, bool brackets, struct buf *to);
/* `Go struct field Container.spec.containers.image of type string` as encoding/json names it. */
void object_go_path(const struct object_at *at, const struct schema_type *type, const char *go_type, struct buf *to);

/* RFC 3339 into canonical UTC text, with Go's words for what is wrong.
 * Errors: BAD_REQUEST `parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`. */
CHECK_RC int object_time(const char *text, bool micro, char *to /* CLOCK_TEXT_BYTES */, struct err *err);

/* Checks base64 (standard alphabet, padded, line breaks skipped). *ret is NULL when text is canonical already, else a new string.
 * Errors: BAD_REQUEST `illegal base64 data at input byte 3`. */
CHECK_RC int object_base64(const char *text, size_t n, json_t **ret, struct err *err);
void object_base64_write(const unsigned char *data, size_t n, struct buf *to);

#endif
