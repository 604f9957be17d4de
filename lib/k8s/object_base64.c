/* object_base64 - byte fields: base64 checked as Go's base64.StdEncoding does, and brought to its own spelling. */
#include "lib/k8s/object_int.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void object_base64_write(const unsigned char *data, size_t n, struct buf *to)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)data[i] << 16 | (i + 1 < n ? (uint32_t)data[i + 1] << 8 : 0) | (i + 2 < n ? data[i + 2] : 0u);
        char quad[4] = { alphabet[v >> 18], alphabet[v >> 12 & 63], i + 1 < n ? alphabet[v >> 6 & 63] : '=',
                         i + 2 < n ? alphabet[v & 63] : '=' };
        buf_add(to, quad, sizeof(quad));
    }
}

static int corrupt(size_t at, struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST, "illegal base64 data at input byte %zu", at);
}

static size_t skip_breaks(const char *s, size_t n, size_t i)
{
    while (i < n && (s[i] == '\n' || s[i] == '\r'))
        i++;
    return i;
}

/* What follows the j-th character of a quantum, which was '='. */
static int padding(const char *s, size_t n, size_t i, int j, struct err *err)
{
    if (j < 2)
        return corrupt(i - 1, err);
    if (j == 2) {
        i = skip_breaks(s, n, i);
        if (i == n)
            return corrupt(n, err);
        if (s[i] != '=')
            return corrupt(i, err);
        i++;
    }
    i = skip_breaks(s, n, i);
    return i < n ? corrupt(i, err) : 0;
}

/* Bytes of one quantum of `have` characters. */
static void add_quantum(const int *quad, int have, struct buf *to)
{
    uint32_t v = (uint32_t)quad[0] << 18 | (uint32_t)quad[1] << 12 | (uint32_t)quad[2] << 6 | (uint32_t)quad[3];
    char bytes[3] = { (char)(v >> 16), (char)(v >> 8), (char)v };
    buf_add(to, bytes, (size_t)have - 1);
}

static int decode(const char *s, size_t n, struct buf *to, struct err *err)
{
    int quad[4] = { 0 }, j = 0;
    for (size_t i = 0; i < n;) {
        char c = s[i++];
        int d = digit((unsigned char)c);
        if (d >= 0) {
            quad[j++] = d;
            if (j < 4)
                continue;
            add_quantum(quad, 4, to);
            memset(quad, 0, sizeof(quad));
            j = 0;
        } else if (c == '=') {
            int rc = padding(s, n, i, j, err);
            if (rc == 0)
                add_quantum(quad, j, to);
            return rc;
        } else if (c != '\n' && c != '\r') {
            return corrupt(i - 1, err);
        }
    }
    return j ? corrupt(n - (size_t)j, err) : 0;
}

/* Whole quanta, no line breaks, and no bits set that the padding drops. */
static bool canonical(const char *s, size_t n)
{
    if (n % 4)
        return false;
    size_t body = n;
    while (body && n - body < 2 && s[body - 1] == '=')
        body--;
    for (size_t i = 0; i < body; i++) {
        if (digit((unsigned char)s[i]) < 0)
            return false;
    }
    unsigned spare = n - body == 1 ? 3 : n - body == 2 ? 15 : 0;
    return !spare || !(digit((unsigned char)s[body - 1]) & spare);
}

int object_base64(const char *text, size_t n, json_t **ret, struct err *err)
{
    if (canonical(text, n)) {
        *ret = NULL;
        return 0;
    }
    AUTO(buf) struct buf raw = { 0 }, out = { 0 };
    int rc = decode(text, n, &raw, err);
    if (rc)
        return rc;
    object_base64_write((const unsigned char *)buf_at(&raw), buf_len(&raw), &out);
    *ret = json_stringn(buf_at(&out), buf_len(&out));
    return 0;
}
