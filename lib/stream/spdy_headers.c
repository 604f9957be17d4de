/* Header blocks of SPDY/3: lengths and text, through zlib with the specification's dictionary. */
#include "lib/stream/spdy_dictionary.h"
#include "lib/stream/spdy_int.h"

#include <assert.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024 };
enum { ZIP_WINDOW_BITS = 11, ZIP_MEM_LEVEL = 4 }; /* room for the dictionary; 12 KB in place of 256 */

void spdy_zip_clear(struct spdy_zip *z)
{
    if (z->in_ready)
        inflateEnd(&z->in);
    if (z->out_ready)
        deflateEnd(&z->out);
    *z = (struct spdy_zip){ 0 };
}

static void add32(struct buf *to, uint32_t v)
{
    char at[4];

    spdy_put32(at, v);
    buf_add(to, at, sizeof(at));
}

static void add_text(struct buf *to, const char *text)
{
    size_t n = strlen(text);

    add32(to, (uint32_t)n);
    buf_add(to, text, n);
}

static void start_out(struct spdy_zip *z)
{
    int rc = deflateInit2(&z->out, Z_DEFAULT_COMPRESSION, Z_DEFLATED, ZIP_WINDOW_BITS, ZIP_MEM_LEVEL, Z_DEFAULT_STRATEGY);

    assert(rc == Z_OK); /* small and of our own: out of memory aborts */
    rc = deflateSetDictionary(&z->out, (const Bytef *)spdy_dictionary, SPDY_DICTIONARY_BYTES);
    assert(rc == Z_OK);
    z->out_ready = true;
}

void spdy_headers_write(struct spdy_zip *z, const struct http_headers *h, struct buf *to)
{
    AUTO(buf) struct buf block = { 0 };

    if (!z->out_ready)
        start_out(z);
    add32(&block, (uint32_t)h->n);
    for (size_t i = 0; i < h->n; i++) {
        add_text(&block, h->at[i].name);
        add_text(&block, h->at[i].value);
    }
    z->out.next_in = (Bytef *)buf_at(&block);
    z->out.avail_in = (uInt)buf_len(&block);
    do {
        char *room = buf_space(to, 512);

        z->out.next_out = (Bytef *)room;
        z->out.avail_out = 512;
        int rc = deflate(&z->out, Z_SYNC_FLUSH);

        assert(rc == Z_OK || rc == Z_BUF_ERROR);
        buf_used(to, 512 - z->out.avail_out);
    } while (z->out.avail_out == 0);
}

static int start_in(struct spdy_zip *z, struct err *err)
{
    if (inflateInit(&z->in) != Z_OK)
        return err_set(err, ERR_IO, "SPDY: no memory for headers");
    z->in_ready = true;
    return 0;
}

static int unzip(struct spdy_zip *z, const char *data, size_t n, struct buf *to, struct err *err)
{
    z->in.next_in = (Bytef *)data;
    z->in.avail_in = (uInt)n;
    for (;;) {
        char *room = buf_space(to, 2048);

        z->in.next_out = (Bytef *)room;
        z->in.avail_out = 2048;
        int rc = inflate(&z->in, Z_SYNC_FLUSH);

        buf_used(to, 2048 - z->in.avail_out);
        if (rc == Z_NEED_DICT)
            rc = inflateSetDictionary(&z->in, (const Bytef *)spdy_dictionary, SPDY_DICTIONARY_BYTES);
        else if (rc == Z_BUF_ERROR || (rc == Z_OK && z->in.avail_in == 0 && z->in.avail_out > 0))
            return 0; /* all in, all out */
        if (rc != Z_OK)
            return err_set(err, ERR_IO, "SPDY: malformed compressed headers");
        if (buf_len(to) > BLOCK_BYTES)
            return err_set(err, ERR_IO, "SPDY: headers over %d bytes", BLOCK_BYTES);
    }
}

static bool take_text(struct slice *s, struct slice *ret)
{
    uint32_t n;

    if (s->n < 4)
        return false;
    n = spdy_get32(s->at);
    if (n > s->n - 4)
        return false;
    *ret = (struct slice){ s->at + 4, n };
    s->at += 4 + n;
    s->n -= 4 + n;
    return true;
}

/* Several values of one name are separated by NUL. */
static void add_values(struct http_headers *h, struct slice name, struct slice value)
{
    for (;;) {
        const char *nul = memchr(value.at, '\0', value.n);
        size_t n = nul ? (size_t)(nul - value.at) : value.n;

        http_headers_add_n(h, name, (struct slice){ value.at, n });
        if (!nul || h->n >= SPDY_HEADERS_MAX)
            return;
        value.at += n + 1;
        value.n -= n + 1;
    }
}

static int parse_block(struct slice s, struct http_headers *ret, struct err *err)
{
    uint32_t count;

    if (s.n < 4)
        return err_set(err, ERR_IO, "SPDY: header block too short");
    count = spdy_get32(s.at);
    s.at += 4;
    s.n -= 4;
    if (count > SPDY_HEADERS_MAX)
        return err_set(err, ERR_IO, "SPDY: more than %d headers", SPDY_HEADERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct slice name, value;

        if (!take_text(&s, &name) || !take_text(&s, &value) || name.n == 0 || memchr(name.at, '\0', name.n))
            return err_set(err, ERR_IO, "SPDY: malformed header block");
        add_values(ret, name, value);
    }
    return 0;
}

int spdy_headers_read(struct spdy_zip *z, const char *data, size_t n, struct http_headers *ret, struct err *err)
{
    AUTO(buf) struct buf block = { 0 };
    int rc = z->in_ready ? 0 : start_in(z, err);

    if (rc == 0)
        rc = unzip(z, data, n, &block, err);
    if (rc == 0)
        rc = parse_block((struct slice){ buf_at(&block), buf_len(&block) }, ret, err);
    if (rc < 0)
        http_headers_clear(ret);
    return rc;
}
