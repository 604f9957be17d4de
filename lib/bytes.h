#ifndef LIB_BYTES_H
#define LIB_BYTES_H
/*
 * bytes - shared immutable bytes, and the buffer that grows until they are.
 *
 * struct bytes is reference-counted and never changes once published; any thread may hold it.
 * struct buf belongs to one thread. Growing aborts when memory is out, except where a limit is set.
 */
#include "lib/auto.h"
#include "lib/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    _Atomic int refs;
    size_t n;
    char at[]; /* n bytes and a NUL that is not counted */
};

struct bytes *bytes_new(const void *data, size_t n); /* copies; refs 1 */
struct bytes *bytes_ref(struct bytes *b);            /* NULL allowed; gives b back */
void bytes_unref(struct bytes *b);                   /* NULL allowed */
AUTO_DEFINE(bytes, struct bytes *, bytes_unref)

/* A borrowed piece of text or data; `at` need not end in NUL. */
struct slice {
    const char *at;
    size_t n;
};
#define SLICE_LIT(s) ((struct slice){ (s), sizeof(s) - 1 })
struct slice slice_of(const char *s); /* NULL gives an empty slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *s);
char *slice_dup(struct slice s); /* NUL-terminated, malloc */

/* A growing buffer. Zero it to begin. */
struct buf {
    struct bytes *b; /* b->n is the used length */
    size_t cap;
};

void buf_add(struct buf *buf, const void *data, size_t n);
void buf_str(struct buf *buf, const char *s);
void buf_char(struct buf *buf, char c);
void buf_slice(struct buf *buf, struct slice s);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *buf_space(struct buf *buf, size_t n);   /* room for n more bytes behind the end; then buf_used */
void buf_used(struct buf *buf, size_t n);     /* n of them were written */
void buf_cut(struct buf *buf, size_t n);      /* keeps the first n bytes */
void buf_drop(struct buf *buf, size_t n);     /* forgets the first n bytes */
size_t buf_len(const struct buf *buf);
const char *buf_at(const struct buf *buf);    /* NUL-terminated; "" when empty */
struct bytes *buf_take(struct buf *buf);      /* the content as bytes (never NULL); buf is empty again */
char *buf_take_str(struct buf *buf);          /* the content as a malloc'd string */
void buf_clear(struct buf *buf);
static inline void auto_buf(struct buf *buf)
{
    buf_clear(buf);
}

#endif
