#include "embed/shim_protocol.h"

#include <string.h>

void shim_frame_begin(struct shim_writer *w, char *at, size_t cap, uint32_t type, uint64_t id)
{
    struct shim_frame f = { .type = type, .id = id };

    *w = (struct shim_writer){ .at = at, .n = sizeof(f), .cap = cap };
    if (w->n <= cap)
        memcpy(at, &f, sizeof(f));
}

void shim_frame_num(struct shim_writer *w, int index, int64_t value)
{
    if (w->cap >= sizeof(struct shim_frame) && index >= 0 && index < SHIM_NUMS)
        memcpy(w->at + offsetof(struct shim_frame, num) + (size_t)index * sizeof(value), &value, sizeof(value));
}

void shim_frame_str(struct shim_writer *w, const char *s)
{
    size_t n = s ? strlen(s) + 1 : 1;
    uint32_t count;

    if (w->n > w->cap || n > w->cap - w->n) {
        w->n = w->cap + 1;
        return;
    }
    memcpy(w->at + w->n, s ? s : "", n);
    w->n += n;
    memcpy(&count, w->at + offsetof(struct shim_frame, n_strings), sizeof(count));
    if (++count > SHIM_STRINGS_MAX)
        w->n = w->cap + 1;
    else
        memcpy(w->at + offsetof(struct shim_frame, n_strings), &count, sizeof(count));
}

size_t shim_frame_end(const struct shim_writer *w)
{
    return w->n <= w->cap ? w->n : 0;
}

int shim_frame_read(const char *at, size_t n, struct shim_frame *ret)
{
    struct shim_frame f;

    if (n < sizeof(f) || n > SHIM_FRAME_MAX)
        return -1;
    memcpy(&f, at, sizeof(f));
    if (f.n_strings > SHIM_STRINGS_MAX)
        return -1;
    const char *s = at + sizeof(f), *end = at + n;
    for (uint32_t i = 0; i < f.n_strings; i++) {
        const char *nul = memchr(s, 0, (size_t)(end - s));
        if (!nul)
            return -1;
        s = nul + 1;
    }
    if (s != end)
        return -1;
    *ret = f;
    return 0;
}

struct shim_strings shim_frame_strings(const char *at, const struct shim_frame *f)
{
    return (struct shim_strings){ .at = at + sizeof(*f), .left = f->n_strings };
}

const char *shim_strings_next(struct shim_strings *s)
{
    const char *here = s->at;

    if (s->left == 0)
        return NULL;
    s->left--;
    s->at += strlen(here) + 1;
    return here;
}
