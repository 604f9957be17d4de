#include "lib/bytes.h"

#include "lib/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct bytes *bytes_alloc(size_t cap)
{
    struct bytes *b = mem_alloc(sizeof(*b) + cap + 1);

    atomic_init(&b->refs, 1);
    b->n = 0;
    b->at[0] = '\0';
    return b;
}

struct bytes *bytes_new(const void *data, size_t n)
{
    struct bytes *b = bytes_alloc(n);

    if (n)
        memcpy(b->at, data, n);
    b->n = n;
    b->at[n] = '\0';
    return b;
}

struct bytes *bytes_ref(struct bytes *b)
{
    if (b)
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void bytes_unref(struct bytes *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}

struct slice slice_of(const char *s)
{
    return (struct slice){ s, s ? strlen(s) : 0 };
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.at, b.at, a.n) == 0);
}

bool slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_of(s));
}

char *slice_dup(struct slice s)
{
    char *copy = mem_alloc(s.n + 1);

    if (s.n)
        memcpy(copy, s.at, s.n);
    copy[s.n] = '\0';
    return copy;
}

char *buf_space(struct buf *buf, size_t n)
{
    size_t used = buf->b ? buf->b->n : 0;

    assert(n < SIZE_MAX / 4);
    if (!buf->b || buf->cap - used < n) {
        size_t cap = buf->cap ? buf->cap * 2 : 248;

        if (cap < used + n)
            cap = used + n;
        buf->b = mem_realloc(buf->b, sizeof(*buf->b) + cap + 1);
        if (!buf->cap) {
            atomic_init(&buf->b->refs, 1);
            buf->b->n = 0;
        }
        buf->cap = cap;
    }
    return buf->b->at + used;
}

void buf_used(struct buf *buf, size_t n)
{
    assert(buf->cap - buf->b->n >= n);
    buf->b->n += n;
    buf->b->at[buf->b->n] = '\0';
}

void buf_add(struct buf *buf, const void *data, size_t n)
{
    char *to = buf_space(buf, n);

    if (n)
        memcpy(to, data, n);
    buf_used(buf, n);
}

void buf_str(struct buf *buf, const char *s)
{
    buf_add(buf, s, strlen(s));
}

void buf_char(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_slice(struct buf *buf, struct slice s)
{
    buf_add(buf, s.at, s.n);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    char small[256];

    va_start(args, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof(small)) {
        buf_add(buf, small, (size_t)n);
        return;
    }
    va_start(args, fmt);
    vsnprintf(buf_space(buf, (size_t)n + 1), (size_t)n + 1, fmt, args);
    va_end(args);
    buf_used(buf, (size_t)n);
}

void buf_cut(struct buf *buf, size_t n)
{
    if (!buf->b || n >= buf->b->n)
        return;
    buf->b->n = n;
    buf->b->at[n] = '\0';
}

void buf_drop(struct buf *buf, size_t n)
{
    if (!buf->b || n == 0)
        return;
    assert(n <= buf->b->n);
    memmove(buf->b->at, buf->b->at + n, buf->b->n - n + 1);
    buf->b->n -= n;
}

size_t buf_len(const struct buf *buf)
{
    return buf->b ? buf->b->n : 0;
}

const char *buf_at(const struct buf *buf)
{
    return buf->b ? buf->b->at : "";
}

struct bytes *buf_take(struct buf *buf)
{
    struct bytes *b = TAKE(buf->b);

    if (!b)
        return bytes_new("", 0);
    if (buf->cap > b->n + b->n / 8 + 64)
        b = mem_realloc(b, sizeof(*b) + b->n + 1);
    buf->cap = 0;
    return b;
}

char *buf_take_str(struct buf *buf)
{
    char *s = slice_dup((struct slice){ buf_at(buf), buf_len(buf) });

    buf_clear(buf);
    return s;
}

void buf_clear(struct buf *buf)
{
    bytes_unref(buf->b);
    *buf = (struct buf){ 0 };
}
