#ifndef LIB_STREAM_SPDY_INT_H
#define LIB_STREAM_SPDY_INT_H
/* spdy_int - header blocks (spdy_headers.c), for spdy.c and tests. */
#include "lib/stream/spdy.h"

#include <zlib.h>

/* One direction's compressor each; their state goes through the whole connection. */
struct spdy_zip {
    z_stream in, out;
    bool in_ready, out_ready;
};
void spdy_zip_clear(struct spdy_zip *z);
void spdy_headers_write(struct spdy_zip *z, const struct http_headers *h, struct buf *to);
CHECK_RC int spdy_headers_read(struct spdy_zip *z, const char *data, size_t n, struct http_headers *ret, struct err *err);

static inline uint32_t spdy_get32(const char *at)
{
    const unsigned char *u = (const unsigned char *)at;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static inline void spdy_put32(char *at, uint32_t v)
{
    at[0] = (char)(v >> 24);
    at[1] = (char)(v >> 16);
    at[2] = (char)(v >> 8);
    at[3] = (char)v;
}

#endif
