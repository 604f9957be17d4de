#include "tests/unit/image_tar.h"

#include <stdio.h>
#include <string.h>

static void pad(struct buf *to)
{
    static const char zero[512];

    if (buf_len(to) % 512)
        buf_add(to, zero, 512 - buf_len(to) % 512);
}

static void octal(char *to, int digits, unsigned long long v)
{
    for (int i = digits - 1; i >= 0; i--, v >>= 3)
        to[i] = (char)('0' + (v & 7));
}

static void header(struct buf *to, const struct tar_entry *e, char type, long long size)
{
    char h[512] = { 0 };
    unsigned sum = 0;

    snprintf(h, 100, "%s", e->name);
    octal(h + 100, 7, e->mode ? e->mode : type == '5' ? 0755u : 0644u);
    octal(h + 108, 7, e->uid);
    octal(h + 116, 7, e->gid);
    octal(h + 124, 11, (unsigned long long)size);
    octal(h + 136, 11, (unsigned long long)e->mtime);
    h[156] = type;
    if ((type == '1' || type == '2') && e->data)
        snprintf(h + 157, 100, "%s", e->data);
    memcpy(h + 257, "ustar\00000", 8);
    octal(h + 329, 7, e->major);
    octal(h + 337, 7, e->minor);
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < sizeof(h); i++)
        sum += (unsigned char)h[i];
    octal(h + 148, 6, sum);
    buf_add(to, h, sizeof(h));
}

void tar_add(struct buf *to, const struct tar_entry *e)
{
    bool file = e->type == '0' && e->data;

    if (e->xattr) {
        struct tar_entry pax = { .name = "pax" };
        char body[256];
        size_t n = strlen(e->xattr) + strlen(e->xattr_value) + strlen("NN SCHILY.xattr.=\n");

        snprintf(body, sizeof(body), "%zu SCHILY.xattr.%s=%s\n", n, e->xattr, e->xattr_value);
        header(to, &pax, 'x', (long long)n);
        buf_str(to, body);
        pad(to);
    }
    header(to, e, e->type, e->size ? e->size : file ? (long long)strlen(e->data) : 0);
    if (file)
        buf_str(to, e->data);
    pad(to);
}

void tar_end(struct buf *to)
{
    static const char zero[1024];

    buf_add(to, zero, sizeof(zero));
}
