#include "lib/json_int.h"

#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

static inline bool cont(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* RFC 3629 section 4. */
size_t json_utf8_len(const unsigned char *s, size_t n)
{
    if (n == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return n >= 2 && cont(s[1]) ? 2 : 0;
    if (s[0] >= 0xe0 && s[0] <= 0xef) {
        unsigned char low = s[0] == 0xe0 ? 0xa0 : 0x80, high = s[0] == 0xed ? 0x9f : 0xbf;

        return n >= 3 && s[1] >= low && s[1] <= high && cont(s[2]) ? 3 : 0;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        unsigned char low = s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xf4 ? 0x8f : 0xbf;

        return n >= 4 && s[1] >= low && s[1] <= high && cont(s[2]) && cont(s[3]) ? 4 : 0;
    }
    return 0;
}

/* The length of the well-formed beginning. */
static size_t valid_run(const char *s, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t len = json_utf8_len((const unsigned char *)s + i, n - i);

        if (!len)
            break;
        i += len;
    }
    return i;
}

bool json_utf8_valid(const char *s, size_t n)
{
    return valid_run(s, n) == n;
}

void json_utf8_fix(struct slice s, struct buf *to)
{
    for (size_t i = 0; i < s.n;) {
        size_t good = valid_run(s.at + i, s.n - i);

        buf_add(to, s.at + i, good);
        i += good;
        if (i < s.n) {
            buf_add(to, REPLACEMENT, 3);
            i++;
        }
    }
}

static unsigned hex4(const char *p)
{
    unsigned v = 0;

    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];

        v = v << 4 | (c <= '9' ? c - (unsigned)'0' : (c | 0x20u) - 'a' + 10u);
    }
    return v;
}

static void add_rune(struct buf *to, unsigned r)
{
    char out[4];
    size_t n;

    if (r < 0x80) {
        out[0] = (char)r;
        n = 1;
    } else if (r < 0x800) {
        out[0] = (char)(0xc0 | r >> 6);
        out[1] = (char)(0x80 | (r & 0x3f));
        n = 2;
    } else if (r < 0x10000) {
        out[0] = (char)(0xe0 | r >> 12);
        out[1] = (char)(0x80 | (r >> 6 & 0x3f));
        out[2] = (char)(0x80 | (r & 0x3f));
        n = 3;
    } else {
        out[0] = (char)(0xf0 | r >> 18);
        out[1] = (char)(0x80 | (r >> 12 & 0x3f));
        out[2] = (char)(0x80 | (r >> 6 & 0x3f));
        out[3] = (char)(0x80 | (r & 0x3f));
        n = 4;
    }
    buf_add(to, out, n);
}

static bool is_hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return false;
    for (int i = 0; i < 4; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f') || (p[i] >= 'A' && p[i] <= 'F')))
            return false;
    return true;
}

/* p is behind the `u`. A surrogate without its other half becomes U+FFFD and the other text stays, as in Go. */
static const char *add_u_escape(const char *p, const char *end, struct buf *to)
{
    if (!is_hex4(p, end)) {
        buf_add(to, REPLACEMENT, 3);
        return p;
    }
    unsigned r = hex4(p);
    p += 4;
    if (r < 0xd800 || r > 0xdfff) {
        add_rune(to, r);
        return p;
    }
    if (r < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && is_hex4(p + 2, end)) {
        unsigned low = hex4(p + 2);

        if (low >= 0xdc00 && low <= 0xdfff) {
            add_rune(to, 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00));
            return p + 6;
        }
    }
    buf_add(to, REPLACEMENT, 3);
    return p;
}

void json_unescape(struct slice raw, struct buf *to)
{
    static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
    const char *p = raw.at, *end = p + raw.n;

    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        const char *stop = slash ? slash : end;

        json_utf8_fix((struct slice){ p, (size_t)(stop - p) }, to);
        if (!slash || slash + 1 >= end)
            break; /* the scanner never lets a lone backslash through */
        p = slash + 2;
        if (slash[1] == 'u') {
            p = add_u_escape(p, end, to);
            continue;
        }
        const char *which = memchr(from, slash[1], sizeof(from) - 1);
        buf_char(to, which ? into[which - from] : slash[1]);
    }
}
